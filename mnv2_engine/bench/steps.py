"""What each step of a plan takes, and its share of what the core could do at most.

The C core runs a whole plan in one call. So plans that end after their first step, after their
second and so on run in turn: what one more step adds is its time, with the caches as the steps
before it left them. Each comes after a whole run, so that its weights are as near as those of one
prediction after another.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MnvError
from ..plan.shown.figures import multiply_adds
from .fma_rate import fma_rate
from .samples import Quartiles, quartiles
from .turns import alternate, milliseconds, pinned

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from ..plan.steps import Plan

ROUNDS = 100
# Of the whole: how far the steps' times may add up to something else on a quiet machine.
AGREEMENT = 0.05


class StepTime(NamedTuple):
    """A step of the plan."""

    name: str
    kind: str
    ms: Quartiles  # of what it adds
    multiply_adds: int
    share: float | None  # of the core's rate; None: it is not known


class StepTimes(NamedTuple):
    """All steps on one thread."""

    isa: str
    precision: str
    rate: float | None  # 10⁹ multiply-adds a second, the core's most, measured between the runs
    note: str  # why there is no rate
    steps: tuple[StepTime, ...]
    ms: float  # of the whole plan
    share: float | None  # of the rate, all steps together

    @property
    def is_sound(self) -> bool:
        """Whether the steps add up to the whole: the machine was quiet enough to say anything."""
        added = sum(step.ms.median for step in self.steps)
        return all(step.ms.median > 0 for step in self.steps) and (
            abs(added / self.ms - 1) <= AGREEMENT
        )


def step_times(
    model: ModelFile, precision: str, rounds: int = ROUNDS, isa: str | None = None
) -> StepTimes:
    """Of the plan for one thread."""
    import numpy as np

    from ..executors.native import NativeExecutor, cpu_family
    from ..plan.planner import make_plan

    plan = make_plan(model.network, 1, precision, model.dtype, cpu=cpu_family())
    executor = NativeExecutor(model, plan, isa)
    shape = (*model.network.resolution, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    logits = np.empty(model.network.classes, np.float32)
    count = len(plan.steps)

    def turn(steps: int) -> float:
        built: Any = executor._plan
        executor.run(pixels, False, logits)
        built.step_count = steps
        try:
            return milliseconds(partial(executor.run, pixels, False, logits))
        finally:
            built.step_count = count

    contestants: list[Any] = [partial(turn, steps) for steps in range(count + 1)]
    note = ""
    try:
        contestants.append(fma_rate(executor.isa, precision))
    except MnvError as error:
        note = str(error)
    with pinned():
        found = alternate(contestants, rounds)
    rates = None if note else found.pop()
    return gathered(plan, executor.isa, found, rates, note)


def gathered(
    plan: Plan, isa: str, found: list[list[float]], rates: list[float] | None, note: str = ""
) -> StepTimes:
    """From the milliseconds of plans of 0, 1, 2 … steps, round by round, and the rates."""
    adds = multiply_adds(plan)
    rate = quartiles(rates).median if rates else None
    steps = []
    for i, (step, work) in enumerate(zip(plan.steps, adds, strict=True)):
        added = [after - before for before, after in zip(found[i], found[i + 1], strict=True)]
        ms = quartiles(added)
        steps.append(StepTime(step.name, step.kind, ms, work, _share(work, ms.median, rate)))
    whole = quartiles(found[-1]).median
    share = _share(sum(adds), whole, rate)
    return StepTimes(isa, plan.precision, rate, note, tuple(steps), whole, share)


def _share(work: int, ms: float, rate: float | None) -> float | None:
    if rate is None or ms <= 0:
        return None
    return work / (ms * 1e-3) / (rate * 1e9)
