"""Arithmetic in bfloat16: against an emulation in NumPy, the oracle, and the float32 kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from native_network import BFLOAT16_ISAS, NativeNetwork, image, oracle, relative_error
from test_half import rounded
from test_native import any_network

from mnv2_engine import Engine
from mnv2_engine.cli.machine import machine
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors import backends, native, reference
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.model.packing_half import from_bfloat16, to_bfloat16
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan

needs_it = pytest.mark.skipif(not BFLOAT16_ISAS, reason="needs a CPU with AVX512_BF16")

# Of the largest logit or feature: where sums differ in their last bits, a value now and then
# rounds to the neighbour, which is 1/256 off, and later layers average that.
CLOSE = 5e-3
# Against float64 without rounding of activations: 18 to 52 layers of 1/512 each.
FAR = 0.06


def to_nearest(x: Any) -> Any:
    """`x` rounded to bfloat16."""
    return from_bfloat16(to_bfloat16(x.astype(np.float32))).astype(np.float64)


def emulation(
    network: Network, weights: dict[str, Any], x: Any
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits and features as docs/bfloat16.md says: pixels, filtered and thin values rounded, all
    between exact."""
    table = {layer.name: layer for layer in network.weighted}
    exact = rounded(network, weights, "bfloat16")

    def apply(name: str, x: Any) -> Any:
        layer = table[name]
        weight = exact[f"{name}.weight"].astype(np.float64)
        y = reference._OPERATIONS[layer.operation](layer, weight, x) + exact[f"{name}.bias"]
        return reference.activated(layer.activation, y)

    y = apply("stem", to_nearest(x[np.newaxis]))
    for i, block in enumerate(match(network).blocks):
        shortcut = to_nearest(y) if i == 0 else y
        if f"block{i}.expand" in table:
            y = apply(f"block{i}.expand", y)
        y = apply(f"block{i}.project", to_nearest(apply(f"block{i}.depthwise", y)))
        y = to_nearest(y + shortcut if block.residual else y)
    features = apply("head", y).mean(axis=(1, 2))
    return apply("classifier", features)[0], features[0]


def computed(
    network: Network, weights: dict[str, Any], x: Any, threads: int = 1
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    plan = make_plan(network, threads, "bfloat16")
    return NativeNetwork(network, weights, BFLOAT16_ISAS[0], plan)(x)


@needs_it
@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", [32, 97, (128, 160)])
@pytest.mark.parametrize("width", [0.1, 0.35, 0.75, 1.0, 1.4])
def test_every_width_and_size_agrees_with_the_emulation(width, size, padding):
    network = mobilenet_v2(width, size, 20, padding, divisor=4 if width == 0.1 else 8)
    weights, x = make_weights(network, seed=1), image(network)
    truth = oracle(network, rounded(network, weights, "bfloat16"), x)
    answers = computed(network, weights, x)
    for found, close, true in zip(answers, emulation(network, weights, x), truth, strict=True):
        assert relative_error(found, close) <= CLOSE * 3
        assert relative_error(found, true) <= FAR


@needs_it
@pytest.mark.parametrize("variant", range(3))
def test_kernels_of_five_too(variant):
    network = efficientnet_lite(variant, resolution=(64, 76), classes=10)
    weights, x = make_weights(network, seed=variant), image(network)
    for found, close in zip(
        computed(network, weights, x), emulation(network, weights, x), strict=True
    ):
        assert relative_error(found, close) <= CLOSE * 3


@needs_it
@settings(max_examples=120, deadline=None)
@given(network=any_network(), seed=st.integers(0, 1000))
def test_any_channels_strides_and_sizes_agree_with_the_emulation(network, seed):
    weights, x = make_weights(network, seed), image(network, seed)
    for found, close in zip(
        computed(network, weights, x), emulation(network, weights, x), strict=True
    ):
        assert np.abs(found - close).max() <= CLOSE * 6 * max(1.0, np.abs(close).max())


@needs_it
@settings(max_examples=40, deadline=None)
@given(network=any_network(), threads=st.integers(2, 5))
def test_threads_change_no_bit(network, threads):
    weights, x = make_weights(network), image(network)
    alone = computed(network, weights, x)
    for one, several in zip(alone, computed(network, weights, x, threads), strict=True):
        np.testing.assert_array_equal(several, one)


@needs_it
def test_schedules_change_no_bit(monkeypatch):
    from mnv2_engine.plan import planner, schedules

    network = mobilenet_v2(0.5, 96, 10)
    weights, x = make_weights(network), image(network)
    expected = computed(network, weights, x)
    plans = {make_plan(network, 1, "bfloat16")}
    for strips, tiles, longest in (((14,), (32,), 6), ((28,), (64,), 1), ((112,), (192,), 2)):
        monkeypatch.setitem(schedules.STRIP_PIXELS, "bfloat16", strips)
        monkeypatch.setattr(schedules, "TILE_CHANNELS", tiles)
        monkeypatch.setattr(schedules, "LONGEST_CASCADE", longest)
        monkeypatch.setattr(planner, "ROOM", longest)
        plans.add(make_plan(network, 1, "bfloat16"))
        for found, one in zip(computed(network, weights, x), expected, strict=True):
            np.testing.assert_array_equal(found, one)
    assert len(plans) == 4


def test_the_plan_counts_two_bytes_a_thin_value():
    network = mobilenet_v2(1.0, 224)
    half, whole = make_plan(network, precision="bfloat16"), make_plan(network)
    assert half.arena_bytes < 0.85 * whole.arena_bytes
    assert 0.49 < half.weight_bytes / whole.weight_bytes < 0.52
    assert half.unfused_bytes == whole.unfused_bytes / 2
    for step in half.steps:
        sums = [buffer for buffer in step.scratch if buffer.name == "sums"]
        hidden = match(network).blocks[step.blocks[0]].hidden if step.blocks else 0
        assert len(sums) == (step.kind == "tiles" and step.tile < hidden)
    assert "bfloat16" in str(half)


# From the outside


def _write(path: Path, network: Network, dtype: str) -> Path:
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {}, dtype=dtype)
    return path


@needs_it
def test_it_is_an_explicit_choice(tmp_path):
    path = _write(tmp_path / "model.npz", mobilenet_v2(0.35, 96, 10), "bfloat16")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    with (
        Engine.load(path) as exact,
        Engine.load(path, precision="float32") as same,
        Engine.load(path, precision="bfloat16") as fast,
        Engine.load(path, precision="bfloat16", threads=2) as together,
    ):
        assert exact.info.precision == same.info.precision == "float32"
        assert fast.info.precision == "bfloat16"
        assert fast.info.isa in BFLOAT16_ISAS
        assert "precision     bfloat16" in str(fast.info)
        assert fast.memory_plan().arena_bytes < exact.memory_plan().arena_bytes
        expected = exact.logits(pixels)
        np.testing.assert_array_equal(same.logits(pixels), expected)
        found = fast.logits(pixels)
        assert 0 < relative_error(found, expected) <= FAR
        np.testing.assert_array_equal(together.logits(pixels), found)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_other_weights_are_refused(dtype, tmp_path):
    path = _write(tmp_path / "model.npz", small_network(), dtype)
    with pytest.raises(UnsupportedError, match=rf"{dtype} weights.*--weights bfloat16"):
        Engine.load(path, precision="bfloat16")
    with pytest.raises(UnsupportedError, match=rf"'int8'.*{dtype} weights.*leave it out"):
        Engine.load(path, precision="int8")
    with pytest.raises(InputError, match=r"'float64'.*float32, bfloat16, int8, fastest"):
        Engine.load(path, precision="float64")


def test_other_backends_and_instruction_sets_are_refused(tmp_path, monkeypatch):
    path = _write(tmp_path / "model.npz", small_network(), "bfloat16")
    with pytest.raises(UnsupportedError, match="numpy backend computes in float32"):
        Engine.load(path, precision="bfloat16", backend="numpy")
    monkeypatch.setenv("MNV2_ISA", "baseline")
    with pytest.raises(UnsupportedError, match="'baseline': it does not compute in bfloat16"):
        Engine.load(path, precision="bfloat16")


def test_a_cpu_without_it_is_told_what_it_lacks(tmp_path, monkeypatch):
    path = _write(tmp_path / "model.npz", small_network(), "bfloat16")
    every = native._built_isas

    def fewer(ffi: Any, lib: Any) -> dict[str, Any]:
        absent = ("avx512amx", "avx512bf16")
        return {name: isa for name, isa in every(ffi, lib).items() if name not in absent}

    monkeypatch.delenv("MNV2_ISA", raising=False)
    monkeypatch.setattr(native, "_built_isas", fewer)
    with pytest.raises(
        UnsupportedError, match=r"'bfloat16': this CPU has none .*; leave the precision"
    ):
        Engine.load(path, precision="bfloat16")


@needs_it
def test_the_fastest_is_bfloat16_where_it_is_not_slow(tmp_path, monkeypatch, caplog):
    path = _write(tmp_path / "model.npz", small_network(), "bfloat16")
    from mnv2_engine import _core

    class OtherMake:
        """The C core on a CPU whose bfloat16 is slow, or is not."""

        def __init__(self, slow: bool) -> None:
            self.slow = slow

        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def mnv2_isa_slow(self, isa: Any, precision: int) -> int:
            return int(self.slow and precision == lib.MNV2_BFLOAT16)

    lib = _core.lib
    for slow, expected in ((False, "bfloat16"), (True, "float32")):
        monkeypatch.setattr(_core, "lib", OtherMake(slow))
        monkeypatch.setattr(backends, "_said", set())
        caplog.clear()
        for _ in range(2):
            with Engine.load(path, precision="fastest") as engine:
                assert engine.info.precision == expected
        assert not caplog.records
        for _ in range(2):
            Engine.load(path, precision="bfloat16").close()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == slow
        assert all("this CPU computes float32 faster" in text for text in said)
        assert machine().slow == (["bfloat16"] if slow else [])
        assert ("slow          bfloat16: this CPU" in str(machine())) == slow
    monkeypatch.setenv("MNV2_ISA", "baseline")
    assert Engine.load(path, precision="fastest").info.precision == "float32"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_fastest_of_other_weights_is_their_own(dtype, tmp_path):
    path = _write(tmp_path / "model.npz", small_network(), dtype)
    assert Engine.load(path, precision="fastest").info.precision == "float32"
    assert Engine.load(path, precision="fastest", backend="numpy").info.precision == "float32"


@needs_it
def test_photographs(shared, tmp_path):
    """The same first answers as float32, but for what is close to a tie."""
    from mnv2_engine.convert import convert

    path = tmp_path / "model.npz"
    source = shared / "checkpoints" / "mobilenet_v2_1.0_224_tfslim_fp32.npz"
    options: dict[str, Any] = {"padding": "same", "preprocess": "tf", "labels": "imagenet"}
    convert(source, path, weights="bfloat16", **options)
    with np.load(shared / "images" / "references.npz") as file:
        pixels, expected = file["pixels"], file["tfslim_fp32"]
    with Engine.load(path, precision="bfloat16") as engine:
        logits = engine.logits(pixels)
    assert np.abs(logits - expected).max() <= FAR * np.abs(expected).max()
    same = (logits.argmax(1) == expected.argmax(1)).sum()
    assert same >= len(pixels) - 1
