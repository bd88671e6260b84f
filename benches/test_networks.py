"""Whole networks, one thread: each instruction set, width and size, with share of work done.

    pip install ".[bench]"
    pytest benches --benchmark-only

Weights are seeded, so nothing needs to be downloaded; speed does not depend on them. `GMAC/s` in
the extra columns of the saved results is multiply-adds over the median time. For a comparison with
another engine see against_litert.py: absolute times of shared machines are no result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnv2_engine import Engine
from mnv2_engine.architecture import (
    Architecture,
    efficientnet_lite,
    layers,
    mobilenet_v2,
    multiply_adds,
)
from mnv2_engine.executors.native import ISA_VARIABLE, isas
from mnv2_engine.input_spec import PRESETS
from mnv2_engine.modelfile import write_model

NETWORKS = [
    mobilenet_v2(1.0, 224),
    mobilenet_v2(1.4, 224),
    mobilenet_v2(0.35, 96),
    efficientnet_lite(0),
]
ISAS = [name for name, supported in isas().items() if supported]


def seeded_weights(network: Architecture) -> dict[str, np.ndarray[Any, Any]]:
    """Weights of He's scale: values neither vanish into denormals nor overflow."""
    random = np.random.default_rng(0)
    weights = {}
    for layer in layers(network):
        fan_in = int(np.prod(layer.weight_shape[1:]))
        weight = random.normal(0.0, np.sqrt(2 / fan_in), layer.weight_shape)
        weights[f"{layer.name}.weight"] = weight.astype(np.float32)
        weights[f"{layer.name}.bias"] = np.zeros(layer.out_channels, np.float32)
    return weights


@pytest.fixture(scope="session", params=NETWORKS, ids=lambda network: network.name)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("model") / f"{request.param.name}.npz")
    write_model(path, request.param, seeded_weights(request.param), PRESETS["tf"], None, {})
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
