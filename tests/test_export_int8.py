"""Exported int8 files: every layer against the oracle of docs/int8.md, and imported again.

Rounding differs from runtime to runtime by a step of 8 bits, which later layers carry on. So each
layer is compared by itself: what the other runtime made of its own inputs, with what the oracle
makes of the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from conftest import small_network
from int8_network import random_int8
from test_export import FORMATS, answers, exported, pixels_of, weights_of

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.errors import UnsupportedError
from mnv2_engine.executors import integer
from mnv2_engine.export import export
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import ModelFile, open_model, write_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.quantize import quantize
from mnv2_engine.quantize.folding import fold_pool

Array = np.ndarray[Any, Any]
Levels = Callable[[str], Array]  # 0 to 255, of a tensor by name, NHWC

NETWORKS = [
    (small_network(), "tf"),
    (mobilenet_v2(0.35, (49, 66), 10), "imagenet"),
    (mobilenet_v2(0.35, (49, 66), 10, "symmetric"), "imagenet"),
    (mobilenet_v2(1.0, 33, 3, "symmetric"), "lite"),
    (mobilenet_v2(1.4, 40, 2), "unit"),
    (efficientnet_lite(0, 51, 12), "lite"),
    (efficientnet_lite(0, 64, 12, "symmetric"), "imagenet"),
]

formats = pytest.mark.parametrize("suffix", FORMATS)
networks = pytest.mark.parametrize(
    ("network", "preset"), NETWORKS, ids=lambda each: getattr(each, "name", each)
)


integers_of = cache(random_int8)


def random_file(path: Path, network: Network, preset: str) -> Path:
    weights, quantization = integers_of(network)
    head = network.weighted[-2]
    pool = fold_pool(quantization.layers["head"].scale, prod(head.out_size), 0.02)
    quantization = quantization._replace(pool=pool)  # one that rounds to nearest
    write_model(path, network, weights, PRESETS[preset], None, {}, quantization)
    return path


def quantised_file(path: Path, network: Network, preset: str) -> Path:
    path.write_bytes(_quantised(network, preset))
    return path


@cache
def _quantised(network: Network, preset: str) -> bytes:
    """The file. Quantising is what takes the time here."""
    with TemporaryDirectory() as folder:
        source, path = Path(folder, "float32.npz"), Path(folder, "int8.npz")
        write_model(source, network, weights_of(network), PRESETS[preset], None, {})
        quantize(source, path, pixels_of(network, 2))
        return path.read_bytes()


# Layer by layer


def onnx_levels(path: Path, pixels: Array) -> tuple[Levels, Array]:
    """onnxruntime's 8-bit tensors, and its logits, computed as the file says: node by node."""
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    made = onnx.load(path)
    names = [node.output[0] for node in made.graph.node if node.op_type == "QuantizeLinear"]
    for name in names:
        kind = onnx.TensorProto.UINT8
        made.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    planar = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    logits, *found = session.run(["logits", *names], {"input": planar})
    by_name = dict(zip(names, found, strict=True))

    def levels(name: str) -> Array:
        stored = by_name["pool.integers" if name == "features" else f"{name}.integers"]
        return np.asarray(stored.transpose(0, 2, 3, 1), np.int64)

    return levels, logits


def tflite_levels(path: Path, pixels: Array) -> tuple[Levels, Array]:
    """LiteRT's 8-bit tensors, and its logits, by its own kernels."""
    litert = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="needs ai-edge-litert (the extra bench)"
    )
    interpreter = litert.Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    numbers = {each["name"]: each["index"] for each in interpreter.get_tensor_details()}

    def levels(name: str) -> Array:
        return np.asarray(interpreter.get_tensor(numbers[name]), np.int64) + 128

    return levels, np.array(interpreter.get_tensor(numbers["logits"]))


def assert_steps(
    found: Array, expected: Array, name: str, most: int = 1, share: float = 0.06
) -> None:
    """A step where a value lies near the middle between two, which a `share` of them may."""
    difference = np.abs(found - expected)
    assert difference.max() <= most, name
    assert difference.mean() <= share, name


def check_layers(model: ModelFile, pixels: Array, levels: Levels) -> None:
    assert model.quantization is not None
    weights, said = model.weights(), model.quantization.layers
    stem, *others, head, _ = model.network.weighted
    framed = integer.frame(stem, integer.pad_pixel(model.input_spec), pixels)
    expected = integer.apply_layer(integer.unpadded(stem), weights, said["stem"], framed)
    assert_steps(levels("stem"), expected, "stem")
    at = thin = levels("stem")
    shares = []
    for layer in (*others, head):
        own = levels(layer.name)
        if not said[layer.name].shortcut:
            expected = integer.apply_layer(layer, weights, said[layer.name], at)
            assert_steps(own, expected, layer.name)
            at = own
        else:
            # The sum is rounded to 8 bits before the shortcut is added there, and may be cut off.
            joined = levels(f"{layer.name}.joined")
            expected = integer.apply_layer(layer, weights, said[layer.name], at, thin)
            kept = (own > 0) & (own < 255)
            shares.append(kept.mean())
            assert_steps(joined[kept], expected[kept], layer.name, most=2, share=0.5)
            at = joined
        if layer.name.endswith(".project"):
            thin = at
    features = integer.pool(model.quantization.pool, at)[1]
    assert np.mean(shares) > 0.4
    # Of the means of 2 or 4 pixels, a quarter lies in the very middle.
    assert_steps(levels("features").reshape(features.shape), features, "features", share=0.3)


LEVELS = {"onnx": onnx_levels, "tflite": tflite_levels}


@formats
@networks
def test_every_layer_is_that_of_the_oracle(network, preset, suffix, tmp_path):
    path = random_file(tmp_path / "model.npz", network, preset)
    pixels = pixels_of(network)
    levels, logits = LEVELS[suffix](exported(path, suffix), pixels)
    with open_model(path) as model:
        check_layers(model, pixels, levels)
        features = levels("features").reshape(1, -1)
        expected = integer.classify(model.network.layers[-1], model.weights(), features)
    # TFLite's classifier quantises its features anew; ONNX's does not.
    tolerance = {"onnx": 1e-5, "tflite": 1e-2}[suffix]
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


# As runtimes run it


@formats
@pytest.mark.parametrize("preset", ["tf", "imagenet"])
def test_logits_are_near_ours(preset, suffix, tmp_path):
    """Three images at once. The bound is twice what rounding does in these networks."""
    network = mobilenet_v2(0.35, (49, 66), 10, "symmetric")
    path = quantised_file(tmp_path / "model.npz", network, preset)
    pixels = pixels_of(network, 3)
    found = answers(exported(path, suffix, dynamic_batch=True), pixels)
    with Engine.load(path, backend="numpy") as engine:
        expected = engine.logits(pixels)
    assert np.abs(found - expected).mean() <= 0.06 * expected.std()


def test_openvino_runs_integers(tmp_path):
    openvino = pytest.importorskip("openvino", reason="needs openvino (the extra bench)")
    network = mobilenet_v2(0.35, (49, 66), 10, "symmetric")
    path = quantised_file(tmp_path / "model.npz", network, "tf")
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    out = str(exported(path, "onnx"))
    compiled = openvino.Core().compile_model(out, "CPU", precise)
    pixels = pixels_of(network)
    found = compiled([np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))])["logits"]
    with Engine.load(path, backend="numpy") as engine:
        expected = engine.logits(pixels)
    assert np.abs(found - expected).mean() <= 0.06 * expected.std()


def test_onnxruntime_runs_integers(tmp_path):
    """Every pattern is recognised: no convolution is left that computes real numbers."""
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    path = random_file(tmp_path / "model.npz", mobilenet_v2(0.35, (49, 66), 10), "tf")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        str(exported(path, "onnx")), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 52
    assert kinds.count("QLinearAdd") == 10
    assert not {"Conv", "Add", "QuantizeLinear"} & set(kinds)


# And back


@pytest.mark.parametrize(
    ("network", "preset", "make"),
    [
        *((network, preset, random_file) for network, preset in NETWORKS if preset != "imagenet"),
        (small_network(), "lite", quantised_file),
        (mobilenet_v2(0.35, (49, 66), 10, "symmetric"), "tf", quantised_file),
    ],
    ids=lambda each: getattr(each, "__name__", getattr(each, "name", each)),
)
def test_tflite_comes_back(network, preset, make, tmp_path):
    """Weights bit for bit. Of the constants, a bias may be one off, where scales of float32 put
    it near the middle between two integers."""
    path = make(tmp_path / "model.npz", network, preset)
    source, out = exported(path, "tflite"), tmp_path / "back.npz"
    convert(source, out, labels="none", weights="int8", resample=PRESETS[preset].resample)
    with open_model(path) as model, open_model(out) as back:
        weights = back.weights()
        off = 0
        for name, expected in model.weights().items():
            if name.endswith(".bias") and expected.dtype == np.int32:
                distance = np.abs(weights[name].astype(np.int64) - expected)
                assert distance.max() <= 1, name
                off += int(distance.sum())
            elif name.endswith(".values"):
                continue  # random here; tests/test_convert_tflite_int8.py has those of an import
            elif name == "classifier.scale":
                np.testing.assert_allclose(weights[name], expected, 2e-7)
            else:
                np.testing.assert_array_equal(weights[name], expected, err_msg=name)
        assert off <= 10
        assert back.quantization is not None
        assert model.quantization is not None
        for name, said in model.quantization.layers.items():
            assert back.quantization.layers[name][1:] == said[1:], name


def test_a_normalisation_that_differs_between_channels_does_not_come_back(tmp_path):
    path = random_file(tmp_path / "model.npz", small_network(), "imagenet")
    with pytest.raises(UnsupportedError, match=r"SPLIT|PADV2"):
        convert(exported(path, "tflite"), tmp_path / "back.npz", labels="none", weights="int8")


@formats
def test_what_was_written_is_told(suffix, tmp_path):
    path = random_file(tmp_path / "model.npz", small_network(), "tf")
    made = export(path, exported(path, suffix))
    assert (made.weights, made.input_dtype) == ("int8", "uint8")
    assert made.feed == "RGB pixels, 0 to 255, as they are"
    assert made.file_bytes < path.stat().st_size * 1.6  # the names of small tensors are many


@formats
@pytest.mark.parametrize("seed", range(3))
def test_biases_that_no_converter_makes_are_refused(seed, suffix, tmp_path):
    network, path = small_network(), tmp_path / "model.npz"
    weights, quantization = random_int8(network, seed, extreme=True)
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    with pytest.raises(UnsupportedError, match="make the int8 model file again with"):
        exported(path, suffix)


@formats
def test_scales_that_no_converter_makes_are_refused(suffix, tmp_path):
    network, path = mobilenet_v2(0.35, 32, 5), tmp_path / "model.npz"
    weights, quantization = random_int8(network)
    for name, said in quantization.layers.items():
        scale = 1e38 if name.endswith(".project") else said.scale
        quantization.layers[name] = said._replace(scale=scale, shortcut=min(said.shortcut, 1))
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    with pytest.raises(UnsupportedError, match="which float32 does not hold"):
        exported(path, suffix)


@formats
def test_channels_multiplied_by_nothing_are_constant(suffix, tmp_path):
    network, path = small_network(), tmp_path / "model.npz"
    weights, quantization = random_int8(network)
    weights["stem.multiplier"][:] = 0
    weights["classifier.scale"][1] = 0
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    levels, logits = LEVELS[suffix](exported(path, suffix), pixels_of(network))
    assert not levels("stem").any()
    assert logits[0, 1] == weights["classifier.bias"][1]


def test_a_published_network_on_photographs(shared, tmp_path):
    """The integers of a TFLite file, out as ONNX and as TFLite again."""
    source = shared / "checkpoints" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    pytest.importorskip("tflite", reason="needs the package tflite")
    path = tmp_path / "model.npz"
    convert(source, path, labels="imagenet", weights="int8")
    with np.load(shared / "images" / "references.npz") as file:
        pixels = file["pixels"]
    with Engine.load(path) as engine:
        ours = engine.logits(pixels)
    found = answers(exported(path, "onnx", dynamic_batch=True), pixels)
    assert np.abs(found - ours).mean() <= 0.1
    assert (found.argmax(1) == ours.argmax(1)).sum() >= 22
    convert(exported(path, "tflite"), tmp_path / "back.npz", weights="int8")
    with Engine.load(tmp_path / "back.npz") as engine:
        assert np.abs(engine.logits(pixels) - ours).mean() <= 0.05
    with open_model(path) as model, open_model(tmp_path / "back.npz") as back:
        weights = back.weights()
        for name, expected in model.weights().items():
            if name.endswith(".weight"):
                np.testing.assert_array_equal(weights[name], expected, err_msg=name)
