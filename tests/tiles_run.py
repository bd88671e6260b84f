"""Runs networks in AMX's tile registers, against the oracles, bit for bit.

    tiles_run.py [LIBRARY]     the built core's, or those that LIBRARY emulates

Run as a script by test_amx.py. Prints a line a network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import emulated_core
import numpy as np

if len(sys.argv) > 1:
    emulated_core.use(Path(sys.argv[1]))

from conftest import make_weights
from int8_network import PackedInt8, pixels, random_int8, run_oracle
from native_network import NativeNetwork, image

from mnv2_engine.bench.ablations import plan_by_layers
from mnv2_engine.executors import bfloat16
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan

ISA = "avx512amx"
# Maps of 1 to 48 pixels a row; channels that are no multiple of a tile's, or of a group's.
NETWORKS = [
    mobilenet_v2(0.35, 32, 20),
    mobilenet_v2(0.1, (40, 33), 5, "symmetric", divisor=4),
    mobilenet_v2(0.1, 37, 7, divisor=1),
    mobilenet_v2(0.75, (33, 96), 17),
    efficientnet_lite(0, resolution=(44, 36), classes=10),
]


def plans(network: Network, precision: str) -> Any:
    for threads in (1, 2, 3):
        yield make_plan(network, threads, precision)
        if max(network.resolution) <= 40:
            yield plan_by_layers(network, threads, threads, precision)


def run_bfloat16(network: Network) -> None:
    weights, x = make_weights(network, seed=3), image(network)
    expected = bfloat16.run(network, weights, x, bfloat16.TILES)
    for plan in plans(network, "bfloat16"):
        logits, features = NativeNetwork(network, weights, ISA, plan)(x)
        np.testing.assert_array_equal(features, expected.features[0])
        np.testing.assert_array_equal(logits, expected.logits[0])


def run_int8(network: Network) -> None:
    weights, quantization = random_int8(network, seed=3)
    model, x = PackedInt8(network, weights, quantization), pixels(network)
    expected = run_oracle(model, weights, x)
    for plan in plans(network, "int8"):
        logits = np.empty(network.classes, np.float32)
        features = np.empty(network.features, np.float32)
        NativeExecutor(model, plan, ISA).run(x, False, logits, features)
        np.testing.assert_array_equal(features, expected.features)
        np.testing.assert_array_equal(logits, expected.logits)


for network in NETWORKS:
    run_int8(network)
    run_bfloat16(network)
    print(network.name, network.resolution, flush=True)
