"""What each way to run each block takes, one by one: a step alone, weights from beyond the cache.

Before each step run the network's head and first dense layer, whose weights push those of the
block out of a core's own caches, as the rest of a network does between two predictions. What the
step adds to that is its time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..executors.native import NativeExecutor
from ..plan.planner import assemble, every_schedule
from ..plan.shapes import PRECISIONS, Shapes
from .samples import Quartiles, quartiles
from .turns import alternate, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.modelfile import ModelFile
    from ..plan.schedules import Schedule

ROUNDS = 15


class ScheduleTime(NamedTuple):
    """A way to run some blocks."""

    schedule: Schedule
    ms: Quartiles
    best: float  # ms, of all rounds: the least that others take part in

    @property
    def name(self) -> str:
        """Such as "block 3-5, rows of 28" or "block 12, tiles of 64"."""
        schedule = self.schedule
        first, last = schedule.blocks[0], schedule.blocks[-1]
        blocks = f"{first}-{last}" if last > first else f"{first}"
        if schedule.kind == "tiles":
            return f"block {blocks}, tiles of {schedule.tile}"
        return f"block {blocks}, rows of {schedule.strip}"


class _Part(NativeExecutor):
    """Runs steps that are not a whole plan."""

    def _check(self, built: Any) -> None:
        pass


def schedule_times(
    model: ModelFile,
    precision: str,
    threads: int = 1,
    isa: str | None = None,
    rounds: int = ROUNDS,
) -> list[ScheduleTime]:
    """Of every schedule of the network, but for those in place, which compute the same."""
    import numpy as np

    shapes = Shapes(model.network, threads, PRECISIONS[precision], model.dtype)
    *blocks, head, dense = every_schedule(shapes)
    schedules = [each for some in blocks for each in some if not each.in_place]
    pixels = np.random.default_rng(0).integers(0, 256, (*model.network.resolution, 3), np.uint8)
    logits = np.empty(model.network.classes, np.float32)

    def runs(*schedule: Schedule) -> Callable[[], float]:
        """What times the ends, and then the schedule, the better one of two."""
        chosen = [(head[0], True), (dense[0], False), *((each, True) for each in schedule)]
        executor = _Part(model, assemble(shapes, chosen), isa)
        run = partial(executor.run, pixels, False, logits)
        return lambda: min(milliseconds(run), milliseconds(run))

    contestants = [runs(), *(runs(schedule) for schedule in schedules)]
    before, *found = alternate(contestants, rounds)
    ends = quartiles(before).median
    return [
        ScheduleTime(
            schedule,
            quartiles([time - ends for time in times]),
            min(times) - min(before),
        )
        for schedule, times in zip(schedules, found, strict=True)
    ]
