"""Detectors in the C core: close to the oracle, the same bits for any threads and tiles, within the
bytes of their plan, and a plan that lies is refused."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector
from native_network import BFLOAT16_ISAS, SUPPORTED_ISAS, PackedNetwork, image, relative_error
from random_tables import random_detector

from mnv2_engine import Engine, _core
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors import Order
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.executors.reference import run
from mnv2_engine.export.c_file import export_c
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.network.ssdlite import ssdlite
from mnv2_engine.plan.arena import least_arena
from mnv2_engine.plan.cpu_costs import ANY
from mnv2_engine.plan.planner import assemble, every_schedule, fastest, make_plan
from mnv2_engine.plan.shapes import PRECISIONS, Shapes
from mnv2_engine.plan.steps import Plan

NETWORKS = {
    "small": small_detector(),
    "odd": small_detector((57, 64), 20),
    "ssdlite": ssdlite(0.35, 160, classes=3),
}
WEIGHTS = {name: seeded_weights(network) for name, network in NETWORKS.items()}


def outputs_of(
    network: Network, weights: dict[str, Any], plan: Plan | Order, isa: str | None, x: Any
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    packed: Any = PackedNetwork(network, weights, plan.dtype)
    assert network.detection is not None
    boxes = np.full((len(weights["anchors"]), 4), np.nan, np.float32)
    scores = np.full((len(boxes), network.detection.columns), np.nan, np.float32)
    executor = NativeExecutor(packed, plan, isa)
    executor.run(x, x.dtype == np.float32, boxes=boxes, scores=scores)
    return boxes, scores


def truth_of(network: Network, weights: dict[str, Any], x: Any) -> tuple[Any, Any]:
    made = run(network, weights, x[np.newaxis].astype(np.float64), np.float64)
    assert made.boxes is not None
    assert made.scores is not None
    return made.boxes[0], made.scores[0]


@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_and_scores_are_the_oracles(name: str, isa: str, pytestconfig: pytest.Config) -> None:
    if name == "ssdlite" and isa != SUPPORTED_ISAS[0] and not pytestconfig.getoption("--every"):
        pytest.skip("the larger one by the best instruction set alone, without --every")
    network, weights = NETWORKS[name], WEIGHTS[name]
    x = image(network)
    plan = make_plan(network)
    found = outputs_of(network, weights, plan, isa, x)
    for some, true in zip(found, truth_of(network, weights, x), strict=True):
        assert relative_error(some, true) < 3e-5
    for threads in (2, 3):
        again = outputs_of(network, weights, make_plan(network, threads), isa, x)
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True)), threads


@pytest.mark.parametrize("seed", range(8))
def test_random_detectors_are_the_oracles(seed: int) -> None:
    """Maps in any order, blocks without a depthwise layer, heads of every kind; planned in C."""
    choose = random.Random(seed)
    network = random_detector(choose)
    weights, x = seeded_weights(network), image(network)
    order = Order(choose.choice((1, 2, 3)), "float32", "float32", ANY)
    found = outputs_of(network, weights, order, None, x)
    for some, true in zip(found, truth_of(network, weights, x), strict=True):
        assert relative_error(some, true) < 1e-4


@pytest.mark.parametrize("isa", BFLOAT16_ISAS[:1])
def test_bfloat16_is_close(isa: str) -> None:
    network, weights = NETWORKS["small"], WEIGHTS["small"]
    x = image(network)
    plans = [make_plan(network, n, "bfloat16", "bfloat16") for n in (1, 2)]
    found, again = (outputs_of(network, weights, plan, isa, x) for plan in plans)
    for some, true in zip(found, truth_of(network, weights, x), strict=True):
        assert relative_error(some, true) < 3e-2
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_any_schedule_gives_the_same_bits() -> None:
    network, weights = NETWORKS["odd"], WEIGHTS["odd"]
    x = image(network)
    shapes = Shapes(network, 1, PRECISIONS["float32"])
    choices = every_schedule(shapes)
    arenas = {least_arena(choices), 1 << 30}
    found = [
        outputs_of(network, weights, assemble(shapes, fastest(shapes, choices, arena)), None, x)
        for arena in sorted(arenas)
    ]
    for i, some in enumerate(choices):  # each schedule of each block once
        for schedule in some[1:]:
            only = [*choices[:i], [schedule], *choices[i + 1 :]]
            try:
                chosen = fastest(shapes, only, 1 << 30)
            except ValueError:  # nothing else begins where it ends
                continue
            found.append(outputs_of(network, weights, assemble(shapes, chosen), None, x))
    assert len(found) > 5
    for boxes, scores in found[1:]:
        assert np.array_equal(boxes, found[0][0])
        assert np.array_equal(scores, found[0][1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
def test_expanded_tensors_are_handed_out(isa: str, threads: int) -> None:
    network, weights = NETWORKS["odd"], WEIGHTS["odd"]
    x = image(network)
    seen: dict[str, Any] = {}
    truth = run(network, weights, x[np.newaxis].astype(np.float64), np.float64, seen)
    plan = make_plan(network, threads, taps=(2,), expanded=(1, 2, 3))
    names = ["block2.add", "block1.expand", "block2.expand", "head"]
    packed: Any = PackedNetwork(network, weights)
    maps = [np.full(seen[name].shape[1:], np.nan, np.float32) for name in names]
    boxes = np.full((len(weights["anchors"]), 4), np.nan, np.float32)
    NativeExecutor(packed, plan, isa).run(x, True, maps=maps, boxes=boxes)
    for name, found in zip(names, maps, strict=True):
        assert relative_error(found, seen[name][0]) < 1e-5, name
    assert truth.boxes is not None
    assert relative_error(boxes, truth.boxes[0]) < 3e-5


@pytest.mark.parametrize("tap", [1, 3, 4])
def test_a_tap_where_heads_read_leaves_their_outputs(tap: int) -> None:
    plan = make_plan(NETWORKS["small"], taps=(tap,))
    assert [step.number for step in plan.steps if step.kind == "boxes"] == [0, 1, 2]
    assert [step.number for step in plan.steps if step.kind == "tap"] == [0]


def test_features_names_expand_layers(tmp_path: Path) -> None:
    network = mobilenet_v2(0.35, 64, 10)
    path = tmp_path / "m.npz"
    write_model(path, network, seeded_weights(network), PRESETS["tf"], None, {})
    pixels = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    at = ["block13.expand", "block3", "block1.expand"]
    with Engine.load(path, backend="c") as core, Engine.load(path, backend="numpy") as numpy:
        found, expected = core.features(pixels, at), numpy.features(pixels, at)
        assert [each.shape for each in found] == [(4, 4, 192), (8, 8, 16), (32, 32, 48)]
        for some, true in zip(found, expected, strict=True):
            assert relative_error(some, true) < 1e-4
        assert core.memory_plan(at).arena_bytes > core.memory_plan().arena_bytes
        with pytest.raises(InputError, match="is no block"):
            core.features(pixels, ["block0.expand"])  # there is none


def test_the_person_detector_fits_its_arena() -> None:
    plan = make_plan(ssdlite(classes=1))
    assert plan.arena_bytes <= 440 << 10
    assert plan.unfused_bytes == 10547 * 1024 - 128  # 150 × 150 × (96 + 24) floats
    integers = make_plan(ssdlite(classes=1), 1, "int8")
    assert integers.arena_bytes <= 150 << 10
    assert integers.unfused_bytes == 2637 * 1024 - 288
    assert max(step.bands for step in integers.steps) > 1  # or the sums of 32 bits would not fit


MANY = [("2", "changes"), ("1", "changes-int8"), ("2", "changes-int8")]


@pytest.mark.parametrize("arguments", [("1",), ("2",), ("1", "changes"), *MANY])
def test_nothing_beyond_the_plan_is_touched(
    arguments: tuple[str, ...], pytestconfig: pytest.Config
) -> None:
    if arguments in MANY and not pytestconfig.getoption("--every"):
        pytest.skip("changed numbers of a plan for two threads, and of 8 bits: with --every")
    script = Path(__file__).parent / "guarded_detector.py"
    made = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=240
    )
    assert made.returncode == 0, made.stderr[-2000:]
    assert made.stdout.strip() == "ok"


def test_numba_refuses_by_name() -> None:
    pytest.importorskip("numba")
    from mnv2_engine.executors.jit.executor import NumbaExecutor

    with pytest.raises(UnsupportedError, match="a detector: the numba backend"):
        NumbaExecutor(make_plan(NETWORKS["small"]))


def last(plan: Any) -> Any:
    return plan.blocks[plan.block_count - 1]


LIES: list[tuple[str, Any, str]] = [
    (
        "head overlaps the input",
        lambda p: setattr(p.blocks[p.block_count - 1], "output", 0),
        "overlap",
    ),
    ("head outside", lambda p: setattr(p.blocks[p.block_count - 1], "output", 1 << 40), "past"),
    ("within", lambda p: setattr(p.blocks[1], "within", 0), "none of the last"),
    ("within_count", lambda p: setattr(p.blocks[1], "within_count", 1), "before its heads"),
    ("too many within", lambda p: setattr(p.blocks[1], "within_count", 60), "more heads within"),
    ("filtered within", lambda p: setattr(p.blocks[p.blocks[1].within], "filtered", 0), "overlap"),
    ("map of a block", lambda p: setattr(p.maps[0], "boxes", 0), "scores are no head"),
    ("map twice", lambda p: setattr(p.maps[1], "boxes", p.maps[0].boxes), "anchors|handed over"),
    ("map again", lambda p: setattr(map_step(p, 1), "first", 0), "cover the maps|handed over"),
    ("anchors", lambda p: setattr(p.maps[0], "anchors", 5), "anchors do not fit"),
    ("columns", lambda p: setattr(p, "columns", 7), "anchors do not fit"),
    ("maps", lambda p: setattr(p, "map_count", 2), "out of range"),
    ("predictors", lambda p: setattr(p, "predictor_count", 64), "out of range"),
    ("no depthwise", lambda p: setattr(p.blocks[2], "depthwise_weight", -1), "supported.def"),
    ("lines", lambda p: setattr(step_of(p, 1), "lines", 3), "lines or columns"),
    ("expanded tap", lambda p: setattr(p.blocks[1], "expanded_tap", 1), "than taps"),
    ("two blocks", lambda p: setattr(step_of(p, 1), "kind", 0), "tiles alone|strip"),
]


def map_step(plan: Any, number: int) -> Any:
    steps = [plan.steps[i] for i in range(plan.step_count)]
    kind = _core.lib.MNV2_BOXES
    return next(step for step in steps if step.kind == kind and step.first == number)


def step_of(plan: Any, block: int) -> Any:
    return next(
        plan.steps[i]
        for i in range(plan.step_count)
        if plan.steps[i].first == block and plan.steps[i].count == 1
    )


@pytest.mark.parametrize(("lie", "said"), [each[1:] for each in LIES], ids=[e[0] for e in LIES])
def test_a_plan_that_lies_is_refused(lie: Any, said: str) -> None:
    import re

    from mnv2_engine._core import ffi, lib

    network = NETWORKS["small"]
    packed: Any = PackedNetwork(network, WEIGHTS["small"])
    executor = NativeExecutor(packed, make_plan(network))
    why = ffi.new("const char **")
    built = executor._plan
    assert lib.mnv2_check_plan(executor._isa, built, why) == lib.MNV2_OK
    lie(built)
    assert lib.mnv2_check_plan(executor._isa, built, why) == lib.MNV2_BAD_PLAN
    assert re.search(said, ffi.string(why[0]).decode()), ffi.string(why[0])


def test_an_exported_c_file_has_the_maps(tmp_path: Path) -> None:
    network, model = NETWORKS["small"], tmp_path / "d.npz"
    write_model(model, network, WEIGHTS["small"], PRESETS["tf"], None, {})
    with open_model(model) as opened:
        export_c(opened, str(tmp_path / "d.c"), 1, None, False)
    text = (tmp_path / "d.c").read_text()
    assert "d_plan, for mnv2_run_detector" in text
    assert "static const mnv2_map d_maps[3]" in text
    assert ".predictor_count = 6" in text
