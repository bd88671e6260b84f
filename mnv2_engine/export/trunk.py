"""The way through a network, or a detector, that every format is written along."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ..network.blocks import match
from ..network.box_maps import anchor_counts
from ..network.layer import IMAGE, Layer, Network

T = TypeVar("T")


def trunk(
    network: Network,
    at: T,
    convolution: Callable[[Layer, T], T],
    shortcut: Callable[[Layer, T, T], T],
) -> T:
    """What is pooled, of the image `at`.

    `convolution(layer, at)` gives what a layer makes of `at`; `shortcut(layer, before, at)` the sum
    of a block's input and the output of its project `layer`.
    """
    parts = match(network)
    at = convolution(parts.stem, at)
    for block in parts.blocks:
        before = at
        for layer in (block.expand, block.depthwise, block.project):
            if layer is not None:
                at = convolution(layer, at)
        if block.residual:
            at = shortcut(block.project, before, at)
    for layer in parts.convs:
        at = convolution(layer, at)
    return convolution(parts.head, at) if parts.head else at


def outputs(
    network: Network,
    at: T,
    convolution: Callable[[Layer, T], T],
    shortcut: Callable[[Layer, T, T], T],
) -> dict[str, T]:
    """What each layer of a detector makes of the image `at`, by the layer's name. The calls are
    those of `trunk`."""
    made = {IMAGE: at}
    for layer in network.layers:
        inputs = [made[source] for source in layer.inputs]
        if layer.operation == "add":
            made[layer.name] = shortcut(layer, inputs[1], inputs[0])
        else:
            made[layer.name] = convolution(layer, inputs[0])
    return made


class Rows(NamedTuple):
    """A head's map of a detector as rows, one an anchor."""

    name: str  # of the layer
    anchors: int


class RawOutput(NamedTuple):
    """One of the two that an exported detector has: the rows of all maps, one map after another."""

    name: str  # "boxes" or "scores"
    columns: int
    rows: list[Rows]

    @property
    def anchors(self) -> int:
        """Of all maps."""
        return sum(each.anchors for each in self.rows)


def raw_outputs(network: Network) -> tuple[RawOutput, RawOutput]:
    """A detector's codes of boxes, and its scores before their conversion."""
    detection = network.detection
    assert detection is not None
    counts = anchor_counts(detection, {layer.name: layer for layer in network.layers})
    boxes = [Rows(each.boxes, n) for each, n in zip(detection.maps, counts, strict=True)]
    scores = [Rows(each.scores, n) for each, n in zip(detection.maps, counts, strict=True)]
    return RawOutput("boxes", 4, boxes), RawOutput("scores", detection.columns, scores)
