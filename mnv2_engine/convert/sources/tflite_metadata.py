"""What TFLite's metadata say of a model's use: its normalisation and its labels.

TFLite Task and MediaPipe models carry a second flatbuffer, "M001" in TensorFlow's
metadata_schema.fbs, and the label files that it names in a zip archive appended to the file. Only
the fields needed are read, by their number in that schema.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, BinaryIO, NamedTuple

from ...errors import CheckpointError, MnvError
from ...model.labels import MAX_FILE_BYTES, parse_labels
from .archive import Archive

_MAGIC = b"M001"  # at byte 4
_MAX_ITEMS = 64  # of any of the lists, which have one or two

# Field numbers in metadata_schema.fbs.
_MODEL_SUBGRAPHS = 3
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 2, 3
_TENSOR_PROCESS_UNITS, _TENSOR_FILES = 4, 6
_UNIT_OPTIONS_TYPE, _UNIT_OPTIONS = 0, 1
_NORMALISATION_MEAN, _NORMALISATION_STD = 0, 1
_FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 0, 2, 3
_NORMALISATION = 1  # in the union ProcessUnitOptions
# In the enumeration AssociatedFileType: a classifier's labels stand for places along its output, a
# detector's for numbers in one of its outputs.
_AXIS_LABELS, _VALUE_LABELS = 2, 3


class Metadata(NamedTuple):
    """What the metadata state; None where they say nothing."""

    mean: tuple[float, float, float] | None  # x = (pixel - mean) / std
    std: tuple[float, float, float] | None
    labels: tuple[str, ...] | None


def read_metadata(flatbuffer: bytes, handle: BinaryIO, what: str) -> Metadata:
    """The metadata in `flatbuffer`, and the label file behind the model that `handle` reads.

    Raises CheckpointError if they are damaged or the label file that they name is not there.
    """
    try:
        if flatbuffer[4:8] != _MAGIC:
            raise ValueError(f"they begin with {flatbuffer[:8]!r}")
        root = _Table.root(flatbuffer)
        subgraph = root.first(_MODEL_SUBGRAPHS)
        given = subgraph and subgraph.first(_SUBGRAPH_INPUTS)
        mean, std = _normalisation(given) if given else (None, None)
        made = subgraph.tables(_SUBGRAPH_OUTPUTS) if subgraph else []
        name = _label_file(made[:1], _AXIS_LABELS) or _label_file(made, _VALUE_LABELS)
    except Exception as error:  # struct.error, TypeError and others, as in read_graph
        raise CheckpointError(
            f"{what}: its metadata are damaged ({type(error).__name__}: {str(error)[:200]}); "
            "copy or download the file again"
        ) from None
    return Metadata(mean, std, None if name is None else _labels(handle, name, what))


def _normalisation(
    tensor: _Table,
) -> tuple[tuple[float, float, float] | None, tuple[float, float, float] | None]:
    for unit in tensor.tables(_TENSOR_PROCESS_UNITS):
        if unit.byte(_UNIT_OPTIONS_TYPE) == _NORMALISATION:
            options = unit.table(_UNIT_OPTIONS)
            if options is not None:
                mean = options.floats(_NORMALISATION_MEAN)
                return _three(mean), _three(options.floats(_NORMALISATION_STD))
    return None, None


def _three(values: list[float]) -> tuple[float, float, float]:
    """One value serves every channel."""
    if len(values) not in (1, 3):
        raise ValueError(f"{len(values)} values for three channels")
    return values[0], values[len(values) // 2], values[-1]


def _label_file(tensors: list[_Table], kind: int) -> str | None:
    """The first file of labels for the outputs' classes; those for a language come second."""
    files = [file for tensor in tensors for file in tensor.tables(_TENSOR_FILES)]
    files = [file for file in files if file.byte(_FILE_TYPE) == kind]
    files.sort(key=lambda file: file.text(_FILE_LOCALE) != "")
    return files[0].text(_FILE_NAME) if files else None


def _labels(handle: BinaryIO, name: str, what: str) -> tuple[str, ...]:
    try:
        archive = Archive(handle, what)
        if name not in archive.members:
            raise CheckpointError(f"{what}: it is not in the zip archive at the file's end")
        content = archive.read(name, MAX_FILE_BYTES + 1)
    except MnvError as error:
        raise CheckpointError(
            f"{what}: its metadata name the label file {name[:80]!r}, which cannot be read: the "
            f"file was cut short or altered; copy or download it again ({error})"
        ) from None
    return parse_labels(content, f"{what}: label file {name[:80]}", CheckpointError)


class _Table:
    """A table of a flatbuffer, read by field number. Reads beyond the buffer raise."""

    def __init__(self, table: Any) -> None:
        self._table = table

    @classmethod
    def root(cls, buffer: bytes) -> _Table:
        table = import_module("flatbuffers.table").Table
        return cls(table(buffer, table(buffer, 0).Indirect(0)))

    def _at(self, field: int) -> int:
        """Offset of a field in the table, 0 where it is absent."""
        return int(self._table.Offset(4 + 2 * field))

    def byte(self, field: int) -> int:
        at = self._at(field)
        return self._table.Bytes[self._table.Pos + at] if at else 0

    def text(self, field: int) -> str:
        at = self._at(field)
        return self._table.String(at + self._table.Pos).decode("utf-8", "replace") if at else ""

    def table(self, field: int) -> _Table | None:
        at = self._at(field)
        if not at:
            return None
        position = self._table.Indirect(at + self._table.Pos)
        return _Table(type(self._table)(self._table.Bytes, position))

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field)
        return [
            _Table(type(self._table)(self._table.Bytes, self._table.Indirect(start + 4 * i)))
            for i in range(count)
        ]

    def first(self, field: int) -> _Table | None:
        return next(iter(self.tables(field)), None)

    def floats(self, field: int) -> list[float]:
        import struct

        start, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}f", self._table.Bytes, start))

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._at(field)
        if not at:
            return 0, 0
        count = int(self._table.VectorLen(at))
        if count > _MAX_ITEMS:
            raise ValueError(f"a list of {count}")
        return int(self._table.Vector(at)), count
