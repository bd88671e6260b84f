"""What a plan is drawn from: live buffers, the figures without streaming, multiply-adds."""

from __future__ import annotations

import json

import pytest
from conftest import networks
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnv2_engine.cli.output import as_json
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.layer import multiply_adds as network_multiply_adds
from mnv2_engine.plan.planner import LEAST_ROOM, ROOM, ROOM_INT8, ROOM_INT8_CACHED, make_plan
from mnv2_engine.plan.schedules import FIRST_CACHE_BYTES
from mnv2_engine.plan.shown.figures import (
    RING,
    STRIP,
    SUMS,
    TENSOR,
    live_buffers,
    multiply_adds,
    peak,
    per_block,
    to_json,
)

KIB = 1024


@settings(max_examples=30)
@given(
    network=networks,
    threads=st.sampled_from([1, 1, 2, 5]),
    precision=st.sampled_from(["float32", "int8"]),
)
@example(mobilenet_v2(1.3, (17, 151), 2, divisor=4), 2, "int8")  # takes all of its room
def test_per_block_is_the_least_plan_that_does_not_stream(network, threads, precision):
    plan = make_plan(network, threads, precision)
    without = per_block(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mnv2_engine.plan.schedules.LONGEST_CASCADE", 1)
        patch.setattr("mnv2_engine.plan.planner.ROOM", 0)
        patch.setattr("mnv2_engine.plan.planner.LEAST_ROOM", 0)
        patch.setattr("mnv2_engine.plan.planner.ROOM_INT8", 0)
        patch.setattr("mnv2_engine.plan.planner.ROOM_INT8_CACHED", 0)
        alone = make_plan(network, threads, precision)
    assert [len(step.blocks) for step in alone.steps[:-2]] == [1] * len(match(network).blocks)
    assert without.arena_bytes == alone.arena_bytes
    first = [each for each in network.weighted if each.name.split(".")[0] in ("stem", "block0")]
    assert multiply_adds(alone)[0] == sum(each.multiply_adds for each in first)
    # Streaming is a choice of the planner's, so it never needs more, but for the room it may take.
    room = without.arena_bytes * ROOM_INT8
    if precision == "int8" and without.arena_bytes <= FIRST_CACHE_BYTES:
        room = without.arena_bytes * ROOM_INT8_CACHED
    if precision == "float32":
        room = max(without.arena_bytes * ROOM, LEAST_ROOM)
    assert plan.arena_bytes <= without.arena_bytes + room

    assert max(without.steps) <= without.arena_bytes
    by_name = {step.name: step.bytes for step in alone.steps}
    for step, least in zip(plan.steps, without.steps, strict=True):
        if len(step.blocks) <= 1:
            assert least <= step.bytes
            assert least <= by_name[step.name]
        if not step.blocks:
            assert least == step.bytes


def test_per_block_of_the_headline_network():
    plan = make_plan(mobilenet_v2(1.0, 224))
    without = per_block(plan)
    # Without streaming, block 0 leaves its whole output, 112×112×16 floats.
    assert 784 * KIB < without.arena_bytes < 820 * KIB
    assert without.steps[0] == without.arena_bytes  # block 0's, the most of blocks 0 to 3
    # Block 7 needs its tensor of 49 KiB, where it runs in place, and its sums and strips.
    (least,) = [n for step, n in zip(plan.steps, without.steps, strict=True) if 7 in step.blocks]
    assert least == 117 * KIB


def test_what_is_live_and_what_for():
    plan = make_plan(mobilenet_v2(1.0, 224))
    first = {each.buffer.name: (each.role, each.block) for each in live_buffers(plan.steps[0])}
    assert first == {
        "output": (TENSOR, None),
        "expanded": (STRIP, None),
        "halo": (STRIP, None),
        "filtered": (STRIP, None),
        "0 partial": (SUMS, 0),
        "1 partial": (SUMS, 1),
        "1 thin": (RING, 1),
        "2 partial": (SUMS, 2),
        "2 thin": (RING, 2),
        "3 partial": (SUMS, 3),
        "3 thin": (RING, 3),
    }
    assert plan.steps[1].in_place
    tensors = [each for each in live_buffers(plan.steps[1]) if each.role == TENSOR]
    assert [each.buffer for each in tensors] == [plan.steps[1].input]
    assert tensors[0].axes == "28 rows × 28 pixels × 32 channels"
    assert peak(plan) is plan.steps[0]
    assert peak(plan).bytes == plan.arena_bytes


def test_what_integers_keep_between_rows():
    plan = make_plan(mobilenet_v2(1.0, 224), 1, "int8")
    roles = {
        each.name: each.role
        for step in plan.steps
        for each in live_buffers(step)
        if each.role != TENSOR
    }
    assert roles == {
        "expanded": STRIP,
        "halo": STRIP,
        "filtered": STRIP,
        "ring": RING,
        "thin": RING,
        "sums": SUMS,
    }


@settings(max_examples=30)
@given(network=networks, threads=st.sampled_from([1, 1, 2, 5]))
def test_every_multiply_add_belongs_to_one_step(network, threads):
    plan = make_plan(network, threads)
    counts = multiply_adds(plan)
    assert len(counts) == len(plan.steps)
    assert sum(counts) == network_multiply_adds(network)
    assert counts[-1] == network.features * network.classes


def test_multiply_adds_of_a_cascade():
    plan = make_plan(mobilenet_v2(1.0, 224))
    assert plan.steps[1].blocks == range(4, 7)
    # Blocks 4 and 5 are 28×28, 32 -> 192 -> 32; block 6 is 28×28×32 -> 192 -> 14×14×64.
    same = 28 * 28 * 192 * (32 + 9 + 32)
    assert multiply_adds(plan)[1] == 2 * same + 28 * 28 * 192 * 32 + 14 * 14 * 192 * (9 + 64)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_json_has_every_figure(precision):
    plan = make_plan(mobilenet_v2(0.35, 96), 1, precision)
    without = per_block(plan)
    found = json.loads(as_json(to_json(plan)))
    assert found.pop("per_block_bytes") == without.arena_bytes
    assert [step.pop("per_block_bytes") for step in found["steps"]] == list(without.steps)
    plain = {**json.loads(as_json(plan)), "network": plan.network.name}
    assert found == plain
