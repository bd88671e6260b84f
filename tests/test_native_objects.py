"""Objects by the C core: those of the definition in mnv2_engine.detect, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector
from native_network import PackedNetwork

from mnv2_engine import _core
from mnv2_engine.detect import decoding, suppression
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.network.detection import Detection
from mnv2_engine.plan.planner import make_plan


@pytest.fixture(scope="module")
def executor() -> NativeExecutor:
    network = small_detector()
    packed: Any = PackedNetwork(network, seeded_weights(network))
    return NativeExecutor(packed, make_plan(network))


def detection(**given: Any) -> Detection:
    usual: dict[str, Any] = {
        "maps": (),
        "classes": 3,
        "background": True,
        "score_conversion": "sigmoid",
        "box_coding": (10.0, 10.0, 5.0, 5.0),
        "score_threshold": 0.3,
        "iou_threshold": 0.5,
        "max_per_class": 20,
        "max_objects": 30,
    }
    return Detection(**{**usual, **given})


def random_rows(how: Detection, anchors: int, seed: int) -> tuple[Any, Any, Any]:
    """Anchors, codes and scores; scores in steps, so that there are ties."""
    random = np.random.default_rng(seed)
    places = random.uniform(-0.1, 1.1, (anchors, 2))
    sizes = random.uniform(0.02, 0.6, (anchors, 2))
    codes = random.normal(0, 2, (anchors, 4))
    scores = np.round(random.normal(0, 2, (anchors, how.columns)) * 4) / 4
    made = (np.concatenate([places, sizes], axis=1), codes, scores)
    return tuple(np.ascontiguousarray(each, np.float32) for each in made)  # type: ignore[return-value]


def check(executor: NativeExecutor, how: Detection, anchors: Any, codes: Any, scores: Any) -> int:
    expected = suppression.suppressed(
        decoding.decoded(codes, anchors, how.box_coding),
        decoding.converted(scores, how.score_conversion, how.background),
        how.score_threshold,
        how.iou_threshold,
        how.max_per_class,
        how.max_objects,
    )
    found = executor.objects(how, anchors, codes.copy(), scores.copy())
    assert [each[:2] for each in found] == [(kept.anchor, kept.index) for kept in expected]
    for some, true in zip(found, expected, strict=True):
        assert some[2] == pytest.approx(true.score, rel=1e-6)
        assert some[3] == pytest.approx(true.box, abs=2e-6)
    return len(found)


CASES: list[dict[str, Any]] = [
    {},
    {"background": False, "classes": 1},
    {"score_conversion": "softmax"},
    {"iou_threshold": 0.0},
    {"iou_threshold": 1.0},
    {"score_threshold": 0.0, "max_per_class": 100, "max_objects": 300},
    {"score_threshold": 1.0},
    {"max_per_class": 1},
    {"max_objects": 1},
    {"classes": 90, "max_objects": 100},
]


@pytest.mark.parametrize("given", CASES, ids=lambda given: " ".join(given) or "usual")
def test_objects_are_those_of_the_definition(executor: NativeExecutor, given: Any) -> None:
    how = detection(**given)
    counts = [
        check(executor, how, *random_rows(how, anchors, seed))
        for seed, anchors in enumerate((0, 1, 7, 60, 250))
    ]
    assert max(counts) > 0 or given.get("score_threshold") == 1.0
    assert max(counts) <= how.max_objects


@pytest.mark.parametrize("conversion", ["sigmoid", "softmax"])
def test_what_is_not_finite_is_no_object(executor: NativeExecutor, conversion: str) -> None:
    how = detection(score_conversion=conversion, score_threshold=0.1)
    anchors, codes, scores = random_rows(how, 120, 9)
    random = np.random.default_rng(3)
    for array in (codes, scores):
        at = random.random(array.shape) < 0.05
        array[at] = random.choice([np.nan, np.inf, -np.inf, 3e38, -3e38], at.sum())
    assert check(executor, how, anchors, codes, scores) > 0


def test_equal_boxes_and_scores_go_to_the_lower_anchor(executor: NativeExecutor) -> None:
    how = detection(classes=2, background=False)
    anchors = np.tile(np.float32([0.5, 0.5, 0.2, 0.2]), (40, 1))
    codes, scores = np.zeros((40, 4), np.float32), np.ones((40, 2), np.float32)
    found = executor.objects(how, anchors, codes, scores)
    assert [each[:2] for each in found] == [(0, 0), (0, 1)]


def test_with_too_little_room_the_best_candidates_stay() -> None:
    ffi, lib = _core.ffi, _core.lib
    count, places = 100_000, 10 + 25
    random = np.random.default_rng(1)
    anchors = np.full((count, 4), 0.001, np.float32)
    anchors[:, :2] = random.random((count, 2))
    codes = np.zeros((count, 4), np.float32)
    scores = random.permutation(count).astype(np.float32).reshape(count, 1) / count
    how = ffi.new("mnv2_detection *")
    how.anchors, how.columns, how.max_per_class, how.max_objects = count, 1, 50, 10
    how.coding, how.iou_threshold, how.score_threshold = [1.0] * 4, 0.5, 0.0
    room = ffi.new("mnv2_object[]", places)
    dropped = ffi.new("int32_t *")
    best = np.argsort(-scores[:, 0])[:10]
    found = lib.mnv2_detect(
        how,
        ffi.from_buffer("float[]", anchors),
        ffi.from_buffer("float[]", codes),
        ffi.from_buffer("float[]", scores),
        room,
        places,
        dropped,
    )
    assert [room[i].anchor for i in range(found)] == best.tolist()
    assert dropped[0] == count - 25
