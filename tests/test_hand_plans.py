"""The C core on plans made by hand: answers, refusals, and no access outside what a plan names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hand_plans import (
    PRECISIONS,
    HandPlan,
    answer_of,
    differ,
    ffi,
    isas_for,
    lib,
    random_network,
)

from mnv2_engine.network import supported

HERE = Path(__file__).parent
KERNELS = HERE.parent / "kernels"
NETWORKS = {"float32": 12, "float16 weights": 4, "bfloat16 weights": 6, "bfloat16": 8, "int8": 12}
here = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs mprotect")


def guarded(*arguments: object) -> str:
    command = [sys.executable, HERE / "guarded_hand_plans.py", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=HERE)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@here
@pytest.mark.parametrize("precision", PRECISIONS)
def test_random_networks_agree_with_the_oracle_between_guard_pages(precision, most_examples):
    if not isas_for(precision):
        pytest.skip(f"this CPU does not compute in {precision}")
    count = min(NETWORKS[precision], most_examples or NETWORKS[precision])
    assert "done" in guarded("answers", precision, 0, count)


@here
@pytest.mark.parametrize("precision", ["float32", "bfloat16 weights", "int8"])
def test_a_changed_number_is_refused_or_changes_nothing_outside_the_plan(precision, most_examples):
    count = min(6, most_examples or 6)
    said = guarded("changes", precision, 100, count)
    refused, ran, sentences = map(int, re.findall(r"\d+", said.splitlines()[0]))
    assert refused > 50
    assert ran > 50
    assert sentences > 10


@pytest.fixture
def most_examples(request: pytest.FixtureRequest) -> int | None:
    return request.config.getoption("--most-examples")


@pytest.fixture
def good() -> HandPlan:
    """A plan with one of each table."""
    for seed in range(200):
        network = random_network(seed, "float32")
        if network.convs and len(network.dense) > 1 and network.taps and network.head:
            return HandPlan(network, 1, 0)
    raise AssertionError("no such network")


ISA = next(iter(isas_for("float32").values()))


def steps_of(made: HandPlan) -> list:
    return [made.plan.steps[i] for i in range(made.plan.step_count)]


@pytest.mark.parametrize("kernel", range(10))
@pytest.mark.parametrize("stride", range(5))
def test_what_is_supported_is_said_in_one_list(good, kernel, stride):
    text = (KERNELS / "supported.def").read_text()
    listed = {
        tuple(map(int, re.findall(r"\d+", line)))
        for line in text.splitlines()
        if line.startswith("DEPTHWISE(")
    }
    assert listed == set(supported.DEPTHWISE)
    block = good.plan.blocks[good.plan.block_count - 1]
    block.kernel, block.stride = kernel, stride
    is_said = "supported.def" in good.refusal(ISA)
    assert is_said == ((kernel, stride, 1) not in listed)


def test_every_count_of_python_is_that_of_the_core():
    assert supported.MAX_BLOCKS == lib.MNV2_MAX_BLOCKS
    assert supported.MAX_CONVS == lib.MNV2_MAX_CONVS
    assert supported.MAX_CONV_KERNEL == lib.MNV2_MAX_KERNEL
    assert supported.MAX_DENSE == lib.MNV2_MAX_DENSE


def test_parts_make_bands_apart_of_tiles_alone_and_one_each():
    plans = (HandPlan(random_network(seed, "float32"), 2, seed) for seed in range(200))
    steps, plan = next(
        (kinds, plan)
        for plan in plans
        for kinds in [{step.kind: step for step in steps_of(plan) if step.kind != lib.MNV2_TAP}]
        if {lib.MNV2_TILES, lib.MNV2_LAYERS} <= set(kinds) and kinds[lib.MNV2_TILES].apart
    )
    tiles, layers = steps[lib.MNV2_TILES], steps[lib.MNV2_LAYERS]
    assert not plan.refusal(ISA)
    for step, field, value, said in (
        (tiles, "apart", 2, "apart"),
        (tiles, "apart", -1, "apart"),
        (tiles, "bands", 1, "apart"),
        (tiles, "bands", 3, "apart"),
        (tiles, "apart", 0, "bands are not"),
        (layers, "apart", 1, "apart"),
        (plan.plan, "threads", 3, "apart"),
    ):
        before = getattr(step, field)
        setattr(step, field, value)
        assert said in plan.refusal(ISA), (field, value)
        setattr(step, field, before)
    assert not plan.refusal(ISA)
    plan.plan.blocks[tiles.first].expanded_tap = 1
    assert plan.refusal(ISA)


def test_a_plan_without_a_pointer_or_a_step_is_refused(good):
    plan = good.plan
    for field in ("blocks", "convs", "dense", "taps", "steps"):
        before = getattr(plan, field)
        setattr(plan, field, ffi.NULL)
        assert "table" in good.refusal(ISA), field
        setattr(plan, field, before)
    plan.step_count -= 1
    assert "end before" in good.refusal(ISA)


def test_steps_in_another_order_are_refused(good):
    steps, count = good.plan.steps, good.plan.step_count
    for i in range(count - 1):
        first, second = _copied(steps[i]), _copied(steps[i + 1])
        steps[i], steps[i + 1] = second, first
        assert good.refusal(ISA), i
        steps[i], steps[i + 1] = first, second
    assert not good.refusal(ISA)


def _copied(step):
    made = ffi.new("mnv2_step *")
    made[0] = step
    return made[0]


def test_rows_in_place_give_the_same_answer_and_too_early_ones_are_refused():
    """A step of rows whose output begins at its input: allowed or not, as check.c works it out."""
    allowed = refused = 0
    for seed in range(150):
        network = random_network(seed, "float32" if seed % 2 else "int8")
        made = HandPlan(network, 1, seed)
        isa = next(iter(isas_for(network.precision).values()))
        plan = made.plan
        for i in range(1, plan.step_count):
            step = plan.steps[i]
            if step.kind != lib.MNV2_ROWS or step.first == 0:
                continue
            before = [(plan.steps[n].input, plan.steps[n].output) for n in range(plan.step_count)]
            # The step that follows reads where this one leaves its output.
            step.output = step.input
            for n in range(i + 1, plan.step_count):
                if plan.steps[n].kind == lib.MNV2_TAP:
                    plan.steps[n].input = plan.steps[n].output = step.output
                    continue
                plan.steps[n].input = step.output
                break
            if made.refusal(isa):
                refused += 1
            else:
                allowed += 1
                found = made.run(isa, bytearray)
                assert not differ(found, answer_of(network), 0.0 if seed % 2 == 0 else 1e-5)
            for n, (source, target) in enumerate(before):
                plan.steps[n].input, plan.steps[n].output = source, target
    assert allowed > 5
    assert refused > 5


def test_what_no_dense_layer_follows_gives_features_alone():
    network = random_network(3, "float32")._replace(dense=[])
    made = HandPlan(network, 1, 0)
    assert not made.refusal(ISA)
    found = made.run(ISA, bytearray)
    assert found.logits is None
    np.testing.assert_allclose(found.features, answer_of(network).features, rtol=1e-4, atol=1e-5)
