"""A detector's outputs among the layers of its network: whether they fit, and their anchors."""

from __future__ import annotations

from ..errors import InputError
from ..untyped import Mapping
from .detection import MAX_ANCHORS, Detection, check_values
from .layer import Layer, Network


def anchor_counts(detection: Detection, layers: Mapping[str, Layer]) -> list[int]:
    """How many anchors each map has."""
    sizes = [layers[each.boxes].out_size for each in detection.maps]
    return [
        height * width * each.anchors
        for (height, width), each in zip(sizes, detection.maps, strict=True)
    ]


def anchors_of(detection: Detection, layers: tuple[Layer, ...]) -> int:
    """How many anchors a network has: the rows of the array `anchors`."""
    return sum(anchor_counts(detection, {layer.name: layer for layer in layers}))


def raw_shapes(network: Network) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of what a detector's heads give for an image: coded boxes, and scores."""
    detection = network.detection
    assert detection is not None
    count = anchors_of(detection, network.layers)
    return (count, 4), (count, detection.columns)


def check_detection(detection: Detection, layers: Mapping[str, Layer]) -> None:
    """Raise InputError unless `detection` fits the table of `layers`."""
    check_values(detection)
    for each in detection.maps:
        for name, channels in (
            (each.boxes, 4 * each.anchors),
            (each.scores, detection.columns * each.anchors),
        ):
            layer = layers.get(name)
            if layer is None:
                raise InputError(f"detection: {name!r:.80} is no layer of the network")
            if layer.operation != "pointwise" or layer.activation != "linear":
                raise InputError(
                    f"detection: {name}: expected a 1×1 convolution without an activation"
                )
            if layer.out_channels != channels:
                raise InputError(
                    f"detection: {name} has {layer.out_channels} channels: expected {channels} "
                    f"for {each.anchors} anchors a cell"
                )
        if layers[each.boxes].out_size != layers[each.scores].out_size:
            raise InputError(f"detection: {each.boxes} and {each.scores} differ in size")
    if len(set(detection.outputs)) != len(detection.outputs):
        raise InputError("detection: a layer is named twice: expected two outputs for each map")
    count = sum(anchor_counts(detection, layers))
    if count > MAX_ANCHORS:
        raise InputError(f"detection: {count} anchors: expected at most {MAX_ANCHORS}")
