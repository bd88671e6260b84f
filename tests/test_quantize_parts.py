"""The parts of post-training quantisation, each against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors import integer, reference
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.quantization import (
    FRACTION,
    MAX_HIDDEN_SCALE,
    MAX_MULTIPLIER,
    MAX_SHIFT,
    SPARE_BITS,
    effective_factor,
    fixed_point,
    fraction_for,
)
from mnv2_engine.quantize.equalisation import ChannelRange, equalise
from mnv2_engine.quantize.folding import Activation, fold_layer, fold_pool
from mnv2_engine.quantize.moments import Moments
from mnv2_engine.quantize.ranges import BINS, CUT_OFF, Histogram, choose_reach
from mnv2_engine.quantize.rounding import LEVELS, round_jointly, round_to_nearest, weight_scales

NETWORK = mobilenet_v2(0.1, 32, 5, divisor=4)  # block 0 has a shortcut: from the stem
TABLE = {layer.name: layer for layer in NETWORK.weighted}

# Fixed point


@given(st.floats(1e-9, 0.99), st.integers(0, 6))
def test_a_factor_is_kept_to_fifteen_bits_less_those_that_the_sum_keeps(factor, fraction):
    if factor * 2.0 ** (15 + fraction) > MAX_MULTIPLIER:
        with pytest.raises(InputError, match="too large"):
            fixed_point(factor, fraction)
        return
    multiplier, shift = fixed_point(factor, fraction)
    assert 0 <= multiplier <= MAX_MULTIPLIER
    assert 0 <= shift <= MAX_SHIFT
    # Half a unit of the multiplier.
    assert abs(effective_factor(multiplier, shift, fraction) - factor) <= 0.5001 * 2.0 ** -(
        shift + 15 + fraction
    )
    # It has 15 bits, less one for each bit of fraction that the layer lacks, up to SPARE_BITS:
    # those the shifted sum keeps. Fewer only where the shift is at an end.
    spare = min(max(FRACTION - fraction, 0), SPARE_BITS)
    least = 1 << (14 - spare)
    largest = MAX_SHIFT - spare  # where the factor is too small for 15 bits
    assert multiplier >= least or shift == largest
    assert multiplier <= 2 * least or shift == 0


@given(st.floats(1e-9, 0.999))
def test_there_are_as_many_bits_of_fraction_as_fit(factor):
    fraction = fraction_for(factor)
    assert factor * 2.0 ** (15 + fraction) <= MAX_MULTIPLIER
    assert fraction == FRACTION or factor * 2.0 ** (16 + fraction) > MAX_MULTIPLIER


@pytest.mark.parametrize("factor", [1.0, 1.5, 1e9])
def test_a_factor_of_one_or_more_is_refused(factor):
    with pytest.raises(InputError, match="expected a factor below 1"):
        fraction_for(factor)


# Folding


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["block1.expand", "block1.depthwise", "block4.project"]),
    st.floats(-4.5, -0.3),
    st.integers(0, 255),
    st.booleans(),
)
def test_a_folded_layer_is_real_arithmetic_to_little_more_than_half_a_step(
    seed, name, exponent, zero, has_shortcut
):
    random = np.random.default_rng(seed)
    layer = TABLE[name]
    channels = layer.out_channels
    thin = layer.activation != "relu6"
    weight = random.integers(-127, 128, layer.weight_shape).astype(np.int8)
    depthwise = layer.operation == "depthwise"
    source = Activation(random.uniform(0.01, 0.5), 0 if depthwise else zero)
    target = (
        Activation(random.uniform(0.01, 0.5), int(random.integers(0, 256)))
        if thin
        else Activation(random.uniform(0.2, 1.0) * MAX_HIDDEN_SCALE)
    )
    shortcut = (
        Activation(target.scale * random.uniform(0.05, 1.9), int(random.integers(0, 256)))
        if thin and has_shortcut
        else None
    )
    factor = 10**exponent * random.uniform(0.1, 1.0, channels)
    scales = factor * target.scale / source.scale
    bias = random.normal(0, 20, channels) * target.scale
    folded = fold_layer(name, weight, scales, bias, source, target, layer.activation, shortcut)
    assert folded.silenced == 0

    x = random.integers(0, 256, (1, *layer.in_size, layer.in_channels))
    added = None if shortcut is None else random.integers(0, 256, (1, *layer.out_size, channels))
    got = integer.apply_layer(layer, folded.arrays, folded.quantization, x, added)

    real = {f"{name}.weight": weight * scales.reshape(-1, 1, 1, 1), f"{name}.bias": bias * 0}
    linear = layer._replace(activation="linear")
    sums = reference.apply_layer(linear, real, source.scale * (x - float(source.zero_point)))
    wanted = (sums + bias) / target.scale
    if shortcut is not None:
        wanted += shortcut.scale / target.scale * (added - shortcut.zero_point)
    wanted = np.clip(wanted + target.zero_point, 0, 255)
    v_unit = 2.0**-folded.quantization.fraction
    bound = (
        0.5  # the last rounding
        + 4 * v_unit / 2  # t, v, the shortcut, and half a unit by which v is even
        + factor / 2  # the bias, a whole number of sums
        + 2.0**-14 * (np.abs(sums) + np.abs(bias)) / target.scale  # the multiplier
        + (0 if shortcut is None else 255 * 2.0**-9 * v_unit)  # and the shortcut's
    )
    assert (np.abs(got - wanted) <= bound).all()


def test_rounding_has_no_bias():
    random = np.random.default_rng(5)
    layer = TABLE["block4.project"]
    weight = random.integers(-127, 128, layer.weight_shape).astype(np.int8)
    target = Activation(0.1, 128)
    for factor in (0.03, 0.01, 0.003):
        scales = np.full(layer.out_channels, factor * 0.1 / 0.02)
        folded = fold_layer(
            layer.name,
            weight // 40,
            scales,
            np.zeros(len(scales)),
            Activation(0.02),
            target,
            "linear",
        )
        x = random.integers(0, round(0.36 / factor), (400, *layer.in_size, layer.in_channels))
        got = integer.apply_layer(layer, folded.arrays, folded.quantization, x)
        sums = (x @ (weight[:, :, 0, 0] // 40).T.astype(np.int64)) * factor + 128
        inside = (sums > 2) & (sums < 253)
        errors = (got - sums)[inside]
        assert len(errors) > 2000
        # The bias is a whole number of sums; half a unit of v too many would be a 64th.
        assert abs(errors.mean()) < factor / 2 + 0.008


def test_a_channel_too_small_for_its_bias_becomes_constant():
    layer = TABLE["block4.project"]
    weight = np.ones(layer.weight_shape, np.int8)
    scales = np.full(layer.out_channels, 0.01)
    scales[1] = 1e-30
    bias = np.full(layer.out_channels, 3.0)
    folded = fold_layer(
        layer.name, weight, scales, bias, Activation(0.02), Activation(0.1, 128), "linear"
    )
    assert folded.silenced == 1
    x = np.full((1, *layer.in_size, layer.in_channels), 255)
    got = integer.apply_layer(layer, folded.arrays, folded.quantization, x)
    assert (got[..., 1] == 158).all()


def test_a_hidden_output_has_no_zero_point():
    layer = TABLE["block1.expand"]
    ones = np.ones(layer.out_channels)
    with pytest.raises(UnsupportedError, match="zero point 3"):
        fold_layer(
            layer.name,
            np.ones(layer.weight_shape, np.int8),
            ones / 100,
            ones,
            Activation(0.02),
            Activation(0.02, 3),
            "relu6",
        )


@given(st.integers(1, 200), st.floats(0.001, MAX_HIDDEN_SCALE), st.floats(0.05, 1.5))
def test_a_folded_pool_is_the_mean(pixels, head_scale, part):
    said = fold_pool(head_scale, pixels, head_scale * part)
    levels = np.random.default_rng(pixels).integers(0, 256, (1, pixels, 1, 50))
    sums, features = integer.pool(said, levels)
    assert (sums == levels.sum((1, 2))).all()
    wanted = np.minimum(levels.mean((1, 2)) * head_scale / said.scale, 255)
    assert (np.abs(features - wanted) <= 0.5 + 2.0**-said.fraction * 2 + 0.5 / pixels + 0.02).all()


# Ranges


def test_minmax_keeps_every_value_and_percentile_all_but_the_rarest():
    values = np.random.default_rng(0).exponential(1.0, 200_000).astype(np.float32)
    histogram = Histogram(float(values.max()))
    for part in np.split(values, 10):
        histogram.add(-part)  # distances count, not signs
    assert choose_reach(histogram, 127, "minmax") == values.max()
    width = float(values.max()) / BINS
    quantile = np.quantile(values, 1 - CUT_OFF)
    assert choose_reach(histogram, 127, "percentile") == pytest.approx(quantile, abs=2 * width)


def test_mse_errs_least():
    values = np.random.default_rng(0).standard_t(3, 100_000)
    histogram = Histogram(float(np.abs(values).max()))
    histogram.add(values)

    def error(reach):
        step = reach / 127
        return np.square(np.clip(np.rint(values / step), -127, 127) * step - values).mean()

    chosen = error(choose_reach(histogram, 127, "mse"))
    assert chosen < error(choose_reach(histogram, 127, "minmax"))
    assert chosen <= 1.01 * min(error(part * histogram.largest) for part in (0.3, 0.4, 0.6, 0.8, 1))


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_tensor_of_zeros_reaches_nowhere(method):
    histogram = Histogram(0.0)
    histogram.add(np.zeros(10))
    assert choose_reach(histogram, 255, method) == 0


# Equalisation


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(0.1, 4), (0.35, 8)]))
def test_equalising_leaves_the_network_the_function_that_it_was(seed, width):
    from conftest import make_weights

    network = mobilenet_v2(width[0], 32, 5, divisor=width[1])
    weights = make_weights(network, seed % 1000)
    random = np.random.default_rng(seed)
    ranges = {}
    outputs = {block.project.name: block.output for block in match(network).blocks}
    for block in match(network).blocks:
        low = random.normal(0, 3, block.out_channels)
        high = low + random.exponential(3.0, block.out_channels)
        high[0] = low[0]  # a channel that is constant
        ranges[block.output] = ChannelRange(low, high)
    equal, thin = equalise(network, weights, ranges)
    x = random.normal(0, 1, (1, 32, 32, 3))
    before: dict[str, np.ndarray] = {}
    after: dict[str, np.ndarray] = {}
    truth = reference.run(network, weights, x, np.float64, before)
    made = reference.run(network, equal, x, np.float64, after)
    np.testing.assert_allclose(made.logits, truth.logits, rtol=1e-9, atol=1e-9)
    for name, said in thin.items():
        output = outputs[name]
        real = said.middle + said.factor * after[output]
        np.testing.assert_allclose(real, before[output], rtol=1e-9, atol=1e-9)
        halves = (ranges[output].high - ranges[output].low) / 2
        assert said.reach == pytest.approx((halves / said.factor).max())
        assert said.factor.max() == 1


def test_equalised_channels_differ_less(random_weights):
    low = -np.geomspace(0.1, 10, TABLE["block16.project"].out_channels)
    ranges = {
        b.output: ChannelRange(low[:1].repeat(b.out_channels), np.ones(b.out_channels))
        for b in match(NETWORK).blocks
    }
    ranges["block16.project"] = ChannelRange(low, -low)
    _, thin = equalise(NETWORK, random_weights(NETWORK), ranges)
    spread = -low / thin["block16.project"].factor
    assert spread.max() / spread.min() == pytest.approx(10)  # of 100


# Weights and moments


def test_independent_inputs_round_each_weight_for_itself():
    random = np.random.default_rng(1)
    weight = random.normal(0, 1, (3, 4, 25))
    scales = np.full((3, 4), 0.02)
    covariance = np.stack([np.diag(random.uniform(0.5, 2, 25)) for _ in range(3)])
    got = round_jointly(weight, scales, covariance)
    assert (got == np.clip(np.rint(weight / 0.02), -LEVELS, LEVELS)).all()


def test_joint_rounding_errs_less_where_inputs_vary_together():
    random = np.random.default_rng(2)
    mixing = random.normal(0, 1, (12, 100))
    inputs = random.normal(0, 1, (4000, 12)) @ mixing + random.normal(0, 0.1, (4000, 100))
    weight = random.normal(0, 1, (8, 100))
    scales = weight_scales(weight, inputs.var(0)[None])
    wanted = inputs @ weight.T

    def error(rounded):
        return np.square(inputs @ (rounded * scales[:, None]).T - wanted).mean()

    joint = round_jointly(weight[None], scales[None], np.cov(inputs.T)[None])[0]
    assert error(joint) < 0.5 * error(round_to_nearest(weight, scales))


def test_scales_are_at_least_as_good_as_the_largest_weight():
    random = np.random.default_rng(3)
    weight = random.standard_t(3, (20, 200))
    weight[4] = 0
    weight[5] = 1e-30
    weight[:, 0] *= 30
    variance = random.uniform(0.1, 1, (1, 200))
    variance[0, 0] = 1e-6  # whose weight hardly matters

    def error(scales):
        rounded = round_to_nearest(weight, scales)
        return (np.square(rounded * scales[:, None] - weight) * variance).sum(1)

    scales = weight_scales(weight, variance)
    plain = np.abs(weight).max(1) / LEVELS
    plain[4] = 1.0
    assert (scales > 0).all()
    assert (error(scales) <= 1.01 * error(plain)).all()
    assert error(scales).sum() < error(plain).sum()


@pytest.mark.parametrize("name", ["stem", "block1.depthwise", "block1.expand"])
def test_moments_are_those_of_the_terms_of_each_sum(name):
    layer = TABLE[name]
    random = np.random.default_rng(4)
    moments = Moments(layer)
    frames = random.normal(100, 1, (3, 1, *layer.in_size, layer.in_channels)).astype(np.float32)
    for frame in frames:
        moments.add(frame + 1, frame)
    groups, terms = moments.mean.shape
    # What a weight of one at a term, and of zero elsewhere, would make of the frames.
    columns = []
    for term in range(terms):
        weight = np.zeros((1, terms))
        weight[0, term] = 1
        single = layer._replace(out_channels=layer.out_channels if groups > 1 else 1)
        k, inputs = layer.kernel, 1 if groups > 1 else layer.in_channels
        canonical = np.broadcast_to(
            weight.reshape(1, k, k, inputs).transpose(0, 3, 1, 2),
            (single.out_channels, inputs, k, k),
        )
        made = reference._OPERATIONS[layer.operation](
            single, canonical, frames[:, 0].astype(np.float64)
        )
        columns.append(made.reshape(-1, groups).T)
    every = np.stack(columns, 1)  # (groups, terms, pixels)
    np.testing.assert_allclose(moments.mean, every.mean(2), rtol=1e-5)
    wanted = np.stack([np.cov(each, bias=True) for each in every])
    np.testing.assert_allclose(moments.covariance, wanted, atol=2e-3 * wanted.max())
    padded = layer.pad_rows != (0, 0)
    shift = moments.real_mean - moments.mean
    assert (shift <= 1.0001).all()
    assert (shift > (0.5 if padded else 0.999)).all()
