"""Each inverted residual that the networks have, by itself: by rows, by tiles, and layer by layer,
as engines without fusion run it. `steps` of the extra columns is how many one round is."""

from __future__ import annotations

from typing import Any, NamedTuple

from steps import Repeated, shapes_of
from ways import Way, ways

from mnv2_engine.bench.ablations import alone
from mnv2_engine.bench.kernel_shapes import (
    BlockShape,
    Place,
    block_shapes,
    multiply_adds,
    networks,
)
from mnv2_engine.plan.cost import time_of
from mnv2_engine.plan.schedules import Schedule
from mnv2_engine.plan.shapes import Shapes


class Case(NamedTuple):
    shape: BlockShape
    kind: str
    way: Way


PLACES: dict[BlockShape, Place] = {}


def cases(every: bool) -> list[Case]:
    PLACES.update(block_shapes(networks() if every else networks()[:1]))
    how = ways((1, 2)) if every else ways(only_best=True)
    return [
        Case(shape, kind, way)
        for shape, place in PLACES.items()
        for kind in ("layers", "rows", "tiles")
        if kind != "tiles" or place.block
        for way in how
    ]


def schedule_of(shapes: Shapes, index: int, kind: str) -> Schedule:
    """The block alone, not in place; rows and tiles as the planner's model of time likes best."""
    return min(alone(shapes, index, kind), key=lambda schedule: time_of(shapes, schedule))


def test_block(benchmark: Any, tell: Any, case: Case) -> None:
    shape, kind, way = case
    place = PLACES[shape]
    assert place.block is not None
    shapes = shapes_of(place.network, way.threads, way.precision)
    schedule = schedule_of(shapes, place.block, kind)
    step = Repeated(shapes, schedule, way.isa, multiply_adds(shape, place))
    benchmark.group = f"{shape} {way}"
    benchmark(step)
    benchmark.extra_info["steps"] = step.count
    tell(way, step.multiply_adds, step.arena_bytes)
