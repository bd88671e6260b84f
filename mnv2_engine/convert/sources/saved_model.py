"""TensorFlow's SavedModel folders: functions within functions, unrolled into one plain graph.

`saved_model.pb` holds the graph of each signature, whose nodes call functions that call functions.
`variables/` holds the numbers (tensor_bundle.py). Which number belongs to which variable is what
the graph's own restore operation says, so names are not interpreted. Nothing is executed.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from ...errors import CheckpointError, UnsupportedError, missing_extra
from ...model.meta import printable
from ..checkpoint import Checkpoint
from ..from_graph import from_graph
from ..graph import MAX_NODES, Constant
from .tensor_bundle import Bundle, meta_graphs
from .tensorflow_nodes import constant_of_tensor, graph_of, plain
from .tensorflow_operation import Operation

_FILE = "saved_model.pb"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_MAX_DEPTH = 24
_SIGNATURE = "serving_default"
# Second and later outputs that have names of their own, each with the index 0.
_LATER = ("batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3")


def looks_like_saved_model(head: bytes) -> bool:
    """Whether a file may be one: the schema's version, which is 1, and a graph that begins with a
    message. ONNX's files begin like it, with other versions."""
    if head[:3] != b"\x08\x01\x12":
        return False
    at = 3
    while at < min(len(head), 8) and head[at] & 0x80:
        at += 1
    return head[at + 1 : at + 2] == b"\x0a"


def inside(folder: str) -> str | None:
    """The path of the graph in a SavedModel's folder, or None of another folder."""
    path = os.path.join(folder, _FILE)
    return path if os.path.isfile(path) else None


def read(content: bytes, path: str, what: str, weights: str = "float32") -> Checkpoint:
    """The network of a SavedModel, whose saved_model.pb at `path` holds `content`.

    Raises CheckpointError for a damaged one or one without its variables, UnsupportedError for
    graphs that are no network of this engine's, MissingExtraError without `tensorboard`.
    """
    try:
        meta_graph_pb2 = import_module("tensorboard.compat.proto.meta_graph_pb2")
    except ImportError:
        raise missing_extra("tensorboard", "tensorflow", "reading a SavedModel") from None
    found = []
    for message in meta_graphs(content):
        meta = meta_graph_pb2.MetaGraphDef()
        try:
            meta.ParseFromString(message)
        except Exception as error:
            raise CheckpointError(
                f"{what}: a damaged SavedModel ({type(error).__name__}); copy the folder again"
            ) from None
        found.append(meta)
    serving = [meta for meta in found if "serve" in meta.meta_info_def.tags] or found
    if not serving:
        raise CheckpointError(f"{what}: a SavedModel without a graph; save the model again")
    meta = serving[0]
    signature = _signature(meta, what)
    unrolled = _Unrolled(meta.graph_def, what)
    outputs = [_flat("", tensor.name) for tensor in signature.outputs.values()]
    operations = unrolled.reachable(outputs)
    constants = dict(unrolled.constants(what))
    constants.update(_variables(meta, operations, path, what))
    graph = graph_of(
        what,
        "TensorFlow SavedModel",
        [each for each in operations if each.name not in constants],
        constants,
        tuple(unrolled.behind(each) for each in outputs),
    )
    return from_graph(graph, graph.format, weights)


def _signature(meta: Any, what: str) -> Any:
    named = {
        name: signature
        for name, signature in meta.signature_def.items()
        if signature.outputs and not name.startswith("__")
    }
    chosen = named.get(_SIGNATURE) or (next(iter(named.values())) if len(named) == 1 else None)
    if chosen is None:
        listed = ", ".join(printable(name[:40]) for name in list(named)[:5]) or "none"
        raise UnsupportedError(
            f"{what}: a SavedModel whose signatures are {listed}: expected {_SIGNATURE}; save it "
            "with model.export(FOLDER), or save the Keras model: model.save('model.keras')"
        )
    if len(chosen.outputs) != 1:
        raise UnsupportedError(
            f"{what}: a SavedModel with {len(chosen.outputs)} outputs: expected one, the classes; "
            "save a model of one output"
        )
    return chosen


def _variables(meta: Any, operations: list[Operation], path: str, what: str) -> dict[str, Constant]:
    """The variables that the network uses, by the node that stands for each."""
    used = [each for each in operations if each.op in _VARIABLES]
    if not used:
        return {}
    keys = _restored(meta, what)
    bundle = Bundle(os.path.join(os.path.dirname(path), "variables", "variables"), what)
    made = {}
    for each in used:
        key = keys.get(_shared(each))
        if key is None:
            raise CheckpointError(
                f"{what}: nothing in the SavedModel says where variable "
                f"{printable(each.name[:80])!r} is stored; write it with Keras 3's "
                "model.export(FOLDER), or save the Keras model: model.save('model.keras')"
            )
        made[each.name] = bundle.constant(key)
    return made


def _restored(meta: Any, what: str) -> dict[str, str]:
    """Which variable is restored from which key: what the restore operation would do."""
    restore = _Unrolled(meta.graph_def, what)
    operations = {
        each.name: each
        for each in restore.reachable([meta.saver_def.restore_op_name], control=True)
    }
    keys: dict[str, str] = {}
    for each in operations.values():
        if each.op not in ("AssignVariableOp", "Assign") or len(each.inputs) < 2:
            continue
        value, _, index = each.inputs[1].partition(":")
        for _ in range(8):  # identities, and casts, between
            step = operations.get(value)
            if step is None or step.op not in ("Identity", "Cast") or not step.inputs:
                break
            value, _, index = step.inputs[0].partition(":")
        source = operations.get(value)
        if source is None or source.op != "RestoreV2" or len(source.inputs) < 2:
            continue
        names = restore.texts(source.inputs[1])
        number = int(index) if index.isdecimal() else 0
        variable = operations.get(each.inputs[0])
        if variable is not None and number < len(names):
            keys[_shared(variable)] = names[number]
    return keys


def _shared(variable: Operation) -> str:
    """What a variable's nodes have in common: several may stand for one variable."""
    return str(variable.attributes.get("shared_name") or variable.name)


class _Unrolled:
    """A GraphDef with the functions that it calls put in their places."""

    def __init__(self, graph: Any, what: str) -> None:
        self.what = what
        if len(graph.node) > MAX_NODES or len(graph.library.function) > MAX_NODES:
            raise CheckpointError(
                f"{what}: a graph of {len(graph.node)} nodes and {len(graph.library.function)} "
                f"functions: expected at most {MAX_NODES} of each"
            )
        self._nodes = {node.name: node for node in graph.node}
        self._functions = {each.signature.name: each for each in graph.library.function}
        self._alias: dict[str, str] = {}  # what stands for a call's output, or an argument
        self._stored: dict[str, Any] = {}  # nodes of constants
        self._operations: list[tuple[Any, str, list[str]]] = []

    def reachable(self, outputs: list[str], control: bool = False) -> list[Operation]:
        """The operations that `outputs` depend on, functions unrolled whole."""
        pending = [_node(each) for each in outputs]
        seen = set(pending)
        while pending:
            node = self._nodes.get(pending.pop())
            if node is None:
                continue
            self._take(node, "", 0)
            for ref in node.input:
                name = _node(ref)
                if name not in seen and (control or not ref.startswith("^")):
                    seen.add(name)
                    pending.append(name)
        return [
            Operation(
                name,
                node.op,
                tuple(self.behind(each) for each in inputs),
                {key: plain(value) for key, value in node.attr.items()},
            )
            for node, name, inputs in self._operations
        ]

    def constants(self, what: str) -> list[tuple[str, Constant]]:
        return [
            (name, constant_of_tensor(node.attr["value"].tensor, name, what))
            for name, node in self._stored.items()
        ]

    def texts(self, tensor: str) -> list[str]:
        """The texts of a constant."""
        node = self._stored.get(tensor)
        if node is None:
            return []
        return [each.decode("utf-8", "replace") for each in node.attr["value"].tensor.string_val]

    def behind(self, tensor: str) -> str:
        """The tensor that a call's output or an argument stands for."""
        for _ in range(4 * _MAX_DEPTH):
            found = self._alias.get(tensor)
            if found is None:
                return tensor
            tensor = found
        raise CheckpointError(f"{self.what}: its functions call each other in a circle")

    def _take(self, node: Any, prefix: str, depth: int) -> None:
        name = prefix + node.name
        inputs = [_flat(prefix, ref) for ref in node.input if not ref.startswith("^")]
        called = node.attr["f"].func.name if node.op in _CALLS else node.op
        function = self._functions.get(called)
        if node.op == "Const":
            self._stored[name] = node
        elif function is None:
            self._operations.append((node, name, inputs))
        else:
            self._call(function, name, inputs, depth + 1)
        if len(self._operations) + len(self._stored) > MAX_NODES:
            raise CheckpointError(
                f"{self.what}: its functions unroll to more than {MAX_NODES} nodes"
            )

    def _call(self, function: Any, name: str, inputs: list[str], depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise CheckpointError(
                f"{self.what}: its functions call each other more than {_MAX_DEPTH} deep"
            )
        prefix = f"{name}|"  # which no node's name may hold
        for argument, given in zip(function.signature.input_arg, inputs, strict=False):
            self._alias[prefix + argument.name] = given
        for index, out in enumerate(function.signature.output_arg):
            to = _flat(prefix, function.ret[out.name])
            self._alias[name if index == 0 else f"{name}:{index}"] = to
        for node in function.node_def:
            self._take(node, prefix, depth)


def _node(ref: str) -> str:
    """The node of a reference."""
    return ref.lstrip("^").partition(":")[0]


def _flat(prefix: str, ref: str) -> str:
    """A tensor's name in the unrolled graph: "a" for a's first output, "a:1" for its second.

    Within functions a reference is "argument", or "node:output:index"."""
    node, _, rest = ref.partition(":")
    output, _, index = rest.rpartition(":")
    if output in _LATER:
        return f"{prefix}{node}:{output}"
    return f"{prefix}{node}" if index in ("", "0") else f"{prefix}{node}:{index}"
