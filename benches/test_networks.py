"""Whole networks, one thread: each instruction set, width and size, with share of work done.

    pip install ".[bench]"
    pytest benches --benchmark-only

Weights are seeded, float32 and int8, so nothing needs to be downloaded; speed does not depend on
them. `GMAC/s` in the extra columns of the saved results is multiply-adds over the median time. For
a comparison with another engine see `mnv2 bench`: absolute times of shared machines are no result.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from mnv2_engine import Engine
from mnv2_engine.architecture import efficientnet_lite, mobilenet_v2, multiply_adds
from mnv2_engine.bench.networks import model_file
from mnv2_engine.executors.native import ISA_VARIABLE, isas

NETWORKS = [
    mobilenet_v2(1.0, 224),
    mobilenet_v2(1.4, 224),
    mobilenet_v2(0.35, 96),
    efficientnet_lite(0),
]
ISAS = [
    (dtype, name)
    for dtype in ("float32", "int8")
    for name, supported in isas(dtype).items()
    if supported
]


@pytest.fixture(scope="session", params=NETWORKS, ids=lambda network: network.name)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Gives the network's file of a dtype, made when it is first asked for."""
    folder = str(tmp_path_factory.mktemp("models"))
    return cache(lambda dtype: model_file(request.param.name, folder, dtype))


@pytest.mark.parametrize(("dtype", "isa"), ISAS)
def test_logits(
    benchmark: Any, models: Any, dtype: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, isa)
    engine = Engine.load(models(dtype))
    network = engine.memory_plan().architecture
    pixels = np.zeros((1, *network.resolution, 3), np.uint8)
    benchmark(engine.logits, pixels)
    benchmark.extra_info["arena_bytes"] = engine.memory_plan().arena_bytes
    if benchmark.stats:  # absent under --benchmark-disable
        median = benchmark.stats.stats.median
        benchmark.extra_info["GMAC/s"] = round(multiply_adds(network) / median / 1e9, 1)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_load(benchmark: Any, models: Any, dtype: str) -> None:
    """From a path to an engine that can run: validating, mapping, planning."""
    benchmark(Engine.load, models(dtype))
