"""How far an 8-bit tensor reaches: what is gained by cutting the rare large values off.

Every tensor is measured by the distances of its values from its zero point: a hidden tensor's
from 0, where its ReLU6 begins, with 255 levels; a thin one's from its middle, with 127 levels on
either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 4096  # 16 for each of 255 levels
CUT_OFF = 1e-4  # the share of values that `percentile` gives up
LEAST_REACH = 0.3  # of the largest value; `mse` tries no smaller one


class Histogram:
    """How often each distance from zero occurs, up to `reach`."""

    def __init__(self, reach: float) -> None:
        self.reach = reach  # of the last bin's upper edge
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)  # of values other than 0
        self.largest = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Count `values`; those beyond `reach` are in the last bin, and zeros in none."""
        distances = np.abs(values[values != 0])
        if not distances.size or not self.reach > 0:
            return
        self.largest = max(self.largest, float(distances.max()))
        bins = np.minimum((distances * (BINS / self.reach)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)


def choose_reach(histogram: Histogram, levels: int, method: str) -> float:
    """How far the tensor should reach with so many `levels`; 0 where all values are 0.

    ``minmax`` keeps every value, ``percentile`` all but the largest CUT_OFF of them, ``mse``
    makes the squared error of cutting off and of rounding least.
    """
    total = int(histogram.counts.sum())
    if method == "minmax" or not total:
        return histogram.largest
    edges = np.arange(1, BINS + 1) * (histogram.reach / BINS)
    if method == "percentile":
        kept = np.searchsorted(histogram.counts.cumsum(), (1 - CUT_OFF) * total)
        return float(min(edges[min(int(kept), BINS - 1)], histogram.largest))
    centres = edges - histogram.reach / (2 * BINS)
    candidates = np.linspace(LEAST_REACH, 1.0, 71) * histogram.largest
    errors = []
    for reach in candidates:
        beyond = centres > reach
        cut = (histogram.counts * np.square(centres - reach))[beyond].sum()
        rounding = (reach / levels) ** 2 / 12  # mean square of an error even within one step
        errors.append(cut + rounding * histogram.counts[~beyond].sum())
    return float(candidates[int(np.argmin(errors))])
