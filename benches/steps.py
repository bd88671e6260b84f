"""Single steps of a plan in the C core, to be timed: a block in one of its schedules, one layer of
a block, the head or the classifier, of seeded weights that no model file holds."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mnv2_engine.bench.networks import seeded_weights
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import assemble
from mnv2_engine.plan.schedules import Schedule
from mnv2_engine.plan.shapes import PRECISIONS, Shapes

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from int8_network import PackedInt8, random_int8
from native_network import PackedNetwork

# A run is as many steps as make so much work: a call of the core weighs little beside them.
LEAST_MULTIPLY_ADDS = {"float32": 5_000_000, "bfloat16": 10_000_000, "int8": 20_000_000}


@lru_cache(maxsize=3)
def packed(network: Network, precision: str) -> Any:
    """What NativeExecutor reads of a model file."""
    if precision == "int8":
        return PackedInt8(network, *random_int8(network))
    return PackedNetwork(network, seeded_weights(network), precision)


def shapes_of(network: Network, threads: int, precision: str) -> Shapes:
    return Shapes(network, threads, PRECISIONS[precision])


class Repeated(NativeExecutor):
    """One step over and over: call it for a run of `count`, which are one call of the core.

    `layers` names those that a step of layers runs, as mnv2_step does: MNV2_EXPAND and so on.
    """

    def __init__(
        self, shapes: Shapes, schedule: Schedule, isa: str, work: int, layers: str = ""
    ) -> None:
        network, precision = shapes.network, shapes.precision.name
        self.count = -(-LEAST_MULTIPLY_ADDS[precision] // work)
        self.multiply_adds = self.count * work
        plan = assemble(shapes, [(schedule, True)])
        plan = plan._replace(steps=plan.steps * self.count)
        super().__init__(packed(network, precision), plan, isa)
        if layers:
            for i in range(self.count):
                self._plan.steps[i].layers = getattr(self._lib, layers)
        pixels = np.random.default_rng(0).integers(0, 256, (*network.resolution, 3), np.uint8)
        self._given = pixels, False, np.empty(network.classes, np.float32)
        self()
        # Memory that was never written is one page of zeros, which lies in the first cache.
        filled = np.frombuffer(self._arenas[0][0], np.float32, plan.arena_bytes // 4)
        filled[:] = 0.5

    def _check(self, built: Any) -> None:
        """A step over and over is no plan of the whole network."""

    def __call__(self) -> None:
        self.run(*self._given)
