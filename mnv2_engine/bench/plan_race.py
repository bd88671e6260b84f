"""Several plans of one network, in turn, in one process: the same work, weights and answer, so what
differs is the schedule alone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from ..errors import MnvError
from ..executors.native import NativeExecutor
from ..model.modelfile import ModelFile
from ..plan.steps import Plan
from .turns import alternate, milliseconds


class PlanRace:
    """Executors for `plans`, by their names, of a model file. `isa` is as for NativeExecutor.

    Raises MnvError where one does not give the bits of the first.
    """

    def __init__(self, model: ModelFile, plans: dict[str, Plan], isa: str | None = None) -> None:
        import numpy as np

        network = model.network
        self.plans = plans
        self._executors = [NativeExecutor(model, plan, isa) for plan in plans.values()]
        shape = (*network.resolution, 3)
        self._pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self._logits = np.full((len(plans), network.classes), np.nan, np.float32)
        for i in range(len(plans)):
            self._run(i)
        if other := list(self._different(plans)):
            first = next(iter(plans))
            raise MnvError(f"other logits than those of {first!r}: {', '.join(other)}")

    @property
    def isa(self) -> str:
        """Name of the instruction set in use."""
        return self._executors[0].isa

    def times(self, rounds: int, inner: int = 5) -> list[list[float]]:
        """Milliseconds of a run of each plan, round by round, each the mean of `inner` runs."""
        return alternate([partial(self._turn, i, inner) for i in range(len(self.plans))], rounds)

    def _turn(self, i: int, inner: int) -> float:
        self._run(i)  # not counted: it finds the caches as the plan before left them
        return milliseconds(partial(self._run, i), inner)

    def _run(self, i: int) -> None:
        self._executors[i].run(self._pixels, False, self._logits[i])

    def _different(self, names: Iterable[Any]) -> Iterable[str]:
        for name, row in zip(names, self._logits, strict=True):
            if row.tobytes() != self._logits[0].tobytes():
                yield repr(name)
