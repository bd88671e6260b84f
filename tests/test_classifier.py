"""A classifier of 16 or 8 bits in a float32 file: its layout, its kernels, and what tells of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from native_network import FMA_ISAS, SUPPORTED_ISAS, NativeNetwork, image, oracle, relative_error

from mnv2_engine import Engine
from mnv2_engine.cli import main
from mnv2_engine.errors import CheckpointError, InputError, ModelFileError
from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.export import export
from mnv2_engine.model import meta
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.members import pack, packed_members, unpack
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.model.packed import CLASSIFIERS, DTYPES, classifier_dtype
from mnv2_engine.network.families import (
    BlockShape,
    efficientnet_lite,
    inverted_residuals,
    mobilenet_v2,
)
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.quantize import narrow_classifier

MIXED = [dtype for dtype in DTYPES if classifier_dtype(dtype)]
BLOCK = BlockShape(hidden=16, channels=8, stride=2, kernel=3, expands=True)


def written(path: Path, network: Any, dtype: str = "float32", seed: int = 0) -> Path:
    weights = make_weights(network, seed=seed)
    write_model(path, network, weights, PRESETS["tf"], None, {}, dtype=dtype)
    return path


def pixels_of(network: Any, count: int = 2) -> Any:
    shape = (count, *network.resolution, 3)
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


# Layout and rounding


def test_the_dtypes_say_what_the_classifier_is():
    assert [f"float32+{each}" for each in CLASSIFIERS] == MIXED
    assert [classifier_dtype(dtype) for dtype in MIXED] == list(CLASSIFIERS)
    assert classifier_dtype("int8") is classifier_dtype("float32") is None


@pytest.mark.parametrize("dtype", MIXED)
def test_only_the_classifier_differs_from_a_float32_file(dtype):
    network = mobilenet_v2(0.1, 32, 37, divisor=1)
    weights = make_weights(network)
    packed, whole = pack(network, weights, dtype), pack(network, weights)
    members = packed_members(network, dtype)
    assert set(packed) == set(members)
    assert list(members)[:-2] == list(packed_members(network))[:-2]
    for name, member in members.items():
        assert (packed[name].shape, packed[name].dtype) == (member.shape, np.dtype(member.descr))
        if not name.startswith("classifier."):
            np.testing.assert_array_equal(packed[name], whole[name])
    back = unpack(network, packed, dtype)
    np.testing.assert_array_equal(back["classifier.bias"], weights["classifier.bias"])
    if dtype != "float32+int8":
        rounded = unpack(network, pack(network, weights, classifier_dtype(dtype)), dtype[8:])
        np.testing.assert_array_equal(back["classifier.weight"], rounded["classifier.weight"])


@settings(max_examples=100)
@given(st.data())
def test_eight_bits_round_each_output_to_a_127th_of_its_largest_weight(data):
    classes, size = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([1e-6, 1.0, 300.0]))
    network = inverted_residuals("numbers", 8, 8, [BLOCK], 24, [classes])
    weights = make_weights(network, seed=data.draw(st.integers(0, 99)))
    weights["classifier.weight"] *= np.float32(size)
    if data.draw(st.booleans()):
        weights["classifier.weight"][0] = 0
    packed = pack(network, weights, "float32+int8")
    o, k = data.draw(st.integers(0, classes - 1)), data.draw(st.integers(0, network.features - 1))
    q = int(packed["classifier.weight"][o // 16, k, o % 16])
    scale, bias = packed["classifier.dequantise"][o // 16, :, o % 16].astype(np.float64)
    row = weights["classifier.weight"][o].astype(np.float64)
    assert scale == pytest.approx(np.abs(row).max() / 127, rel=1e-6)
    assert abs(q * scale - row[k]) <= scale * 0.50001
    assert bias == weights["classifier.bias"][o]
    behind = packed["classifier.weight"].transpose(0, 2, 1).reshape(-1, network.features)[classes:]
    assert not behind.any()


def test_a_network_without_a_classifier_is_refused(tmp_path):
    network = inverted_residuals("bare", 8, 8, [BLOCK], 24, [])
    with pytest.raises(InputError, match=r"no dense layer.*leave the option out"):
        pack(network, make_weights(network), "float32+int8")
    text = meta.encode(network, PRESETS["tf"], None, {}).decode()
    with pytest.raises(ModelFileError, match=r"float32\+int8.*no classifier"):
        meta.decode(text.replace('"dtype": "float32"', '"dtype": "float32+int8"').encode())


def test_sixteen_bits_refuse_what_they_do_not_hold():
    network = small_network()
    weights = make_weights(network)
    weights["classifier.weight"][0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"classifier\.weight holds 1e\+06.*float16"):
        pack(network, weights, "float32+float16")


@pytest.mark.parametrize("dtype", MIXED)
def test_a_file_says_so_and_verifies(dtype, tmp_path):
    network = mobilenet_v2(0.35, 32, 1000)
    path = written(tmp_path / "m.npz", network, dtype)
    whole = written(tmp_path / "whole.npz", network)
    with open_model(path) as model, open_model(whole) as large:
        assert (model.dtype, model.mapped) == (dtype, True)
        assert model.weight_bytes == make_plan(network, dtype=dtype).weight_bytes
        model.verify()
        saved = large.weight_bytes - model.weight_bytes
    values = network.features * 1008
    assert saved == {2: 2 * values, 3: 3 * values - 4 * 1008}[2 + (dtype == "float32+int8")]
    with Engine.load(path) as engine:
        assert engine.info.dtype == dtype
        assert engine.info.precision == "float32"
        assert engine.memory_plan().arena_bytes == make_plan(network, cpu=cpu_family()).arena_bytes


def test_verify_finds_infinity_in_a_classifier(tmp_path, monkeypatch):
    from mnv2_engine.model import packing_classifier

    narrow = packing_classifier.narrow

    def spoilt(*arguments: Any) -> dict[str, Any]:
        made = narrow(*arguments)
        spot = "classifier.dequantise" if arguments[2] == "int8" else "classifier.weight"
        made[spot].flat[5] = {"bfloat16": 0x7F80}.get(arguments[2], np.inf)
        return made

    monkeypatch.setattr(packing_classifier, "narrow", spoilt)
    for dtype in MIXED:
        path = written(tmp_path / "m.npz", small_network(), dtype)
        with open_model(path) as model, pytest.raises(ModelFileError, match=r"'classifier\..*inf"):
            model.verify()


# Kernels


@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
@pytest.mark.parametrize("dtype", MIXED)
@pytest.mark.parametrize("head", [[37], [1000], [20, 5]], ids=str)
@pytest.mark.parametrize("features", [29, 64])
def test_logits_are_those_of_float64(isa, dtype, head, features):
    network = inverted_residuals("any", 16, 8, [BLOCK], features, head)
    weights, x = make_weights(network, seed=3), image(network)
    wide = unpack(network, pack(network, weights, dtype), dtype)
    plans = [make_plan(network, threads, "float32", dtype) for threads in (1, 3)]
    found, pooled = NativeNetwork(network, weights, isa, plans[0])(x)
    expected, _ = oracle(network, wide, x)
    assert relative_error(found, expected) < 2e-6
    if not dtype.endswith("int8"):  # one chain, as of float32
        whole, _ = NativeNetwork(network, wide, isa)(x)
        np.testing.assert_array_equal(found, whole)
    shared, _ = NativeNetwork(network, weights, isa, plans[1])(x)
    np.testing.assert_array_equal(shared, found)
    assert pooled.shape == (network.features,)


@pytest.mark.skipif(len(FMA_ISAS) < 2, reason="needs two instruction sets with FMA")
@pytest.mark.parametrize("dtype", MIXED)
def test_instruction_sets_with_fma_give_the_same_bits(dtype):
    network = mobilenet_v2(0.35, 32, 50)
    plan, weights, x = make_plan(network, 1, "float32", dtype), make_weights(network), None
    x = image(network)
    first, *others = (NativeNetwork(network, weights, isa, plan)(x)[0] for isa in FMA_ISAS)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_the_core_refuses_what_is_stored_as_nothing_can_be(tmp_path):
    network = small_network()
    executor = NativeNetwork(network, make_weights(network), SUPPORTED_ISAS[-1]).executor
    lib, built, why = executor._lib, executor._plan, executor._ffi.new("const char **")
    logits = np.zeros(network.classes, np.float32)
    for stored in (-1, lib.MNV2_BFLOAT16, lib.MNV2_PRECISIONS):
        built.dense[0].stored = stored
        assert lib.mnv2_check_plan(executor._isa, built, why) == lib.MNV2_BAD_PLAN
        assert b"stored" in executor._ffi.string(why[0])
        with pytest.raises(Exception, match="refused the plan"):
            executor.run(np.zeros((*network.resolution, 3), np.uint8), False, logits=logits)
    built.dense[0].stored = lib.MNV2_INT8  # whose scales are twice as many numbers as biases
    built.weight_bytes = built.dense[0].bias + 4 * 16
    assert lib.mnv2_check_plan(executor._isa, built, why) == lib.MNV2_BAD_PLAN
    assert b"dense layer's weights" in executor._ffi.string(why[0])


# Everyone else


@pytest.mark.parametrize("dtype", MIXED)
def test_numpy_agrees(dtype, tmp_path):
    network = efficientnet_lite(0, 32, 10)
    path, x = written(tmp_path / "m.npz", network, dtype), pixels_of(network)
    with Engine.load(path) as engine, Engine.load(path, backend="numpy") as slow:
        np.testing.assert_allclose(engine.logits(x), slow.logits(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", MIXED)
def test_numba_runs_the_widened_weights(dtype, tmp_path, pytestconfig):
    pytest.importorskip("numba", reason="needs the extra jit")
    from mnv2_engine.executors.jit.floats import _weights

    network = small_network()
    path, x = written(tmp_path / "m.npz", network, dtype), pixels_of(network)
    with open_model(path) as model:
        flat, places = _weights(model, make_plan(network, dtype=dtype))
        wide = pack(network, model.weights())
        for name, array in wide.items():
            part = flat[places[name] : places[name] + array.size]
            np.testing.assert_array_equal(part, array.ravel())
    if pytestconfig.getoption("--every"):  # compiles for seconds
        with Engine.load(path) as engine, Engine.load(path, backend="numba") as other:
            np.testing.assert_allclose(engine.logits(x), other.logits(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", MIXED)
def test_exports_hold_the_widened_weights(dtype, tmp_path):
    network = small_network()
    path = written(tmp_path / "narrow.npz", network, dtype)
    with open_model(path) as model:
        write_model(tmp_path / "wide.npz", network, model.weights(), PRESETS["tf"], None, {})
    made = {}
    for name in ("narrow", "wide"):
        folder = tmp_path / name
        folder.mkdir()
        export(tmp_path / f"{name}.npz", folder / "m.onnx")
        export(tmp_path / f"{name}.npz", folder / "m.tflite")
        made[name] = [(folder / f"m.{end}").read_bytes() for end in ("onnx", "tflite")]
    assert made["narrow"] == made["wide"]
    export(path, tmp_path / "m.c", include_weights=False)
    text = (tmp_path / "m.c").read_text()
    stored = {"float16": 1, "bfloat16": 2, "int8": 4}[dtype[8:]]
    assert f".stored = {stored}," in text


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_command_narrows_and_measures(classifier, tmp_path, capsys):
    network = mobilenet_v2(0.35, 32, 30)
    path, out = written(tmp_path / "m.npz", network), tmp_path / "out.npz"
    np.save(tmp_path / "x.npy", pixels_of(network, 4))
    from PIL import Image

    for i, pixels in enumerate(pixels_of(network, 4)):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    given = [str(tmp_path / f"{i}.png") for i in range(4)]
    command = ["quantize", str(path), str(out), "--classifier", classifier]
    assert main([*command, "--json", "--calibrate", *given]) == 0
    said = json.loads(capsys.readouterr().out)
    with Engine.load(path) as whole, Engine.load(out) as narrow:
        assert narrow.info.dtype == f"float32+{classifier}"
        assert narrow.info.provenance["quantisation"] == f"classifier {classifier}"
        was, now = (engine.logits(pixels_of(network, 4)) for engine in (whole, narrow))
    apart = np.abs(was.astype(np.float64) - now)
    assert 0 < said["mean_error"] == pytest.approx(apart.mean())
    assert said["largest_error"] == pytest.approx(apart.max())
    assert said["argmax"] == (was.argmax(1) == now.argmax(1)).mean()
    assert (said["images"], said["file_bytes"]) == (4, out.stat().st_size)
    assert main([*command, "--force"]) == 0
    assert "the error was not measured" in capsys.readouterr().out


def test_what_cannot_be_narrowed_is_refused(tmp_path, capsys):
    network = small_network()
    half = written(tmp_path / "half.npz", network, "float16")
    with pytest.raises(InputError, match=r"has float16 weights.*made of"):
        narrow_classifier(half, tmp_path / "out.npz", "int8")
    whole = written(tmp_path / "whole.npz", network)
    with pytest.raises(InputError, match=r"'int4'.*float16, bfloat16, int8"):
        narrow_classifier(whole, tmp_path / "out.npz", "int4")
    with pytest.raises(InputError, match="the model itself"):
        narrow_classifier(whole, whole, "int8")
    files = [str(whole), str(tmp_path / "out.npz")]
    assert main(["quantize", *files, "--classifier", "int8", "--method", "mse"]) != 0
    assert "--method is for int8 networks" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def test_convert_narrows_the_classifier_alone(tmp_path, capsys):
    network = mobilenet_v2(0.35, 48, 6)
    np.savez(tmp_path / "weights.npz", **make_weights(network))
    command = ["convert", str(tmp_path / "weights.npz"), str(tmp_path / "out.npz")]
    command += ["--padding", "same", "--preprocess", "tf", "--labels", "none"]
    command += ["--resolution", "48", "--classifier", "int8"]
    assert main([*command, "--weights", "float16"]) != 0
    assert "leave one of the options out" in capsys.readouterr().err
    assert main(command) == 0
    assert "mnv2 quantize --classifier" in capsys.readouterr().err
    with open_model(tmp_path / "out.npz") as model:
        assert model.dtype == "float32+int8"
