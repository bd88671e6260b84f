"""Shares with their intervals, and the distribution of many numbers in little memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Z_95 = 1.959963984540054  # of the normal distribution, two-sided

BINS_PER_OCTAVE = 16
LEAST_OCTAVE, OCTAVES = -30, 60  # smaller values count as zero, larger ones in the last bin
BINS = BINS_PER_OCTAVE * OCTAVES


class Share(NamedTuple):
    """`hits` of `of`, and where the share of endless such images lies, 19 times in 20."""

    hits: int
    of: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.share:7.2%}  ({self.low:.1%} to {self.high:.1%})  {self.hits:,} of {self.of:,}"
        )


def wilson(hits: int, of: int) -> Share:
    """The share with Wilson's score interval of 95 %, which holds for few images and for shares
    near 0 and 1 too (E. B. Wilson, JASA 22, 1927). `of` is at least 1."""
    share, z2 = hits / of, Z_95 * Z_95
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    reach = Z_95 / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    low = 0.0 if hits == 0 else max(0.0, centre - reach)
    high = 1.0 if hits == of else min(1.0, centre + reach)
    return Share(hits, of, share, low, high)


class Histogram:
    """Counts of absolute values, sixteen bins to the octave: quantiles to within a few percent of
    their value, whatever the number of values."""

    def __init__(self) -> None:
        self.zeros = 0
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values: Any) -> None:
        """Take in absolute values, finite."""
        values = np.asarray(values, np.float64).reshape(-1)
        small = values < 2.0**LEAST_OCTAVE
        self.zeros += int(np.count_nonzero(small))
        bins = np.floor((np.log2(values[~small]) - LEAST_OCTAVE) * BINS_PER_OCTAVE)
        np.add.at(self.counts, np.minimum(bins, BINS - 1).astype(np.int64), 1)

    def to_json(self) -> list[Any]:
        """[zeros, first bin, counts from there on up to the last that is not empty]."""
        used = np.flatnonzero(self.counts)
        if not used.size:
            return [self.zeros, 0, []]
        return [self.zeros, int(used[0]), self.counts[used[0] : used[-1] + 1].tolist()]

    def add_json(self, stored: Sequence[Any]) -> None:
        """Take in what another histogram gave. Raises ValueError for anything else."""
        zeros, first, counts = stored
        added = np.array(counts, np.int64)
        if min(zeros, first) < 0 or first + len(added) > BINS or (added < 0).any():
            raise ValueError("no histogram")
        self.zeros += int(zeros)
        self.counts[first : first + len(added)] += added

    def __len__(self) -> int:
        return self.zeros + int(self.counts.sum())

    def quantile(self, q: float) -> float:
        """The value below which the share `q` of all lies. There has to be one."""
        wanted = q * len(self) - self.zeros
        if wanted <= 0:
            return 0.0
        below = np.cumsum(self.counts)
        at = int(np.searchsorted(below, wanted))
        within = (wanted - (below[at] - self.counts[at])) / self.counts[at]
        return float(2.0 ** (LEAST_OCTAVE + (at + within) / BINS_PER_OCTAVE))

    def octaves(self) -> list[tuple[float, int]]:
        """(end, count) of each octave from the first that is not empty to the last: of values from
        half the end on and below it. In front, as (0.0, count), the zeros."""
        whole = self.counts.reshape(OCTAVES, BINS_PER_OCTAVE).sum(1)
        used = np.flatnonzero(whole)
        rows = [(0.0, self.zeros)] if self.zeros else []
        if used.size:
            rows += [
                (2.0 ** (LEAST_OCTAVE + int(i) + 1), int(whole[i]))
                for i in range(used[0], used[-1] + 1)
            ]
        return rows
