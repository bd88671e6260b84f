"""What each way to run each block takes, one by one: a step alone, weights from beyond the cache.

Before each step run the network's head and first dense layer, whose weights push those of the
block out of a core's own caches, as the rest of a network does between two predictions. One thread
runs the step in a call of its own, with its arena in the cache, as the step before would have left
it. Several threads run it in the same call as the ends, so that no thread is asleep when it begins;
what it adds to the ends is its time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..executors.native import NativeExecutor, cpu_family
from ..plan.planner import assemble, every_schedule
from ..plan.shapes import PRECISIONS, Shapes
from .samples import Quartiles, quartiles
from .turns import alternate, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.modelfile import ModelFile
    from ..plan.schedules import Schedule

ROUNDS = 40
CALLS = 3  # of several threads, in a row; the best one counts


class ScheduleTime(NamedTuple):
    """A way to run some blocks."""

    schedule: Schedule
    ms: Quartiles

    @property
    def name(self) -> str:
        """Such as "block 3-5, rows of 28" or "block 12, tiles of 64"."""
        schedule = self.schedule
        first, last = schedule.blocks[0], schedule.blocks[-1]
        blocks = f"{first}-{last}" if last > first else f"{first}"
        if schedule.kind == "tiles":
            apart = ", apart" if schedule.apart else ""
            return f"block {blocks}, tiles of {schedule.tile}{apart}"
        return f"block {blocks}, rows of {schedule.strip}"


class _Part(NativeExecutor):
    """Runs steps that are not a whole plan."""

    call: Callable[[], None]

    def _check(self, built: Any) -> None:
        pass

    def touch_arena(self) -> None:
        """Read a byte of each cache line."""
        arena = self._take()
        sum(memoryview(arena[0])[::64])
        self._give(arena)


def schedule_times(
    model: ModelFile,
    precision: str,
    threads: int = 1,
    isa: str | None = None,
    rounds: int = ROUNDS,
) -> list[ScheduleTime]:
    """Of every schedule of the network, but for those in place, which compute the same."""
    import numpy as np

    dtype, cpu = model.dtype, cpu_family()
    shapes = Shapes(model.network, threads, PRECISIONS[precision], dtype, cpu=cpu)
    *blocks, head, dense = every_schedule(shapes)
    schedules = [each for some in blocks for each in some if not each.in_place]
    pixels = np.random.default_rng(0).integers(0, 256, (*model.network.resolution, 3), np.uint8)
    logits = np.empty(model.network.classes, np.float32)
    ends = [(head[0], True), (dense[0], False)]

    def part(steps: list[tuple[Schedule, bool]], answers: bool = True) -> _Part:
        executor = _Part(model, assemble(shapes, steps), isa)
        executor.call = partial(executor.run, pixels, False, logits if answers else None)
        executor.call()
        return executor

    push, nothing = part(ends), part(ends[1:], answers=False)

    def alone(schedule: Schedule) -> Callable[[], float]:
        step = part([(schedule, True)])

        def once() -> float:
            push.call()
            step.touch_arena()
            return milliseconds(step.call) - milliseconds(nothing.call)

        return lambda: min(once(), once())

    def behind_ends(schedule: Schedule) -> Callable[[], float]:
        both = part([*ends, (schedule, True)])

        def best(executor: _Part) -> float:
            executor.call()
            return min(milliseconds(executor.call) for _ in range(CALLS))

        return lambda: best(both) - best(push)

    way = alone if threads == 1 else behind_ends
    found = alternate([way(schedule) for schedule in schedules], rounds)
    return [
        ScheduleTime(schedule, quartiles(times))
        for schedule, times in zip(schedules, found, strict=True)
    ]
