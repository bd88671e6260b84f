"""What an evaluation found. `str()` of a report is for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .statistics import Share

BAR = 40  # characters of the fullest row of a histogram
RARE = 0.005  # of all values; rows of fewer are drawn together


class Accuracy(NamedTuple):
    """How often the true class was first, and among the first five; of the images whose class is
    known. `top5` is None where there are no more than five classes."""

    top1: Share
    top5: Share | None


class Agreement(NamedTuple):
    """How often two models answered alike."""

    first: Share  # the same class first; of equal logits the lower index
    first_or_equal: Share  # mine's first with the other's largest logit, which 8 bits may share
    among_five: Share | None  # mine's first among the other's first five
    same_five: Share | None  # the same five, in any order


class Differences(NamedTuple):
    """|mine - other| of all logits of all images."""

    mean: float
    median: float  # this and the next two within a few percent
    p90: float
    p99: float
    max: float
    rms: float
    cosine: float  # of the two rows of logits, the mean over images
    histogram: list[tuple[float, int]]  # below what, how many; 0.0: those that are equal


class Apart(NamedTuple):
    """An image on which two models lie far apart."""

    file: str
    max: float  # of |mine - other|
    mean: float
    at: int  # the class of the largest
    top: int  # mine's first class
    other_top: int


class Comparison(NamedTuple):
    """A model beside another."""

    name: str
    accuracy: Accuracy | None
    only_mine_right: int  # images whose class was first with this model alone
    only_other_right: int
    agreement: Agreement
    differences: Differences
    largest: list[Apart]


class Report(NamedTuple):
    """What an evaluation found."""

    model: str  # its path, network and precision
    folder: str
    classes: str  # where the true classes were said: "folder", "prefix", a CSV, or "none"
    images: int  # of the run
    answered: int
    unreadable: int
    unreadable_files: list[str]  # some of them, with the reason
    with_class: int  # answered images whose class is one of the model's
    unmatched: dict[str, int]  # names that are no class of the model's: images of each
    accuracy: Accuracy | None
    against: Comparison | None
    ms: dict[str, float]  # an image's, on average: decode, resize, network, and other
    slowest: str | None  # of decode, resize and network
    labels: Sequence[str] | None = None

    def to_json(self) -> dict[str, object]:
        """Plain values, the labels left out; named tuples become objects by `cli.output`."""
        return {key: value for key, value in self._asdict().items() if key != "labels"}

    def __str__(self) -> str:
        lines = [
            _row("model", self.model),
            _row("images", f"{self.answered:,} of {self.folder}{self._left_out()}"),
        ]
        if self.accuracy is None:
            lines.append(_row("accuracy", "not known: no image's class is said"))
        else:
            lines.append(_row("classes by", f"{self.classes}; intervals of 95 %"))
            lines += _accuracy("", self.accuracy)
        if self.against is not None:
            lines += ["", *self._comparison(self.against)]
        if self.ms:
            each = ", ".join(f"{stage} {ms:.2f}" for stage, ms in self.ms.items())
            lines += ["", _row("ms an image", f"{each}; the slowest is {self.slowest}")]
        return "\n".join(lines)

    def _left_out(self) -> str:
        parts = []
        if self.unreadable:
            parts.append(f"{self.unreadable:,} could not be read")
        if self.accuracy is not None and self.with_class < self.answered:
            parts.append(f"{self.answered - self.with_class:,} without a class of the model's")
        return f" ({'; '.join(parts)})" if parts else ""

    def _comparison(self, other: Comparison) -> list[str]:
        lines = [_row("against", other.name)]
        if other.accuracy is not None:
            lines += _accuracy("its ", other.accuracy)
            lines.append(
                _row(
                    "right alone",
                    f"the model on {other.only_mine_right:,}, the other on "
                    f"{other.only_other_right:,}",
                )
            )
        agreement, apart = other.agreement, other.differences
        lines.append(_row("same first", str(agreement.first)))
        if agreement.first_or_equal != agreement.first:
            lines.append(_row("or an equal", str(agreement.first_or_equal)))
        if agreement.among_five is not None and agreement.same_five is not None:
            lines.append(_row("in its five", str(agreement.among_five)))
            lines.append(_row("same five", str(agreement.same_five)))
        lines += [
            _row(
                "|Δ logit|",
                f"mean {apart.mean:.3g}, median {apart.median:.3g}, 90 % {apart.p90:.3g}, "
                f"99 % {apart.p99:.3g}, max {apart.max:.3g}; rms {apart.rms:.3g}; "
                f"cosine {apart.cosine:.6f}",
            ),
            *histogram_rows(apart.histogram),
            "largest",
            *(f"  {self._apart(each)}" for each in other.largest),
        ]
        return lines

    def _apart(self, each: Apart) -> str:
        first = self._label(each.top)
        if each.other_top != each.top:
            first += f"; the other: {self._label(each.other_top)}"
        return f"{each.max:8.3g}  {each.file}, at {self._label(each.at)}; first {first}"

    def _label(self, index: int) -> str:
        if not self.labels:
            return f"class {index}"
        return f"{index} {self.labels[index].partition(',')[0][:30]}"


def histogram_rows(octaves: list[tuple[float, int]]) -> list[str]:
    """A bar for each octave of a histogram; the rare ones at either end drawn as one."""
    total = sum(count for _, count in octaves)
    rows = list(octaves)
    first = last = 0
    while len(rows) > 1 and first + rows[0][1] < RARE * total:
        first += rows.pop(0)[1]
    while len(rows) > 1 and last + rows[-1][1] < RARE * total:
        last += rows[-1][1]
        rows.pop()
    bars = [("<" if end else "=", end, count) for end, count in rows]
    bars[0] = ("<" if first else bars[0][0], rows[0][0], rows[0][1] + first)
    if last:
        bars.append(("≥", rows[-1][0], last))
    most = max(count for _, _, count in bars)
    return [
        f"{sign:>5} {end:<9.3g}{count / total:7.2%}  {'█' * round(BAR * count / most)}".rstrip()
        for sign, end, count in bars
    ]


def _accuracy(whose: str, accuracy: Accuracy) -> list[str]:
    lines = [_row(f"{whose}top-1", str(accuracy.top1))]
    if accuracy.top5 is not None:
        lines.append(_row(f"{whose}top-5", str(accuracy.top5)))
    return lines


def _row(key: str, text: str) -> str:
    return f"{key:<14}{text}"
