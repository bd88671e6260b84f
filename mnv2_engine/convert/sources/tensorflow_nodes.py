"""TensorFlow's graphs: frozen .pb files, TensorFlow.js's graph models, and what saved_model.py
unrolls.

The protobuf definitions come from tensorboard's package, so TensorFlow is not needed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

from ...errors import CheckpointError, UnsupportedError, missing_extra
from ..checkpoint import Checkpoint
from ..entrance import Normalisation
from ..from_graph import from_graph
from ..graph import MAX_NODES, NCHW, NHWC, Constant, Graph, Image, Node, image_of_shape
from .folding import Folding
from .tensor_bundle import DTYPES
from .tensorflow_operation import Operation

_SIMPLE = {
    "Identity": "identity",
    "Cast": "identity",
    "CheckNumerics": "identity",
    "StopGradient": "identity",
    "PlaceholderWithDefault": "identity",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Squeeze": "flatten",
    "ExpandDims": "flatten",
}
_ARITHMETIC = {
    "Add": "add", "AddV2": "add", "BiasAdd": "add", "Sub": "sub", "Mul": "mul", "RealDiv": "div",
    "Div": "div",
}  # fmt: skip
_CONVOLUTIONS = {
    "Conv2D": "conv",
    "_FusedConv2D": "conv",
    "DepthwiseConv2dNative": "depthwise",
    "FusedDepthwiseConv2dNative": "depthwise",
}
# Of enumeration DataType in types.proto, which JSON may have by name.
_TYPES = {"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_INT32": 3, "DT_UINT8": 4, "DT_INT64": 9, "DT_HALF": 19}
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_FUSED = {"Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Softmax": "softmax"}

# Equal numbers that one stands for: a batch-norm's, a bias's. There may be thousands of such.
_MAX_ALIKE = 1 << 13


def looks_like_graph(head: bytes) -> bool:
    """Whether a file may be a GraphDef: field 1 is a node, whose field 1 is a name."""
    if head[:1] != b"\x0a":
        return False
    at = 1
    while at < min(len(head), 6) and head[at] & 0x80:
        at += 1
    return head[at + 1 : at + 2] == b"\x0a"


def read(content: bytes, what: str, weights: str = "float32") -> Checkpoint:
    """The network in the bytes of a frozen graph.

    Raises CheckpointError for a damaged graph, MissingExtraError without the package
    `tensorboard`.
    """
    try:
        graph_pb2 = import_module("tensorboard.compat.proto.graph_pb2")
    except ImportError:
        raise missing_extra("tensorboard", "tensorflow", "reading a frozen .pb graph") from None
    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(content)
    except Exception as error:
        raise CheckpointError(
            f"{what}: not a frozen TensorFlow graph, or a damaged one ({type(error).__name__}); "
            "download it again"
        ) from None
    if not 0 < len(graph.node) <= MAX_NODES:
        raise CheckpointError(
            f"{what}: a TensorFlow graph of {len(graph.node)} nodes: expected 1 to {MAX_NODES}"
        )
    constants: dict[str, Constant] = {}
    operations = []
    for node in graph.node:
        if node.op == "Const":
            constants[node.name] = constant_of_tensor(node.attr["value"].tensor, node.name, what)
        else:
            operations.append(
                Operation(
                    node.name,
                    node.op,
                    tuple(node.input),
                    {key: plain(value) for key, value in node.attr.items()},
                )
            )
    return _checkpoint(what, "frozen TensorFlow graph", operations, constants, weights)


def graph_of(
    what: str,
    form: str,
    operations: list[Operation],
    constants: dict[str, Constant],
    outputs: tuple[str, ...],
) -> Graph:
    """The neutral graph of TensorFlow's operations; without `outputs`, all that nobody uses."""
    return _Nodes(what, form, operations, constants, outputs).graph()


def _checkpoint(
    what: str,
    form: str,
    operations: list[Operation],
    constants: dict[str, Constant],
    weights: str,
    outputs: tuple[str, ...] = (),
    *,
    labels: tuple[str, ...] | None = None,
    labels_by: str = "",
) -> Checkpoint:
    """The network of a graph; of a detector what lies between the resize of its images and the
    choice of boxes."""
    from .tensorflow_detection import is_detector, network_of, surroundings

    if not is_detector(operations):
        made = graph_of(what, form, operations, constants, outputs)
        return from_graph(made, form, weights, labels=labels, labels_by=labels_by)
    from ..detector import detector_from_graph

    form = f"{form} of a detector"
    around = surroundings(operations, constants, what)
    inner = network_of(operations, around)
    made = graph_of(what, form, inner, constants, around.detector.outputs)
    return detector_from_graph(
        made,
        around.detector,
        form,
        around.geometry,
        normalisation=Normalisation((0.0,) * 3, (1.0,) * 3, "the graph's own resize"),
        labels=labels,
        labels_by=labels_by,
        notes=around.notes,
    )


def read_json(
    document: dict[str, Any],
    find: Callable[[str], Constant | None],
    what: str,
    weights: str,
    labels: tuple[str, ...] | None,
    labels_by: str,
) -> Checkpoint:
    """The network of a TensorFlow.js graph model, whose constants `find` gives by name."""
    try:
        nodes = document["modelTopology"]["node"]
        if not 0 < len(nodes) <= MAX_NODES:
            raise ValueError(f"{len(nodes)} nodes")
        constants: dict[str, Constant] = {}
        operations = []
        for node in nodes:
            name, op = str(node["name"]), str(node["op"])
            attributes = {
                str(key): _plain_json(value) for key, value in node.get("attr", {}).items()
            }
            if op == "Const":
                found = find(name)
                if found is None:
                    raise ValueError(f"constant {name[:80]!r} is not among the weights")
                constants[name] = found
            else:
                inputs = tuple(str(each) for each in node.get("input", []))
                operations.append(Operation(name, op, inputs, attributes))
        signature = document.get("signature") or document.get("userDefinedMetadata", {}).get(
            "signature", {}
        )
        outputs = tuple(str(value["name"]) for value in (signature.get("outputs") or {}).values())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{what}: its graph is damaged ({type(error).__name__}: {str(error)[:120]}); download "
            "model.json again"
        ) from None
    return _checkpoint(
        what,
        "TensorFlow.js graph model",
        operations,
        constants,
        weights,
        outputs,
        labels=labels,
        labels_by=labels_by,
    )


def plain(value: Any) -> Any:
    """An AttrValue as a plain value."""
    kind = value.WhichOneof("value")
    if kind == "s":
        return value.s.decode("utf-8", "replace")
    if kind in ("i", "f", "b", "type"):
        return getattr(value, kind)
    if kind == "list":
        if value.list.s:
            return [each.decode("utf-8", "replace") for each in value.list.s]
        return list(value.list.i) or list(value.list.f)
    if kind == "shape":
        return [int(dim.size) for dim in list(value.shape.dim)[:8]]
    return None


def _text_json(value: Any) -> str:
    """A text in base 64, or as the list of its bytes: converters of 2018 and 2019 wrote that."""
    content = bytes(value) if isinstance(value, list) else base64.b64decode(value)
    return content.decode("utf-8", "replace")


def _plain_json(value: Any) -> Any:
    """The same in protobuf's JSON, whole numbers as texts."""
    for kind, inner in value.items():
        if kind == "s":
            return _text_json(inner)
        if kind == "i":
            return int(inner)
        if kind == "type":
            return _TYPES.get(inner, inner)
        if kind in ("f", "b"):
            return inner
        if kind == "list":
            if inner.get("s"):
                return [_text_json(each) for each in inner["s"]]
            return [int(each) for each in inner.get("i", [])]
        if kind == "shape":
            return [int(dim.get("size", -1)) for dim in inner.get("dim", [])[:8]]
    return None


def constant_of_tensor(tensor: Any, name: str, what: str) -> Constant:
    """A TensorProto of TensorFlow."""
    import numpy as np

    shape = tuple(int(dim.size) for dim in list(tensor.tensor_shape.dim)[:9])
    if len(shape) > 8 or any(extent < 0 for extent in shape):
        raise CheckpointError(f"{what}: constant {name[:80]!r} has the impossible shape {shape}")

    def load() -> Any:
        dtype = DTYPES.get(tensor.dtype)
        if dtype is None:
            raise UnsupportedError(
                f"{what}: constant {name[:80]!r} has elements of TensorFlow's type {tensor.dtype}"
            )
        count = 1
        for extent in shape:
            count *= extent
        if tensor.tensor_content:
            values = np.frombuffer(tensor.tensor_content, dtype)
        else:
            field = {1: "float_val", 2: "double_val", 9: "int64_val", 19: "half_val"}.get(
                tensor.dtype, "int_val"
            )
            values = np.asarray(list(getattr(tensor, field)))
            values = (
                values.astype("<u2").view("<f2") if tensor.dtype == 19 else values.astype(dtype)
            )
            if values.size == 1 and 1 < count <= _MAX_ALIKE:  # one value stands for all
                values = np.broadcast_to(values, count)
        if values.size != count:
            raise CheckpointError(
                f"{what}: constant {name[:80]!r} of shape {shape} has {values.size} elements; the "
                "file is damaged"
            )
        values = values.astype(np.float64) if values.dtype.kind == "f" else values
        return values.reshape(shape)

    return Constant(shape, load)


class _Nodes:
    def __init__(
        self,
        what: str,
        form: str,
        operations: list[Operation],
        constants: dict[str, Constant],
        outputs: tuple[str, ...],
    ) -> None:
        self.what, self.form = what, form
        self.operations, self.constants = operations, constants
        self.outputs = outputs
        self.nodes: list[Node] = []
        self.image: Image | None = None

    def graph(self) -> Graph:
        used: set[str] = set()
        folding = Folding(self.constants)
        for operation in _in_order(self.operations):
            given = [_tensor(each) for each in operation.inputs if not each.startswith("^")]
            if folding.folds(operation.name, operation.op, given):
                continue
            used.update(map(_tensor, operation.inputs))
            self._operation(operation)
        if self.image is None:
            raise UnsupportedError(
                f"{self.what}: no placeholder for an image in the graph; expected one of shape "
                "(None, height, width, 3)"
            )
        outputs = tuple(map(_tensor, self.outputs)) or tuple(
            node.outputs[0] for node in self.nodes if node.outputs[0] not in used
        )
        return Graph(self.what, self.form, self.image, tuple(self.nodes), outputs, self.constants)

    def _where(self, operation: Operation) -> str:
        return f"node {operation.name[:80]!r} ({operation.op[:40]})"

    def _refuse(self, operation: Operation, reason: str) -> NoReturn:
        raise UnsupportedError(f"{self.what}: {self._where(operation)}: {reason}")

    def _numbers(self, operation: Operation, index: int) -> list[int] | None:
        if index >= len(operation.inputs):
            return None
        constant = self.constants.get(_tensor(operation.inputs[index]))
        if constant is None:
            return None
        values = constant.load().reshape(-1)
        if values.size > 64 or values.dtype.kind not in "iu":
            return None
        return [int(each) for each in values]

    def _add(
        self, op: str, operation: Operation, inputs: list[str] | None = None, **attributes: Any
    ) -> None:
        given = [_tensor(each) for each in operation.inputs if not each.startswith("^")]
        names = given if inputs is None else inputs
        self.nodes.append(
            Node(op, self._where(operation), tuple(names), (operation.name,), attributes)
        )

    def _layout(self, operation: Operation) -> str:
        return NCHW if operation.attributes.get("data_format") == "NCHW" else NHWC

    def _operation(self, operation: Operation) -> None:
        op, given = operation.op, operation.attributes
        first = [_tensor(each) for each in operation.inputs[:1]]
        if op == "Placeholder":
            self._placeholder(operation)
        elif op in _SIMPLE:
            self._add(_SIMPLE[op], operation, first)
        elif op == "Relu6":
            self._add("clip", operation, first, low=0.0, high=6.0)
        elif op in _ARITHMETIC:
            self._add(_ARITHMETIC[op], operation)
        elif op == "AddN" and len(operation.inputs) == 2:
            self._add("add", operation)
        elif op in _CONVOLUTIONS:
            self._convolution(operation)
        elif op in ("MatMul", "_FusedMatMul"):
            self._product(operation)
        elif op in _NORMS:
            inputs = [_tensor(each) for each in operation.inputs[:5]]
            self._add("batch_norm", operation, inputs, epsilon=float(given.get("epsilon", 1e-4)))
        elif op == "Mean":
            axes = tuple(self._numbers(operation, 1) or ())
            self._add("mean", operation, first, axes=axes, keep=bool(given.get("keep_dims")))
        elif op == "AvgPool":
            layout = self._layout(operation)
            spatial = slice(1, 3) if layout == NHWC else slice(2, 4)
            self._add(
                "average", operation, first, layout=layout,
                window=tuple(given.get("ksize", ())[spatial]),
                strides=tuple(given.get("strides", ())[spatial]),
                pads=str(given.get("padding", "VALID")).lower(),
            )  # fmt: skip
        elif op == "Reshape":
            shape = self._numbers(operation, 1)
            stated = tuple(shape[1:]) if shape and len(shape) > 1 else None
            self._add("reshape", operation, first, shape=stated)
        elif op == "Transpose":
            self._add("transpose", operation, first, axes=tuple(self._numbers(operation, 1) or ()))
        elif op in ("Pad", "PadV2"):
            self._pad(operation, first)
        elif op != "NoOp":
            self._add(op[:80], operation)

    def _placeholder(self, operation: Operation) -> None:
        if self.image is not None:
            self._refuse(operation, "a second input: expected one, the image")
        shape = operation.attributes.get("shape") or []
        self.image = image_of_shape(operation.name, shape, NHWC)
        if self.image is None:
            self._refuse(
                operation,
                f"input of shape {tuple(shape)}: expected (None, height, width, 3), or 1 in the "
                "place of 3 for grey",
            )

    def _keep(self, operation: Operation, part: str, constant: Constant) -> str:
        name = f"\0{operation.name}:{part}"  # which no node is named
        self.constants[name] = constant
        return name

    def _weight(self, operation: Operation, rank: int) -> Constant:
        constant = None
        if len(operation.inputs) > 1:
            constant = self.constants.get(_tensor(operation.inputs[1]))
        if constant is None:
            self._refuse(operation, "its weights are not constants; freeze the graph first")
        if len(constant.shape) != rank:
            self._refuse(operation, f"its weight has shape {constant.shape}: expected {rank} axes")
        return constant

    def _fused(self, operation: Operation, names: list[str]) -> dict[str, Any]:
        """What grappler fused into a layer: a bias and an activation."""
        fused = list(operation.attributes.get("fused_ops") or [])
        if fused and fused[0] == "BiasAdd":
            names.append(_tensor(operation.inputs[2]))
            fused = fused[1:]
        if not fused:
            return {}
        activation = _FUSED.get(fused[0])
        if len(fused) != 1 or activation is None:
            self._refuse(operation, f"fused with {', '.join(map(str, fused))[:80]}")
        return {"activation": activation}

    def _convolution(self, operation: Operation) -> None:
        given = operation.attributes
        depthwise = _CONVOLUTIONS[operation.op] == "depthwise"
        weight = self._weight(operation, 4)
        layout = self._layout(operation)
        spatial = slice(1, 3) if layout == NHWC else slice(2, 4)
        padding = str(given.get("padding", "VALID")).lower()
        pads: Any = padding
        if padding == "explicit":
            listed = given.get("explicit_paddings", [0] * 8)
            (top, bottom), (left, right) = [
                (listed[2 * axis], listed[2 * axis + 1]) for axis in range(*spatial.indices(4))
            ]
            pads = (top, left, bottom, right)
        if depthwise and weight.shape[3] != 1:
            self._refuse(operation, "a depth multiplier other than 1 is not supported")
        axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        names = [
            _tensor(operation.inputs[0]),
            self._keep(operation, "weight", weight.reordered(axes)),
        ]
        attributes = self._fused(operation, names) | {
            "strides": tuple(list(given.get("strides", (1, 1, 1, 1)))[spatial]),
            "dilations": tuple(list(given.get("dilations") or (1, 1, 1, 1))[spatial]),
            "pads": pads,
            "layout": layout,
        }
        self._add("depthwise" if depthwise else "conv", operation, names, **attributes)

    def _product(self, operation: Operation) -> None:
        weight = self._weight(operation, 2)
        if operation.attributes.get("transpose_a"):
            self._refuse(operation, "a product of a transposed matrix")
        turned = weight
        if not operation.attributes.get("transpose_b"):
            turned = weight.reordered((1, 0))
        names = [_tensor(operation.inputs[0]), self._keep(operation, "weight", turned)]
        self._add("dense", operation, names, **self._fused(operation, names))

    def _pad(self, operation: Operation, first: list[str]) -> None:
        pads = self._numbers(operation, 1)
        if pads is None or len(pads) != 8:
            self._refuse(operation, "it pads by what is not a constant")
        layout = NHWC if not any(pads[6:]) else NCHW
        start = 2 if layout == NHWC else 4
        top, bottom, left, right = pads[start : start + 4]
        if sum(pads) != top + bottom + left + right or min(pads) < 0:
            self._refuse(operation, f"it pads by {pads}: expected rows and columns alone")
        self._add("pad", operation, first, pads=(top, left, bottom, right))


def _tensor(name: str) -> str:
    """A tensor's node: "a:0" is "a"; other outputs than the first keep their number."""
    return name.removesuffix(":0").lstrip("^")


def _in_order(operations: list[Operation]) -> list[Operation]:
    """Each operation behind those whose tensors it takes; those of a circle at the end."""
    names = {operation.name: index for index, operation in enumerate(operations)}
    waiting = [0] * len(operations)
    takers: dict[int, list[int]] = {}
    for index, operation in enumerate(operations):
        sources = {names.get(each.lstrip("^").partition(":")[0]) for each in operation.inputs}
        for source in sources:
            if source is not None and source != index:
                takers.setdefault(source, []).append(index)
                waiting[index] += 1
    ready = [index for index, count in enumerate(waiting) if not count]
    for index in ready:  # it grows
        for taker in takers.get(index, ()):
            waiting[taker] -= 1
            if not waiting[taker]:
                ready.append(taker)
    done = {*ready}
    return [operations[index] for index in ready] + [
        operation for index, operation in enumerate(operations) if index not in done
    ]
