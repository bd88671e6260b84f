"""Detectors for tests: small ones of every kind of head, seeded weights and anchors."""

from __future__ import annotations

from typing import Any

import numpy as np

from mnv2_engine.model.packing import canonical_shapes
from mnv2_engine.network.builder import Builder
from mnv2_engine.network.detection import ANCHORS, BoxMap, Detection
from mnv2_engine.network.layer import Network


def detection_of(maps: list[BoxMap], classes: int = 2, background: bool = True) -> Detection:
    """What the outputs `maps` mean, with thresholds that random scores pass now and then."""
    return Detection(
        maps=tuple(maps),
        classes=classes,
        background=background,
        score_conversion="sigmoid",
        box_coding=(10.0, 10.0, 5.0, 5.0),
        score_threshold=0.5,
        iou_threshold=0.6,
        max_per_class=5,
        max_objects=8,
    )


def small_detector(resolution: tuple[int, int] = (45, 38), classes: int = 2) -> Network:
    """Two heads of an expanded tensor, with and without a depthwise layer; two behind a block
    without a depthwise layer; two of a thin output."""
    build = Builder(resolution)
    maps: list[BoxMap] = []

    def heads(source: str, anchors: int, kernel: int | None = 3) -> None:
        i, names = len(maps), []
        for what, channels in (("boxes", 4 * anchors), ("scores", (classes + 1) * anchors)):
            at = source
            if kernel is not None:
                at = build.depthwise(f"{what}{i}.depthwise", at, kernel, 1, "same", "relu6")
            names.append(build.pointwise(f"{what}{i}", at, channels))
        maps.append(BoxMap(names[0], names[1], anchors))

    at = build.conv("stem", "image", 8, 3, 2, "same", "relu6")
    at = build.depthwise("block0.depthwise", at, 3, 1, "same", "relu6")
    at = build.pointwise("block0.project", at, 12)
    expanded = build.pointwise("block1.expand", at, 40, "relu6")
    at = build.depthwise("block1.depthwise", expanded, 3, 2, "same", "relu6")
    at = build.pointwise("block1.project", at, 20)
    heads(expanded, 2)
    thin = at
    at = build.pointwise("block2.expand", thin, 72, "relu6")
    at = build.depthwise("block2.depthwise", at, 3, 1, "same", "relu6")
    at = build.add("block2.add", build.pointwise("block2.project", at, 20), thin)
    expanded = build.pointwise("head", at, 100, "relu6")
    heads(expanded, 3, 5)
    at = build.pointwise("extra0.expand", expanded, 24, "relu6")
    at = build.depthwise("extra0.depthwise", at, 3, 2, "same", "relu6")
    at = build.pointwise("extra0.project", at, 36, "relu6")
    heads(at, 3, None)
    detection = detection_of(maps, classes)
    return build.network("small detector", detection.outputs, "boxes", detection)


def seeded_weights(network: Network, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Canonical weights that keep the values of all layers alive, and anchors within the image."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for name, shape in canonical_shapes(network).items():
        if name == ANCHORS:
            values = rng.uniform(0.1, 0.9, shape)
        elif name.endswith(".bias"):
            values = rng.uniform(-0.2, 0.6, shape)
        else:
            taps = int(np.prod(shape[1:]))
            values = rng.standard_normal(shape) * (2.0 / taps) ** 0.5
        weights[name] = values.astype(np.float32)
    return weights
