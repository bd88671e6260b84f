"""TensorFlow's tensor bundle: the variables of a SavedModel or of a checkpoint.

`variables.index` is a sorted table of strings, as LevelDB writes it: a footer says where a block of
blocks is, and each block holds keys, of which the beginning is the one before's, and values. A key
is a variable's name and a value says where its numbers lie in `variables.data-00000-of-00001`.
Nothing is read beyond what a name asks for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import CheckpointError, UnsupportedError
from ...model.meta import printable
from ..graph import Constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

# numpy's names, by the numbers of tensorflow.DataType.
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 6: "|i1", 9: "<i8", 19: "<f2"}

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER_BYTES = 48
_MAX_INDEX_BYTES = 16 << 20
_MAX_ENTRIES = 1 << 14
_MAX_KEY_BYTES = 1 << 10
_MAX_SHARDS = 1 << 10


class _Damaged(Exception):
    """What is wrong with the index."""


class _Entry(NamedTuple):
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    is_sliced: bool


class Bundle:
    """The variables whose index is `PREFIX.index`, by name."""

    def __init__(self, prefix: str, what: str) -> None:
        self.what, self._prefix = what, prefix
        self._name = f"{os.path.basename(os.path.dirname(prefix))}/{os.path.basename(prefix)}"
        try:
            with open(f"{prefix}.index", "rb") as file:
                content = file.read(_MAX_INDEX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(
                f"{what}: its weights are in {self._name}.index, which cannot be read ({reason}); "
                "copy the whole folder, variables included"
            ) from None
        self.entries: dict[str, _Entry] = {}
        self._shards = 1
        try:
            if len(content) > _MAX_INDEX_BYTES:
                raise _Damaged(f"more than {_MAX_INDEX_BYTES} bytes")
            for key, value in _table(content):
                if len(self.entries) >= _MAX_ENTRIES:
                    raise _Damaged(f"more than {_MAX_ENTRIES} variables")
                if key:
                    self.entries[key.decode("utf-8", "replace")] = _entry(value)
                else:
                    self._shards = _header(value)
        except (_Damaged, IndexError) as error:
            reason = str(error) if isinstance(error, _Damaged) else "it was cut short"
            raise CheckpointError(
                f"{what}: {self._name}.index is damaged ({printable(reason)}); copy the whole "
                "folder again"
            ) from None

    def constant(self, name: str) -> Constant:
        """The variable of that name. Raises CheckpointError where there is none."""
        entry = self.entries.get(name)
        shown = printable(name[:80])
        if entry is None:
            raise CheckpointError(
                f"{self.what}: {self._name}.index lacks the variable {shown!r}; copy the whole "
                "folder again"
            )
        if entry.is_sliced or entry.dtype not in DTYPES:
            kind = "in slices" if entry.is_sliced else f"of TensorFlow's type {entry.dtype}"
            raise UnsupportedError(
                f"{self.what}: variable {shown!r} is stored {kind}; export the model to TFLite or "
                "ONNX, and convert that"
            )
        return Constant(entry.shape, lambda: self._load(entry, shown))

    def _load(self, entry: _Entry, shown: str) -> NDArray[Any]:
        import numpy as np

        dtype = np.dtype(DTYPES[entry.dtype])
        due = dtype.itemsize
        for extent in entry.shape:
            due *= extent
        data = f"{self._prefix}.data-{entry.shard:05d}-of-{self._shards:05d}"
        reason = ""
        try:
            if entry.size != due:
                reason = f"{entry.size} bytes, expected {due}"
            elif entry.offset + due > os.path.getsize(data):
                reason = f"it ends beyond {os.path.basename(data)}"
            else:
                with open(data, "rb") as file:
                    file.seek(entry.offset)
                    content = file.read(due)
        except OSError as error:
            reason = f"{os.path.basename(data)} cannot be read: {error.strerror}"
        if reason or len(content) != due:
            raise CheckpointError(
                f"{self.what}: variable {shown!r} of shape {entry.shape}: {reason or 'cut short'}; "
                "copy the whole folder, variables included"
            )
        values: NDArray[Any] = np.frombuffer(content, dtype).reshape(entry.shape)
        return values.astype(np.float64) if dtype.kind == "f" else values


# The table


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All keys and values."""
    footer = content[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or not footer.endswith(_MAGIC):
        raise _Damaged("it does not end as such a table does")
    at = 0
    for _ in range(2):  # the block of properties, which is not used
        _, at = _varint(footer, at)
    handle = footer[at:]
    for count, (_, where) in enumerate(_block(content, handle)):
        if count >= _MAX_ENTRIES:
            raise _Damaged(f"more than {_MAX_ENTRIES} blocks")
        yield from _block(content, where)


def _block(content: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    if offset + size + 1 > len(content):
        raise _Damaged("a block lies beyond its end")
    if content[offset + size]:
        raise _Damaged("a compressed block, which TensorFlow does not write")
    block = content[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise _Damaged("a block without entries")
    key, at = b"", 0
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or shared + own > _MAX_KEY_BYTES or at + own + length > end:
            raise _Damaged("an entry of impossible length")
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where the next begins."""
    value = shift = 0
    while shift < 64:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Damaged("a number of more than 64 bits")


# Protobuf, of which three small messages are needed


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protobuf message's fields: integers, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value: Any
            value, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = message[at : at + size], at + size
        elif kind == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            raise _Damaged(f"a field of kind {kind}")
        if at > len(message):
            raise _Damaged("a field that ends beyond its message")
        yield number, value


def _header(message: bytes) -> int:
    """How many files of data there are."""
    shards = 1
    for number, value in fields(message):
        if number == 1:
            shards = int(value)
        elif number == 2 and value:
            raise _Damaged("numbers with the highest byte first")
    if not 0 < shards <= _MAX_SHARDS:
        raise _Damaged(f"{shards} files of data")
    return shards


def _entry(message: bytes) -> _Entry:
    found = {1: 0, 3: 0, 4: 0, 5: 0}
    shape: list[int] = []
    is_sliced = False
    for number, value in fields(message):
        if number == 2:
            for inner, dim in fields(_bytes(value)):
                if inner == 2:
                    shape.append(next((int(v) for n, v in fields(_bytes(dim)) if n == 1), 0))
        elif number in found:
            found[number] = int(value)
        elif number == 7:
            is_sliced = True
    if len(shape) > 8 or max(shape, default=0) >> 40 or found[3] >= _MAX_SHARDS:
        raise _Damaged(f"a variable of shape {tuple(shape[:9])}")
    return _Entry(found[1], tuple(shape), found[3], found[4], found[5], is_sliced)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _Damaged("a number where a message is due")
    return value


def meta_graphs(content: bytes) -> list[bytes]:
    """The MetaGraphDefs of a SavedModel's bytes; none where they are not such."""
    try:
        return [value for number, value in fields(content) if number == 2 and value]
    except (_Damaged, IndexError):
        return []
