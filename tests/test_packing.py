"""The packed layout, against the sentence that defines it, element by element."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_engine.errors import CheckpointError
from mnv2_engine.model.members import pack, packed_members, unpack
from mnv2_engine.model.packed import PANEL
from mnv2_engine.model.packing import canonical_shapes
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network

NETWORKS = {
    "channels of 4, 12, 20": mobilenet_v2(0.1, 32, 3, divisor=4),
    "odd channels": mobilenet_v2(0.1, 32, 17, "symmetric", divisor=1),
    "width 0.35": mobilenet_v2(0.35, 96, 1001),
    "kernels of 5": efficientnet_lite(0, 32, 10),
}
_PACKED: dict[str, tuple[Any, Any]] = {}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]


def test_shapes_are_those_that_pack_makes(
    network: Network, random_weights: Callable[..., Any]
) -> None:
    packed = pack(network, random_weights(network))
    assert {name: ("<f4", array.shape) for name, array in packed.items()} == packed_members(network)
    assert list(packed) == list(packed_members(network))
    for array in packed.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


def test_unpack_is_the_inverse_to_the_bit(
    network: Network, random_weights: Callable[..., Any]
) -> None:
    weights = random_weights(network, seed=3)
    again = unpack(network, pack(network, weights))
    assert list(again) == list(canonical_shapes(network))
    for name, array in weights.items():
        assert again[name].tobytes() == array.tobytes()
        assert again[name].shape == array.shape


@settings(max_examples=300)
@given(st.data())
def test_every_weight_lies_where_the_layout_says(data: st.DataObject) -> None:
    """Output channel o is lane o % 16 of panel o // 16; taps run in the order ky, kx, input."""
    key = data.draw(st.sampled_from(sorted(NETWORKS)))
    network = NETWORKS[key]
    if key not in _PACKED:
        shapes = canonical_shapes(network).items()
        # Distinct values, so that no wrong place holds the right number.
        random = np.random.default_rng(1)
        weights = {name: random.random(shape, np.float32) + 1 for name, shape in shapes}
        _PACKED[key] = weights, pack(network, weights)
    weights, packed = _PACKED[key]
    layer = data.draw(st.sampled_from(network.weighted))
    inputs = 1 if layer.operation == "depthwise" else layer.in_channels
    panels = packed[f"{layer.name}.weight"]
    o = data.draw(st.integers(0, panels.shape[0] * PANEL - 1))
    i = data.draw(st.integers(0, inputs - 1))
    ky = data.draw(st.integers(0, layer.kernel - 1))
    kx = data.draw(st.integers(0, layer.kernel - 1))
    found = panels[o // 16, (ky * layer.kernel + kx) * inputs + i, o % 16]
    bias = packed[f"{layer.name}.bias"][o]
    if o < layer.out_channels:
        index = (o, i) if layer.operation == "dense" else (o, i, ky, kx)
        assert found == weights[f"{layer.name}.weight"][index]
        assert bias == weights[f"{layer.name}.bias"][o]
    else:
        assert found == 0
        assert bias == 0


def test_the_stem_has_27_taps() -> None:
    assert packed_members(mobilenet_v2())["stem.weight"].shape == (2, 27, 16)
    assert packed_members(efficientnet_lite())["block3.depthwise.weight"].shape == (9, 25, 16)
    assert packed_members(mobilenet_v2(classes=1001))["classifier.weight"].shape == (63, 1280, 16)


@pytest.mark.parametrize("width", [1.0, 0.75, 0.5, 0.35])
def test_padding_lanes_cost_less_than_two_percent(width: float) -> None:
    network = mobilenet_v2(width)
    folded = sum(prod(layer.weight_shape) + layer.out_channels for layer in network.weighted)
    packed = sum(prod(member.shape) for member in packed_members(network).values())
    assert folded < packed <= 1.02 * folded


def test_half_and_double_precision_are_accepted(random_weights: Callable[..., Any]) -> None:
    network = NETWORKS["channels of 4, 12, 20"]
    weights = random_weights(network)
    mixed = dict(weights)
    mixed["stem.weight"] = weights["stem.weight"].astype(np.float64)
    mixed["head.bias"] = weights["head.bias"].astype(np.float16)
    packed = pack(network, mixed)
    assert np.array_equal(unpack(network, packed)["stem.weight"], weights["stem.weight"])
    assert np.array_equal(packed["head.bias"], mixed["head.bias"].astype(np.float32))


def test_strided_and_fortran_arrays_are_accepted(random_weights: Callable[..., Any]) -> None:
    network = NETWORKS["channels of 4, 12, 20"]
    weights = random_weights(network)
    odd = {name: np.asfortranarray(array) for name, array in weights.items()}
    odd["classifier.bias"] = np.repeat(weights["classifier.bias"], 2)[::2]
    for name, array in pack(network, weights).items():
        assert np.array_equal(pack(network, odd)[name], array)


def _without(weights: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: array for key, array in weights.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: _without(w, "head.bias"), r"lack head\.bias"),
        (lambda w: {}, r"lack stem\.weight, .* more"),
        (lambda w: {**w, "block0.expand.bias": np.zeros(4)}, r"unknown block0\.expand\.bias"),
        (lambda w: {**w, "stem.bias": np.zeros(5, np.float32)}, r"stem\.bias .*\(5,\).*\(4,\)"),
        (lambda w: {**w, "stem.weight": w["stem.weight"].T}, r"stem\.weight .*expected \(4, 3"),
        (lambda w: {**w, "stem.bias": np.zeros(4, np.int8)}, r"stem\.bias .*int8.*dequantise"),
        (lambda w: {**w, "stem.bias": np.zeros(4, complex)}, r"stem\.bias .*complex"),
        (lambda w: {**w, "stem.bias": np.array([None] * 4)}, r"stem\.bias .*object"),
        (lambda w: {**w, "stem.bias": np.full(4, np.nan)}, r"stem\.bias holds NaN"),
        (lambda w: {**w, "stem.bias": np.full(4, np.inf)}, r"stem\.bias holds NaN, inf"),
        (lambda w: {**w, "stem.bias": np.full(4, 1e39)}, r"stem\.bias .*beyond float32"),
    ],
)
def test_wrong_weights(
    spoil: Callable[[dict[str, Any]], dict[str, Any]],
    message: str,
    random_weights: Callable[..., Any],
) -> None:
    network = NETWORKS["channels of 4, 12, 20"]
    with pytest.raises(CheckpointError, match=message):
        pack(network, spoil(random_weights(network)))
