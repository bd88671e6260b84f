"""Whole networks through the engine, from uint8 pixels to logits: each precision and instruction
set, one thread and two, and the backends other than the C core.

Weights are seeded, so nothing needs to be downloaded; speed does not depend on them. For a
comparison with other engines run `mnv2 bench`: absolute times of shared machines are no result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from ways import Way, ways

from mnv2_engine import Engine
from mnv2_engine.bench.kernel_shapes import networks
from mnv2_engine.errors import MnvError
from mnv2_engine.executors.native import ISA_VARIABLE
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import multiply_adds

SOME = [mobilenet_v2(1.4, 224), mobilenet_v2(0.35, 96), efficientnet_lite(0)]


class Case(NamedTuple):
    network: str
    way: Way


def cases(every: bool) -> list[Case]:
    if every:
        return [Case(network.name, way) for network in networks() for way in ways((1, 2))]
    common = networks()[0].name
    best = ways((1, 2), only_best=True)
    found = [Case(common, way) for way in ways()]
    found += [Case(common, way) for way in best if way.threads > 1]
    return found + [Case(other.name, way) for other in SOME for way in best if way.threads == 1]


def test_logits(
    benchmark: Any,
    tell: Any,
    models: Callable[[str, str], str],
    case: Case,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, way = case
    monkeypatch.setenv(ISA_VARIABLE, way.isa)
    path = models(name, way.precision)
    with Engine.load(path, threads=way.threads, precision=way.precision) as engine:
        plan = engine.memory_plan()
        pixels = np.zeros((1, *plan.network.resolution, 3), np.uint8)
        benchmark.group = name
        benchmark(engine.logits, pixels)
        tell(way, multiply_adds(plan.network), plan.arena_bytes)


@pytest.mark.every
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_backend(
    benchmark: Any, models: Callable[[str, str], str], backend: str, dtype: str
) -> None:
    try:
        engine = Engine.load(models(networks()[0].name, dtype), backend=backend)
    except MnvError as error:
        pytest.skip(str(error))
    pixels = np.zeros((1, *engine.memory_plan().network.resolution, 3), np.uint8)
    benchmark(engine.logits, pixels)
