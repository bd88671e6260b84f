"""The .npz dictionary of canonical weights: `stem.weight`, `block0.depthwise.bias` and so on.

Weights are OIHW with batch-norm folded, the classifier's (out, in). The file says nothing about
padding, preprocessing or labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...errors import CheckpointError
from ..checkpoint import Checkpoint
from ..recognise import recognise
from .archive import Archive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..checkpoint import Float32

_MAX_HEADER = 4096  # bytes of a .npy header; numpy writes 128
_SUFFIX = ".npy"

# Float weights deflate by a tenth; only zeros, that is a zip bomb, inflate beyond this ratio.
_INFLATION = 16
_ALWAYS_INFLATED = 64 << 20  # bytes


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.floating]
    start: int  # bytes before the data


def read(archive: Archive, hidden: str | None = None) -> Checkpoint:
    """The canonical weights in a .npz archive.

    Every header is read and every shape found to belong to one network before any data is.
    Raises CheckpointError, or UnsupportedError for a network that this engine does not know.
    """
    what = archive.what
    names = {member.removesuffix(_SUFFIX): member for member in archive.members}
    if "meta" in names:
        raise CheckpointError(
            f"{what}: it has a `meta` member, so it is a model file already; load it as it is, or "
            "convert the checkpoint that it was made from"
        )
    headers = {name: _header(archive, member) for name, member in names.items()}
    identity = recognise({name: header.shape for name, header in headers.items()}, what)
    total = sum(archive.size(member) for member in names.values())
    if total > max(_ALWAYS_INFLATED, _INFLATION * archive.file_bytes):
        raise CheckpointError(
            f"{what}: {archive.file_bytes} bytes would inflate to {total}, more than weights ever "
            "do: refused"
        )
    weights = {name: _data(archive, names[name], header) for name, header in headers.items()}
    return Checkpoint(
        "canonical .npz",
        lambda size, padding, answer: identity.network(size, padding, answer, hidden),
        identity.classes,
        weights,
        identity.own_resolution,
        hidden=len(identity.dense) > 1 and identity.hidden is None,
    )


def _header(archive: Archive, member: str) -> _Header:
    """What a member's header says, checked against the member's size."""
    import io

    from numpy.lib import format as npy

    what = f"{archive.what}: {member[:200]}"
    head = io.BytesIO(archive.read(member, _MAX_HEADER))
    try:
        version = npy.read_magic(head)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(head)
        elif version == (2, 0):
            shape, fortran, dtype = npy.read_array_header_2_0(head)
        else:
            raise ValueError(f".npy version {version[0]}.{version[1]}: expected 1.0 or 2.0")
    except Exception as error:  # a hostile header gives SyntaxError, RecursionError and others
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise CheckpointError(f"{what} is not a .npy array ({reason})") from None
    if dtype.kind != "f" or dtype.itemsize > 8:
        kind = "pickled objects, which are never loaded" if dtype.hasobject else f"dtype {dtype}"
        raise CheckpointError(f"{what} holds {kind}: expected float32, float16 or float64")
    due = dtype.itemsize
    for extent in shape:
        if extent < 0:
            raise CheckpointError(f"{what} has the impossible shape {shape!r:.200}")
        due *= extent
    if archive.size(member) - head.tell() != due:
        raise CheckpointError(
            f"{what} holds {archive.size(member) - head.tell()} bytes of data: expected {due} "
            f"for shape {shape!r:.200}"
        )
    return _Header(shape, fortran, dtype, head.tell())


def _data(archive: Archive, member: str, header: _Header) -> Float32:
    import numpy as np

    content = archive.read(member, archive.size(member))
    flat: NDArray[np.floating] = np.frombuffer(content, header.dtype, offset=header.start)
    shaped = flat.reshape(header.shape, order="F" if header.fortran else "C")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, refused later
        return np.ascontiguousarray(shaped, dtype=np.float32)
