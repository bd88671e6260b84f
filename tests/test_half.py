"""Weights of 16 bits: rounding, layout, and kernels that compute what float32 ones do."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from native_network import FMA_ISAS, SUPPORTED_ISAS, NativeNetwork, image
from test_native import any_network

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.errors import CheckpointError, InputError, ModelFileError
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.members import pack, packed_members, unpack
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.model.packing_half import from_bfloat16, is_finite, to_bfloat16
from mnv2_engine.network.families import (
    BlockShape,
    efficientnet_lite,
    inverted_residuals,
    mobilenet_v2,
)
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan

HALVES = ("float16", "bfloat16")


def rounded(network: Network, weights: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Canonical weights as a `dtype` file holds them."""
    return unpack(network, pack(network, weights, dtype), dtype)


# Rounding

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(finite.filter(lambda x: abs(x) < 3.3e38))
def test_bfloat16_is_the_nearest_number_of_eight_digits_and_ties_go_to_even(x):
    bits = to_bfloat16(np.array([x], np.float32))
    found = float(from_bfloat16(bits)[0])
    below, above = (float(from_bfloat16(bits + np.uint16(step))[0]) for step in (0xFFFF, 1))
    for other in (below, above):
        if math.isfinite(other) and (other == 0) == (found == 0):
            assert abs(found - x) <= abs(other - x)
            if abs(found - x) == abs(other - x):
                assert bits[0] % 2 == 0
    exact = struct.unpack("<f", struct.pack("<I", int(bits[0]) << 16))[0]
    assert found == exact
    assert math.copysign(1, found) == math.copysign(1, x)


def test_every_bfloat16_number_survives():
    bits = np.arange(1 << 16, dtype=np.uint16)
    numbers = bits[[is_finite(each) for each in bits[:, np.newaxis]]]
    assert len(numbers) == 2 * 255 * 128
    np.testing.assert_array_equal(to_bfloat16(from_bfloat16(numbers)), numbers)


@pytest.mark.parametrize(
    ("dtype", "value", "limit"),
    [("float16", 65520.0, "65504"), ("bfloat16", np.finfo(np.float32).max, "3.39e")],
)
def test_a_weight_that_would_become_infinite_is_refused(dtype, value, limit):
    network = small_network()
    weights = make_weights(network)
    weights["head.weight"][3, 2] = -value
    with pytest.raises(CheckpointError, match=rf"head\.weight holds .*{dtype}.*{limit}.*float32"):
        pack(network, weights, dtype)


# Layout and file


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "network",
    [mobilenet_v2(0.1, 32, 17, "symmetric", divisor=1), efficientnet_lite(0, 32, 10)],
    ids=lambda network: network.name,
)
def test_packed_members_are_what_the_layout_says(network, dtype):
    packed = pack(network, make_weights(network), dtype)
    members = packed_members(network, dtype)
    assert list(packed) == list(members)
    for name, array in packed.items():
        assert (array.shape, array.dtype) == (members[name].shape, np.dtype(members[name].descr))
        assert array.flags.c_contiguous
        assert array.nbytes == members[name].size
        whole = name.endswith(".bias") or ".depthwise." in name
        assert (array.dtype == np.float32) == whole


@pytest.fixture(scope="module")
def packed_pairs() -> Any:
    network = mobilenet_v2(0.1, 32, 17, "symmetric", divisor=1)
    weights = make_weights(network, seed=4)
    return network, weights, pack(network, weights, "bfloat16"), pack(network, weights)


@settings(max_examples=200)
@given(data=st.data())
def test_every_pair_lies_where_the_layout_says(packed_pairs, data):
    """Input channels 2 j and 2 j + 1 of output o: panel o // 16, pair j, lane o % 16."""
    network, weights, packed, wide = packed_pairs
    layer = data.draw(st.sampled_from(network.weighted))
    member = packed[f"{layer.name}.weight"]
    weight = to_bfloat16(weights[f"{layer.name}.weight"])
    o = data.draw(st.integers(0, layer.out_channels - 1))
    ky, kx = (data.draw(st.integers(0, layer.kernel - 1)) for _ in range(2))
    if layer.operation == "depthwise":
        np.testing.assert_array_equal(member, wide[f"{layer.name}.weight"])
        return
    i = data.draw(st.integers(0, layer.in_channels - 1))
    canonical = weight[o, i] if weight.ndim == 2 else weight[o, i, ky, kx]
    row = kx * layer.in_channels + i  # within its row of the kernel
    pairs = member.shape[1] // layer.kernel  # of such a row
    assert member[o // 16, ky * pairs + row // 2, o % 16, row % 2] == canonical
    if layer.in_channels * layer.kernel % 2:
        assert not member[o // 16, ky * pairs + pairs - 1, :, 1].any()


@pytest.mark.parametrize("dtype", HALVES)
def test_a_file_of_16_bits_is_half_the_size_and_reads_as_float32(dtype, tmp_path):
    network = mobilenet_v2(0.35, 96, 1000)
    weights = make_weights(network)
    paths = {}
    for each in ("float32", dtype):
        paths[each] = tmp_path / f"{each}.npz"
        write_model(paths[each], network, weights, PRESETS["tf"], None, {}, dtype=each)
    assert paths[dtype].stat().st_size < 0.52 * paths["float32"].stat().st_size
    with open_model(paths[dtype]) as model:
        assert model.dtype == dtype
        assert model.mapped
        assert model.weight_bytes == make_plan(network, dtype=dtype).weight_bytes
        model.verify()
        again = model.weights()
    expected = rounded(network, weights, dtype)
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    for name, array in weights.items():
        assert again[name].dtype == np.float32
        np.testing.assert_array_equal(again[name], expected[name])
        if name.endswith(".bias") or ".depthwise." in name:
            np.testing.assert_array_equal(again[name], array)
        else:
            np.testing.assert_allclose(again[name], array, rtol=unit, atol=2.0**-25)


@pytest.mark.parametrize("dtype", HALVES)
def test_verify_finds_infinity(dtype, tmp_path, monkeypatch):
    from mnv2_engine.model import packing_half

    infinity = {"float16": np.float16(np.inf), "bfloat16": np.uint16(0x7F80)}[dtype]
    narrow = packing_half.narrow

    def spoilt(*arguments: Any) -> dict[str, Any]:
        made = narrow(*arguments)
        made["head.weight"].flat[5] = infinity
        return made

    monkeypatch.setattr(packing_half, "narrow", spoilt)
    network, path = small_network(), tmp_path / "model.npz"
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {}, dtype=dtype)
    with open_model(path) as model, pytest.raises(ModelFileError, match=r"head\.weight.*infinity"):
        model.verify()


def test_other_types_of_weights_are_refused(tmp_path):
    network = small_network()
    with pytest.raises(InputError, match=r"'float8'.*float32, float16, bfloat16"):
        write_model(
            tmp_path / "m.npz",
            network,
            make_weights(network),
            PRESETS["tf"],
            None,
            {},
            None,
            "float8",
        )
    with pytest.raises(InputError, match=r"weights 'int4'.*float32.*bfloat16"):
        convert(tmp_path / "absent.npz", tmp_path / "m.npz", weights="int4")


# Kernels


def _same_bits(network: Network, weights: dict[str, Any], dtype: str, x: Any) -> None:
    wide = rounded(network, weights, dtype)
    for isa in SUPPORTED_ISAS:
        plan = make_plan(network, 1, "float32", dtype)
        narrow = NativeNetwork(network, weights, isa, plan)(x)
        for found, expected in zip(narrow, NativeNetwork(network, wide, isa)(x), strict=True):
            np.testing.assert_array_equal(found, expected, isa)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    ("width", "size", "padding"),
    [(0.1, 97, "same"), (0.35, 96, "symmetric"), (1.0, (96, 61), "same"), (1.4, 32, "symmetric")],
)
def test_weights_of_16_bits_give_the_bits_of_a_float32_file_of_them(width, size, padding, dtype):
    network = mobilenet_v2(width, size, 20, padding, divisor=4 if width == 0.1 else 8)
    _same_bits(network, make_weights(network, seed=1), dtype, image(network))


@pytest.mark.parametrize("dtype", HALVES)
def test_kernels_of_five_too(dtype):
    network = efficientnet_lite(0, (64, 76), 10)
    _same_bits(network, make_weights(network), dtype, image(network))


@settings(max_examples=60, deadline=None)
@given(network=any_network(), seed=st.integers(0, 1000), dtype=st.sampled_from(HALVES))
def test_any_channels_give_the_bits_of_a_float32_file(network, seed, dtype):
    _same_bits(network, make_weights(network, seed), dtype, image(network, seed))


@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
def test_every_finite_float16_weight_is_made_float32_exactly(isa):
    """Denormal ones and both zeros too: the classifier's weights times features of one."""
    block = BlockShape(hidden=16, channels=8, stride=2, kernel=3, expands=True)
    network = inverted_residuals("numbers", 8, 8, [block], 64, [4096])
    weights = make_weights(network)
    weights["head.weight"][:] = 0
    weights["head.bias"][:] = 1
    weights["classifier.bias"][:] = 0
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    numbers = numbers[np.isfinite(numbers)].astype(np.float32)
    channels, classes = network.features, network.classes
    for start in range(0, len(numbers), classes):
        some = numbers[start : start + classes]
        weight = np.zeros((classes, channels), np.float32)
        weight[np.arange(len(some)), np.arange(len(some)) % channels] = some
        weights["classifier.weight"] = weight
        plan = make_plan(network, 1, "float32", "float16")
        logits, _ = NativeNetwork(network, weights, isa, plan)(image(network))
        np.testing.assert_array_equal(logits[: len(some)], some)


@pytest.mark.skipif(len(FMA_ISAS) < 2, reason="needs two instruction sets with FMA")
@pytest.mark.parametrize("dtype", HALVES)
def test_instruction_sets_with_fma_give_the_same_bits(dtype):
    network = mobilenet_v2(0.5, 64, 10)
    plan = make_plan(network, 1, "float32", dtype)
    weights, x = make_weights(network), image(network)
    first, *others = (NativeNetwork(network, weights, isa, plan)(x)[0] for isa in FMA_ISAS)
    for other in others:
        np.testing.assert_array_equal(other, first)


# From the outside


@pytest.mark.parametrize("dtype", HALVES)
def test_convert_and_the_numpy_backend(dtype, tmp_path, small_model: Callable[..., Path]):
    network = mobilenet_v2(0.35, 48, 6)
    weights = make_weights(network)
    np.savez(tmp_path / "weights.npz", **weights)
    out = tmp_path / "out.npz"
    options = {"padding": "same", "preprocess": "tf", "labels": "none", "resolution": 48}
    convert(tmp_path / "weights.npz", out, weights=dtype, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), np.uint8)
    with Engine.load(out) as engine, Engine.load(out, backend="numpy") as reference:
        assert engine.info.dtype == dtype
        assert engine.info.precision == "float32"
        assert dtype in str(engine.info)
        np.testing.assert_allclose(
            engine.logits(pixels), reference.logits(pixels), rtol=1e-4, atol=1e-4
        )
