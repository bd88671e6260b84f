"""Each kernel on each shape that the networks give it: stem, expand, depthwise, project, head and
classifier, over whole maps.

The layers of a block are timed one by one as steps of a plan that runs layer by layer
(kernels/layers.h): the micro-kernels are those of the fused schedules, and read and write tensors
where those have strips in the first cache. `steps` of the extra columns is how many one round is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from steps import Repeated, shapes_of
from ways import Way, ways

from mnv2_engine.bench.kernel_shapes import (
    KernelShape,
    Place,
    kernel_shapes,
    multiply_adds,
    networks,
)
from mnv2_engine.plan.schedules import Schedule, dense_schedule, head_schedule, layers_schedule
from mnv2_engine.plan.shapes import Shapes

LAYERS = {
    "stem": "MNV2_EXPAND",
    "expand": "MNV2_EXPAND",
    "depthwise": "MNV2_DEPTHWISE",
    "project": "MNV2_PROJECT",
}


class Case(NamedTuple):
    shape: KernelShape
    way: Way


PLACES: dict[KernelShape, Place] = {}


def cases(every: bool) -> list[Case]:
    PLACES.update(kernel_shapes(networks() if every else networks()[:1]))
    how = ways((1, 2)) if every else ways(only_best=True)
    return [Case(shape, way) for shape in PLACES for way in how]


def schedule_of(shapes: Shapes, place: Place, kind: str) -> Schedule:
    if place.block is not None:
        return layers_schedule(shapes, place.block)
    return head_schedule(shapes) if kind == "head" else dense_schedule(shapes, 0)


def test_kernel(benchmark: Any, tell: Any, case: Case) -> None:
    shape, way = case
    place = PLACES[shape]
    shapes = shapes_of(place.network, way.threads, way.precision)
    schedule = schedule_of(shapes, place, shape.kind)
    work = multiply_adds(shape, place)
    step = Repeated(shapes, schedule, way.isa, work, LAYERS.get(shape.kind, ""))
    benchmark.group = f"{shape.kind} {way}"
    benchmark(step)
    benchmark.extra_info["steps"] = step.count
    tell(way, step.multiply_adds, step.arena_bytes)
