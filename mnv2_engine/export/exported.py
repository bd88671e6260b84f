"""What an export wrote, for people and for the caller."""

from __future__ import annotations

from typing import NamedTuple

from ..network.box_maps import anchors_of
from ..network.layer import Network


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
        return "\n".join(lines)


def detector_shapes(network: Network) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of a detector's codes of boxes, and of its scores: (anchors, columns)."""
    detection = network.detection
    assert detection is not None
    count = anchors_of(detection, network.layers)
    return (count, 4), (count, detection.columns)


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
