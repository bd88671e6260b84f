"""What every bench has in common: pinning, timing, and a median that is printed with quartiles."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

NOISY = 0.10  # of the median; a ratio whose quartiles lie further apart is to be measured again


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the options that every bench takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--pairs", type=_pairs, default=60, help="turns of everyone, at least 2")
    return made


def _pairs(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError("quartiles need at least 2")
    return int(text)


def pin(threads: int = 1) -> None:
    """Keeps this process, and what it starts, on as many CPUs as it has threads."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cpus = sorted(os.sched_getaffinity(0))
    if threads > len(cpus):
        raise SystemExit(f"{threads} threads: this process may use {len(cpus)} CPUs")
    os.sched_setaffinity(0, cpus[-threads:])


def milliseconds(run: Callable[[], object], inner: int = 1) -> float:
    """Of one call, the mean of `inner`."""
    start = time.perf_counter()
    for _ in range(inner):
        run()
    return (time.perf_counter() - start) * 1e3 / inner


def alternate(
    contestants: Sequence[Callable[[], float]], pairs: int, warm_up: int = 2
) -> list[list[float]]:
    """What each contestant measures, turn by turn. Every other turn runs backwards, so that no
    one always follows the same one."""
    found: list[list[float]] = [[] for _ in contestants]
    busy = _busy_with_others()
    for turn in range(-warm_up, pairs):
        numbers = range(len(contestants))
        for i in numbers if turn % 2 == 0 else reversed(numbers):
            value = contestants[i]()
            if turn >= 0:
                found[i].append(value)
    busy = max(busy, _busy_with_others())
    if busy > NOISY:
        print(f"NOISY: others took {busy:.0%} of a CPU that this ran on, measure again")
    return found


def _busy_with_others(seconds: float = 0.3) -> float:
    """The largest share of a CPU of this process that is in use while it sleeps; on Linux. A
    neighbour who never pauses slows every turn alike, which no quartile shows."""

    def ticks() -> list[tuple[int, int]]:
        with open("/proc/stat") as file:
            rows = [line.split() for line in file if line.startswith("cpu")]
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        counts = [[int(count) for count in row[1:9]] for row in rows if row[0] in mine]
        return [(sum(row), row[3] + row[4]) for row in counts]  # idle, and waiting for a disk

    if not os.path.exists("/proc/stat"):
        return 0.0
    before = ticks()
    time.sleep(seconds)
    shares = [
        1 - (idle - was_idle) / max(1, whole - was_whole)
        for (was_whole, was_idle), (whole, idle) in zip(before, ticks(), strict=True)
    ]
    return max(shares, default=0.0)


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """Pair by pair, which holds where the machine's speed drifts."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def quartiles(values: list[float], digits: int = 3) -> str:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:9.{digits}f}   ({low:.{digits}f} to {high:.{digits}f})"


def ratio(values: list[float]) -> str:
    """Quartiles of a ratio, and a warning where they lie too far apart to be a result."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    spread = (high - low) / middle
    noise = f"   NOISY: quartiles {spread:.0%} apart, measure again" if spread > NOISY else ""
    return quartiles(values) + noise
