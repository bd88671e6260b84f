"""Exported float32 files: in other runtimes against the float64 oracle, and imported again."""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network

from mnv2_engine import Engine
from mnv2_engine.cli import main
from mnv2_engine.convert import convert
from mnv2_engine.errors import InputError, MissingExtraError, MnvError, ModelFileError
from mnv2_engine.executors import reference
from mnv2_engine.export import export
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import ModelFile, open_model, write_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-5  # of the largest logit, or of 1
FORMATS = ("onnx", "tflite")  # endings, and the packages that write them

NETWORKS = [
    small_network(),
    mobilenet_v2(0.35, (49, 66), 10),
    mobilenet_v2(0.35, (49, 66), 10, "symmetric"),
    mobilenet_v2(0.5, (1, 3), 4, "symmetric"),
    mobilenet_v2(1.0, 33, 3),
    mobilenet_v2(1.4, 40, 2),
    efficientnet_lite(0, 51, 12),
    efficientnet_lite(0, 64, 12, "symmetric"),
]

formats = pytest.mark.parametrize("suffix", FORMATS)
networks = pytest.mark.parametrize(
    "network", NETWORKS, ids=lambda each: f"{each.name}-{each.padding}"
)


weights_of = cache(make_weights)


def exported(path: Path, suffix: str, **options: Any) -> Path:
    """The model file as a file beside it; skips the test without the writer's package."""
    pytest.importorskip(suffix, reason=f"needs the package {suffix}")
    out = path.with_suffix(f".{suffix}")
    export(path, out, **options)
    return out


def answers(path: Path, image: Array) -> Array:
    """The logits of another runtime, of images NHWC; skips the test without it."""
    return {".onnx": _onnxruntime, ".tflite": _litert}[path.suffix](path, image)


def _onnxruntime(path: Path, image: Array) -> Array:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    planar = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    return np.asarray(session.run(["logits"], {"input": planar})[0])


def _litert(path: Path, image: Array) -> Array:
    litert = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="needs ai-edge-litert (the extra bench)"
    )
    interpreter = litert.Interpreter(model_path=str(path), num_threads=1)
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(source["index"], image.shape, strict=True)
    interpreter.allocate_tensors()
    assert source["name"] == "input"
    assert target["name"] == "logits"
    interpreter.set_tensor(source["index"], image)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(target["index"]))


def pixels_of(network: Network, count: int = 1) -> Array:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, *network.resolution, 3), np.uint8)


def written(path: Path, network: Network, spec: str = "imagenet", dtype: str = "float32") -> Path:
    write_model(
        path, network, weights_of(network), PRESETS[spec], None, {"source": "seeded"}, dtype=dtype
    )
    return path


def assert_like(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max())


def oracle(model: ModelFile, pixels: Array) -> Array:
    x = reference.normalise(model.input_spec, pixels)
    return np.asarray(reference.run(model.network, model.weights(), x, np.float64).logits)


@formats
@networks
def test_logits_are_those_of_the_oracle(network, suffix, tmp_path):
    path = written(tmp_path / "model.npz", network)
    out = exported(path, suffix)
    pixels = pixels_of(network)
    with open_model(path) as model:
        found = answers(out, reference.normalise(model.input_spec, pixels))
        assert_like(found, oracle(model, pixels))


@formats
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_16_bits_are_widened(dtype, suffix, tmp_path):
    network = small_network()
    path = written(tmp_path / "model.npz", network, dtype=dtype)
    out = exported(path, suffix)
    pixels = pixels_of(network)
    with open_model(path) as model, Engine.load(path, backend="numpy") as engine:
        found = answers(out, reference.normalise(model.input_spec, pixels))
        assert_like(found, engine.logits(pixels))


@formats
def test_any_number_of_images(suffix, tmp_path):
    network = mobilenet_v2(0.35, (49, 66), 10, "symmetric")
    path = written(tmp_path / "model.npz", network)
    out = exported(path, suffix, dynamic_batch=True)
    pixels = pixels_of(network, 3)
    with open_model(path) as model:
        found = answers(out, reference.normalise(model.input_spec, pixels))
        assert_like(found, oracle(model, pixels))


@networks
def test_tflite_comes_back_bit_for_bit(network, tmp_path):
    path = written(tmp_path / "model.npz", network, "lite")
    convert(exported(path, "tflite"), tmp_path / "back.npz", labels="none", resample="bicubic")
    with open_model(path) as model, open_model(tmp_path / "back.npz") as back:
        same_padding = back.network
        assert same_padding == network
        assert back.input_spec == model.input_spec
        weights = back.weights()
        for name, expected in model.weights().items():
            np.testing.assert_array_equal(weights[name], expected, err_msg=name)


def test_onnx_holds_the_weights_and_passes_the_checker(tmp_path):
    network = small_network()
    path = written(tmp_path / "model.npz", network)
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    made = onnx.load(exported(path, "onnx"))
    onnx.checker.check_model(made, full_check=True)
    assert [(each.domain, each.version) for each in made.opset_import] == [("", 13)]
    found = {each.name: onnx.numpy_helper.to_array(each) for each in made.graph.initializer}
    with open_model(path) as model:
        for name, expected in model.weights().items():
            np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_openvino_gives_the_same_logits(tmp_path):
    openvino = pytest.importorskip("openvino", reason="needs openvino (the extra bench)")
    network = mobilenet_v2(0.35, (49, 66), 10, "symmetric")
    path = written(tmp_path / "model.npz", network)
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(exported(path, "onnx")), "CPU", precise)
    pixels = pixels_of(network)
    with open_model(path) as model:
        x = reference.normalise(model.input_spec, pixels).transpose(0, 3, 1, 2)
        assert_like(compiled([np.ascontiguousarray(x)])["logits"], oracle(model, pixels))


# What is said beside the weights

LABELS = ["tench, Tinca tinca", "Schäferhund", "クロネコ", "d", "e"]


def test_onnx_says_what_the_model_file_says(small_model):
    onnx = pytest.importorskip("onnx", reason="needs the package onnx")
    path = small_model(labels=LABELS)
    made = onnx.load(exported(path, "onnx"))
    said = {entry.key: entry.value for entry in made.metadata_props}
    assert made.producer_name == "mnv2_engine"
    assert made.graph.name == said["name"] == "mobilenet_v2_0.1_32"
    assert json.loads(said["labels"]) == LABELS
    assert json.loads(said["provenance"]) == {"source": "seeded random weights"}
    assert json.loads(said["preprocessing"]) == {
        "mean": [127.5] * 3,
        "std": [127.5] * 3,
        "resample": "bilinear",
        "crop_fraction": 0.875,
    }
    assert json.loads(said["network"])["layers"][0]["name"] == "stem"
    assert "(pixel - 127.5) / 127.5" in made.graph.doc_string
    without = onnx.load(exported(small_model(), "onnx"))
    assert "labels" not in {entry.key for entry in without.metadata_props}


def test_tflite_metadata_are_read_back(small_model, tmp_path):
    path = small_model(labels=LABELS, input_spec=PRESETS["imagenet"])
    made = convert(exported(path, "tflite"), tmp_path / "back.npz")
    with open_model(tmp_path / "back.npz") as back:
        assert back.labels == tuple(LABELS)
        mean, std = (np.array(each, np.float32) for each in back.input_spec[:2])
    np.testing.assert_array_equal(mean, np.float32(PRESETS["imagenet"].mean))
    np.testing.assert_array_equal(std, np.float32(PRESETS["imagenet"].std))
    assert made.labels == len(LABELS)


@pytest.mark.parametrize(
    ("suffix", "shape"), [("onnx", (1, 3, 32, 48)), ("tflite", (1, 32, 48, 3))]
)
def test_what_was_written_is_told(suffix, shape, tmp_path):
    path = written(tmp_path / "model.npz", mobilenet_v2(0.1, (32, 48), 5, divisor=4))
    out = exported(path, suffix)
    made = export(path, out)
    assert made.input == shape
    assert (made.input_dtype, made.weights, made.output) == ("float32", "float32", (1, 5))
    assert made.file_bytes == out.stat().st_size
    assert "(pixel - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)" in made.feed
    assert str(shape) in str(made)
    assert export(path, out, dynamic_batch=True).input == ("N", *shape[1:])


@formats
def test_equal_files_make_equal_bytes(suffix, small_model, tmp_path):
    path = small_model(labels=LABELS)
    first = exported(path, suffix).read_bytes()
    assert exported(path, suffix).read_bytes() == first


def test_buffers_are_aligned(small_model):
    """The schema demands 16 bytes, and runtimes read where the file is mapped."""
    pytest.importorskip("tflite", reason="needs the package tflite")
    content = exported(small_model(), "tflite").read_bytes()
    model = import_module("tflite").Model.GetRootAs(content, 0)
    starts = [
        model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert len(starts) > 100
    assert {start % 16 for start in starts} == {0}


# What is refused


@pytest.mark.parametrize("name", ["out.pb", "out", "out.npz", ".onnx"])
def test_another_ending_is_refused(name, small_model, tmp_path):
    with pytest.raises(InputError, match=r"expected a name that ends in \.onnx or \.tflite"):
        export(small_model(), tmp_path / name)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["small.npz"]


def test_an_ending_may_be_in_capitals(small_model, tmp_path):
    pytest.importorskip("onnx", reason="needs the package onnx")
    assert export(small_model(), tmp_path / "OUT.ONNX").format == "ONNX, opset 13"


@formats
def test_a_missing_package_is_named(suffix, small_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, suffix, None)
    out = tmp_path / f"out.{suffix}"
    with pytest.raises(MissingExtraError, match=rf'pip install "mnv2-engine\[{suffix}\]"'):
        export(small_model(), out)
    assert not out.exists()


def test_what_is_no_path_is_refused(small_model):
    with pytest.raises(InputError, match="output path: got int, expected a str"):
        export(small_model(), 3)  # type: ignore[arg-type]


@formats
def test_the_model_file_is_not_replaced(suffix, small_model, tmp_path):
    path = small_model(name=f"model.{suffix}")
    before = path.read_bytes()
    with pytest.raises(InputError, match="is the model file itself"):
        export(path, path)
    assert path.read_bytes() == before


def test_damaged_weights_are_not_passed_on(small_model, tmp_path):
    path = small_model()
    with open_model(path) as model:
        offset = model.tensors["head.weight"].offset
    content = bytearray(path.read_bytes())
    content[offset + 3] ^= 0x41
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"head\.weight"):
        export(path, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


@formats
def test_a_folder_that_is_not_there(suffix, small_model, tmp_path):
    pytest.importorskip(suffix, reason=f"needs the package {suffix}")
    with pytest.raises(MnvError, match="cannot be written"):
        export(small_model(), tmp_path / "absent" / f"out.{suffix}")


# The command


@formats
def test_the_command(suffix, small_model, tmp_path, capsys):
    pytest.importorskip(suffix, reason=f"needs the package {suffix}")
    path, out = str(small_model()), tmp_path / f"out.{suffix}"
    assert main(["export", path, str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: mobilenet_v2_0.1_32, ")
    assert f"{out.stat().st_size:,} bytes" in said.out
    assert "(pixel - 127.5) / 127.5" in said.out
    assert not said.err

    before = out.read_bytes()
    assert main(["export", path, str(out)]) == 2
    assert "exists already; give --force to replace it" in capsys.readouterr().err
    assert main(["export", path, str(out), "--force", "--json", "--dynamic-batch"]) == 0
    assert json.loads(capsys.readouterr().out)["input"][0] == "N"
    assert out.read_bytes() != before


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_command_keeps_its_source(force, small_model, capsys):
    path = str(small_model(name="model.onnx"))
    assert main(["export", path, path, *force]) == 2
    assert "is the model file itself; choose another OUT" in capsys.readouterr().err


def test_the_command_names_a_missing_extra(small_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", str(small_model()), str(tmp_path / "out.onnx")]) == 2
    assert 'writing an .onnx file needs onnx, which is not installed; run: pip install "mnv2-' in (
        capsys.readouterr().err
    )
