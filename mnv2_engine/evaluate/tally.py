"""Adding up the records of images, those of this run and those of a file alike."""

from __future__ import annotations

import heapq
import math
from typing import Any

from .answers import KEPT_CLASSES
from .report import Accuracy, Agreement, Apart, Comparison, Differences
from .statistics import Histogram, wilson

LARGEST = 5  # images with the largest differences
NAMED = 20  # files that could not be read

STAGES = ("decode", "resize", "network")


class Tally:
    """Sums over the records of one run, in memory that does not grow with their number."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self.answered = self.unreadable = self.with_class = 0
        self.unreadable_files: list[str] = []
        self._mine, self._other = _Right(), _Right()
        self._only_mine = self._only_other = 0
        self._compared = 0
        self._first = self._first_or_equal = self._among_five = self._same_five = 0
        self._mean = self._squares = self._cosine = self._max = 0.0
        self._histogram = Histogram()
        self._largest: list[tuple[float, int, Apart]] = []
        self._ms: dict[str, float] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Take in one record. Raises KeyError, TypeError or ValueError for what is none."""
        if "error" in record:
            self.unreadable += 1
            if len(self.unreadable_files) < NAMED:
                self.unreadable_files.append(str(record["error"]))
            return
        self.answered += 1
        for stage, ms in record["ms"].items():
            self._ms[stage] = self._ms.get(stage, 0.0) + ms
        rank, other = record.get("rank"), record.get("other")
        if rank is not None:
            self.with_class += 1
            self._mine.add(rank)
        if other is not None:
            self._compare(record, other)
            if rank is not None:
                self._other.add(other["rank"])
                self._only_mine += rank == 0 < other["rank"]
                self._only_other += other["rank"] == 0 < rank

    def accuracy(self) -> Accuracy | None:
        """None where no image's class was said."""
        return self._mine.accuracy(self.with_class, self._classes)

    def ms(self) -> dict[str, float]:
        """Milliseconds of an image, on average, by stage."""
        return {stage: round(total / self.answered, 4) for stage, total in self._ms.items()}

    def slowest(self) -> str | None:
        """Of the stages that every model has."""
        return max(STAGES, key=lambda stage: self._ms[stage]) if self._ms else None

    def comparison(self, name: str) -> Comparison | None:
        """None where nothing was compared."""
        if not self._compared:
            return None
        of, has_five = self._compared, self._classes > KEPT_CLASSES

        def quantile(q: float) -> float:
            return min(self._histogram.quantile(q), self._max)

        return Comparison(
            name,
            self._other.accuracy(self.with_class, self._classes),
            self._only_mine,
            self._only_other,
            Agreement(
                wilson(self._first, of),
                wilson(self._first_or_equal, of),
                wilson(self._among_five, of) if has_five else None,
                wilson(self._same_five, of) if has_five else None,
            ),
            Differences(
                self._mean / of,
                quantile(0.5),
                quantile(0.9),
                quantile(0.99),
                self._max,
                math.sqrt(self._squares / of),
                self._cosine / of,
                self._histogram.octaves(),
            ),
            [apart for _, _, apart in sorted(self._largest, reverse=True)],
        )

    def _compare(self, record: dict[str, Any], other: dict[str, Any]) -> None:
        mine, theirs = record["top"], other["top"]
        self._compared += 1
        self._first += mine[0] == theirs[0]
        self._first_or_equal += bool(other["first"])
        self._among_five += mine[0] in theirs
        self._same_five += set(mine) == set(theirs)
        self._mean += other["mean"]
        self._squares += other["rms"] ** 2
        self._cosine += other["cosine"]
        self._max = max(self._max, other["max"])
        self._histogram.add_json(other["histogram"])
        apart = Apart(record["file"], other["max"], other["mean"], other["at"], mine[0], theirs[0])
        entry = (other["max"], -record["n"], apart)  # of equal ones the earlier
        if len(self._largest) < LARGEST:
            heapq.heappush(self._largest, entry)
        else:
            heapq.heappushpop(self._largest, entry)


class _Right:
    def __init__(self) -> None:
        self.first = self.five = 0

    def add(self, rank: int) -> None:
        self.first += rank == 0
        self.five += rank < KEPT_CLASSES

    def accuracy(self, of: int, classes: int) -> Accuracy | None:
        if not of:
            return None
        five = wilson(self.five, of) if classes > KEPT_CLASSES else None
        return Accuracy(wilson(self.first, of), five)
