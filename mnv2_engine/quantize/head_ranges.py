"""How far the outputs of a detector's heads reach: what calibration shows of them is too little.

Each anchor of each map finds objects of one size and shape. Where the calibration images have none
of those, the largest score that an anchor gave is that of an image without any, and 8 bits that end
there would cut off every object found later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .equalisation import ChannelRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network.detection import Detection

SCORE = 10.0  # a sigmoid is within 5e-5 of 0 or 1 there
# An anchor's object overlaps it by half or more: its centre is less than half the anchor's size
# away, and it is at most twice as large, or half as large.
CENTRE, SIZE = 0.5, 0.7


def widened(detection: Detection, ranges: Mapping[str, ChannelRange]) -> dict[str, ChannelRange]:
    """`ranges` with those of the heads as wide as objects of any anchor need.

    What is one number of each anchor, such as its score of a class, has one range in a map: that of
    all its anchors, and at least what an object may ask for.
    """
    made = dict(ranges)
    y, x, height, width = detection.box_coding
    codes = np.array([y * CENTRE, x * CENTRE, height * SIZE, width * SIZE])
    scores = np.full(detection.columns, SCORE)
    for each in detection.maps:
        for name, due in ((each.boxes, codes), (each.scores, scores)):
            made[name] = _shared(ranges[name], due)
    return made


def _shared(reached: ChannelRange, due: NDArray[np.float64]) -> ChannelRange:
    """One range of each of len(due) numbers, for all anchors, and at least from -due to due."""
    low = np.minimum(reached.low.reshape(-1, len(due)).min(0), -due)
    high = np.maximum(reached.high.reshape(-1, len(due)).max(0), due)
    anchors = len(reached.low) // len(due)
    return ChannelRange(np.tile(low, anchors), np.tile(high, anchors))
