"""SSDLite on MobileNetV2 (section 6.2 of the paper), as the TensorFlow detection API lays it out.

The first feature map is the expanded tensor of the block that goes from stride 16 to 32, the second
the last 1×1 convolution; four more are made by triples of 1×1, depthwise of stride 2 and 1×1, each
with an activation. At each map two separable heads, a depthwise layer and a 1×1 convolution, give
boxes and scores.
"""

from __future__ import annotations

from ..errors import InputError
from ..untyped import NamedTuple
from .builder import Builder
from .detection import BoxMap, Detection
from .families import (
    MOBILENET_V2,
    BlockShape,
    block_shapes,
    make_divisible,
    size_label,
)
from .layer import Network
from .supported import STEM_KERNEL, STEM_STRIDE

EXTRAS = (512, 256, 256, 128)  # channels of the extra feature maps at width 1.0
LEAST_SCALE, MOST_SCALE = 0.2, 0.95  # of the anchors of the first and the last map
CODING = (10.0, 10.0, 5.0, 5.0)


class Thresholds(NamedTuple):
    """What of the boxes is an object."""

    score: float = 0.3
    iou: float = 0.6
    max_per_class: int = 100
    max_objects: int = 100


THRESHOLDS = Thresholds()


def ssdlite(
    width: float = 1.0,
    resolution: int | tuple[int, int] = 300,
    classes: int = 90,
    background: bool = True,
    score_conversion: str = "sigmoid",
    thresholds: Thresholds = THRESHOLDS,
) -> Network:
    """SSDLite-MobileNetV2 with `classes` of objects, beside the background if there is one.

    Raises InputError for a value out of range.
    """
    if not isinstance(width, (int, float)) or not 0.0 < width <= 4.0:
        raise InputError(f"width multiplier {width!r}: expected a number in (0, 4]")
    rows = [row._replace(channels=make_divisible(row.channels * width, 8)) for row in MOBILENET_V2]
    stem = make_divisible(32 * width, 8)
    build = Builder(resolution)
    columns = classes + background
    maps: list[BoxMap] = []

    def heads(source: str, anchors: int) -> None:
        index = len(maps)
        names = []
        for what, channels in (("boxes", 4 * anchors), ("scores", columns * anchors)):
            name = f"{what}{index}"
            at = build.depthwise(f"{name}.depthwise", source, 3, 1, "same", "relu6")
            names.append(build.pointwise(name, at, channels))
        maps.append(BoxMap(names[0], names[1], anchors))

    shapes = block_shapes(stem, rows)
    at = build.conv("stem", "image", stem, STEM_KERNEL, STEM_STRIDE, "same", "relu6")
    channels = stem
    tapped = [i for i, shape in enumerate(shapes) if shape.stride > 1][-1]
    for i, shape in enumerate(shapes):
        thin = at
        if shape.expands:
            at = build.pointwise(f"block{i}.expand", at, shape.hidden, "relu6")
        expanded = at
        at = build.depthwise(f"block{i}.depthwise", at, 3, shape.stride, "same", "relu6")
        at = build.pointwise(f"block{i}.project", at, shape.channels)
        if _joins(shape, channels):
            at = build.add(f"block{i}.add", at, thin)
        channels = shape.channels
        if i == tapped:
            heads(expanded, 3)
    at = build.pointwise("head", at, make_divisible(1280 * max(width, 1.0), 8), "relu6")
    heads(at, 6)
    for i, extra in enumerate(make_divisible(each * width, 8) for each in EXTRAS):
        at = build.pointwise(f"extra{i}.expand", at, make_divisible(extra / 2, 8), "relu6")
        at = build.depthwise(f"extra{i}.depthwise", at, 3, 2, "same", "relu6")
        at = build.pointwise(f"extra{i}.project", at, extra, "relu6")
        heads(at, 6)
    detection = Detection(
        maps=tuple(maps),
        classes=classes,
        background=background,
        score_conversion=score_conversion,
        box_coding=CODING,
        score_threshold=thresholds.score,
        iou_threshold=thresholds.iou,
        max_per_class=thresholds.max_per_class,
        max_objects=thresholds.max_objects,
    )
    name = f"ssdlite_mobilenet_v2_{width:g}_{size_label(resolution)}".replace("_1_", "_1.0_")
    return build.network(name, detection.outputs, "boxes", detection)


def _joins(shape: BlockShape, channels: int) -> bool:
    return shape.stride == 1 and shape.channels == channels and shape.shortcut


def ssd_anchors(network: Network) -> list[tuple[float, float, float, float]]:
    """The anchors of SSD for the maps of `network`, (y centre, x centre, height, width) in parts of
    the image: three a cell of the first map, six of the others, as `ssdlite` has them."""
    detection = network.detection
    assert detection is not None
    sizes = {layer.name: layer.out_size for layer in network.layers}
    count = len(detection.maps)
    step = (MOST_SCALE - LEAST_SCALE) / max(count - 1, 1)
    scales = [*(LEAST_SCALE + step * i for i in range(count)), 1.0]
    found = []
    for i, each in enumerate(detection.maps):
        height, width = sizes[each.boxes]
        if i == 0:
            boxes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            boxes = [(scales[i], ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)]
            boxes.append(((scales[i] * scales[i + 1]) ** 0.5, 1.0))
        for y in range(height):
            for x in range(width):
                for scale, ratio in boxes[: each.anchors]:
                    root = ratio**0.5
                    centre = (y + 0.5) / height, (x + 0.5) / width
                    found.append((*centre, scale / root, scale * root))
    return found
