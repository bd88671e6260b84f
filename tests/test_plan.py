"""The memory contract: what the plan states is what a prediction uses, to the byte."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_weights, networks
from hypothesis import given, settings
from hypothesis import strategies as st
from native_network import SUPPORTED_ISAS, image

from mnv2_engine.executors.reference import run
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.shapes import ALIGNMENT, OVERREAD_BYTES
from mnv2_engine.plan.shown.figures import live_buffers
from mnv2_engine.plan.steps import Buffer, Step

KIB = 1024


def test_the_arena_of_the_headline_network():
    plan = make_plan(mobilenet_v2(1.0, 224))
    assert plan.arena_bytes <= 290 * KIB
    assert make_plan(mobilenet_v2(0.35, 96)).arena_bytes <= 42 * KIB
    # Unfused: block 1 holds 112×112×96 and 56×56×96 floats at once.
    assert plan.unfused_bytes == 4 * 96 * (112 * 112 + 56 * 56) == 5880 * KIB
    assert plan.arena_bytes == max(step.bytes for step in plan.steps)
    assert plan.image_bytes == 224 * 224 * 3


def test_the_arena_of_the_headline_network_in_int8():
    plan = make_plan(mobilenet_v2(1.0, 224), 1, "int8")
    assert plan.arena_bytes <= 96 * KIB
    assert make_plan(mobilenet_v2(0.35, 96), 1, "int8").arena_bytes <= 14 * KIB
    assert plan.unfused_bytes == 96 * (112 * 112 + 56 * 56)
    assert plan.arena_bytes == max(step.bytes for step in plan.steps) + OVERREAD_BYTES
    assert plan.image_bytes == 224 * 224 * 3
    parameters = sum(math.prod(layer.weight_shape) for layer in plan.network.weighted)
    channels = sum(layer.out_channels for layer in plan.network.weighted)
    assert parameters + 8 * channels <= plan.weight_bytes <= (parameters + 8 * channels) * 1.02


def test_what_int8_kernels_may_read_behind_their_arrays_is_what_the_core_says():
    from mnv2_engine import _core

    assert OVERREAD_BYTES == _core.lib.MNV2_OVERREAD


def test_weight_bytes_are_those_of_the_packed_parameters():
    plan = make_plan(mobilenet_v2(1.0, 224))
    folded = sum(
        math.prod(layer.weight_shape) + layer.out_channels for layer in plan.network.weighted
    )
    assert 4 * folded <= plan.weight_bytes <= 4 * folded * 1.02


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.0, 1.4])
@pytest.mark.parametrize("size", [96, 160, 224])
def test_no_step_has_room_for_the_expanded_tensor_of_its_block(width, size):
    plan = make_plan(mobilenet_v2(width, size))
    sizes = {layer.name: layer for layer in plan.network.weighted}
    for step in plan.steps:
        for index in step.blocks:
            depthwise = sizes[f"block{index}.depthwise"]
            height, columns = depthwise.in_size
            expanded = 4 * height * columns * depthwise.in_channels
            own = [b for b in step.scratch if not b.name[0].isdigit()]
            own += [b for b in step.scratch if b.name == f"{index} partial"]
            if height > 6:  # else the partial sums of two rows are a good part of the map
                (strip,) = [b for b in own if b.name == "expanded"]
                assert strip.bytes < expanded / 3
                assert sum(buffer.bytes for buffer in own) < expanded


@settings(max_examples=60, deadline=None)
@given(
    network=networks,
    threads=st.sampled_from([1, 1, 2, 3, 64]),
    precision=st.sampled_from(["float32", "int8"]),
)
def test_buffers_that_live_together_lie_apart_inside_the_arena(network, threads, precision):
    plan = make_plan(network, threads, precision)
    assert plan.threads == threads
    unused = OVERREAD_BYTES if precision == "int8" else 0
    previous: Buffer | None = None
    for step in plan.steps:
        if previous is not None:  # a step reads where the one before has written
            assert step.input is not None
            assert (step.input.offset, step.input.shape) == (previous.offset, previous.shape)
        previous = step.output
        if step.in_place:
            assert step.input is not None
            assert step.output is not None
            assert step.input.offset == step.output.offset
            assert step.input.bytes >= step.output.bytes
        live = buffers_of(step)
        assert sorted(live) == sorted(each.buffer for each in live_buffers(step))
        for buffer in live:
            assert buffer.offset % ALIGNMENT == 0
            assert buffer.offset >= 0
            assert buffer.offset + buffer.bytes <= plan.arena_bytes - unused
            assert buffer.bytes >= value_bytes(step, buffer, precision) * math.prod(buffer.shape)
        for i, a in enumerate(live):
            for b in live[i + 1 :]:
                assert a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
        assert step.bytes == sum(buffer.bytes for buffer in live)
    assert previous is None  # the last step writes the caller's logits


def value_bytes(step: Step, buffer: Buffer, precision: str) -> int:
    """Of one value of a buffer: in int8 only sums are more than a byte, those of the pool too."""
    pooled = (step.kind, buffer.name) in (("head", "output"), ("classifier", "input"))
    return 4 if precision == "float32" or buffer.name == "sums" or pooled else 1


def buffers_of(step: Step) -> list[Buffer]:
    """The live buffers of a step, of every thread; input and output are one where it runs in
    place, and the scratch of a thread lies behind that of the one before."""
    ends = [buffer for buffer in (step.input, step.output) if buffer is not None]
    if step.in_place:
        ends = [max(ends, key=lambda buffer: buffer.bytes)]
    own = [buffer for buffer in step.scratch if buffer.copies > 1]
    assert not own or step.thread_bytes == sum(buffer.bytes for buffer in own)
    copies = [
        buffer._replace(offset=buffer.offset + copy * step.thread_bytes)
        for buffer in step.scratch
        for copy in range(buffer.copies)
    ]
    return [*ends, *copies]


def test_nothing_outside_the_planned_bytes_is_touched(request):
    """Arena, image, weights and logits against inaccessible pages, on every instruction set."""
    script = str(Path(__file__).with_name("guarded_run.py"))
    networks, every = (34, ["--every"]) if request.config.getoption("--every") else (18, [])
    done = subprocess.run(
        [sys.executable, script, *every], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert sum(line.endswith("float32 float32") for line in lines) == networks * len(SUPPORTED_ISAS)
    assert sum(line.endswith("int8 int8") for line in lines) == networks


def test_a_forked_child_does_not_write_its_parents_arena():
    script = """
import os, sys
import numpy as np
from conftest import make_weights
from native_network import NativeNetwork, SUPPORTED_ISAS, image
from mnv2_engine.network.families import mobilenet_v2
network = mobilenet_v2(0.35, 32, 5)
run = NativeNetwork(network, make_weights(network), SUPPORTED_ISAS[0])
x = image(network)
expected = run(x)[0]
before = run.executor._arenas[0][0][:]
child = os.fork()
if child == 0:
    same = np.array_equal(run(x)[0], expected)
    run(image(network, seed=1))
    os._exit(0 if same else 1)
status = os.waitpid(child, 0)[1]
sys.exit(status or int(run.executor._arenas[0][0][:] != before))
"""
    folder = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, timeout=60, check=False)
    assert done.returncode == 0


def test_the_first_blocks_stream_into_each_other():
    plan = make_plan(mobilenet_v2(1.0, 224))
    assert plan.steps[0].blocks == range(4)
    assert plan.steps[0].input is None
    blocks = [index for step in plan.steps for index in step.blocks]
    assert blocks == list(range(17))


def test_the_oracle_weights_clip_on_both_sides():
    """The comparisons mean little if no value reaches ReLU6's bounds."""
    network = mobilenet_v2(0.35, 32, 5)
    features = run(network, make_weights(network), image(network)[None], "float64").features
    assert (features == 0).any()
    assert (features == 6).any()
