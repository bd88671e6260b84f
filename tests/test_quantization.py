"""What `meta` says of an int8 network: JSON both ways; and factors as multipliers and shifts."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from int8_network import random_int8

from mnv2_engine.errors import InputError, ModelFileError
from mnv2_engine.executors.integer import requantise
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.quantization import (
    FRACTION,
    MAX_MULTIPLIER,
    MAX_SHIFT,
    effective_factor,
    fixed_point,
    fraction_for,
    from_json,
    to_json,
)

NETWORK = mobilenet_v2(0.1, 32, 3, divisor=4)


@pytest.mark.parametrize("network", [NETWORK, efficientnet_lite(1)], ids=lambda each: each.name)
def test_it_survives_json(network: Any) -> None:
    _, quantization = random_int8(network, 4)
    text = json.dumps(to_json(quantization), allow_nan=False)
    assert from_json(json.loads(text), network) == quantization
    assert list(quantization.layers) == [layer.name for layer in network.weighted[:-1]]


def document() -> dict[str, Any]:
    _, quantization = random_int8(NETWORK)
    made: dict[str, Any] = json.loads(json.dumps(to_json(quantization)))
    return made


def _renamed(layers: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in layers.items()}


WHOLE = {
    "null": lambda d: None,
    "a list": lambda d: [d],
    "nothing": lambda d: {},
    "no pool": lambda d: {"layers": d["layers"]},
    "one key more": lambda d: {**d, "scheme": 1},
    "layers in a list": lambda d: {**d, "layers": list(d["layers"].values())},
    "a layer lacking": lambda d: {
        **d,
        "layers": {k: v for k, v in d["layers"].items() if k != "head"},
    },
    "the classifier too": lambda d: {**d, "layers": {**d["layers"], "classifier": [1, 0, 0, 0]}},
    "another name": lambda d: {**d, "layers": _renamed(d["layers"], "stem", "root")},
    "another order": lambda d: {**d, "layers": dict(reversed(d["layers"].items()))},
}


@pytest.mark.parametrize("name", WHOLE)
def test_another_structure(name: str) -> None:
    with pytest.raises(ModelFileError, match="quantization: expected"):
        from_json(WHOLE[name](document()), NETWORK)


# Layer, place in its list, value.
WRONG: list[tuple[str, int, Any]] = [
    ("stem", 0, 0),
    ("stem", 0, 0.0),
    ("stem", 0, -0.01),
    ("stem", 0, 6.01 / 255),
    ("stem", 0, "0.02"),
    ("stem", 0, None),
    ("stem", 0, True),
    ("stem", 0, float("nan")),
    ("head", 0, float("inf")),
    ("block1.project", 0, float("inf")),
    ("block1.project", 0, 1e300),
    ("block1.project", 0, 10**400),
    ("stem", 1, 1),
    ("block1.depthwise", 1, 128),
    ("block1.project", 1, -1),
    ("block1.project", 1, 256),
    ("block1.project", 1, 12.0),
    ("block1.project", 1, False),
    ("stem", 2, -1),
    ("stem", 2, 7),
    ("block2.project", 3, -1),
    ("block2.project", 3, 32768),
    ("block2.project", 3, 10**400),
    ("block1.project", 3, 1),  # which has no shortcut
    ("stem", 3, 1),
    ("pool", 0, 0),
    ("pool", 0, 10**400),
    ("pool", 1, 7),
    ("pool", 2, -(1 << 30) - 1),
    ("pool", 2, (1 << 30) + 1),
    ("pool", 3, 32768),
    ("pool", 3, -1),
    ("pool", 4, 32),
    ("pool", 4, -1),
    ("pool", 4, 1.0),
]


@pytest.mark.parametrize(("name", "place", "value"), WRONG, ids=lambda value: str(value)[:16])
def test_values_out_of_range(name: str, place: int, value: Any) -> None:
    assert [block.residual for block in match(NETWORK).blocks[1:3]] == [False, True]
    made = document()
    (made["pool"] if name == "pool" else made["layers"][name])[place] = value
    with pytest.raises(ModelFileError, match=rf"^quantization of {name}: ") as error:
        from_json(made, NETWORK)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("value", [None, {}, "stem", [], [0.02, 0, 5], [0.02, 0, 5, 0, 0]])
def test_layers_that_are_no_four_numbers(value: Any) -> None:
    made = document()
    made["layers"]["stem"] = value
    with pytest.raises(ModelFileError, match=r"stem: expected a scale and 3 integers; found"):
        from_json(made, NETWORK)


fractions = st.integers(0, FRACTION)
factors = st.floats(2.0**-31, 1, exclude_max=True)


@given(factors, fractions)
def test_a_factor_keeps_its_bits(factor: float, fraction: int) -> None:
    if fraction > fraction_for_or_none(factor):
        with pytest.raises(InputError, match=r"too large for|below 1"):
            fixed_point(factor, fraction)
        return
    multiplier, shift = fixed_point(factor, fraction)
    assert 0 <= multiplier <= MAX_MULTIPLIER
    assert 0 <= shift <= MAX_SHIFT
    taken = effective_factor(multiplier, shift, fraction)
    spare = min(FRACTION - fraction, 3)
    # Half of the least of 15 bits, less the spare ones; or of the least that there is.
    assert abs(taken - factor) <= max(factor * 2.0 ** (spare - 15), 2.0 ** -(29 + 15 + fraction))
    # The largest shift that lets the multiplier fit, but for the spare bits.
    assert shift >= MAX_SHIFT - spare or multiplier >= 1 << (14 - spare)
    # What the shifted sum counts in is so small a part of the output's step.
    assert shift == 0 or factor * 2.0**shift <= 2.0 ** -(fraction + spare)


def fraction_for_or_none(factor: float) -> int:
    try:
        return fraction_for(factor)
    except InputError:
        return -1


@given(factors)
def test_the_most_bits_of_fraction_that_a_factor_leaves(factor: float) -> None:
    fraction = fraction_for_or_none(factor)
    fits = [each for each in range(FRACTION + 1) if factor * 2.0 ** (15 + each) <= MAX_MULTIPLIER]
    assert fraction == max(fits, default=-1)


@pytest.mark.parametrize(
    ("factor", "fraction", "expected"),
    [
        (0.0, 5, (0, 15)),
        (2.0**-6, 5, (1 << 14, 0)),
        (2.0**-7, 5, (1 << 14, 1)),
        (3 * 2.0**-9, 5, (3 << 13, 2)),
        (0.5, 0, (1 << 14, 0)),
        (2.0**-7, 4, (1 << 13, 1)),
        (2.0**-7, 1, (1 << 11, 2)),
        (2.0**-7, 0, (1 << 11, 3)),
        (2.0**-3, 1, (1 << 13, 0)),
        (MAX_MULTIPLIER / (1 << 15), 0, (MAX_MULTIPLIER, 0)),
        (2.0**-7 - 2.0**-30, 5, (1 << 14, 1)),  # rounded up to 2**15, which is halved
        (2.0**-40, 5, (2**11, 31)),
        (5e-324, 5, (0, 31)),
    ],
    ids=str,
)
def test_factors_by_hand(factor: float, fraction: int, expected: tuple[int, int]) -> None:
    assert fixed_point(factor, fraction) == expected


@pytest.mark.parametrize("factor", [-1e-9, float("nan"), float("inf"), 1.0, 1.7e308, 0.999999])
def test_factors_that_cannot_be(factor: float) -> None:
    with pytest.raises(InputError, match="requantisation by"):
        fixed_point(factor, 0)
    if not factor < 0:
        with pytest.raises(InputError, match="the layer's output scale is too small"):
            fraction_for(factor)


@pytest.mark.parametrize("fraction", range(FRACTION + 1))
def test_sums_round_as_their_factor_says(fraction: int) -> None:
    """A layer's least factors too, where its largest leaves few bits of fraction: against exact
    products, 8 bits are one off at most, and seldom."""
    random = np.random.default_rng(fraction)
    factors = 2.0 ** random.uniform(-20, -fraction - 0.01, 300)
    half = Fraction(1, 2) - Fraction(1, 2 << fraction)
    wrong = 0
    for factor in factors:
        multiplier, shift = fixed_point(factor, fraction)
        sums = (random.uniform(0, 255, 40) / factor).astype(np.int64)
        constant = round(half / Fraction(factor)) + (1 << shift >> 1)
        found = requantise(sums + constant, shift, multiplier, fraction)
        exact = [math.floor(int(each) * Fraction(factor) + Fraction(1, 2)) for each in sums]
        difference = np.abs(found - np.minimum(exact, 255))
        assert difference.max() <= 1
        wrong += np.count_nonzero(difference)
    assert wrong / (40 * len(factors)) <= 0.03
