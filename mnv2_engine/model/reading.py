"""Reads a model file that lies in memory. The C core's reader is held against this one, which says
why a file is refused.

It derives the exact table of names, dtypes, shapes and sizes from the architecture and refuses a
file that holds anything else before it touches a weight; it neither evaluates nor unpickles, and
imports neither numpy nor `zipfile`.
"""

from __future__ import annotations

import mmap

from ..errors import InputError, ModelFileError
from ..network.layer import ANCHORS, Network
from ..untyped import NamedTuple
from .members import packed_members
from .meta import META_LIMIT, Meta, decode
from .npz import ALIGNMENT, Member, directory_crc, npy_data_offset, read_directory, read_member
from .packed import Packed

META = "meta"
_HEAD_BYTES = 4096 + 12  # of a member, read to compare its .npy header

# A copy of compressed members may be this many times larger than the file. Float weights deflate
# by a tenth; only zeros, that is a zip bomb, inflate beyond it. Small copies are always allowed.
COPY_RATIO = 16
COPY_ALWAYS = 64 << 20  # bytes


class Tensor(NamedTuple):
    """A packed array inside `ModelFile.buffer`."""

    offset: int  # bytes, a multiple of 64
    shape: tuple[int, ...]
    descr: str = "<f4"  # NumPy's name of the dtype

    @property
    def size(self) -> int:
        """Bytes of data."""
        return Packed(self.descr, self.shape).size


class Reading(NamedTuple):
    """What a model file holds, checked."""

    meta: Meta
    tensors: dict[str, Tensor]  # in the order of execution
    buffer: mmap.mmap  # that they lie in: the file's; or private memory with the tensors alone
    members: dict[str, Member] | None  # of the file; None where they were copied
    directory_crc: int  # checksum of the zip's directory

    @property
    def weight_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())


def read(buffer: mmap.mmap) -> Reading:
    """What the file in `buffer` holds. Members that are compressed or unaligned are copied.

    Raises ModelFileError for a file that is damaged, or not exactly what its architecture needs;
    UnsupportedError for a newer format version or an unknown architecture. The checksum of `meta`
    is checked, and of whatever is copied.
    """
    members, directory = read_directory(buffer), directory_crc(buffer)
    meta_member = members.pop(META, None)
    if meta_member is None:
        raise ModelFileError(
            f"a .npz without {META!r}; if it is a checkpoint, make a model file of it with: "
            "mnv2 convert CHECKPOINT OUT.npz"
        )
    try:
        content = read_member(buffer, meta_member, META_LIMIT)
        # Any length will do, so the header is compared with the one for the length that is there.
        length = len(content) - 10 - int.from_bytes(content[8:10], "little")
        start = npy_data_offset(content, len(content), "|u1", (length,))
    except ModelFileError as error:
        raise ModelFileError(f"member {META!r} {error}") from None
    meta = decode(content[start:])
    expected = packed_members(meta.network, meta.dtype, meta.version)
    _check_member_names(meta.network, members, expected)
    if all(not member.deflated for member in members.values()):
        tensors = {
            name: Tensor(
                members[name].start + _data_offset(buffer, members[name], due), due.shape, due.descr
            )
            for name, due in expected.items()
        }
        if all(tensor.offset % ALIGNMENT == 0 for tensor in tensors.values()):
            _check_anchors(buffer, tensors)
            return Reading(meta, tensors, buffer, members, directory)
    copy, tensors = _copy(buffer, members, expected)
    _check_anchors(copy, tensors)
    return Reading(meta, tensors, copy, None, directory)


def _check_anchors(buffer: mmap.mmap, tensors: dict[str, Tensor]) -> None:
    """A detector's anchors are few, and every box depends on one: they are read at once."""
    if ANCHORS not in tensors:
        return
    from ..network.detection import check_anchors

    offset, size = tensors[ANCHORS].offset, tensors[ANCHORS].size
    with memoryview(buffer) as whole, whole[offset : offset + size] as part:
        values = part.cast("f").tolist()
    try:
        check_anchors(values)
    except InputError as error:
        raise ModelFileError(f"{ANCHORS}: {error}; convert the model again") from None


def _check_member_names(
    network: Network, members: dict[str, Member], expected: dict[str, Packed]
) -> None:
    missing = [name for name in expected if name not in members]
    unknown = [name for name in members if name not in expected]
    for problem, names in (("lacks", missing), ("holds the unknown", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise ModelFileError(
                f"{problem} {', '.join(names[:3])[:300]}{more}: {network.name} has exactly "
                f"{len(expected)} arrays, {next(iter(expected))} to {list(expected)[-1]}"
            )


def _data_offset(buffer: mmap.mmap, member: Member, due: Packed) -> int:
    """Offset of the data inside a stored `member`, which has to be as expected."""
    head = buffer[member.start : member.start + min(member.size, _HEAD_BYTES)]
    try:
        return npy_data_offset(head, member.size, due.descr, due.shape)
    except ModelFileError as error:
        raise ModelFileError(f"member {member.name!r} {error}") from None


def _copy(
    buffer: mmap.mmap, members: dict[str, Member], expected: dict[str, Packed]
) -> tuple[mmap.mmap, dict[str, Tensor]]:
    """The tensors in private memory, which is anonymous and so page-aligned."""
    tensors: dict[str, Tensor] = {}
    total = 0
    for name, (descr, shape) in expected.items():
        tensors[name] = Tensor(total, shape, descr)
        due = tensors[name].size
        if not due < members[name].size <= due + _HEAD_BYTES:
            raise ModelFileError(
                f"member {name!r} has {members[name].size} bytes: expected {due} and a .npy "
                f"header for shape {shape}"
            )
        total += -(-due // ALIGNMENT) * ALIGNMENT
    if total > max(COPY_ALWAYS, COPY_RATIO * len(buffer)):
        raise ModelFileError(
            f"{len(buffer)} bytes would inflate to {total}, more than weights ever do: refused"
        )
    try:
        copy = mmap.mmap(-1, total)
    except OSError as error:
        raise ModelFileError(f"cannot get {total} bytes of memory to copy to: {error}") from None
    try:
        for name, tensor in tensors.items():
            try:
                content = read_member(buffer, members[name], members[name].size)
                start = npy_data_offset(content, len(content), tensor.descr, tensor.shape)
            except ModelFileError as error:
                raise ModelFileError(f"member {name!r} {error}") from None
            with memoryview(content) as whole:
                copy[tensor.offset : tensor.offset + tensor.size] = whole[start:]
    except BaseException:
        copy.close()
        raise
    return copy, tensors
