"""The definition of decoding and suppression, against loops written from the papers' words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_engine.detect.decoding import converted, decoded
from mnv2_engine.detect.suppression import Kept, overlaps, suppressed
from mnv2_engine.errors import InputError

SCALES = (10.0, 10.0, 5.0, 5.0)
Array = np.ndarray[Any, Any]


def some_boxes(random: np.random.Generator, count: int) -> Array:
    """Corners of boxes that overlap much, some of them beyond the picture."""
    centres = random.uniform(-0.1, 1.1, (count, 2))
    halves = random.uniform(0.01, 0.4, (count, 2))
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


# Decoding


def test_codes_of_zero_give_the_anchors() -> None:
    anchors = np.array([[0.5, 0.25, 0.2, 0.1]], np.float32)
    box = decoded(np.zeros((1, 4)), anchors, SCALES)
    assert box[0].tolist() == pytest.approx([0.4, 0.2, 0.6, 0.3], abs=1e-7)


def test_decoding_undoes_the_coding_of_the_paper() -> None:
    random = np.random.default_rng(1)
    anchors = np.concatenate(
        [random.uniform(0, 1, (500, 2)), random.uniform(0.05, 1, (500, 2))], axis=1
    )
    boxes = some_boxes(random, 500).astype(np.float64)
    size, centre = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    codes = np.concatenate(
        [
            (centre - anchors[:, :2]) / anchors[:, 2:] * SCALES[:2],
            np.log(size / anchors[:, 2:]) * SCALES[2:],
        ],
        axis=1,
    )
    assert np.abs(decoded(codes, anchors, SCALES) - boxes).max() < 1e-6


def test_codes_and_anchors_must_be_as_many() -> None:
    for codes, anchors in (((3, 4), (2, 4)), ((3, 5), (3, 5)), ((4,), (4,))):
        with pytest.raises(InputError, match="as many anchors"):
            decoded(np.zeros(codes), np.zeros(anchors), SCALES)


def test_an_overflowing_code_makes_a_box_that_is_left_out() -> None:
    codes = np.array([[0, 0, 1e9, 0], [0, 0, np.nan, 0], [0, 0, 0, 0]])
    boxes = decoded(codes, np.full((3, 4), 0.5), SCALES)
    scores = np.array([[0.9], [0.8], [0.7]])
    assert [each.anchor for each in suppressed(boxes, scores, 0.0, 0.6, 10, 10)] == [2]


# Scores


def test_scores_by_sigmoid_and_by_softmax() -> None:
    logits = np.array([[0.0, 2.0, -1.0], [100.0, -100.0, 0.0]])
    by_sigmoid = [[1 / (1 + math.exp(-x)) for x in row] for row in logits]
    assert np.allclose(converted(logits, "sigmoid", False), by_sigmoid, atol=1e-7)
    assert np.allclose(converted(logits, "sigmoid", True), np.array(by_sigmoid)[:, 1:], atol=1e-7)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    assert np.allclose(converted(logits, "softmax", True), shares[:, 1:], atol=1e-7)
    with pytest.raises(InputError, match="expected sigmoid or softmax"):
        converted(logits, "argmax", True)


# Suppression


def area(box: Array) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def overlap(one: Array, other: Array) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(height, 0) * max(width, 0)
    return float(shared / (area(one) + area(other) - shared))


def by_loops(
    boxes: Array, scores: Array, least: float, most_overlap: float, per_class: int, most: int
) -> list[Kept]:
    """The same, one box at a time, each compared with those that were taken."""
    taken: list[tuple[int, int]] = []
    for index in range(scores.shape[1]):
        mine: list[int] = []
        ranks = sorted(range(len(boxes)), key=lambda anchor: (-scores[anchor, index], anchor))
        for anchor in ranks:
            if not scores[anchor, index] > np.float32(least) or len(mine) == per_class:
                break
            if all(overlap(boxes[anchor], boxes[one]) <= most_overlap for one in mine):
                mine.append(anchor)
        taken += [(anchor, index) for anchor in mine]
    order = sorted(range(len(taken)), key=lambda at: (-scores[taken[at]], at))
    kept = []
    for anchor, index in (taken[at] for at in order):
        top, left, bottom, right = (min(max(float(x), 0.0), 1.0) for x in boxes[anchor])
        if bottom > top and right > left:
            kept.append(
                Kept(anchor, index, float(scores[anchor, index]), (top, left, bottom, right))
            )
    return kept[:most]


@given(
    seed=st.integers(0, 1 << 20),
    count=st.integers(0, 60),
    classes=st.integers(1, 4),
    least=st.sampled_from([0.0, 0.3, 0.9]),
    most_overlap=st.sampled_from([0.0, 0.45, 0.6, 1.0]),
    per_class=st.integers(1, 12),
    most=st.integers(1, 20),
    steps=st.sampled_from([4, 1 << 20]),  # few: many scores are equal
)
def test_suppression_is_what_the_loops_say(
    seed: int,
    count: int,
    classes: int,
    least: float,
    most_overlap: float,
    per_class: int,
    most: int,
    steps: int,
) -> None:
    random = np.random.default_rng(seed)
    boxes = some_boxes(random, count)
    scores = (random.integers(0, steps + 1, (count, classes)) / steps).astype(np.float32)
    found = suppressed(boxes, scores, least, most_overlap, per_class, most)
    assert found == by_loops(boxes, scores, least, most_overlap, per_class, most)


def test_equal_scores_go_to_the_lower_anchor_and_the_lower_class() -> None:
    boxes = np.array([[0, 0, 0.2, 0.2], [0.5, 0.5, 0.7, 0.7], [0, 0, 0.2, 0.2]], np.float32)
    found = suppressed(boxes, np.full((3, 2), 0.5), 0.1, 0.5, 10, 10)
    assert [(each.index, each.anchor) for each in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_score_at_the_threshold_is_none() -> None:
    boxes = np.array([[0, 0, 1, 1]], np.float32)
    assert suppressed(boxes, np.array([[0.5]]), 0.5, 0.5, 1, 1) == []


def test_odd_boxes_are_none_and_do_no_harm() -> None:
    whole = [0.1, 0.1, 0.5, 0.5]
    odd = [
        [math.nan, 0, 1, 1], [0, 0, math.inf, 1], [-math.inf, 0, 1, 1],  # not finite
        [0.2, 0.2, 0.2, 0.4], [1.5, 1.5, 1.7, 1.7],  # no area, and none in the picture
        [0.5, 0.5, 0.1, 0.1],  # corners exchanged
        [-3e38, -3e38, 3e38, 3e38],  # an area that overflows
    ]  # fmt: skip
    boxes = np.array([*odd, whole], np.float32)
    scores = np.linspace(0.9, 0.5, len(boxes))[:, None]
    found = suppressed(boxes, scores, 0.1, 0.5, 100, 100)
    # The one whose area overflows covers the picture when it is clipped. The exchanged one hides
    # the whole one, as in TensorFlow, and has a negative side and another: a positive area.
    assert [each.anchor for each in found] == [5, 6]
    assert found[1].box == (0.0, 0.0, 1.0, 1.0)
    nan = suppressed(np.array([whole], np.float32), np.array([[math.nan]]), 0.1, 0.5, 9, 9)
    infinite = suppressed(np.array([whole], np.float32), np.array([[math.inf]]), 0.1, 0.5, 9, 9)
    assert nan == infinite == []


def test_a_hundred_thousand_candidates() -> None:
    random = np.random.default_rng(3)
    count = 100_000
    boxes = some_boxes(random, count)
    scores = random.uniform(0, 1, (count, 1)).astype(np.float32)
    found = suppressed(boxes, scores, 1e-8, 0.6, 100, 100)
    assert len(found) == 100 or all(each.score > 0 for each in found)
    kept = boxes[[each.anchor for each in found]]
    for at, box in enumerate(kept[1:], 1):
        assert overlaps(box, kept[:at]).max() <= np.float32(0.6)
