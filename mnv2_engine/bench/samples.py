"""What samples that were taken in turn say, and when they say nothing.

A shared machine changes its speed from one moment to the next. So contestants run in turn, ratios
are taken pair by pair, and a ratio is stated only where it is larger than the noise it was found
in. The noise is the largest of three, as shares of the ratio:

    interval   half of what the median's 95 % confidence interval spans
    drift      how far the median of any third of the run lies from that of all of it
    control    how far this engine is from itself, the ratio of two of its processes, in the same
               two senses; and how far the median of that ratio is from 1
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# Beyond it the machine is not quiet: another run might find a ratio that differs by as much.
REPEATABLE = 0.05
# A quiet machine keeps the middle half of the ratios this close.
SPREAD = 0.10
HOPELESS = 0.15  # noise in which no number means anything, however far from 1
WAITED = 0.02  # of the turns' time, waited for a CPU that someone else had
STOLEN = 0.02  # of a CPU's time, given to other machines
BUSY = 0.10  # of a CPU's time, taken by others before and after
LEAST_PAIRS = 6  # fewer give the median no interval
THIRDS = 3
NORMAL_95 = 1.96  # standard deviations of a normal distribution that hold 95 % of it


class Quartiles(NamedTuple):
    """A median with the middle half of its samples around it."""

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """The middle half's width, as a share of the median."""
        return (self.high - self.low) / self.median


class Ratio(NamedTuple):
    """This engine's time over another's, pair by pair, and whether it may be stated."""

    median: float
    low: float  # of the median's 95 % confidence interval
    high: float
    spread: float  # of the middle half of the ratios, as a share of the median
    noise: float  # as a share of the ratio; the module says of what
    verdict: str  # one of SOUND, ROUGH, EQUAL, REFUSED

    @property
    def stated(self) -> bool:
        """Whether the number may be printed."""
        return self.verdict in (SOUND, ROUGH)

    def __str__(self) -> str:
        if self.verdict == EQUAL:
            return f"no difference beyond the noise, {self.noise:.1%}"
        if self.verdict == REFUSED:
            return f"not stated, in a noise of {self.noise:.0%}"
        words = f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"
        if self.verdict == ROUGH:
            words += f", give or take {max(self.noise, self.spread / 2):.0%}: not quiet"
        return words


SOUND = "sound"
ROUGH = "rough"  # larger than the noise, but another run may well find it a few percent elsewhere
EQUAL = "equal"  # within the noise, which is small
REFUSED = "refused"  # within the noise, which is not small, or in too much of it

Samples = Sequence[float]


def quartiles(samples: Samples) -> Quartiles:
    """Of at least two samples."""
    return Quartiles(*statistics.quantiles(samples, n=4, method="inclusive"))


def pairwise(ours: Samples, theirs: Samples) -> list[float]:
    """The ratio of each turn, which holds where the machine's speed drifts."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def interval(samples: Samples) -> tuple[float, float]:
    """The 95 % confidence interval of the median, whatever the samples' distribution: two of them,
    counted from both ends, between which it lies by the binomial distribution."""
    ordered, count = sorted(samples), len(samples)
    inside = math.floor((count - 1 - NORMAL_95 * math.sqrt(count)) / 2)
    at = max(0, inside)
    return ordered[at], ordered[-1 - at]


def drift(samples: Samples) -> float:
    """How far, as a share, the median of any third of the samples is from that of all."""
    whole, count = statistics.median(samples), len(samples)
    bounds = [count * i // THIRDS for i in range(THIRDS + 1)]
    thirds = [samples[a:b] for a, b in itertools.pairwise(bounds)]
    return max(_apart(statistics.median(third), whole) for third in thirds if third)


def noise(ratios: Samples, control: Samples = ()) -> float:
    """The noise, as a share, that `ratios` were found in; `control` are the ratios of this engine
    to itself in the same run."""
    found = [_apart(statistics.median(control), 1)] if control else []
    for samples in (ratios, control):
        if samples:
            low, high = interval(samples)
            found += [math.log(high / low) / 2, drift(samples)]
    return max(found)


def compared(ours: Samples, theirs: Samples, control: Samples = (), is_quiet: bool = True) -> Ratio:
    """The ratio of two contestants' samples, of at least LEAST_PAIRS pairs, and its verdict, on a
    machine that other signs found quiet or not."""
    ratios = pairwise(ours, theirs)
    median, spread = statistics.median(ratios), quartiles(ratios).spread
    within = noise(ratios, control)
    quiet = is_quiet and within <= REPEATABLE and spread <= SPREAD
    if _apart(median, 1) > within and within <= HOPELESS:
        verdict = SOUND if quiet else ROUGH
    else:
        verdict = EQUAL if quiet else REFUSED
    return Ratio(median, *interval(ratios), spread, within, verdict)


class Quietness(NamedTuple):
    """What a run found of the machine that it ran on."""

    control: float  # this engine's time over its own, in another process
    noise: float  # of that ratio
    waited: float  # share of the turns' time in which someone else had the contestant's CPU
    stolen: float  # largest share of a CPU's time that the hypervisor gave to other machines
    busy: float  # largest share of a CPU of theirs that others took, before and after

    @property
    def complaints(self) -> list[str]:
        """Why the machine is not quiet; nothing where it is."""
        found = []
        if self.noise > REPEATABLE:
            found.append(f"this engine against itself is found within {self.noise:.1%} only")
        if self.waited > WAITED:
            found.append(f"other processes had the CPU for {self.waited:.0%} of the time")
        if self.stolen > STOLEN:
            found.append(f"other machines had a CPU for {self.stolen:.0%} of the time")
        if self.busy > BUSY:
            found.append(f"others took {self.busy:.0%} of a CPU that this ran on")
        return found


def _apart(a: float, b: float) -> float:
    """By what share one is from the other, the same from both sides."""
    return abs(math.log(a / b))
