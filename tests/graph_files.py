"""Writes a network as the files of Keras, TensorFlow and TensorFlow.js, without these frameworks.

For attacks and fuzzing, which need valid files to damage. What the frameworks themselves write is
read in test_convert_keras.py and test_with_tensorflow.py.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mnv2_engine.network.layer import IMAGE, Layer, Network

Weights = dict[str, np.ndarray[Any, Any]]


def kernel(layer: Layer, weights: Weights) -> np.ndarray[Any, Any]:
    """A layer's weight as TensorFlow has it."""
    weight = weights[f"{layer.name}.weight"]
    axes = {"dense": (1, 0), "depthwise": (2, 3, 0, 1)}.get(layer.operation, (2, 3, 1, 0))
    return np.ascontiguousarray(weight.transpose(axes).astype("<f4"))


# Keras


def channels_of(weights: Weights) -> int:
    """Three, or one of a network that takes grey."""
    return int(weights["stem.weight"].shape[1])


def config(network: Network, channels: int = 3) -> dict[str, Any]:
    height, width = network.resolution
    layers: list[dict[str, Any]] = [
        {
            "class_name": "InputLayer",
            "name": IMAGE,
            "config": {"name": IMAGE, "batch_input_shape": [None, height, width, channels]},
            "inbound_nodes": [],
        }
    ]

    def add(name: str, kind: str, inputs: list[str], **config: Any) -> None:
        layers.append(
            {
                "class_name": kind,
                "name": name,
                "config": {"name": name, **config},
                "inbound_nodes": [[[each, 0, 0, {}] for each in inputs]],
            }
        )

    behind = {IMAGE: IMAGE}
    for layer in network.layers:
        inputs = [behind[each] for each in layer.inputs]
        window = {"kernel_size": [layer.kernel] * 2, "strides": [layer.stride] * 2}
        if layer.operation in ("conv", "pointwise"):
            window["filters"] = layer.out_channels  # type: ignore[assignment]
            add(layer.name, "Conv2D", inputs, padding="same", use_bias=True, **window)
        elif layer.operation == "depthwise":
            add(layer.name, "DepthwiseConv2D", inputs, padding="same", use_bias=True, **window)
        elif layer.operation == "add":
            add(layer.name, "Add", inputs)
        elif layer.operation == "pool":
            add(layer.name, "GlobalAveragePooling2D", inputs)
        else:
            add(layer.name, "Dense", inputs, units=layer.out_channels, use_bias=True)
        behind[layer.name] = layer.name
        if layer.activation == "relu6":
            behind[layer.name] = f"{layer.name}_relu"
            add(behind[layer.name], "ReLU", [layer.name], max_value=6.0)
    return {
        "class_name": "Functional",
        "config": {
            "name": "network",
            "layers": layers,
            "input_layers": [[IMAGE, 0, 0]],
            "output_layers": [[behind[network.layers[-1].name], 0, 0]],
        },
    }


def keras_h5(network: Network, weights: Weights, document: Any = None) -> bytes:
    """model.save("x.h5") of Keras 2, with another configuration where one is given."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["model_config"] = json.dumps(
            config(network, channels_of(weights)) if document is None else document
        )
        file.attrs["keras_version"] = "2.11.0"
        _named(file.create_group("model_weights"), network, weights)
    return out.getvalue()


def _named(group: Any, network: Network, weights: Weights) -> None:
    group.attrs["layer_names"] = [layer.name.encode() for layer in network.weighted]
    for layer in network.weighted:
        inside = group.create_group(layer.name)
        kind = "depthwise_kernel" if layer.operation == "depthwise" else "kernel"
        names = [f"{layer.name}/{kind}:0", f"{layer.name}/bias:0"]
        inside.attrs["weight_names"] = [name.encode() for name in names]
        inside.create_dataset(names[0], data=kernel(layer, weights))
        inside.create_dataset(names[1], data=weights[f"{layer.name}.bias"])


def keras_archive(network: Network, weights: Weights) -> bytes:
    """model.save("x.keras") of Keras 3."""
    import h5py

    content = io.BytesIO()
    kinds = {"depthwise": "depthwise_conv2d", "dense": "dense"}
    used: dict[str, int] = {}
    with h5py.File(content, "w") as file:
        for layer in network.weighted:
            kind = kinds.get(layer.operation, "conv2d")
            count = used[kind] = used.get(kind, -1) + 1
            inside = file.create_group(f"layers/{kind}_{count}" if count else f"layers/{kind}")
            inside.create_dataset("vars/0", data=kernel(layer, weights))
            inside.create_dataset("vars/1", data=weights[f"{layer.name}.bias"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.5.0"}')
        archive.writestr("config.json", json.dumps(config(network)))
        archive.writestr("model.weights.h5", content.getvalue())
    return out.getvalue()


def keras_weights(network: Network, weights: Weights) -> bytes:
    """model.save_weights("x.weights.h5") of Keras 3, names of keras.applications.MobileNetV2."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for index, layer in enumerate(network.weighted):
            bias = weights[f"{layer.name}.bias"]
            if layer.operation == "dense":
                parts = [("predictions", [kernel(layer, weights), bias])]
            else:
                names = _applications(layer.name)
                ones, zeros = np.ones(layer.out_channels, "f4"), np.zeros(layer.out_channels, "f4")
                norm = [ones, bias, zeros, ones - np.float32(1e-3)]
                parts = [(names[0], [kernel(layer, weights)]), (names[1], norm)]
            for part, (name, arrays) in enumerate(parts):
                inside = file.create_group(f"layers/layer_{index}_{part}/vars")
                inside.attrs["name"] = name
                for number, array in enumerate(arrays):
                    inside.create_dataset(str(number), data=array)
    return out.getvalue()


def _applications(name: str) -> tuple[str, str]:
    if name in ("stem", "head"):
        return ("Conv1", "bn_Conv1") if name == "stem" else ("Conv_1", "Conv_1_bn")
    block, step = name.split(".")
    number = int(block.removeprefix("block"))
    inside = f"block_{number}_{step}" if number else f"expanded_conv_{step}"
    return inside, f"{inside}_BN"


# TensorFlow

_RELU6 = "Relu6"
_FLOAT, _STRING, _RESOURCE = 1, 7, 20


def _operations(network: Network) -> list[tuple[str, str, list[str], Layer]]:
    """(name, operation, inputs, layer); weights are `LAYER/kernel` and `LAYER/bias`."""
    behind = {IMAGE: IMAGE}
    made = []
    kinds = {
        "conv": "Conv2D", "pointwise": "Conv2D", "depthwise": "DepthwiseConv2dNative",
        "dense": "MatMul", "add": "AddV2", "pool": "Mean",
    }  # fmt: skip
    for layer in network.layers:
        name, inputs = layer.name, [behind[each] for each in layer.inputs]
        if layer.operation == "pool":
            inputs.append("axes")
        if layer.weight_shape and layer in network.weighted:
            made.append((f"{name}/op", kinds[layer.operation], [*inputs, f"{name}/kernel"], layer))
            made.append((name, "BiasAdd", [f"{name}/op", f"{name}/bias"], layer))
        else:
            made.append((name, kinds[layer.operation], inputs, layer))
        behind[name] = name
        if layer.activation == "relu6":
            behind[name] = f"{name}/relu"
            made.append((behind[name], _RELU6, [name], layer))
    return made


def _describe(node: Any, op: str, layer: Layer) -> None:
    if op in ("Conv2D", "DepthwiseConv2dNative"):
        node.attr["strides"].list.i.extend([1, layer.stride, layer.stride, 1])
        node.attr["padding"].s = b"SAME"


def _tensors(network: Network, weights: Weights) -> dict[str, np.ndarray[Any, Any]]:
    made = {}
    for layer in network.weighted:
        made[f"{layer.name}/kernel"] = kernel(layer, weights)
        made[f"{layer.name}/bias"] = weights[f"{layer.name}.bias"].astype("<f4")
    return made


def _const(nodes: Any, name: str, array: np.ndarray[Any, Any]) -> None:
    node = nodes.add(name=name, op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = 3 if array.dtype.kind == "i" else _FLOAT
    for extent in array.shape:
        tensor.tensor_shape.dim.add(size=extent)
    tensor.tensor_content = array.tobytes()


def _placeholder(nodes: Any, name: str, network: Network, channels: int = 3) -> None:
    node = nodes.add(name=name, op="Placeholder")
    for extent in (-1, *network.resolution, channels):
        node.attr["shape"].shape.dim.add(size=extent)


def frozen(network: Network, weights: Weights) -> bytes:
    """A frozen GraphDef."""
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef()
    _placeholder(graph.node, IMAGE, network, channels_of(weights))
    _const(graph.node, "axes", np.array([1, 2], "<i4"))
    for name, array in _tensors(network, weights).items():
        _const(graph.node, name, array)
    for name, op, inputs, layer in _operations(network):
        node = graph.node.add(name=name, op=op)
        node.input.extend(inputs)
        _describe(node, op, layer)
    return bytes(graph.SerializeToString())


def saved_model(network: Network, weights: Weights, folder: Path) -> Path:
    """A SavedModel's folder, its network in a function; the path of its saved_model.pb."""
    from tensorboard.compat.proto.meta_graph_pb2 import MetaGraphDef

    tensors = _tensors(network, weights)
    meta = MetaGraphDef()
    meta.meta_info_def.tags.append("serve")
    function = meta.graph_def.library.function.add()
    function.signature.name = "serving"
    function.signature.input_arg.add(name=IMAGE, type=_FLOAT)
    for name in tensors:
        function.signature.input_arg.add(name=_argument(name), type=_RESOURCE)
        read = function.node_def.add(name=f"{name}/read", op="ReadVariableOp")
        read.input.append(_argument(name))
    _const(function.node_def, "axes", np.array([1, 2], "<i4"))
    for name, op, inputs, layer in _operations(network):
        node = function.node_def.add(name=name, op=op)
        for each in inputs:
            read = f"{each}/read:value:0" if each in tensors else f"{each}:output:0"
            node.input.append(IMAGE if each == IMAGE else read)
        _describe(node, op, layer)
    function.signature.output_arg.add(name="answer", type=_FLOAT)
    function.ret["answer"] = f"{_operations(network)[-1][0]}:y:0"

    nodes = meta.graph_def.node
    _placeholder(nodes, "serving_default_image", network)
    for name in tensors:
        nodes.add(name=name, op="VarHandleOp").attr["shared_name"].s = name.encode()
    call = nodes.add(name="call", op="StatefulPartitionedCall")
    call.input.extend(["serving_default_image", *tensors])
    call.attr["f"].func.name = "serving"
    names = nodes.add(name="save/names", op="Const").attr["value"].tensor
    names.dtype = _STRING
    names.string_val.extend(f"{name}/value".encode() for name in tensors)
    restore = nodes.add(name="save/restore", op="RestoreV2")
    restore.input.extend(["save/file", "save/names", "save/slices"])
    everything = nodes.add(name="save/all", op="NoOp")
    for index, name in enumerate(tensors):
        assign = nodes.add(name=f"save/{index}", op="AssignVariableOp")
        assign.input.extend([name, f"save/restore:{index}" if index else "save/restore"])
        everything.input.append(f"^save/{index}")
    meta.saver_def.restore_op_name = "save/all"
    signature = meta.signature_def["serving_default"]
    signature.inputs["image"].name = "serving_default_image:0"
    signature.outputs["answer"].name = "call:0"

    content = meta.SerializeToString()
    (folder / "variables").mkdir(parents=True, exist_ok=True)
    path = folder / "saved_model.pb"
    path.write_bytes(b"\x08\x01\x12" + varint(len(content)) + content)
    index, data = bundle({f"{name}/value": array for name, array in tensors.items()})
    (folder / "variables" / "variables.index").write_bytes(index)
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(data)
    return path


def _argument(name: str) -> str:
    return name.replace("/", "_").replace(".", "_")


def varint(value: int) -> bytes:
    """A number of 7 bits a byte."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def bundle(tensors: dict[str, np.ndarray[Any, Any]]) -> tuple[bytes, bytes]:
    """TensorFlow's index of variables, a sorted table of one block, and their data."""
    entries = [(b"", b"\x08\x01")]
    data = b""
    for name, array in sorted(tensors.items()):
        shape = b"".join(b"\x12" + _message(b"\x08" + varint(each)) for each in array.shape)
        value = b"\x08\x01\x12" + _message(shape)
        value += b"\x20" + varint(len(data)) + b"\x28" + varint(array.nbytes)
        entries.append((name.encode(), value + b"\x35" + bytes(4)))
        data += array.tobytes()
    block = _block(entries)
    index_block = _block([(b"\xff", varint(0) + varint(len(block) - 5))])
    properties = _block([])
    whole = block + properties + index_block
    footer = varint(len(block)) + varint(len(properties) - 5)
    footer += varint(len(block) + len(properties)) + varint(len(index_block) - 5)
    return whole + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57), data


def _message(content: bytes) -> bytes:
    return varint(len(content)) + content


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Each key shares its beginning with the one before; behind it, its kind and a checksum."""
    made, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        own = key[shared:]
        made += varint(shared) + varint(len(own)) + varint(len(value)) + own + value
        before = key
    return made + struct.pack("<II", 0, 1) + b"\0" + bytes(4)


# TensorFlow.js


def _manifest(tensors: dict[str, np.ndarray[Any, Any]]) -> list[dict[str, Any]]:
    described = [
        {"name": name, "shape": list(array.shape),
         "dtype": "int32" if array.dtype.kind == "i" else "float32"}
        for name, array in tensors.items()
    ]  # fmt: skip
    return [{"paths": ["weights.bin"], "weights": described}]


def tfjs_layers(network: Network, weights: Weights, folder: Path) -> bytes:
    """The model.json of a layers model; its weights.bin is written into `folder`."""
    tensors = {}
    for layer in network.weighted:
        kind = "depthwise_kernel" if layer.operation == "depthwise" else "kernel"
        tensors[f"{layer.name}/{kind}"] = kernel(layer, weights)
        tensors[f"{layer.name}/bias"] = weights[f"{layer.name}.bias"].astype("<f4")
    (folder / "weights.bin").write_bytes(b"".join(each.tobytes() for each in tensors.values()))
    document = {"modelTopology": config(network), "weightsManifest": _manifest(tensors)}
    return json.dumps(document).encode()


def tfjs_graph(network: Network, weights: Weights, folder: Path) -> bytes:
    """The model.json of a graph model; its weights.bin is written into `folder`."""
    import base64

    tensors = {"axes": np.array([1, 2], "<i4"), **_tensors(network, weights)}
    (folder / "weights.bin").write_bytes(b"".join(each.tobytes() for each in tensors.values()))
    height, width = network.resolution
    shape = {"shape": {"dim": [{"size": str(each)} for each in (-1, height, width, 3)]}}
    nodes: list[dict[str, Any]] = [
        {"name": IMAGE, "op": "Placeholder", "attr": {"shape": shape}},
        *({"name": name, "op": "Const", "attr": {}} for name in tensors),
    ]
    for name, op, inputs, layer in _operations(network):
        attributes: dict[str, Any] = {}
        if op in ("Conv2D", "DepthwiseConv2dNative"):
            strides = [str(each) for each in (1, layer.stride, layer.stride, 1)]
            attributes["strides"] = {"list": {"i": strides}}
            attributes["padding"] = {"s": base64.b64encode(b"SAME").decode()}
        nodes.append({"name": name, "op": op, "input": inputs, "attr": attributes})
    document = {"modelTopology": {"node": nodes}, "weightsManifest": _manifest(tensors)}
    return json.dumps(document).encode()
