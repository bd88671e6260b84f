"""Runs networks in the Numba kernels with everything that they touch against inaccessible pages.

Run as a script by test_jit.py, in a process of its own, as guarded_run.py is for the C core.
"""

from __future__ import annotations

import ctypes
from itertools import product
from typing import Any

import numpy as np
from conftest import make_weights
from guarded_run import guarded, kept, matrix
from int8_network import PackedInt8, pixels, random_int8, run_oracle
from native_network import PackedNetwork, image, oracle, relative_error
from networks import small_mixed
from test_threads import any_schedule

from mnv2_engine.executors.jit import executor, executor_of
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan


def copied(array: np.ndarray[Any, Any], at_end: bool) -> np.ndarray[Any, Any]:
    """The values of an array between guard pages."""
    memory = guarded(array.nbytes, at_end)
    ctypes.memmove(memory, array.tobytes(), array.nbytes)
    return np.frombuffer(memory, array.dtype).reshape(array.shape)


def run_guarded(network: Network) -> int:
    """Runs every float plan, and returns how many those are."""
    model, x = PackedNetwork(network, make_weights(network)), image(network)
    count, (logits, features) = run_plans(network, "float32", model, x)
    truth = oracle(network, make_weights(network), x)
    for answer, true in zip((logits, features), truth, strict=True):
        assert relative_error(answer, true) <= 1e-5
    return count


def run_int8_guarded(network: Network) -> int:
    """Runs every int8 plan, and returns how many those are."""
    weights, quantization = random_int8(network)
    model, x = PackedInt8(network, weights, quantization), pixels(network)
    floats = ((x - 127.5) / 127.5).astype(np.float32)
    expected = run_oracle(model, weights, x)
    for given in (x, floats):
        count, (logits, features) = run_plans(network, "int8", model, given)
        if network.small_dense:  # float32, whose sums NumPy rounds in another order
            np.testing.assert_allclose(logits, expected.logits, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(logits, expected.logits)
        np.testing.assert_array_equal(features, expected.features)
    return count


def run_plans(
    network: Network, precision: str, model: Any, x: np.ndarray[Any, Any]
) -> tuple[int, list[np.ndarray[Any, Any]]]:
    """Runs every plan, and returns how many those are, and what all of them answer."""
    logits, features = guarded(4 * network.classes), guarded(4 * network.features)
    plans = [make_plan(network, 1, precision)]
    if max(network.resolution) <= 97:
        plans += [any_schedule(network, 1, seed, precision, layers=False) for seed in range(6)]
    expected: list[bytes] = []
    for plan, at_end in product(plans, (True, False)):
        asked = []

        def planned(size: int, at_end: bool = at_end, asked: list[int] = asked) -> Any:
            asked.append(size)
            return guarded(size, at_end)

        executor.private_memory = planned
        made: Any = executor_of(model, plan)
        made._weights = copied(made._weights, at_end)
        made._weights.flags.writeable = False
        made.run(copied(x, at_end), x.dtype == np.float32, logits, features)
        assert asked == [plan.arena_bytes]
        found = [bytes(logits), bytes(features)]
        assert found == (expected or found)  # however it is scheduled, not a bit differs
        expected = found
    kept.clear()
    return len(plans), [np.frombuffer(answer, np.float32) for answer in expected]


if __name__ == "__main__":
    small = small_mixed()
    for network in [*matrix(every=True)[::3], small["everything"], small["no head"]]:
        counts = run_guarded(network), run_int8_guarded(network)
        print(network.name, network.padding, *counts, flush=True)
