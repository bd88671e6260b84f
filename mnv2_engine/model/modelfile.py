"""The model file: a NumPy .npz that is mapped into memory and used in place.

One member `meta` (UTF-8 JSON as uint8) names the architecture; every other member is a packed
array of `packing.py` or `packing_int8.py`. `open_model` derives the exact table of names, dtypes,
shapes and sizes from the architecture and refuses a file that holds anything else before it
touches a weight; it neither evaluates nor unpickles, and imports neither numpy nor `zipfile`.

As `write_model` makes it, every member is STORED and its data aligned to 64 bytes, so the kernels
read the weights where the operating system maps them, shared by all processes. A file that was
saved again with `numpy.savez` or `numpy.savez_compressed` is read too, by a copy (`mapped` False).

A mapping follows its file: replace a model file by renaming a new one over it, as `write_model`
does, and never overwrite or shorten one that is open. `ModelFile.check` says whether that happened.
"""

from __future__ import annotations

import mmap
import os

from ..errors import CheckpointError, InputError, ModelFileError, UnsupportedError
from ..network.layer import ANCHORS, Network
from ..untyped import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence
from .input_spec import InputSpec
from .members import pack, packed_members, unpack
from .meta import META_LIMIT, Labels, Meta, decode, encode
from .npz import (
    ALIGNMENT,
    Member,
    directory_crc,
    npy_data_offset,
    read_directory,
    read_member,
    write_npz,
)
from .open_file import OpenFile
from .packed import FLOAT_DTYPES, Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network.quantization import Quantization

META = "meta"
LONGEST_PATH = 4096  # of Linux; longer ones are something else
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


class ModelFile:
    """An open model file. Immutable, and usable from many threads. Made by `open_model`."""

    path: str
    network: Network
    version: int  # of the file's format
    input_spec: InputSpec
    labels: Labels | None  # a sequence of texts, as many as classes
    provenance: dict[str, str]
    dtype: str  # of the weights, one of packing.DTYPES
    quantization: Quantization | None  # of int8 networks
    mapped: bool  # False: the weights were copied
    private: bool  # the copy was asked for; else members were compressed or unaligned
    tensors: dict[str, Tensor]  # in the order of execution
    weight_bytes: int  # of all tensors
    file_bytes: int

    def __init__(
        self,
        path: str,
        meta: Meta,
        tensors: dict[str, Tensor],
        buffer: mmap.mmap,
        members: dict[str, Member] | None,
        file: OpenFile,
        directory_crc: int,
        private: bool,
    ) -> None:
        self.path = path
        self.network, self.input_spec, self.labels, self.provenance = meta[:4]
        self.version = meta.version
        self.dtype, self.quantization = meta.dtype, meta.quantization
        self.mapped = members is not None and not private
        self.private = private
        self.tensors = tensors
        self.weight_bytes = sum(tensor.size for tensor in tensors.values())
        self.file_bytes = file.size
        self._buffer: mmap.mmap | None = buffer
        self._members = members
        self._file = file
        self._directory_crc = directory_crc

    def __repr__(self) -> str:
        return f"<ModelFile {self.network.name} {self.path!r} mapped={self.mapped}>"

    @property
    def buffer(self) -> mmap.mmap:
        """The whole file, mapped read-only; or, if not `mapped`, private memory with the tensors
        alone. Page-aligned, so a tensor's address is as aligned as its offset."""
        if self._buffer is None:
            raise InputError(f"{self.path}: this model file was closed; open it again")
        return self._buffer

    def array(self, name: str) -> NDArray[Any]:
        """The packed member `name`, a read-only view of `buffer`."""
        import numpy as np

        if name not in self.tensors:
            raise InputError(f"{self.path}: no tensor {name!r}; `tensors` lists them")
        offset, shape, descr = self.tensors[name]
        flat = np.frombuffer(self.buffer, np.uint8, self.tensors[name].size, offset)
        flat.flags.writeable = False
        return flat.view(descr).reshape(shape)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Canonical weights (see `packing`; `packing_int8` for int8), as fresh arrays."""
        packed = {name: self.array(name) for name in self.tensors}
        return unpack(self.network, packed, self.dtype)

    @property
    def place(self) -> str:
        """The absolute path that the file was opened by."""
        return self._file.place

    @property
    def identity(self) -> str:
        """Equal for files of equal content: size and checksum of the zip's directory, which holds
        each member's checksum. No proof against forgery."""
        return f"{self.file_bytes}-{self._directory_crc:08x}"

    def check(self) -> None:
        """Raise ModelFileError if the mapped file was overwritten or shortened since. One system
        call, about a microsecond; none for weights that were copied."""
        if self.mapped and (change := self._file.change()) is not None:
            if self._file.has_size() and self._is_what_it_was():
                self._file.only_touched()
                return
            raise ModelFileError(
                f"{self.path}: the model file {change} while it was in use, so its weights can no "
                "longer be trusted; load it again. Replace a model file by renaming the new one "
                "over it (mv), not by copying onto it (cp, rsync --inplace); or load it with "
                "private=True"
            )

    def stale(self) -> bool:
        """Whether the path now leads to another file than was opened, to a changed one, or to
        none."""
        return self._file.is_elsewhere()

    def _is_what_it_was(self) -> bool:
        """Whether directory and data of the mapped file are still those that were opened."""
        try:
            if directory_crc(self.buffer) != self._directory_crc:
                return False
            self._verify_checksums()
        except ModelFileError:
            return False
        return True

    def _verify_checksums(self) -> None:
        for name, member in (self._members or {}).items():
            try:
                read_member(self.buffer, member, member.size)
            except ModelFileError as error:
                raise ModelFileError(f"member {name!r} {error}") from None

    def verify(self) -> None:
        """Read every weight: raises ModelFileError for a wrong checksum, NaN or infinity; of int8,
        also for numbers that docs/int8.md does not allow, and for padding that is not zero.

        Opening does not, because that would read the whole file from disk into memory.
        """
        import numpy as np

        from . import packing_half

        self.check()
        try:
            self._verify_checksums()
        except ModelFileError as error:
            raise ModelFileError(f"{self.path}: {error}") from None
        for name, tensor in self.tensors.items():
            finite = True
            if tensor.descr[1] == "f":
                finite = bool(np.isfinite(self.array(name)).all())
            elif tensor.descr == packing_half.DESCR["bfloat16"]:
                finite = packing_half.is_finite(self.array(name))
            if not finite:
                raise ModelFileError(
                    f"{self.path}: {name!r} holds NaN or infinity; convert the model again"
                )
        if self.dtype == "int8":
            self._verify_int8()

    def _verify_int8(self) -> None:
        """The members must be what packing their own canonical weights gives, ranges checked."""
        import numpy as np

        try:
            again = pack(self.network, self.weights(), self.dtype)
        except CheckpointError as error:
            raise ModelFileError(f"{self.path}: {error}; convert the model again") from None
        for name in self.tensors:
            if not np.array_equal(again[name], self.array(name)):
                raise ModelFileError(
                    f"{self.path}: {name!r} holds numbers behind the last channel or term: "
                    "expected zeros; convert the model again"
                )

    def close(self) -> None:
        """Give the mapping up; it ends with the last array that views it. Harmless if repeated."""
        buffer, self._buffer = self._buffer, None
        self._file.close()
        if buffer is not None:
            try:
                buffer.close()
            except BufferError:
                return  # arrays or kernels still view it

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_model(path: str | os.PathLike[str], private: bool = False) -> ModelFile:
    """Map the model file at `path`; or copy it whole, if `private`, and check every checksum.

    Raises ModelFileError for a file that is absent, unreadable, damaged, or not exactly what its
    architecture needs; UnsupportedError for a newer format version or an unknown architecture;
    InputError for a `path` that is no path. The checksum of `meta` is checked, and of whatever
    is copied; those of mapped weights are left to `ModelFile.verify`.
    """
    name = _path_text(path)
    try:
        return _open(name, OpenFile(name), private)
    except (ModelFileError, UnsupportedError) as error:
        raise type(error)(f"{name}: {error}") from None


def write_model(
    path: str | os.PathLike[str],
    network: Network,
    weights: Mapping[str, NDArray[Any]],
    input_spec: InputSpec,
    labels: Sequence[str] | None,
    provenance: Mapping[str, str],
    quantization: Quantization | None = None,
    dtype: str = "float32",
) -> None:
    """Write canonical `weights` of `network` as a model file, whole or not at all.

    With a `quantization` they are those of an int8 network (see `packing_int8.pack`); else they are
    rounded to `dtype`, one of packed.FLOAT_DTYPES.
    Upon any error an older file of that name stays as it was (see `write_whole`). Equal arguments
    make equal bytes. Raises CheckpointError for weights that do not fit (see `packing.pack`),
    InputError for other arguments, and MnvError if the file cannot be written.
    """
    from .whole_file import write_whole  # only writers pay for it

    name = _path_text(path)
    if quantization is not None:
        dtype = "int8"
    elif dtype not in FLOAT_DTYPES:
        raise InputError(f"weights {dtype!r:.80}: expected one of {', '.join(FLOAT_DTYPES)}")
    meta = encode(network, input_spec, labels, provenance, dtype, quantization)
    packed = pack(network, weights, dtype)
    members: list[tuple[str, str, tuple[int, ...], Any]] = [(META, "|u1", (len(meta),), meta)]
    members += [
        (name, member.descr, member.shape, packed[name].astype(member.descr))
        for name, member in packed_members(network, dtype).items()
    ]
    size = sum(array.nbytes for array in packed.values()) + len(meta)
    write_whole(name, "a model file", size, lambda file: write_npz(file, members))


def _path_text(path: str | os.PathLike[str]) -> str:
    expected = "expected a str or an os.PathLike"
    try:
        name = os.fsdecode(path)
    except (TypeError, UnicodeError):
        if not isinstance(path, bytes):
            raise InputError(f"model path: got {type(path).__name__}, {expected}") from None
        name = ""
    if isinstance(path, bytes) and (not name or len(path) > LONGEST_PATH or path[:2] == b"PK"):
        raise InputError(f"model path: got {len(path)} bytes, {expected}; write them to a file")
    if len(name) > LONGEST_PATH:
        raise InputError(f"model path: got a text of {len(name)} characters, {expected}")
    return name


def _open(path: str, file: OpenFile, private: bool) -> ModelFile:
    buffer = file.copy() if private else file.map()
    try:
        model = _made(path, file, buffer, private)
        if private:
            model._verify_checksums()
    except BaseException:
        buffer.close()
        file.close()
        raise
    if not model.mapped:
        file.close()
    return model


def _made(path: str, file: OpenFile, buffer: mmap.mmap, private: bool) -> ModelFile:
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
            return ModelFile(path, meta, tensors, buffer, members, file, directory, private)
    copy, tensors = _copy(buffer, members, expected)
    buffer.close()
    _check_anchors(copy, tensors)
    return ModelFile(path, meta, tensors, copy, None, file, directory, private)


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
