"""In which ways the C core computes on this machine, and the most that it could do in each."""

from __future__ import annotations

import os
from functools import cache
from typing import NamedTuple

from mnv2_engine.bench.fma_rate import fma_rate
from mnv2_engine.errors import MnvError
from mnv2_engine.executors.native import isas
from mnv2_engine.plan.shapes import PRECISIONS

RATE_PIECES = 15
PARTS = 20  # of a piece: short ones, for a busy machine interrupts every long one


class Way(NamedTuple):
    """How the C core computes. Its string is a part of names that stay the same."""

    precision: str
    isa: str
    threads: int

    def __str__(self) -> str:
        return f"{self.precision}-{self.isa}-{self.threads}"


def ways(threads: tuple[int, ...] = (1,), only_best: bool = False) -> list[Way]:
    """Every precision on every instruction set that this CPU has, or on the best one for it, with
    as many threads as there are CPUs for."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = []
    for precision in PRECISIONS:
        names = [name for name, supported in isas(precision).items() if supported]
        for name in names[:1] if only_best else names:
            found += [Way(precision, name, count) for count in threads if count <= cpus]
    return found


@cache
def rate(isa: str, precision: str) -> float | None:
    """The most that one core does, 10⁹ multiply-adds a second, measured once a session; None where
    it cannot be measured."""
    try:
        measure = fma_rate(isa, precision)
    except MnvError:
        return None
    measure._steps = max(1, measure._steps // PARTS)
    return max(measure() for _ in range(RATE_PIECES * PARTS))
