"""The table of ablations: what each plan in it is, that all compute the same, what it says."""

from __future__ import annotations

import pytest
from conftest import small_network
from int8_network import random_int8
from native_network import SUPPORTED_ISAS

from mnv2_engine import MnvError
from mnv2_engine.bench.ablations import (
    FUSED_STEM,
    PLANNED,
    UNFUSED,
    ablations,
    alone,
    answer,
    plan_by_layers,
    plans,
    rows_of,
    table,
)
from mnv2_engine.bench.plan_race import PlanRace
from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.shapes import PRECISIONS, Shapes


def model_of(path, network, dtype):
    from conftest import make_weights

    if dtype == "int8":
        weights, quantization = random_int8(network)
        write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    else:
        write_model(path, network, make_weights(network), PRESETS["tf"], None, {}, dtype=dtype)
    return open_model(str(path))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(
    "network",
    [mobilenet_v2(1.0, 224), mobilenet_v2(0.35, 96), efficientnet_lite(0)],
    ids=lambda network: network.name,
)
def test_from_layer_by_layer_to_the_planners_plan(network, precision, threads):
    made = plans(network, threads, precision)
    names = list(made)
    assert (names[0], names[-1]) == (UNFUSED, PLANNED)
    assert made[PLANNED] == make_plan(network, threads, precision, cpu=cpu_family())
    assert {step.kind for step in made[UNFUSED].steps} == {"layers", "head", "dense"}
    assert made[FUSED_STEM].steps[0].kind == "rows"
    assert {step.kind for step in made[FUSED_STEM].steps[1:-2]} == {"layers"}
    for name, plan in made.items():
        is_cascade = any(len(step.blocks) > 1 for step in plan.steps)
        assert not is_cascade or "cascade" in name or name == PLANNED
        in_place = any(step.in_place for step in plan.steps)
        assert not in_place or name.endswith("in place") or name == PLANNED
        assert plan.arena_bytes >= made[PLANNED].arena_bytes * 0.9
    splits = [plan.arena_bytes for name, plan in made.items() if "splits" in name]
    whole = made[FUSED_STEM].arena_bytes
    assert [whole, *splits] == sorted([whole, *splits], reverse=True)
    assert made[UNFUSED].arena_bytes >= whole > splits[0]
    assert all(list(made.values()).count(plan) == 1 for plan in made.values())
    # Every tensor whole, and none freed in between: more than the least that it would need.
    assert made[UNFUSED].arena_bytes > made[UNFUSED].unfused_bytes


def test_one_thread_runs_in_place_and_two_do_not():
    network = mobilenet_v2(1.0, 224)
    assert "the same, in place" in plans(network)
    assert "the same, in place" not in plans(network, threads=2)


@pytest.mark.parametrize("kind", ["layers", "rows", "tiles"])
def test_blocks_alone_are_of_one_kind(kind):
    shapes = Shapes(mobilenet_v2(1.0, 224), 1, PRECISIONS["int8"])
    for index in range(1, 17):
        for schedule in alone(shapes, index, kind):
            assert (schedule.kind, len(schedule.blocks), schedule.in_place) == (kind, 1, False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_all_plans_give_the_same_bits_and_have_a_row(tmp_path, dtype, threads):
    with model_of(tmp_path / "model.npz", small_network(), dtype) as model:
        rows = ablations(model, threads, rounds=2, inner=1)
        names = list(plans(model.network, threads, "int8" if dtype == "int8" else "float32"))
    assert [row.name for row in rows] == names
    assert all(row.ms.median > 0 for row in rows)
    assert rows[0].ratio.median == 1
    assert table(rows).count("\n| ") == len(rows)


def test_a_plan_with_other_logits_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(NativeExecutor, "_check", lambda *_: None)  # which would refuse it
    network = small_network()
    good = make_plan(network)
    bad = good._replace(steps=good.steps[-1:])  # the classifier of an arena of zeros
    with (
        model_of(tmp_path / "model.npz", network, "float32") as model,
        pytest.raises(MnvError, match="other logits than those of 'good': 'bad'"),
    ):
        PlanRace(model, {"good": good, "same": plan_by_layers(network), "bad": bad})


def test_the_instruction_set_may_be_named(tmp_path):
    network = small_network()
    with model_of(tmp_path / "model.npz", network, "float32") as model:
        race = PlanRace(model, {"one": make_plan(network)}, SUPPORTED_ISAS[-1])
        assert race.isa == SUPPORTED_ISAS[-1]


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.5, "Fusing gains speed: the fastest fused plan"),
        (1.5, "Fusing loses speed: the fastest fused plan"),
        (1.0, "Fusing neither loses nor gains speed beyond what this run can tell"),
    ],
)
def test_the_answer_follows_the_times(share, said):
    network = mobilenet_v2(1.0, 224)
    unfused = plan_by_layers(network)
    made = {UNFUSED: unfused, "splits": plan_by_layers(network, 3), PLANNED: make_plan(network)}
    noise = [0.98, 0.99, 1.0, 1.01, 1.02] * 6
    whole = [2.0] * 30
    rows = rows_of(made, [whole, [0.1] * 30, [2 * share * each for each in noise]])
    assert [row.is_fused for row in rows] == [False, False, True]
    text = answer(rows)
    assert text.startswith(said)
    assert f"takes {share:.3f} (95 % confidence" in text
    assert f"in 1/{made[UNFUSED].arena_bytes / made[PLANNED].arena_bytes:.1f} of" in text
    assert f"is {made[PLANNED].unfused_bytes / 1024:,.0f} KiB" in text
    lines = table(rows).splitlines()
    assert lines[2].split("|")[2].strip() == f"{made[UNFUSED].arena_bytes / 1024:,.0f}"
    assert lines[4].split("|")[4].strip() == f"{share:.3f}"
    assert lines[-1] == text
    assert "noisy" not in lines[4]
    wild = rows_of(made, [whole, whole, [2 * share * each for each in [0.8, 1.0, 1.2] * 10]])
    assert f"{share:.3f}, noisy |" in table(wild)
