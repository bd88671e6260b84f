"""ONNX files of the forms that the model zoo's mobilenetv2-7, -10 and -12 have.

The zoo's files themselves are not at hand. Of the same form: -7 is MXNet's (batch-norm apart, the
classifier a 1×1 convolution without bias), -10 and -12 are PyTorch's (the flattening computed from
the shape at run time; Clip has attributes in -7 and -10, inputs in -12), the 8-bit ones are
onnxruntime's static quantisation, as QDQ and as operators. Oracle: onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network

from mnv2_engine.convert import convert
from mnv2_engine.executors.reference import run
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.layer import IMAGE

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra bench")

NETWORK = small_network(classes=20, padding="symmetric")
WEIGHTS = make_weights(NETWORK)
OPTIONS: dict[str, Any] = {"preprocess": "imagenet", "labels": "none"}
X = np.random.default_rng(2).uniform(-2, 2, (8, 3, 32, 32)).astype(np.float32)


class Writer:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def keep(self, name: str, values: Any) -> str:
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        self.nodes.append(onnx.helper.make_node(kind, inputs, [out], name=out, **attributes))
        return out

    def write(self, path: Path, version: int, end: str) -> Path:
        kind = onnx.TensorProto.FLOAT
        given = onnx.helper.make_tensor_value_info("data", kind, ["batch", 3, 32, 32])
        out = onnx.helper.make_tensor_value_info(end, kind, ["batch", 20])
        graph = onnx.helper.make_graph(self.nodes, "zoo", [given], [out], self.initializers)
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=7
        )
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def of_the_zoo(path: Path, version: int) -> Path:
    """The seeded network in the form of the zoo's file of an operator set."""
    made = Writer()
    is_mxnet = version == 7
    low, high = (made.keep(name, np.float32(value)) for name, value in (("low", 0), ("high", 6)))
    if version < 11:
        made.initializers.clear()
    behind = {IMAGE: "data"}
    for layer in NETWORK.layers:
        name, inputs = layer.name, [behind[each] for each in layer.inputs]
        if layer.operation == "add":
            found = made.add("Add", inputs, name)
        elif layer.operation == "pool":
            found = made.add("GlobalAveragePool", inputs, name)
        elif layer.operation == "dense":
            found = _classifier(made, inputs[0], is_mxnet)
        else:
            found = _convolution(made, layer, inputs[0], is_mxnet)
        if layer.activation == "relu6":
            # An attribute until operator set 11, an input since.
            limits = {"min": 0.0, "max": 6.0} if version < 11 else {}
            names = [found, *([low, high] if version >= 11 else [])]
            found = made.add("Clip", names, f"{name}_c", **limits)
        behind[name] = found
    return made.write(path, version, behind[NETWORK.layers[-1].name])


def _convolution(made: Writer, layer: Any, source: str, is_mxnet: bool) -> str:
    name, weight = layer.name, WEIGHTS[f"{layer.name}.weight"]
    window = {
        "kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2,
        "pads": list(layer.pads), "dilations": [1, 1],
        "group": layer.in_channels if layer.operation == "depthwise" else 1,
    }  # fmt: skip
    bias = WEIGHTS[f"{name}.bias"]
    if not is_mxnet:
        names = [source, made.keep(f"{name}.w", weight), made.keep(f"{name}.b", bias)]
        return made.add("Conv", names, name, **window)
    gamma, mean = (
        np.linspace(0.5, 2, bias.size, dtype="f4"),
        np.linspace(-1, 1, bias.size, dtype="f4"),
    )
    variance = gamma**2 - np.float32(1e-5)  # gamma / sqrt(variance + epsilon) is one
    made.add("Conv", [source, made.keep(f"{name}_weight", weight)], f"{name}_fwd", **window)
    parts = {"gamma": gamma, "beta": bias + mean, "running_mean": mean, "running_var": variance}
    names = [made.keep(f"{name}_{part}", values) for part, values in parts.items()]
    return made.add("BatchNormalization", [f"{name}_fwd", *names], name, epsilon=1e-5, momentum=0.9)


def _classifier(made: Writer, source: str, is_mxnet: bool) -> str:
    weight, bias = WEIGHTS["classifier.weight"], WEIGHTS["classifier.bias"]
    if is_mxnet:
        names = [source, made.keep("pred_weight", weight[:, :, None, None])]
        made.add("Conv", names, "pred_fwd", kernel_shape=[1, 1], strides=[1, 1], pads=[0] * 4)
        return made.add("Reshape", ["pred_fwd", made.keep("shape", np.array([0, -1]))], "flat")
    made.add("Shape", [source], "shape")
    made.add("Gather", ["shape", made.keep("first", np.array(0))], "batch", axis=0)
    made.add("Unsqueeze", ["batch"], "batch_1", axes=[0])
    made.add("Concat", ["batch_1", made.keep("rest", np.array([-1]))], "wanted", axis=0)
    made.add("Reshape", [source, "wanted"], "features")
    names = ["features", made.keep("classifier.w", weight), made.keep("classifier.b", bias)]
    return made.add("Gemm", names, "output", alpha=1.0, beta=1.0, transB=1)


def theirs(path: Path) -> Any:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X})[0].reshape(len(X), -1)


def ours(path: Path) -> Any:
    with open_model(path) as model:
        weights = {name: np.array(array) for name, array in model.weights().items()}
        x = X.transpose(0, 2, 3, 1).astype(np.float64)
        return np.asarray(run(model.network, weights, x, np.float64).logits)


@pytest.mark.parametrize("version", [7, 10, 12])
def test_float(version, tmp_path):
    source = of_the_zoo(tmp_path / "mobilenetv2.onnx", version)
    made = convert(source, tmp_path / "out.npz", **OPTIONS)
    assert made.network.layers == NETWORK.layers
    due = theirs(source)
    assert due.std(0).max() > 0.05  # the pictures differ
    np.testing.assert_allclose(ours(tmp_path / "out.npz"), due, atol=1e-4)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_eight_bits(form, tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization")
    source = of_the_zoo(tmp_path / "mobilenetv2-12.onnx", 12)

    class Pictures(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.left = [{"data": each[np.newaxis]} for each in X]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    quantised = tmp_path / "mobilenetv2-12-int8.onnx"
    quantization.quantize_static(
        str(source), str(quantised), Pictures(), per_channel=form == "QOperator",
        quant_format=quantization.QuantFormat[form],
    )  # fmt: skip
    made = convert(quantised, tmp_path / "out.npz", **OPTIONS)
    assert made.network.layers == NETWORK.layers
    due = theirs(quantised)
    found = ours(tmp_path / "out.npz")
    # The same weights; onnxruntime's activations are in 8 bits, ours in floats. QDQ in operator
    # set 12 has one scale a tensor, as the zoo's file.
    scale = np.abs(due).max()
    assert np.abs(found - due).max() < 0.2 * scale
    assert np.abs(found - due).mean() < 0.04 * scale
