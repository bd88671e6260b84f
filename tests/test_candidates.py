"""Candidates kept row by row as a detector runs: the objects of all scores, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector
from int8_network import random_int8
from native_network import SUPPORTED_ISAS, PackedNetwork

from mnv2_engine import Engine, _core
from mnv2_engine.executors import native_objects
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.executors.native_objects import detection_of
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.layer import Network
from mnv2_engine.network.ssdlite import Thresholds, ssd_anchors, ssdlite
from mnv2_engine.plan.planner import make_plan

NETWORK = small_detector()
MANY = small_detector(
    (45, 38), 90
)  # 91 columns: one row of scores at a time is 64 anchors' no more


def quiet_weights(network: Network) -> dict[str, Any]:
    """Seeded weights of which few scores are high, as in photographs."""
    weights = seeded_weights(network)
    assert network.detection is not None
    for each in network.detection.maps:
        weights[f"{each.scores}.weight"] *= np.float32(0.3)
        weights[f"{each.scores}.bias"] -= np.float32(6)
    return weights


WEIGHTS = {NETWORK: seeded_weights(NETWORK), MANY: quiet_weights(MANY)}


def pixels(network: Network, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*network.resolution, 3), np.uint8)


def both(executor: NativeExecutor, network: Network, anchors: Any, how: Any, x: Any) -> Any:
    """The objects by candidates, and by all codes and scores."""
    wanted = executor.wanting(how, anchors)
    executor.run(x, False, wanted=wanted)
    count = len(anchors)
    codes = np.empty((count, 4), np.float32)
    scores = np.empty((count, how.columns), np.float32)
    executor.run(x, False, boxes=codes, scores=scores)
    return wanted.found, executor.objects(how, anchors, codes, scores)


@pytest.mark.parametrize("conversion", ["sigmoid", "softmax"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("network", [NETWORK, MANY], ids=["3 columns", "91 columns"])
def test_objects_are_those_of_all_scores(network: Network, threads: int, conversion: str) -> None:
    packed: Any = PackedNetwork(network, WEIGHTS[network])
    anchors = WEIGHTS[network]["anchors"]
    assert network.detection is not None
    ways = set()
    for isa in (SUPPORTED_ISAS[0], SUPPORTED_ISAS[-1]):
        executor = NativeExecutor(packed, make_plan(network, threads), isa)
        for threshold in (0.9, 0.6, 0.3, 0.05, 0.0):
            how = network.detection._replace(
                score_threshold=threshold, score_conversion=conversion, max_objects=20
            )
            for seed in range(2):
                found, due = both(executor, network, anchors, how, pixels(network, seed))
                assert found == due
                ways.add((bool(found), executor._crowded >= threshold))
    assert (True, False) in ways  # kept as they came
    assert (True, True) in ways or len(anchors) * network.classes <= native_objects.CANDIDATES


def test_int8_and_bfloat16_find_the_same(tmp_path: Path) -> None:
    weights, quantization = random_int8(NETWORK)
    path = tmp_path / "int8.npz"
    write_model(path, NETWORK, weights, PRESETS["tf"], None, {}, quantization)
    half = tmp_path / "bfloat16.npz"
    write_model(half, NETWORK, WEIGHTS[NETWORK], PRESETS["tf"], None, {}, dtype="bfloat16")
    for each in (path, half):
        with Engine.load(each) as engine:
            executor: Any = engine._executor
            assert NETWORK.detection is not None
            how = NETWORK.detection._replace(score_threshold=0.3)
            anchors = np.ascontiguousarray(engine._open()[1].array("anchors"))
            found, due = both(executor, NETWORK, anchors, how, pixels(NETWORK))
            assert found == due


def test_too_many_candidates_run_once_more_and_then_no_more(tmp_path: Path) -> None:
    network = ssdlite(0.35, 96, classes=20, thresholds=Thresholds(score=0.0))
    weights = quiet_weights(network)
    weights["anchors"] = np.array(ssd_anchors(network), np.float32)
    path = tmp_path / "detector.npz"
    write_model(path, network, weights, PRESETS["tf"], None, {})
    with Engine.load(path) as engine, Engine.load(path, backend="numpy") as oracle:
        executor: Any = engine._executor
        x = pixels(network)
        for threshold in (0.0, 0.04, 0.02):
            found, due = engine.detect(x, threshold), oracle.detect(x, threshold)
            assert [each.index for each in found] == [each.index for each in due]
            assert [each.score for each in found] == pytest.approx(
                [each.score for each in due], rel=1e-3
            )
        assert engine.stats().images == 3
        assert 0.0 <= executor._crowded < 0.04


def test_values_that_are_not_finite_and_denormal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores below the smallest normal number are above a threshold of 0, though a run flushes
    them; boxes without end and NaN are no candidates."""
    weights = dict(WEIGHTS[NETWORK])
    random = np.random.default_rng(5)
    for name in [name for name in weights if name.startswith("scores") and "depth" not in name]:
        if name.endswith(".bias"):
            weights[name] = random.choice(np.float32([-95, -90, -100, 0]), weights[name].shape)
    for name in [name for name in weights if name.startswith("boxes") and name.endswith(".bias")]:
        if "depth" not in name:
            weights[name] = random.choice(np.float32([0, 0, 0, 0, 0, 0, 1e3]), weights[name].shape)
    packed: Any = PackedNetwork(NETWORK, weights)
    executor = NativeExecutor(packed, make_plan(NETWORK))
    monkeypatch.setattr(native_objects, "CANDIDATES", 1 << 14)
    assert NETWORK.detection is not None
    how = NETWORK.detection._replace(
        score_threshold=0.0, score_conversion="softmax", max_objects=1000, max_per_class=500
    )
    found, due = both(executor, NETWORK, weights["anchors"], how, pixels(NETWORK))
    assert executor._crowded < 0
    assert found == due
    assert len({each[0] for each in found}) < len(weights["anchors"])
    assert any(0 < each[2] < 1.2e-38 for each in found)


def test_what_does_not_fit_the_plan_is_refused() -> None:
    ffi, lib = _core.ffi, _core.lib
    packed: Any = PackedNetwork(NETWORK, WEIGHTS[NETWORK])
    executor = NativeExecutor(packed, make_plan(NETWORK))
    anchors = ffi.from_buffer("float[]", WEIGHTS[NETWORK]["anchors"])
    assert NETWORK.detection is not None
    x = ffi.from_buffer(pixels(NETWORK))
    _, arena = executor._take()
    sound = detection_of(executor, NETWORK.detection, len(anchors) // 4)
    room = ffi.new("mnv2_object[]", 100)

    def status(places: int = 100, **fields: int) -> int:
        how = ffi.new("mnv2_detection *", sound[0])
        for name, value in fields.items():
            setattr(how, name, value)
        kept = ffi.new("mnv2_candidates *", [how, anchors, room, places, 0])
        given = executor._isa, executor._plan, ffi.NULL, executor._weights
        return int(lib.mnv2_run_candidates(*given, arena, x, 0, kept))

    assert status() == lib.MNV2_OK
    for places, fields in (
        (100, {"anchors": sound.anchors + 1}),
        (100, {"columns": sound.columns - 1}),
        (100, {"max_objects": 0}),
        (sound.max_objects - 1, {}),
        (100, {"columns": 1 << 20}),
    ):
        assert status(places, **fields) == lib.MNV2_BAD_PLAN
