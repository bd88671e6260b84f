"""The C core against the float64 oracle: every width, size, padding, instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_weights
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from native_network import (
    FMA_ISAS,
    SUPPORTED_ISAS,
    NativeNetwork,
    image,
    oracle,
    relative_error,
)

from mnv2_engine.executors.reference import run
from mnv2_engine.network.families import (
    BlockShape,
    efficientnet_lite,
    inverted_residuals,
    mobilenet_v2,
)
from mnv2_engine.network.layer import Network

WIDTHS = (0.1, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SIZES = (32, 96, 97, (128, 160), 224, 255)
TOLERANCE = 1e-5


def network_of(width: float, size: int | tuple[int, int], padding: str) -> Network:
    return mobilenet_v2(width, size, 20, padding, divisor=4 if width == 0.1 else 8)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_width_and_size_agrees_with_the_oracle(width, size, padding):
    network = network_of(width, size, padding)
    weights = make_weights(network, seed=1)
    x = image(network)
    truth = oracle(network, weights, x)
    answers = {isa: NativeNetwork(network, weights, isa)(x) for isa in SUPPORTED_ISAS}
    for isa, answer in answers.items():
        for found, true in zip(answer, truth, strict=True):
            assert relative_error(found, true) <= TOLERANCE, isa
    first = answers[FMA_ISAS[0]] if FMA_ISAS else None
    for isa in FMA_ISAS[1:]:  # where products are fused, not a bit differs
        for found, expected in zip(answers[isa], first, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("variant", range(5))
def test_efficientnet_lite_agrees_with_the_oracle(variant):
    network = efficientnet_lite(variant, resolution=(64, 76), classes=10)
    weights = make_weights(network, seed=variant)
    x = image(network)
    truth = oracle(network, weights, x)
    for isa in SUPPORTED_ISAS:
        for found, true in zip(NativeNetwork(network, weights, isa)(x), truth, strict=True):
            assert relative_error(found, true) <= TOLERANCE, isa


channels = st.one_of(st.integers(1, 40), st.sampled_from([48, 64, 72, 96]))


@st.composite
def any_network(draw: st.DrawFn) -> Network:
    """One to three blocks of any channels, kernels and strides on a small image: remainders."""
    stem = draw(channels)
    blocks = []
    into = stem
    for i in range(draw(st.integers(1, 3))):
        expansion = 1 if i == 0 else draw(st.integers(2, 7))
        kernel, stride = draw(st.sampled_from([3, 5])), draw(st.sampled_from([1, 1, 2]))
        out = into if draw(st.booleans()) else draw(channels)
        blocks.append(BlockShape(expansion * into, out, stride, kernel, expansion != 1))
        into = out
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    classes = draw(st.integers(2, 70))
    padding = draw(st.sampled_from(["same", "symmetric"]))
    head = draw(channels)
    return inverted_residuals("any", (height, width), stem, blocks, head, [classes], padding)


@settings(max_examples=120, deadline=None)
@given(network=any_network(), seed=st.integers(0, 1000))
def test_any_channels_strides_and_sizes_agree_with_the_oracle(network, seed):
    weights = make_weights(network, seed)
    x = image(network, seed)
    truth = oracle(network, weights, x)
    # Few terms may cancel to a small sum, so the scale is that of the terms: about 1.
    limits = [TOLERANCE * max(1.0, np.abs(true).max()) for true in truth]
    # A stem of one channel may make rounding so large that NumPy's float32 misses the limit too.
    float32 = run(network, weights, x[np.newaxis], np.float32)
    for found, true, limit in zip(float32[:2], truth, limits, strict=True):
        assume(np.abs(found[0] - true).max() <= limit / 2)
    for isa in SUPPORTED_ISAS:
        answers = NativeNetwork(network, weights, isa)(x)
        for found, true, limit in zip(answers, truth, limits, strict=True):
            assert np.abs(found - true).max() <= limit, isa


@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
@pytest.mark.parametrize("width", range(1, 60, 7))
def test_pixels_are_normalised_as_the_model_says(isa, width):
    network = mobilenet_v2(0.35, (9, width), 7, "symmetric")
    weights = make_weights(network)
    pixels = np.random.default_rng(width).integers(0, 256, (9, width, 3), np.uint8)
    truth, _ = oracle(network, weights, (pixels.astype(np.float64) - 127.5) / 127.5)
    found, _ = NativeNetwork(network, weights, isa)(pixels)
    assert relative_error(found, truth) <= TOLERANCE


@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
@pytest.mark.parametrize(("feature", "weight"), [(1.0, 1e-39), (1e-20, 1e-20)])
def test_denormals_are_flushed(isa, feature, weight):
    """A denormal operand counts as zero, and so does a denormal result."""
    network = mobilenet_v2(0.35, 32, 4)
    weights = make_weights(network)
    weights["head.weight"][:] = 0
    weights["head.bias"][:] = feature
    weights["classifier.weight"][:] = weight
    weights["classifier.bias"][:] = 0
    logits, features = NativeNetwork(network, weights, isa)(image(network))
    np.testing.assert_array_equal(features, np.float32(feature))
    np.testing.assert_array_equal(logits, 0.0)


def test_the_callers_floating_point_state_is_restored():
    network = mobilenet_v2(0.35, 32, 4)
    weights = make_weights(network)
    tiny = np.float32(1e-40)
    half = np.float32(0.5)
    before = tiny * half
    NativeNetwork(network, weights, SUPPORTED_ISAS[0])(image(network))
    assert before != 0
    assert tiny * half == before


def test_an_unknown_instruction_set_is_an_error():
    from mnv2_engine import InputError

    network = mobilenet_v2(0.35, 32, 4)
    with pytest.raises(InputError, match=r"sse9.*built|sse9.*instruction sets"):
        NativeNetwork(network, make_weights(network), "sse9")
