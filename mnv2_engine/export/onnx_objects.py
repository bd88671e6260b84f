"""From a detector's codes and scores to objects, by ONNX's own operators, as detect/ defines it.

boxes, scores   decoded against the anchors, and converted
suppression     NonMaxSuppression, each class by itself: indices of (image, class, anchor)
cleared         boxes clipped to the image, those without area left out
best            sorted by score, and cut to the bound
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..network.detection import ANCHORS
from .trunk import raw_outputs

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from .onnx_graph import OnnxGraph

COUNT = "objects"  # the name of how many there are
BOXES, SCORES, CLASSES = "detection_boxes", "detection_scores", "detection_classes"


def add_objects(graph: OnnxGraph, model: ModelFile) -> list[tuple[str, str, tuple[int | str, ...]]]:
    """Add the nodes behind `boxes` and `scores`, and return the outputs: name, type, shape."""
    detection = model.network.detection
    assert detection is not None
    node = graph.node

    def number(name: str, value: Any, dtype: Any = np.int64) -> str:
        return graph.constant(f"objects.{name}", np.array(value, dtype))

    boxes, scores = (each.name for each in raw_outputs(model.network))
    corners = _corners(graph, boxes, model.array(ANCHORS), detection.box_coding)
    kind = "Sigmoid" if detection.score_conversion == "sigmoid" else "Softmax"
    shares = node(kind, [scores], "objects.shares", **({"axis": 2} if kind == "Softmax" else {}))
    if detection.background:
        ends = [number("first", [1]), number("end", [detection.columns]), number("column", [2])]
        shares = node("Slice", [shares, *ends], "objects.classes")
    by_class = node("Transpose", [shares], "objects.by_class", perm=[0, 2, 1])
    limits = [
        number("per_class", [detection.max_per_class]),
        number("iou", [detection.iou_threshold], np.float32),
        number("threshold", [detection.score_threshold], np.float32),
    ]
    taken = node("NonMaxSuppression", [corners, by_class, *limits], "objects.taken")

    one, two = number("one", 1), number("two", 2)
    indices = node("Gather", [taken, one], "objects.class", axis=1)
    anchors = node("Gather", [taken, two], "objects.anchor", axis=1)
    values = node("GatherND", [by_class, taken], "objects.values")
    axis = number("image", [0])
    found = node("Gather", [node("Squeeze", [corners, axis], "objects.all"), anchors], "objects.of")
    edges = [number("zero", 0, np.float32), number("unit", 1, np.float32)]
    clipped = node("Clip", [found, *edges], "objects.clipped")

    sides = node("Sub", _halves(graph, clipped, "objects.clipped", 1)[::-1], "objects.sides")
    area = node("ReduceProd", [sides], "objects.area", axes=[1], keepdims=0)
    at = node("Greater", [area, edges[0]], "objects.has_area")
    at = node("NonZero", [at], "objects.nonzero")
    at = node("Squeeze", [at, axis], "objects.kept")

    kept = node("Gather", [values, at], "objects.kept_values")
    most = number("most", [detection.max_objects])
    count = node("Min", [node("Shape", [kept], "objects.shape"), most], "objects.count")
    node("TopK", [kept, count], SCORES, "objects.order")
    best = node("Gather", [at, "objects.order"], "objects.best")
    node("Gather", [clipped, best], BOXES)
    node("Gather", [indices, best], CLASSES)
    return [
        (BOXES, "float32", (COUNT, 4)),
        (SCORES, "float32", (COUNT,)),
        (CLASSES, "int64", (COUNT,)),
    ]


def _corners(graph: OnnxGraph, codes: str, anchors: Any, coding: tuple[float, ...]) -> str:
    """(top, left, bottom, right) of coded boxes, as detect/decoding.py has them."""
    node = graph.node
    scales = graph.constant("objects.coding", np.array(coding, np.float32))
    centre = graph.constant("objects.anchor_centres", anchors[:, :2])
    size = graph.constant("objects.anchor_sizes", anchors[:, 2:])
    parts = node("Div", [codes, scales], "objects.parts")
    places, extents = _halves(graph, parts, "objects.parts", 2)
    moved = node("Mul", [places, size], "objects.moved")
    middle = node("Add", [moved, centre], "objects.centres")
    whole = node("Mul", [node("Exp", [extents], "objects.grown"), size], "objects.sizes")
    half = node("Div", [whole, graph.constant("objects.halved", np.float32(2))], "objects.half")
    ends = [node(kind, [middle, half], f"objects.{kind.lower()}") for kind in ("Sub", "Add")]
    return node("Concat", ends, "objects.corners", axis=2)


def _halves(graph: OnnxGraph, at: str, name: str, axis: int) -> list[str]:
    """The first two of four columns, and the last two."""
    pair = graph.constant("objects.pair", np.array([2, 2], np.int64))
    names = [f"{name}.first", f"{name}.last"]
    graph.node("Split", [at, pair], *names, axis=axis)
    return names
