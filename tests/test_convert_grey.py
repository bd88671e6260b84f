"""Networks whose input has one channel, grey: given red, green and blue, they see its luma."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graph_files
import numpy as np
import pytest
import tflite_files
from conftest import make_weights
from tflite_files import Form
from torch_files import state_file

from mnv2_engine.convert import convert
from mnv2_engine.convert.inspect import inspect
from mnv2_engine.convert.verify import verify
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors.reference import run
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.families import mobilenet_v2

NETWORK = mobilenet_v2(0.1, 32, 5, divisor=4)
WEIGHTS = make_weights(NETWORK)
WEIGHTS["stem.weight"] = np.ascontiguousarray(WEIGHTS["stem.weight"].sum(1, keepdims=True))
PIXELS = np.random.default_rng(6).integers(0, 256, (3, 32, 32, 3)).astype(np.float64)
TF = {"preprocess": "tf", "labels": "none"}


def answers(path: Path) -> Any:
    """Of red, green and blue, as the model file says."""
    with open_model(path) as model:
        weights = {name: np.array(array) for name, array in model.weights().items()}
        spec = model.input_spec
        x = (PIXELS - spec.mean) / spec.std
        return np.asarray(run(model.network, weights, x, np.float64).logits)


def theirs(weights: dict[str, Any], mean: float = 127.5, std: float = 127.5) -> Any:
    """Of luma in the first channel, where the weights of the two others are zero."""
    stem = weights["stem.weight"]
    three = np.concatenate([stem, np.zeros_like(stem), np.zeros_like(stem)], 1)
    x = np.zeros_like(PIXELS)
    x[..., 0] = (PIXELS @ [0.299, 0.587, 0.114] - mean) / std
    return np.asarray(run(NETWORK, {**weights, "stem.weight": three}, x, np.float64).logits)


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **WEIGHTS)  # type: ignore[arg-type]
    return file.getvalue()


def onnx_file(first: bool) -> bytes:
    """PyTorch's layout, or TensorFlow's with a transpose, with a stem alone before the pool."""
    import onnx

    shape = ["N", 1, 32, 32] if first else ["N", 32, 32, 1]
    network = onnx.helper
    kind = onnx.TensorProto.FLOAT
    nodes, tensors, at = [], [], "x"
    if not first:
        nodes.append(network.make_node("Transpose", [at], ["t"], perm=[0, 3, 1, 2]))
        at = "t"
    for layer in NETWORK.layers:
        inputs = [at if layer.operation != "add" else f"{each}_out" for each in layer.inputs]
        for part in ("weight", "bias"):
            if layer in NETWORK.weighted:
                name = f"{layer.name}.{part}"
                tensors.append(onnx.numpy_helper.from_array(WEIGHTS[name], name))
                inputs.append(name)
        out = f"{layer.name}_out" if layer.activation == "linear" else f"{layer.name}_sum"
        if layer.operation == "pool":
            nodes.append(network.make_node("GlobalAveragePool", inputs, ["pooled"]))
            nodes.append(network.make_node("Flatten", ["pooled"], [out]))
        elif layer.operation == "dense":
            nodes.append(network.make_node("Gemm", inputs, [out], transB=1))
        elif layer.operation == "add":
            nodes.append(network.make_node("Add", inputs, [out]))
        else:
            top, left, bottom, right = layer.pads
            groups = layer.out_channels if layer.operation == "depthwise" else 1
            nodes.append(
                network.make_node(
                    "Conv", inputs, [out], strides=[layer.stride] * 2, group=groups,
                    pads=[top, left, bottom, right],
                )
            )  # fmt: skip
        if layer.activation != "linear":
            nodes.append(network.make_node("Clip", [out, "low", "high"], [f"{layer.name}_out"]))
        at = f"{layer.name}_out"
    for name, value in (("low", 0.0), ("high", 6.0)):
        tensors.append(onnx.numpy_helper.from_array(np.float32(value), name))
    graph = network.make_graph(
        nodes, "grey", [network.make_tensor_value_info("x", kind, shape)],
        [network.make_tensor_value_info(at, kind, ["N", 5])], tensors,
    )  # fmt: skip
    opset = network.make_opsetid("", 13)
    return bytes(network.make_model(graph, opset_imports=[opset]).SerializeToString())


WRITERS: dict[str, tuple[str, str, Callable[[], bytes], dict[str, Any]]] = {
    "npz": ("a.npz", "", npz, {"padding": "same", "resolution": 32}),
    "h5": ("a.h5", "h5py", lambda: graph_files.keras_h5(NETWORK, WEIGHTS), {}),
    "pb": ("a.pb", "tensorboard", lambda: graph_files.frozen(NETWORK, WEIGHTS), {}),
    "onnx nchw": ("a.onnx", "onnx", lambda: onnx_file(True), {}),
    "onnx nhwc": ("a.onnx", "onnx", lambda: onnx_file(False), {}),
    "tflite": (
        "a.tflite",
        "tflite",
        lambda: tflite_files.model(NETWORK, WEIGHTS, Form(grey=True)).content,
        {},
    ),
}


@pytest.mark.parametrize("form", WRITERS)
def test_every_source(form, tmp_path):
    name, package, write, options = WRITERS[form]
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    source, out = tmp_path / name, tmp_path / "out.npz"
    source.write_bytes(write())
    made = convert(source, out, **TF, **options)
    assert "colours grey, one channel" in made.read
    np.testing.assert_allclose(answers(out), theirs(WEIGHTS), atol=1e-5)
    assert "colours grey, one channel" in inspect(source).said
    convert(source, tmp_path / "said.npz", colours="grey", **TF, **options)
    with pytest.raises(InputError, match=r"'bgr' contradict .* one channel, grey; leave the opt"):
        convert(source, tmp_path / "bgr.npz", colours="bgr", **TF, **options)
    with pytest.raises(InputError, match=r"one mean and one deviation.*give preprocess accord"):
        convert(source, tmp_path / "no.npz", **{**TF, "preprocess": "imagenet"}, **options)


@pytest.mark.parametrize("types", ["uint8", "int8"])
def test_quantised(types, tmp_path):
    """Read as floats. Its integers are refused: grey changes those of the first layer."""
    pytest.importorskip("tflite", reason="needs tflite")
    zero_point = 128 if types == "uint8" else 0
    form = Form(types=types, grey=True, input=(1 / 128, zero_point))
    written = tflite_files.model(NETWORK, WEIGHTS, form)
    source, out = tmp_path / "a.tflite", tmp_path / "out.npz"
    source.write_bytes(written.content)
    convert(source, out, labels="none")
    due = theirs(written.weights, 128, 128)
    np.testing.assert_allclose(answers(out), due, atol=1e-5)
    with pytest.raises(UnsupportedError, match=r"takes grey.*weights 'int8'.*mnv2 quantize"):
        convert(source, tmp_path / "int8.npz", labels="none", weights="int8")


def test_pytorch(tmp_path):
    """A state_dict of torchvision's names, whose first layer takes one channel."""
    from torch_files import torchvision_state

    network = mobilenet_v2(0.1, 32, 5, "symmetric", divisor=4)
    arrays = dict(torchvision_state(network).arrays)
    first = "features.0.0.weight"
    colours = tmp_path / "three.npz"
    arrays[first] = np.ascontiguousarray(arrays[first][:, :1])
    for name, content in (("one.pt", arrays), ("three.pt", {**arrays, first: arrays[first] * 0})):
        if name == "three.pt":
            stem = arrays[first]
            content[first] = np.concatenate([stem, stem * 0, stem * 0], 1)
        (tmp_path / name).write_bytes(state_file(content))
    options = {"preprocess": "unit", "labels": "none", "resolution": 32}
    convert(tmp_path / "one.pt", tmp_path / "one.npz", **options)
    convert(tmp_path / "three.pt", colours, **options)
    with open_model(colours) as model:
        weights = {name: np.array(array) for name, array in model.weights().items()}
        x = np.zeros_like(PIXELS)
        x[..., 0] = PIXELS @ [0.299, 0.587, 0.114] / 255
        due = run(model.network, weights, x, np.float64).logits
    np.testing.assert_allclose(answers(tmp_path / "one.npz"), due, atol=1e-5)


@pytest.mark.parametrize("framework", ["litert", "onnxruntime"])
def test_verify_shows_it_grey(framework, tmp_path):
    package = {"litert": "ai_edge_litert", "onnxruntime": "onnxruntime"}[framework]
    pytest.importorskip(package, reason=f"needs {package}")
    name, needed, write, _ = WRITERS["tflite" if framework == "litert" else "onnx nchw"]
    pytest.importorskip(needed, reason=f"needs {needed}")
    source, out = tmp_path / name, tmp_path / "out.npz"
    source.write_bytes(write())
    convert(source, out, **TF)
    assert verify(source, str(out), framework).largest <= 1e-5


@pytest.mark.parametrize("colours", ["bgr", "grey"])
def test_verify_shows_what_the_conversion_was_told(colours, tmp_path):
    """Three channels, in the order or the grey that the option says."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnx", reason="needs onnx")
    import onnx

    weights = make_weights(NETWORK)
    model = onnx.load_from_string(onnx_file(True))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    (stem,) = (each for each in model.graph.initializer if each.name == "stem.weight")
    stem.CopyFrom(onnx.numpy_helper.from_array(weights["stem.weight"], "stem.weight"))
    source, out = tmp_path / "a.onnx", tmp_path / "out.npz"
    source.write_bytes(model.SerializeToString())
    convert(source, out, colours=colours, **TF)
    assert verify(source, str(out), "onnxruntime", colours).largest <= 1e-5
    assert verify(source, str(out), "onnxruntime").largest > 1e-4


def test_two_channels_are_none(tmp_path):
    document = graph_files.config(NETWORK, 2)
    pytest.importorskip("h5py", reason="needs h5py")
    source = tmp_path / "a.h5"
    source.write_bytes(graph_files.keras_h5(NETWORK, WEIGHTS, json.loads(json.dumps(document))))
    with pytest.raises(UnsupportedError, match=r"\(None, 32, 32, 2\): expected .* 3\), or 1 in"):
        convert(source, tmp_path / "out.npz", **TF)
