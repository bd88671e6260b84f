"""Frozen graphs of a small SSD, as TensorFlow's detection API writes them, for the tests.

The network is a stem, two blocks and two maps: the expanded tensor of the second block, with two
anchors a cell, and its thin output, with one. Imported after a check for `tensorboard`.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from tensorboard.compat.proto import graph_pb2

Array = np.ndarray[Any, Any]

SIZE = (33, 40)
MAPS = ((9, 10), (5, 5))
ANCHORS = (2, 1)  # a cell
CLASSES = 2
FLOAT, INT = 1, 3

_TYPES = {"float32": FLOAT, "int32": INT}


class Graph:
    """A graph being made, node by node. `change` replaces constants or operations by name."""

    def __init__(self, **change: Any) -> None:
        self.graph = graph_pb2.GraphDef()
        self.change = change

    def constant(self, name: str, value: Any, dtype: str = "float32") -> str:
        values = np.asarray(self.change.get(name.replace("/", "_"), value), dtype)
        node = self.graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = _TYPES[dtype]
        tensor = node.attr["value"].tensor
        tensor.dtype = _TYPES[dtype]
        for extent in values.shape:
            tensor.tensor_shape.dim.add(size=extent)
        tensor.tensor_content = values.tobytes()
        return name

    def node(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        op = self.change.get(f"{name}_op".replace("/", "_"), op)
        node = self.graph.node.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            if isinstance(value, (bytes, str)):
                node.attr[key].s = value.encode() if isinstance(value, str) else value
            elif isinstance(value, list):
                node.attr[key].list.i.extend(value)
            elif isinstance(value, float):
                node.attr[key].f = value
            elif key in ("T", "DstT", "SrcT", "Tidx", "Index", "out_type", "dtype", "Tshape"):
                node.attr[key].type = value
            else:
                node.attr[key].i = value
        return name

    def layer(
        self, name: str, source: str, weight: Array, bias: Array, stride: int, activation: bool
    ) -> str:
        depthwise = weight.shape[1] == 1 and weight.shape[0] != 1
        turned = weight.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        op = "DepthwiseConv2dNative" if depthwise else "Conv2D"
        kernel = self.constant(f"{name}/weights", turned)
        strides = [1, stride, stride, 1]
        at = self.node(f"{name}/conv", op, source, kernel, strides=strides, padding="SAME", T=FLOAT)
        at = self.node(f"{name}/add", "BiasAdd", at, self.constant(f"{name}/biases", bias), T=FLOAT)
        return self.node(f"{name}/Relu6", "Relu6", at, T=FLOAT) if activation else at


def weights(seed: int = 0) -> dict[str, tuple[Array, Array]]:
    """Canonical weights and biases by layer."""
    random = np.random.default_rng(seed)
    columns = CLASSES + 1
    shapes = {
        "stem": (8, 3, 3, 3),
        "block0.depthwise": (8, 1, 3, 3),
        "block0.project": (8, 8, 1, 1),
        "block1.expand": (16, 8, 1, 1),
        "block1.depthwise": (16, 1, 3, 3),
        "block1.project": (12, 16, 1, 1),
        "boxes0.depthwise": (16, 1, 3, 3),
        "boxes0": (4 * ANCHORS[0], 16, 1, 1),
        "scores0.depthwise": (16, 1, 3, 3),
        "scores0": (columns * ANCHORS[0], 16, 1, 1),
        "boxes1.depthwise": (12, 1, 3, 3),
        "boxes1": (4 * ANCHORS[1], 12, 1, 1),
        "scores1.depthwise": (12, 1, 3, 3),
        "scores1": (columns * ANCHORS[1], 12, 1, 1),
    }
    return {
        name: (
            random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32),
            random.normal(0, 0.3, shape[0]).astype(np.float32),
        )
        for name, shape in shapes.items()
    }


def detector(
    softmax: bool = False,
    background: bool = True,
    *,
    optimised: bool = False,
    suppressed: bool = True,
    resize: dict[str, bool] | None = None,
    **change: Any,
) -> bytes:
    """The graph of a detector, `optimised` as Grappler leaves it, and not `suppressed` where its
    user drops overlapping boxes; `resize` has attributes of the resize. `change` replaces the
    values of constants, and operations under their name and ``_op``."""
    g = Graph(**change)
    made = weights()
    if not background:
        for i, anchors in enumerate(ANCHORS):
            weight, bias = made[f"scores{i}"]
            made[f"scores{i}"] = weight[: CLASSES * anchors], bias[: CLASSES * anchors]
    columns = CLASSES + background

    node = g.graph.node.add(name="image_tensor", op="Placeholder")
    node.attr["dtype"].type = 4
    for extent in (-1, -1, -1, 3):
        node.attr["shape"].shape.dim.add(size=extent)
    image = g.node("ToFloat", "Cast", "image_tensor", DstT=FLOAT, SrcT=4)
    size = g.constant("Preprocessor/size", SIZE, "int32")
    image = g.node("Preprocessor/ResizeBilinear", "ResizeBilinear", image, size, T=FLOAT)
    for name, value in (resize or {}).items():
        g.graph.node[-1].attr[name].b = value
    at = g.node("Preprocessor/mul", "Mul", g.constant("Preprocessor/mul/x", 2 / 255), image, T=1)
    at = g.node("Preprocessor/sub", "Sub", at, g.constant("Preprocessor/sub/y", 1.0), T=FLOAT)

    def layer(name: str, source: str, stride: int = 1, activation: bool = True) -> str:
        return g.layer(name.replace(".", "/"), source, *made[name], stride, activation)

    at = layer("stem", at, 2)
    at = layer("block0.depthwise", at, 2)
    at = layer("block0.project", at, 1, False)
    expanded = layer("block1.expand", at)
    at = layer("block1.depthwise", expanded, 2)
    thin = layer("block1.project", at, 1, False)
    codes, logits = [], []
    for i, source in enumerate((expanded, thin)):
        parts = []
        for what, last in (("boxes", [1, 4]), ("scores", [columns])):
            end = layer(f"{what}{i}", layer(f"{what}{i}.depthwise", source), 1, False)
            shape = g.constant(f"{what}{i}/shape", [1, -1, *last], "int32")
            parts.append(g.node(f"{what}{i}/Reshape", "Reshape", end, shape, T=1, Tshape=INT))
        codes.append(parts[0])
        logits.append(parts[1])
    axis = g.constant("concat/axis", 1, "int32")
    joined = g.node("concat", "ConcatV2", *codes, axis, T=FLOAT, N=2, Tidx=INT)
    codes_of = g.node("Squeeze", "Squeeze", joined, squeeze_dims=[2], T=FLOAT)
    scores = g.node("concat_1", "ConcatV2", *logits, axis, T=FLOAT, N=2, Tidx=INT)
    corners = anchors_of(g)
    boxes = decoding(g, codes_of, corners, optimised)
    _choice(g, boxes, scores, "Softmax" if softmax else "Sigmoid", background, suppressed)
    return bytes(g.graph.SerializeToString())


def anchors_of(g: Graph) -> str:
    """Corners of the anchors, computed in the graph from constants."""
    parts = []
    for i, (height, width) in enumerate(MAPS):
        name = f"Anchors{i}"
        step = g.node(f"{name}/Range", "Range", *(
            g.constant(f"{name}/{part}", value, "int32")
            for part, value in (("start", 0), ("limit", height * width), ("delta", 1))
        ), Tidx=INT)  # fmt: skip
        place = g.node(f"{name}/ToFloat", "Cast", step, DstT=FLOAT, SrcT=INT)
        place = g.node(
            f"{name}/truediv", "RealDiv", place, g.constant(f"{name}/n", height * width), T=FLOAT
        )
        column = g.constant(f"{name}/column", [-1, 1], "int32")
        place = g.node(f"{name}/Reshape", "Reshape", place, column, T=FLOAT, Tshape=INT)
        times = g.constant(f"{name}/times", [1, 4 * ANCHORS[i]], "int32")
        tiled = g.node(f"{name}/Tile", "Tile", place, times, T=FLOAT)
        row = g.constant(f"{name}/row", [-1, 4], "int32")
        four = g.node(f"{name}/Reshape_1", "Reshape", tiled, row, T=FLOAT, Tshape=INT)
        around = g.constant(f"{name}/around", [-0.2, -0.15, 0.2, 0.15])
        parts.append(g.node(f"{name}/add", "Add", four, around, T=FLOAT))
    axis = g.constant("Anchors/axis", 0, "int32")
    return g.node("Anchors/concat", "ConcatV2", *parts, axis, T=FLOAT, N=2, Tidx=INT)


def decoding(g: Graph, codes: str, corners: str, optimised: bool = False) -> str:
    """Boxes, (N, 4), out of codes, (1, N, 4), as FasterRcnnBoxCoder writes it; `optimised` as
    Grappler leaves it: constants' reciprocals, and anchors' sizes halved before the exponential."""
    p = "Decode"
    flat = g.constant(f"{p}/shape", [-1, 4], "int32")
    codes = g.node(f"{p}/Reshape", "Reshape", codes, flat, T=FLOAT, Tshape=INT)
    turn = g.constant(f"{p}/perm", [1, 0], "int32")

    def unpacked(name: str, source: str) -> list[str]:
        turned = g.node(f"{name}/transpose", "Transpose", source, turn, T=FLOAT)
        made = g.node(f"{name}/unstack", "Unpack", turned, T=FLOAT, num=4, axis=0)
        return [made, *(f"{made}:{i}" for i in (1, 2, 3))]

    def two(name: str, op: str, one: str, other: str) -> str:
        return g.node(f"{p}/{name}", op, one, other, T=FLOAT)

    top, left, bottom, right = unpacked(f"{p}/anchors", corners)
    half = g.constant(f"{p}/two", 2.0)
    half_ = g.constant(f"{p}/half", 0.5)
    width, height = two("w", "Sub", right, left), two("h", "Sub", bottom, top)
    y = two("y", "Add", top, two("h2", "RealDiv", height, half))
    x = two("x", "Add", left, two("w2", "RealDiv", width, half))
    scaled = [
        two(
            f"scaled{i}",
            "Mul",
            code,
            g.constant(f"{p}/scale{i}", np.float32(1) / np.float32(scale)),
        )
        if optimised
        else two(f"scaled{i}", "RealDiv", code, g.constant(f"{p}/scale{i}", scale))
        for i, (code, scale) in enumerate(
            zip(unpacked(f"{p}/codes", codes), (10.0, 8.0, 5.0, 4.0), strict=True)
        )
    ]
    grown = [g.node(f"{p}/Exp{i}", "Exp", scaled[i], T=FLOAT) for i in (2, 3)]
    if optimised:
        of = [two("h05", "Mul", height, half_), two("w05", "Mul", width, half_)]
    else:
        of = [height, width]
    tall, wide = two("tall", "Mul", grown[0], of[0]), two("wide", "Mul", grown[1], of[1])
    y = two("yc", "Add", two("ty", "Mul", scaled[0], height), y)
    x = two("xc", "Add", two("tx", "Mul", scaled[1], width), x)
    if not optimised:
        tall, wide = two("tall2", "RealDiv", tall, half), two("wide2", "RealDiv", wide, half)
    parts = [
        two("top", "Sub", y, tall), two("left", "Sub", x, wide),
        two("bottom", "Add", y, tall), two("right", "Add", x, wide),
    ]  # fmt: skip
    packed = g.node(f"{p}/stack", "Pack", *parts, T=FLOAT, N=4, axis=0)
    return g.node(f"{p}/transpose_1", "Transpose", packed, turn, T=FLOAT)


def _choice(
    g: Graph, boxes: str, logits: str, conversion: str, background: bool, suppressed: bool
) -> None:
    """Scores, and one suppression for each class. What it gives is not joined, as no one reads
    that here, but for the bound of all objects."""
    scale = g.node("scale_logits", "RealDiv", logits, g.constant("scale", 1.0), T=FLOAT)
    scores = g.node("convert_scores", conversion, scale, T=FLOAT)
    if background:
        begin = g.constant("Slice/begin", [0, 0, 1], "int32")
        end = g.constant("Slice/size", [-1, -1, -1], "int32")
        scores = g.node("Slice", "Slice", scores, begin, end, T=FLOAT, Index=INT)
    if not suppressed:
        return
    flat = g.constant("flat", [-1, CLASSES], "int32")
    scores = g.node("Reshape", "Reshape", scores, flat, T=FLOAT, Tshape=INT)
    for i in range(CLASSES):
        begin = g.constant(f"class{i}/begin", [0, i], "int32")
        size = g.constant(f"class{i}/size", [-1, 1], "int32")
        column = g.node(f"class{i}/Slice", "Slice", scores, begin, size, T=FLOAT, Index=INT)
        line = g.constant(f"class{i}/line", [-1], "int32")
        column = g.node(f"class{i}/Reshape", "Reshape", column, line, T=FLOAT, Tshape=INT)
        count = g.node(f"class{i}/Size", "Size", column, T=FLOAT, out_type=INT)
        most = g.node(
            f"class{i}/Minimum", "Minimum", g.constant(f"class{i}/most", 20, "int32"), count, T=INT
        )
        g.node(
            f"class{i}/NonMaxSuppressionV3", "NonMaxSuppressionV3", boxes, column, most,
            g.constant(f"class{i}/iou", 0.5), g.constant(f"class{i}/score", 0.1), T=FLOAT,
        )  # fmt: skip
    count = g.node("Size", "Size", scores, T=FLOAT, out_type=INT)
    most = g.node("Minimum", "Minimum", g.constant("most", 30, "int32"), count, T=INT)
    zero, one = (g.constant(f"range/{part}", part, "int32") for part in (0, 1))
    g.node("range", "Range", zero, most, one, Tidx=INT)


def graph_model(
    content: bytes, folder: Path, as_bytes: bool, shard: str = "group1-shard1of1"
) -> Path:
    """A frozen graph as a graph model for TensorFlow.js: constants beside it, texts in base64 and
    types by name or, as converters of 2018 and 2019 wrote them, texts as lists of bytes, types as
    numbers and every empty field said."""
    graph = graph_pb2.GraphDef()
    graph.ParseFromString(content)
    manifest, data = [], b""
    for node in graph.node:
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        shape = [int(dim.size) for dim in tensor.tensor_shape.dim]
        dtype = {1: "float32", 3: "int32"}[tensor.dtype]
        manifest.append({"name": node.name, "shape": shape, "dtype": dtype})
        data += tensor.tensor_content
        del node.attr["value"]
    nodes = MessageToDict(graph, use_integers_for_enums=as_bytes)["node"]
    for node in nodes if as_bytes else ():
        for value in node.get("attr", {}).values():
            if "s" in value:
                value["s"] = list(base64.b64decode(value["s"]))
            if "list" in value:
                value["list"] = {"s": [], "f": [], "b": [], "type": [], **value["list"]}
    folder.mkdir(exist_ok=True)
    (folder / shard).write_bytes(data)
    weights = [{"paths": [shard], "weights": manifest}]
    model = folder / "model.json"
    model.write_text(json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": weights}))
    return model
