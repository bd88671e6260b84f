"""Taking turns: contestants one after the other, on CPUs of their own, round by round."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ..errors import InputError

WARM_UP = 2  # rounds that are not counted


def pin(threads: int = 1) -> tuple[int, ...]:
    """Keep this process, and what it starts, on as many CPUs as it has threads, and return them;
    where the system cannot, nothing. Raises InputError for more threads than CPUs."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    cpus = sorted(os.sched_getaffinity(0))
    if threads > len(cpus):
        raise InputError(
            f"{threads} threads, but this process may use {len(cpus)} CPUs: ask for fewer threads"
        )
    chosen = cpus[-threads:]  # interrupts tend to be served by the first
    os.sched_setaffinity(0, chosen)
    return tuple(chosen)


@contextmanager
def pinned(threads: int = 1) -> Iterator[None]:
    """`pin`, for a while."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin(threads)
    try:
        yield
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def milliseconds(run: Callable[[], object], inner: int = 1) -> float:
    """Of one call, the mean of `inner`."""
    start = time.perf_counter()
    for _ in range(inner):
        run()
    return (time.perf_counter() - start) * 1e3 / inner


def alternate(
    contestants: Sequence[Callable[[], float]],
    rounds: int,
    warm_up: int = WARM_UP,
    enough_seconds: float | None = None,
    advance: Callable[[int], object] | None = None,
) -> list[list[float]]:
    """What each contestant measures, round by round; every other round runs backwards, so that no
    one always follows the same one.

    Ends after `rounds`, or once `enough_seconds` have passed if that is sooner, but not before
    the samples say something (samples.LEAST_PAIRS). `advance` is told the rounds that are done.
    """
    from .samples import LEAST_PAIRS

    found: list[list[float]] = [[] for _ in contestants]
    started = time.monotonic()
    for turn in range(-warm_up, rounds):
        numbers = range(len(contestants))
        for i in numbers if turn % 2 == 0 else reversed(numbers):
            value = contestants[i]()
            if turn >= 0:
                found[i].append(value)
        if advance is not None:
            advance(turn + 1)
        late = enough_seconds is not None and time.monotonic() - started > enough_seconds
        if late and turn + 1 >= LEAST_PAIRS:
            break
    return found


class Ticks(NamedTuple):
    """Times of a CPU since the system began, in its own unit."""

    whole: int
    idle: int  # waiting for a disk, too
    stolen: int  # by the hypervisor, for other machines


def ticks() -> dict[str, Ticks]:
    """Of each CPU of this process, by its name; of none where the system does not tell."""
    with suppress(OSError), open("/proc/stat", encoding="ascii") as file:
        rows = [line.split() for line in file if line.startswith("cpu")]
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        counts = {row[0]: [int(count) for count in row[1:9]] for row in rows if row[0] in mine}
        return {name: Ticks(sum(row), row[3] + row[4], row[7]) for name, row in counts.items()}
    return {}


def busy_with_others(seconds: float = 0.3) -> float:
    """The largest share of a CPU of this process that is in use while it sleeps; 0 where that
    cannot be seen. A neighbour who never pauses slows every turn alike, which no ratio shows."""
    before = ticks()
    time.sleep(seconds)
    shares = [
        1 - (after.idle - before[name].idle) / max(1, after.whole - before[name].whole)
        for name, after in ticks().items()
    ]
    return max(shares, default=0.0)


def stolen_since(before: dict[str, Ticks]) -> float:
    """The largest share of a CPU's time since then that the hypervisor gave to other machines."""
    shares = [
        (after.stolen - before[name].stolen) / max(1, after.whole - before[name].whole)
        for name, after in ticks().items()
    ]
    return max(shares, default=0.0)
