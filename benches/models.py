"""Networks for the benches: seeded ones by name, and any model file as TFLite and as ONNX.

    pip install ".[bench]"
    python benches/models.py MODEL OUT.npz|OUT.tflite|OUT.onnx

MODEL is a model file, or the name of a published network, such as `mobilenet_v2_1.4_224` or
`efficientnet_lite0_224`, which gets seeded weights: speed does not depend on them. For the same
reason, where a bench is asked for `--weights int8`, it quantises on images of noise.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mnv2_engine.architecture import (
    Architecture,
    Layer,
    efficientnet_lite,
    layers,
    mobilenet_v2,
)
from mnv2_engine.input_spec import PRESETS
from mnv2_engine.modelfile import ModelFile, open_model, write_model
from mnv2_engine.packing import DTYPES
from mnv2_engine.quantize import quantize

Array = np.ndarray[Any, Any]

OPSET = 13
CALIBRATION_IMAGES = 2


def seeded_weights(network: Architecture) -> dict[str, Array]:
    """Weights of He's scale: values neither vanish into denormals nor overflow."""
    random = np.random.default_rng(0)
    weights = {}
    for layer in layers(network):
        fan_in = int(np.prod(layer.weight_shape[1:]))
        weight = random.normal(0.0, np.sqrt(2 / fan_in), layer.weight_shape)
        weights[f"{layer.name}.weight"] = weight.astype(np.float32)
        weights[f"{layer.name}.bias"] = np.zeros(layer.out_channels, np.float32)
    return weights


def named_network(name: str) -> Architecture | None:
    """The network that `Architecture.name` calls so, or None."""
    if match := re.fullmatch(r"mobilenet_v2_(\d+\.\d+)_(\d+)", name):
        width = float(match[1])
        return mobilenet_v2(width, int(match[2]), divisor=4 if width == 0.1 else 8)
    if match := re.fullmatch(r"efficientnet_lite(\d)_(\d+)", name):
        return efficientnet_lite(int(match[1]), int(match[2]))
    return None


def write_seeded(network: Architecture, path: str) -> None:
    provenance = {"source": "seeded random weights"}
    write_model(path, network, seeded_weights(network), PRESETS["tf"], None, provenance)


def add_model(parser: argparse.ArgumentParser, **model: Any) -> None:
    """The arguments that say which network a bench runs."""
    parser.add_argument("model", **model)
    parser.add_argument("--weights", choices=DTYPES, help="run MODEL with such weights")


def model_file(model: str, folder: str, dtype: str | None = None) -> str:
    """The path `model`; or the network of that name, written to `folder` with seeded weights. If
    a `dtype` is given, see `rewritten`."""
    path = model
    if not Path(model).exists():
        network = named_network(model)
        if network is None:
            raise SystemExit(
                f"{model}: no such file, nor a network's name such as mobilenet_v2_1.4_224"
            )
        path = str(Path(folder) / f"{network.name}.npz")
        write_seeded(network, path)
    if dtype is None:
        return path
    with open_model(path) as opened:
        return rewritten(opened, dtype, folder)


def rewritten(model: ModelFile, dtype: str, folder: str) -> str:
    """The path of the model file, or of one in `folder` with the same weights as `dtype`: rounded,
    or quantised on noise. From int8 there is no way back: then the weights are seeded ones."""
    network = model.architecture
    if model.dtype == dtype:
        return model.path
    if model.dtype == "int8":
        seeded = str(Path(folder) / f"{network.name}_seeded.npz")
        write_seeded(network, seeded)
        return model_file(seeded, folder, dtype)
    path = str(Path(folder) / f"{network.name}_{dtype}.npz")
    if dtype == "int8":
        random = np.random.default_rng(0)
        shape = (CALIBRATION_IMAGES, *network.resolution, 3)
        quantize(model.path, path, random.integers(0, 256, shape, np.uint8))
    else:
        write_model(path, network, model.weights(), model.input_spec, None, {}, dtype=dtype)
    return path


def normalised(model: ModelFile, pixels: Array) -> Array:
    """What the network is given for uint8 `pixels`, as peers need it."""
    mean, std = (np.array(values, np.float32) for values in model.input_spec[:2])
    return ((pixels.astype(np.float32) - mean) / std).astype(np.float32)


def export(model: ModelFile, path: str) -> None:
    """Writes the network with the same weights, float32, batch 1, to a .tflite or an .onnx."""
    if path.endswith(".tflite"):
        Path(path).write_bytes(_tflite(model))
    elif path.endswith(".onnx"):
        Path(path).write_bytes(_onnx(model))
    else:
        raise SystemExit(f"{path}: expected a name in .npz, .tflite or .onnx")


def peer_file(model: ModelFile, given: str, suffix: str, folder: str) -> str:
    """The file `given` for a peer; or, of "", the model exported to `folder`, once."""
    if not given and model.dtype == "int8":
        raise SystemExit(
            "int8 networks are not exported: give the peer a file of its own, PEER:FILE"
        )
    path = given or str(Path(folder) / f"exported{suffix}")
    if not Path(path).exists():
        if given:
            raise SystemExit(f"{given}: no such file")
        export(model, path)
    return path


def _tflite(model: ModelFile) -> bytes:
    """By the tests' writer: RELU6 fused, SAME where it pads as the network does, else PAD."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    try:
        import tflite_files
    except ImportError as error:
        raise _missing("tflite", error) from error

    symmetric = model.architecture.padding == "symmetric"
    form = tflite_files.Form(explicit_pads=symmetric)
    return bytes(tflite_files.model(model.architecture, model.weights(), form).content)


def _onnx(model: ModelFile) -> bytes:
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise _missing("onnx", error) from error

    network, weights = model.architecture, model.weights()
    by_name = {layer.name: layer for layer in layers(network)}
    weights.update({"zero": np.array(0, np.float32), "six": np.array(6, np.float32)})
    nodes = []

    def node(kind: str, inputs: list[str], output: str, **fields: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], output, **fields))
        return output

    def convolution(layer: Layer, at: str) -> str:
        (top, bottom), (left, right) = layer.pad_rows, layer.pad_columns
        at = node(
            "Conv",
            [at, f"{layer.name}.weight", f"{layer.name}.bias"],
            layer.name,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[top, left, bottom, right],
            group=layer.in_channels if layer.kind == "depthwise" else 1,
        )
        return node("Clip", [at, "zero", "six"], f"{at}.relu6") if layer.relu6 else at

    at = convolution(by_name["stem"], "input")
    for i, block in enumerate(network.blocks):
        before = at
        for part in ("expand", "depthwise", "project"):
            if f"block{i}.{part}" in by_name:
                at = convolution(by_name[f"block{i}.{part}"], at)
        if block.residual:
            at = node("Add", [before, at], f"block{i}")
    at = node("GlobalAveragePool", [convolution(by_name["head"], at)], "pool")
    at = node("Flatten", [at], "features")
    node("Gemm", [at, "classifier.weight", "classifier.bias"], "logits", transB=1)

    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        network.name,
        [helper.make_tensor_value_info("input", kind, [1, 3, *network.resolution])],
        [helper.make_tensor_value_info("logits", kind, [1, network.classes])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(made)
    return bytes(made.SerializeToString())


def _missing(package: str, error: ImportError) -> SystemExit:
    return SystemExit(f'{error}; install it with: pip install {package}, or ".[bench]"')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("out")
    options = parser.parse_args()
    if options.out.endswith(".npz"):
        network = named_network(options.model)
        if network is None:
            raise SystemExit(f"{options.model}: only a named network is written as .npz")
        write_seeded(network, options.out)
        return
    folder = str(Path(options.out).resolve().parent)
    with open_model(model_file(options.model, folder)) as model:
        export(model, options.out)


if __name__ == "__main__":
    main()
