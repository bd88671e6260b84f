"""TFLite's metadata of a model: a second flatbuffer inside it, and its labels in a zip behind it.

TFLite Task, MediaPipe and `mnv2 convert` read them (convert/sources/tflite_metadata.py). Fields are
written by their number in TensorFlow's metadata_schema.fbs, version 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile

METADATA = "TFLITE_METADATA"  # its name in the model
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"  # the least version of what reads these fields
_LABELS = "labels.txt"

# Values of the schema's enumerations and unions.
_NORMALISATION = 1  # of ProcessUnitOptions
_IMAGE = 2  # of ContentProperties
_RGB = 1  # of ColorSpaceType
_AXIS_LABELS = 2  # of AssociatedFileType


def metadata(model: ModelFile, texts: dict[str, str]) -> bytes:
    """The flatbuffer: what the model is, how pixels are normalised, which file has the labels."""
    made = _Tables()
    spec = model.input_spec
    normalisation = made.table({0: made.floats(spec.mean), 1: made.floats(spec.std)})
    unit = made.table({0: _NORMALISATION, 1: normalisation})
    image = made.table({0: _IMAGE, 1: made.table({0: _RGB})})
    entry = made.table({0: made.text("input"), 3: image, 4: made.tables([unit])})
    logits = {0: made.text("logits")}
    if model.labels is not None:
        file = made.table({0: made.text(_LABELS), 2: _AXIS_LABELS})
        logits[6] = made.tables([file])
    output = made.table(logits)
    subgraph = made.table({2: made.tables([entry]), 3: made.tables([output])})
    said = f"Exported by {texts['exporter']}; {texts.get('provenance', 'no provenance')}"
    root = {0: made.text(texts["name"]), 1: made.text(said), 3: made.tables([subgraph])}
    return made.finished({**root, 7: made.text(_PARSER)})


def labels_archive(labels: Sequence[str] | None) -> bytes:
    """A zip with the file of labels, one a line; nothing without labels."""
    import io
    import zipfile

    if labels is None:
        return b""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        entry = zipfile.ZipInfo(_LABELS)  # of 1980, so that equal labels make equal bytes
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return content.getvalue()


class Offset(int):
    """Where something lies in the flatbuffer, unlike a plain number, which is a byte's value."""


class _Tables:
    """A flatbuffer being made, its tables' fields by number."""

    def __init__(self) -> None:
        self._builder = import_module("flatbuffers").Builder(0)

    def table(self, fields: dict[int, Any]) -> Offset:
        builder = self._builder
        builder.StartObject(max(fields) + 1)
        for field, value in fields.items():
            if isinstance(value, Offset):
                builder.PrependUOffsetTRelativeSlot(field, value, 0)
            else:
                builder.PrependUint8Slot(field, value, 0)
        return Offset(builder.EndObject())

    def tables(self, offsets: list[Offset]) -> Offset:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return Offset(self._builder.EndVector())

    def floats(self, values: tuple[float, ...]) -> Offset:
        import numpy as np

        return Offset(self._builder.CreateNumpyVector(np.array(values, "<f4")))

    def text(self, text: str) -> Offset:
        return Offset(self._builder.CreateString(text))

    def finished(self, root: dict[int, Any]) -> bytes:
        self._builder.Finish(self.table(root), _IDENTIFIER)
        return bytes(self._builder.Output())
