"""The model file: a NumPy .npz that is mapped into memory and used in place.

One member `meta` (UTF-8 JSON as uint8) names the architecture; every other member is a packed
array of `packing.py` or `packing_int8.py`. `open_model` refuses a file that holds anything else
than the architecture needs before it touches a weight. reading.py reads a file; for an engine the
C core does, where it can (core_model.py), and Python only when someone asks for the layers.

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
from ..untyped import TYPE_CHECKING, Any, Callable, Mapping, Sequence
from . import Outline, outline_of
from .core_model import CoreModel, read_by_core
from .open_file import OpenFile

if TYPE_CHECKING:
    from types import EllipsisType

    from numpy.typing import NDArray

    from ..network.layer import Network
    from ..network.quantization import Quantization
    from .class_labels import Labels
    from .input_spec import InputSpec
    from .reading import Reading, Tensor

LONGEST_PATH = 4096  # of Linux; longer ones are something else


class ModelFile:
    """An open model file. Immutable, and usable from many threads. Made by `open_model`."""

    path: str
    outline: Outline  # of the network
    dtype: str  # of the weights, one of packing.DTYPES
    mapped: bool  # False: the weights were copied
    private: bool  # the copy was asked for; else members were compressed or unaligned
    weight_bytes: int  # of all tensors
    file_bytes: int
    core: CoreModel | None  # what the C core read; of a mapped file

    def __init__(
        self,
        path: str,
        file: OpenFile,
        buffer: mmap.mmap,
        private: bool,
        core: CoreModel | None,
        reading: Reading | None = None,
    ) -> None:
        """One of both has read the file."""
        self.path = path
        self.private = private
        self.core = core
        self.file_bytes = file.size
        self._buffer: mmap.mmap | None = buffer
        self._file = file
        self._read = reading
        self._labels: Labels | EllipsisType | None = ...  # not asked for yet
        self._input_spec: InputSpec | None = None
        if core is not None:
            self.mapped, self.outline, self.dtype = True, core.outline, core.dtype
            self.weight_bytes, self._directory_crc = core.weight_bytes, core.directory_crc
        else:
            assert reading is not None
            self.mapped = reading.members is not None and not private
            self.outline = outline_of(reading.meta.network)
            self.dtype, self.weight_bytes = reading.meta.dtype, reading.weight_bytes
            self._directory_crc = reading.directory_crc

    def __repr__(self) -> str:
        return f"<ModelFile {self.outline.name} {self.path!r} mapped={self.mapped}>"

    @property
    def _reading(self) -> Reading:
        """What Python reads of the file, once someone asks for what the core does not tell."""
        if self._read is None:
            from .reading import read

            self.check()
            try:
                self._read = read(self.buffer)
            except (ModelFileError, UnsupportedError) as error:
                raise type(error)(f"{self.path}: {error}") from None
        return self._read

    @property
    def network(self) -> Network:
        """The layers."""
        return self._reading.meta.network

    def layers(self) -> Callable[[], Network]:
        """What gives the network, now or when this file is closed."""
        if self._read is None and self.core is not None:
            self.check()
            meta = self.buffer[self.core.meta]

            def decoded() -> Network:
                from .meta import decode

                return decode(meta).network

            return decoded
        network = self.network
        return lambda: network

    @property
    def version(self) -> int:
        """Of the file's format."""
        return self._reading.meta.version

    @property
    def provenance(self) -> dict[str, str]:
        """Where the weights come from."""
        return self._reading.meta.provenance

    @property
    def quantization(self) -> Quantization | None:
        """Of int8 networks."""
        return self._reading.meta.quantization

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The arrays, in the order of execution."""
        return self._reading.tensors

    @property
    def labels(self) -> Labels | None:
        """A sequence of texts, as many as classes."""
        if self._labels is ...:
            self._labels = (self.core or self._reading.meta).labels
        return self._labels

    @property
    def label_count(self) -> int:
        """How many labels there are."""
        return self.core.label_count if self.core else len(self.labels or ())

    def label(self, index: int) -> str:
        """One of the labels, as there are."""
        if self.core:
            return self.core.label(index)
        assert self.labels is not None
        return self.labels[index]

    @property
    def input_spec(self) -> InputSpec:
        """What pixels the network was trained on."""
        if self._input_spec is None:
            self._input_spec = (self.core or self._reading.meta).input_spec
        return self._input_spec

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
        from .members import unpack

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
        from .npz import directory_crc

        try:
            if directory_crc(self.buffer) != self._directory_crc:
                return False
            self._verify_checksums()
        except ModelFileError:
            return False
        return True

    def _verify_checksums(self) -> None:
        from .npz import read_directory, read_member

        if self._read is not None and self._read.members is None:
            return  # they were checked as they were copied
        for name, member in read_directory(self.buffer).items():
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

        from .members import pack

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


def open_model(
    path: str | os.PathLike[str], private: bool = False, by_core: bool = False
) -> ModelFile:
    """Map the model file at `path`; or copy it whole, if `private`, and check every checksum.

    With `by_core` the C core reads a mapped file, if it is there and takes the file; it takes no
    others than Python does.

    Raises ModelFileError for a file that is absent, unreadable, damaged, or not exactly what its
    architecture needs; UnsupportedError for a newer format version or an unknown architecture;
    InputError for a `path` that is no path. The checksum of `meta` is checked, and of whatever
    is copied; those of mapped weights are left to `ModelFile.verify`.
    """
    name = _path_text(path)
    try:
        return _open(name, OpenFile(name), private, by_core)
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
    # Only writers pay for these.
    from .members import pack, packed_members
    from .meta import encode
    from .npz import write_npz
    from .packed import FLOAT_DTYPES
    from .reading import META
    from .whole_file import write_whole

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


def _open(path: str, file: OpenFile, private: bool, by_core: bool) -> ModelFile:
    buffer = file.copy() if private else file.map()
    try:
        core = read_by_core(buffer) if by_core and not private else None
        if core is not None:
            return ModelFile(path, file, buffer, False, core)
        from .reading import read

        reading = read(buffer)
        model = ModelFile(path, file, reading.buffer, private, None, reading)
        if private:
            model._verify_checksums()
    except BaseException:
        buffer.close()
        file.close()
        raise
    if reading.buffer is not buffer:
        buffer.close()
    if not model.mapped:
        file.close()
    return model
