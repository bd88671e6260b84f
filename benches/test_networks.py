"""Whole networks, one thread: each instruction set, width and size, with share of work done.

    pip install ".[bench]"
    pytest benches --benchmark-only

Weights are seeded, so nothing needs to be downloaded; speed does not depend on them. `GMAC/s` in
the extra columns of the saved results is multiply-adds over the median time. For a comparison with
another engine see race.py: absolute times of shared machines are no result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import write_seeded

from mnv2_engine import Engine
from mnv2_engine.architecture import efficientnet_lite, mobilenet_v2, multiply_adds
from mnv2_engine.executors.native import ISA_VARIABLE, isas

NETWORKS = [
    mobilenet_v2(1.0, 224),
    mobilenet_v2(1.4, 224),
    mobilenet_v2(0.35, 96),
    efficientnet_lite(0),
]
ISAS = [name for name, supported in isas().items() if supported]


@pytest.fixture(scope="session", params=NETWORKS, ids=lambda network: network.name)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("model") / f"{request.param.name}.npz")
    write_seeded(request.param, path)
    return path


@pytest.mark.parametrize("isa", ISAS)
def test_logits(benchmark: Any, model: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ISA_VARIABLE, isa)
    engine = Engine.load(model)
    network = engine.memory_plan().architecture
    pixels = np.zeros((1, *network.resolution, 3), np.uint8)
    benchmark(engine.logits, pixels)
    benchmark.extra_info["arena_bytes"] = engine.memory_plan().arena_bytes
    if benchmark.stats:  # absent under --benchmark-disable
        median = benchmark.stats.stats.median
        benchmark.extra_info["GMAC/s"] = round(multiply_adds(network) / median / 1e9, 1)


def test_load(benchmark: Any, model: str) -> None:
    """From a path to an engine that can run: validating, mapping, planning."""
    benchmark(Engine.load, model)
