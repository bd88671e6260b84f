"""ONNX, TensorFlow.js and TensorFlow graphs that lie, and our own exports read back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network
from nested import taken_for_damage

from mnv2_engine.convert import convert
from mnv2_engine.errors import CheckpointError, MnvError, UnsupportedError
from mnv2_engine.export import export
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model

OPTIONS = {"preprocess": "tf", "labels": "none"}


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_our_own_exports_read_back_bit_for_bit(suffix, padding, tmp_path):
    pytest.importorskip(suffix, reason=f"needs the package {suffix}")
    network = small_network(padding=padding)
    made = make_weights(network)
    model, out, back = (tmp_path / name for name in ("a.npz", f"a.{suffix}", "b.npz"))
    write_model(model, network, made, PRESETS["tf"], None, {"source": "random"})
    export(model, out)
    options = {"labels": "none"} if suffix == "tflite" else OPTIONS
    convert(out, back, **options)
    with open_model(back) as found:
        assert found.network.layers == network.layers
        weights = found.weights()
        assert weights.keys() == made.keys()
        for name, array in weights.items():
            np.testing.assert_array_equal(array, made[name], err_msg=name)


# ONNX


def _onnx() -> Any:
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    shape = onnx.TensorProto.FLOAT, [1, 3, 32, 32]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", *shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [weight],
    )
    return helper.make_model(graph)


def _circle(model: Any) -> None:
    model.graph.node[0].input[0] = "y"


def _overwritten(model: Any) -> None:
    model.graph.node[0].output[0] = "w"


def _nobody(model: Any) -> None:
    model.graph.node[0].input[0] = "nobody"


def _short(model: Any) -> None:
    model.graph.initializer[0].raw_data = bytes(8)


def _huge(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def _elsewhere(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"


def _many(model: Any) -> None:
    for _ in range((1 << 14) + 1):
        model.graph.node.add().CopyFrom(model.graph.node[0])


def _attribute(model: Any, name: str) -> Any:
    return next(each for each in model.graph.node[0].attribute if each.name == name)


def _strides(model: Any) -> None:
    _attribute(model, "strides").ints[:] = [1 << 60, 1 << 60]


def _pads(model: Any) -> None:
    _attribute(model, "pads").ints[:] = [-5, 1, 1, 1]


def _attention(model: Any) -> None:
    model.graph.node[0].op_type = "Attention"


ONNX: dict[str, tuple[Callable[[Any], None], str]] = {
    "a circle": (_circle, "the graph goes in a circle"),
    "an overwritten constant": (_overwritten, "it overwrites a tensor"),
    "an input of nobody's": (_nobody, "is made by nothing in the graph"),
    "weights cut short": (_short, "has 8 bytes: expected 432|stem without"),
    "weights of a terabyte": (_huge, "expected|channels|where a block|more than"),
    "weights elsewhere": (_elsewhere, "which is no file beside it|stem without"),
    "twenty thousand nodes": (_many, "expected at most 16384"),
    "strides of 2**60": (_strides, "strides .* are not supported"),
    "pads below zero": (_pads, "expected 0 to 64"),
    "attention": (_attention, "a transformer"),
}


@pytest.mark.parametrize("name", ONNX)
def test_hostile_onnx(name, tmp_path):
    alter, message = ONNX[name]
    model = _onnx()
    alter(model)
    source = tmp_path / "hostile.onnx"
    source.write_bytes(model.SerializeToString())
    with pytest.raises((CheckpointError, UnsupportedError), match=message) as error:
        convert(source, tmp_path / "out.npz", **OPTIONS)
    assert not taken_for_damage(str(error.value))
    assert os.listdir(tmp_path) == ["hostile.onnx"]


def test_bytes_that_only_begin_as_onnx(tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    source = tmp_path / "hostile.onnx"
    source.write_bytes(b"\x08\x07\x12\x02pt" + b"\xff" * 1000)
    with pytest.raises(CheckpointError, match="not an ONNX file, or a damaged one"):
        convert(source, tmp_path / "out.npz", **OPTIONS)


# TensorFlow.js


def _layers_model() -> dict[str, Any]:
    shape = [None, 32, 32, 3]
    convolution = {"name": "c", "filters": 4, "kernel_size": [3, 3], "use_bias": False}
    layers = [
        {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": shape}},
        {"class_name": "Conv2D", "config": convolution},
    ]
    return {
        "modelTopology": {"class_name": "Sequential", "config": {"name": "s", "layers": layers}},
        "weightsManifest": [
            {
                "paths": ["w.bin"],
                "weights": [{"name": "c/kernel", "shape": [3, 3, 3, 4], "dtype": "float32"}],
            }
        ],
    }


def _change(*path: Any) -> Callable[[Any], None]:
    """Sets what lies at the path, all but its last item, to the last item."""

    def alter(document: Any) -> None:
        *way, key, value = path
        for step in way:
            document = document[step]
        document[key] = value

    return alter


WEIGHT = ("weightsManifest", 0, "weights", 0)
TFJS: dict[str, tuple[Callable[[Any], None], str]] = {
    "files elsewhere": (
        _change("weightsManifest", 0, "paths", ["../../etc/passwd"]),
        "which is no file beside it",
    ),
    "a file that is not there": (
        _change("weightsManifest", 0, "paths", ["v.bin"]),
        "v.bin', which cannot be read",
    ),
    "a weight beyond its file": (_change(*WEIGHT, "shape", [1 << 40]), "ends beyond its files"),
    "a shape below zero": (_change(*WEIGHT, "shape", [-1]), "is described wrongly"),
    "a type of nobody's": (_change(*WEIGHT, "dtype", "float128"), "its list of weights is damaged"),
    "a weight of another name": (_change(*WEIGHT, "name", "d/kernel"), "lacks the kernel of"),
    "no list of weights": (_change("weightsManifest", None), "without its list of weights"),
    "a graph without nodes": (_change("modelTopology", {"node": []}), "its graph is damaged"),
}


@pytest.mark.parametrize("name", TFJS)
def test_hostile_tfjs(name, tmp_path):
    alter, message = TFJS[name]
    document = _layers_model()
    (tmp_path / "w.bin").write_bytes(bytes(432))
    alter(document)
    source = tmp_path / "model.json"
    source.write_text(json.dumps(document))
    with pytest.raises((CheckpointError, UnsupportedError), match=message) as error:
        convert(source, tmp_path / "out.npz", **OPTIONS)
    assert not taken_for_damage(str(error.value))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"modelTopology": ' + '{"a":' * 5000], ids=len)
def test_json_without_end(content, tmp_path):
    source = tmp_path / "model.json"
    source.write_text(content if content.startswith("{") else '{"a": ' + content)
    with pytest.raises(CheckpointError, match="it begins as JSON and is none"):
        convert(source, tmp_path / "out.npz", **OPTIONS)


# Frozen graphs


def _frozen(path: Path, alter: Callable[[Any], None] = lambda graph: None) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorflow")
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef()
    entry = graph.node.add(name="image", op="Placeholder")
    for extent in (1, 32, 32, 3):
        entry.attr["shape"].shape.dim.add(size=extent)
    weight = graph.node.add(name="w", op="Const")
    tensor = weight.attr["value"].tensor
    tensor.dtype = 1
    for extent in (3, 3, 3, 4):
        tensor.tensor_shape.dim.add(size=extent)
    tensor.tensor_content = np.ones((3, 3, 3, 4), np.float32).tobytes()
    node = graph.node.add(name="conv", op="Conv2D")
    node.input.extend(["image", "w"])
    node.attr["strides"].list.i.extend([1, 2, 2, 1])
    node.attr["padding"].s = b"SAME"
    alter(graph)
    path.write_bytes(graph.SerializeToString())


def _loop(graph: Any) -> None:
    graph.node[2].input[0] = "again"
    graph.node.add(name="again", op="Relu6").input.append("conv")
    graph.node.add(name="end", op="Relu").input.append("conv")


FROZEN: dict[str, tuple[Callable[[Any], None], str]] = {
    "a part of a network": (lambda graph: None, "is a stem without an activation"),
    "a circle": (_loop, "the graph goes in a circle"),
    "no image": (lambda graph: graph.node.pop(0), "no placeholder for an image"),
    "weights that are not frozen": (
        lambda graph: setattr(graph.node[1], "op", "VariableV2"),
        "its weights are not constants; freeze the graph first",
    ),
}


@pytest.mark.parametrize("name", FROZEN)
def test_hostile_frozen_graphs(name, tmp_path):
    alter, message = FROZEN[name]
    source = tmp_path / "graph.pb"
    _frozen(source, alter)
    with pytest.raises(MnvError, match=message) as error:
        convert(source, tmp_path / "out.npz", **OPTIONS)
    assert not taken_for_damage(str(error.value))
