"""Blocks layer by layer, whole or in splits: the same bits as fused, and exactly the memory that
whole tensors need."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from conftest import make_weights, networks
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_network import INT8_ISAS, PackedInt8, pixels, random_int8, run_int8, run_oracle
from native_network import BFLOAT16_ISAS, SUPPORTED_ISAS, NativeNetwork, image
from test_native import any_network
from test_plan import buffers_of, value_bytes
from test_threads import outputs_are_equal

from mnv2_engine import UnsupportedError
from mnv2_engine.bench.ablations import plan_by_layers
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.schedules import layers_schedule
from mnv2_engine.plan.shapes import PRECISIONS, Shapes

NETWORKS = [
    mobilenet_v2(0.35, 96, 10),
    mobilenet_v2(1.0, (61, 70), 10, "symmetric"),
    mobilenet_v2(1.4, 224, 10),
    mobilenet_v2(0.1, 32, 10, divisor=4),  # block 0 has a shortcut
    efficientnet_lite(0, (75, 64), 10),
]
SPLITS = (1, 2, 3, 5, 100)


def by_name(network: Network) -> str:
    return network.name


@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
def test_the_bits_of_fused_blocks(network, isa):
    plans = [plan_by_layers(network, splits) for splits in SPLITS]
    plans += [plan_by_layers(network, splits, threads=3) for splits in (1, 2)]
    assert outputs_are_equal(network, 1, isa, plans)


@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", "float16"), ("float32", "bfloat16"), ("bfloat16", "bfloat16")],
)
def test_the_bits_of_fused_blocks_with_weights_of_16_bits(network, precision, dtype):
    isas = BFLOAT16_ISAS if precision == "bfloat16" else SUPPORTED_ISAS
    if not isas:
        pytest.skip("this CPU does not compute in bfloat16")
    weights, x = make_weights(network), image(network)
    made = [make_plan(network, 1, precision, dtype)]
    made += [
        plan_by_layers(network, splits, threads, precision, dtype)
        for splits, threads in ((1, 1), (3, 1), (1, 2), (2, 3))
    ]
    found = [NativeNetwork(network, weights, isas[0], plan)(x)[0] for plan in made]
    for logits in found[1:]:
        np.testing.assert_array_equal(logits, found[0])


@pytest.mark.parametrize("network", NETWORKS, ids=by_name)
def test_the_integers_of_the_oracle(network):
    weights, quantization = random_int8(network, 1)
    model, x = PackedInt8(network, weights, quantization), pixels(network, 1)
    expected = run_oracle(model, weights, x)
    assert len(np.unique(expected.logits)) > 5  # else the comparison says little
    for splits, threads in ((1, 1), (2, 1), (5, 1), (1, 3), (3, 2)):
        plan = plan_by_layers(network, splits, threads, "int8")
        for isa in INT8_ISAS:
            found = run_int8(model, x, isa, plan)
            np.testing.assert_array_equal(found.features, expected.features)
            np.testing.assert_array_equal(found.logits, expected.logits)


@settings(max_examples=60)
@given(network=any_network(), splits=st.integers(1, 4), threads=st.sampled_from([1, 1, 2, 5]))
def test_any_channels_strides_and_sizes(network, splits, threads):
    plan = plan_by_layers(network, splits, threads)
    for isa in SUPPORTED_ISAS:
        assert outputs_are_equal(network, 2, isa, [plan])
    weights, quantization = random_int8(network, 2)
    model, x = PackedInt8(network, weights, quantization), pixels(network, 2)
    expected = run_oracle(model, weights, x)
    plan = plan_by_layers(network, splits, threads, "int8")
    for isa in INT8_ISAS:
        np.testing.assert_array_equal(run_int8(model, x, isa, plan).logits, expected.logits)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_step_runs_the_layers_that_it_names(precision):
    """Three steps of one layer each are one step of three layers."""
    network = mobilenet_v2(0.35, 64, 10)
    plan = plan_by_layers(network, 1, 1, precision)
    if precision == "int8":
        model = PackedInt8(network, *random_int8(network))
        x, isa = pixels(network), INT8_ISAS[0]
        expected = run_int8(model, x, isa, None).logits
        executor = NativeExecutor(model, plan, isa)  # type: ignore[arg-type]
    else:
        made = NativeNetwork(network, make_weights(network), SUPPORTED_ISAS[0], plan)
        x, executor = image(network), made.executor
        expected = NativeNetwork(network, make_weights(network), SUPPORTED_ISAS[0])(x)[0]
    lib, built = executor._lib, executor._plan
    whole = [built.steps[i] for i in range(built.step_count)]
    steps = [step for step in whole for _ in range(3 if step.kind == lib.MNV2_LAYERS else 1)]
    split = executor._ffi.new("mnv2_step[]", len(steps))
    for i, step in enumerate(steps):
        split[i] = step
    built.steps, built.step_count = split, len(steps)
    each = [lib.MNV2_EXPAND, lib.MNV2_DEPTHWISE, lib.MNV2_PROJECT]
    logits = np.zeros(network.classes, np.float32)
    for wanted, is_equal in ((each, True), (each[:1] * 3, False), (each[::2] + each[:1], False)):
        for i in range(3 * len(match(network).blocks)):
            split[i].layers = wanted[i % 3]
        for arena, _ in executor._arenas:
            arena[:] = bytes(len(arena))  # nothing is left of the run before
        executor.run(x, x.dtype == np.float32, logits)
        assert np.array_equal(logits, expected) == is_equal


@settings(max_examples=40)
@given(
    network=networks,
    splits=st.integers(1, 6),
    threads=st.sampled_from([1, 1, 2, 64]),
    precision=st.sampled_from(["float32", "int8"]),
)
def test_buffers_are_whole_tensors_that_lie_apart(network, splits, threads, precision):
    plan = plan_by_layers(network, splits, threads, precision)
    sizes = {layer.name: layer for layer in network.weighted}
    for step in plan.steps:
        if step.kind != "layers":
            continue
        live = sorted(buffers_of(step), key=lambda buffer: buffer.offset)
        assert step.bytes == sum(buffer.bytes for buffer in live)
        assert live[-1].offset + live[-1].bytes <= plan.arena_bytes
        for before, after in pairwise(live):
            assert before.offset + before.bytes <= after.offset
        for buffer in live:
            held = value_bytes(step, buffer, precision) * np.prod(buffer.shape)
            assert buffer.bytes >= held
        (block,) = step.blocks
        depthwise = sizes[f"block{block}.depthwise"]
        expanded = next(buffer for buffer in live if buffer.name == "expanded")
        channels = min(expanded.shape[0] * 16, step.tile)
        assert channels * splits >= depthwise.in_channels
        held = channels * np.prod(depthwise.in_size) * (4 if precision == "float32" else 1)
        assert expanded.bytes >= held


def test_no_plan_for_use_runs_layer_by_layer():
    for network in NETWORKS:
        for precision in PRECISIONS:
            assert all(s.kind != "layers" for s in make_plan(network, 1, precision).steps)


def test_a_plan_of_layers_is_drawn():
    text = str(plan_by_layers(mobilenet_v2(), 1))
    assert "block1: layers" in text
    assert "6 panels × 113 rows × 113 pixels × 16 channels" in text
    assert "3 rows × 675 values" in text


def test_a_first_block_with_a_shortcut_is_refused():
    shapes = Shapes(mobilenet_v2(0.1, 32, divisor=4), 1)
    with pytest.raises(UnsupportedError, match="first block with a shortcut runs by rows"):
        layers_schedule(shapes, 0)
