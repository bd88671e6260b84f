"""TFLite's metadata, written by hand for the tests. Imported after a check for `tflite`."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import flatbuffers
import numpy as np


def packed(
    mean: list[float],
    std: list[float],
    files: list[tuple[str, str]],
    content: bytes | None,
    kind: int = 2,
    at: int = 0,
) -> tuple[bytes, bytes]:
    """Metadata that state a normalisation and name label files (with a locale) of a `kind` (2: of
    places along an axis, 3: of values) for the output `at`, and the zip with that content as
    `labels.txt` that goes behind the model."""
    builder = flatbuffers.Builder(0)

    def table(slots: dict[int, tuple[str, Any]]) -> int:
        made = {
            slot: (kind, builder.CreateString(value) if kind == "text" else value)
            for slot, (kind, value) in slots.items()
        }
        builder.StartObject(max(made, default=0) + 1)
        for slot, (kind, value) in made.items():
            if kind == "byte":
                builder.PrependUint8Slot(slot, value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return int(builder.EndObject())

    def tables(offsets: list[int]) -> tuple[str, int]:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return "vector", builder.EndVector()

    def floats(values: list[float]) -> tuple[str, int]:
        return "vector", builder.CreateNumpyVector(np.array(values, np.float32))

    units = []
    if mean:
        options = table({0: floats(mean), 1: floats(std)})
        units.append(table({0: ("byte", 1), 1: ("table", options)}))
    entry = table({4: tables(units)})
    named = [
        table({0: ("text", name), 2: ("byte", kind), **({3: ("text", locale)} if locale else {})})
        for name, locale in files
    ]
    outputs = [*(table({}) for _ in range(at)), table({6: tables(named)})]
    subgraph = table({2: tables([entry]), 3: tables(outputs)})
    builder.Finish(table({3: tables([subgraph])}), b"M001")
    archive = io.BytesIO()
    if content is not None:
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("labels.txt", content)
    return bytes(builder.Output()), archive.getvalue()
