"""Which boxes remain: non-maximum suppression for each class by itself. The definition.

As TensorFlow's detection API has it:

1. Of each class, boxes whose score is greater than the threshold are candidates, the best first,
   ties to the lower number of the anchor. One that overlaps a better one that was taken by more
   than `iou_threshold` (intersection / union) is dropped. At most `max_per_class` are taken.
2. What all classes took is put in order, the best first; ties stay in the order of the classes.
3. Boxes are clipped to the picture, those without area are dropped, and the first `max_objects`
   remain.

A candidate whose score or box is not finite is none.
"""

from __future__ import annotations

import numpy as np

from ..untyped import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Kept(NamedTuple):
    """A box that remains."""

    anchor: int  # its number
    index: int  # type: ignore[assignment]  # of its class, without the background
    score: float
    box: tuple[float, float, float, float]  # top, left, bottom, right, 0 to 1


def suppressed(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    score_threshold: float,
    iou_threshold: float,
    max_per_class: int,
    max_objects: int,
) -> list[Kept]:
    """What remains of `boxes`, (N, 4) as (top, left, bottom, right), with `scores`, (N, classes).
    All arithmetic is in float32."""
    boxes, scores = np.asarray(boxes, np.float32), np.asarray(scores, np.float32)
    finite = np.isfinite(boxes).all(axis=1)
    taken: list[tuple[int, int]] = []  # (anchor, class)
    for index in range(scores.shape[1]):
        column = scores[:, index]
        candidates = np.flatnonzero(
            finite & (column > np.float32(score_threshold)) & np.isfinite(column)
        )
        order = candidates[np.argsort(-column[candidates], kind="stable")]
        taken += [(a, index) for a in _best(boxes, order, iou_threshold, max_per_class)]
    taken.sort(key=lambda each: -scores[each])
    kept: list[Kept] = []
    for anchor, index in taken:
        box = np.clip(boxes[anchor], np.float32(0), np.float32(1))
        if (box[2] - box[0]) * (box[3] - box[1]) > 0:
            top, left, bottom, right = box.tolist()
            kept.append(
                Kept(anchor, index, float(scores[anchor, index]), (top, left, bottom, right))
            )
        if len(kept) == max_objects:
            break
    return kept


def _best(
    boxes: NDArray[np.float32], order: NDArray[np.intp], iou_threshold: float, most: int
) -> list[int]:
    """The boxes that are taken, by their numbers; `order` has those of the candidates."""
    best: list[int] = []
    while order.size and len(best) < most:
        first, rest = order[0], order[1:]
        best.append(int(first))
        order = rest[~(overlaps(boxes[first], boxes[rest]) > np.float32(iou_threshold))]
    return best


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of a box with each of `others`; 0 where one has no area. Corners
    may be exchanged."""
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    lows = np.minimum(others[:, :2], others[:, 2:])
    highs = np.maximum(others[:, :2], others[:, 2:])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        area = (high[0] - low[0]) * (high[1] - low[1])
        areas = (highs[:, 0] - lows[:, 0]) * (highs[:, 1] - lows[:, 1])
        sides = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), np.float32(0))
        shared = sides[:, 0] * sides[:, 1]
        parts: NDArray[np.float32] = shared / (area + areas - shared)
        # Finite boxes may still be so large that their areas are not.
        usable = (area > 0) & (areas > 0) & np.isfinite(parts)
    return np.where(usable, parts, np.float32(0))
