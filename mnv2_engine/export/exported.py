"""What an export wrote, for people and for the caller."""

from __future__ import annotations

from typing import NamedTuple


class Exported(NamedTuple):
    """What was written, and how it is fed."""

    path: str
    name: str  # of the network
    format: str  # "ONNX, opset 13" or "TensorFlow Lite"
    weights: str  # "float32" or "int8"
    input: tuple[int | str, ...]  # shape of the tensor `input`; the batch may be "N"
    input_dtype: str  # "float32", or of int8 networks "uint8"
    output: tuple[int | str, ...]  # shape of the float32 `logits`, or of a detector's `scores`
    feed: str  # how a pixel becomes an element of `input`
    file_bytes: int
    boxes: tuple[int | str, ...] | None = None  # shape of a detector's tensor `boxes`, float32
    objects: bool = False  # whether there are `detection_boxes`, `_scores` and `_classes`, too

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.name}, {self.format}, {self.weights}, {self.file_bytes:,} bytes",
            f"  input   {self.input_dtype} {_shape(self.input)}: {self.feed}",
        ]
        if self.boxes is None:
            lines.append(f"  logits  float32 {_shape(self.output)}")
        else:
            lines.append(f"  boxes   float32 {_shape(self.boxes)}: coded, not decoded")
            lines.append(f"  scores  float32 {_shape(self.output)}: before their conversion")
        if self.objects:
            lines.append(
                "  detection_boxes    float32 (objects, 4): top, left, bottom, right, 0 to 1"
            )
            lines.append("  detection_scores   float32 (objects): best first")
            lines.append("  detection_classes  int64 (objects): from 0, without the background")
        return "\n".join(lines)


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
