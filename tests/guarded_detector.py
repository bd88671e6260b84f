"""Runs a detector with all that the C core touches between inaccessible pages.

usage: guarded_detector.py THREADS. Run as a script by test_native_detector.py, in a process of its
own: an access out of bounds ends it. Prints "ok".
"""

from __future__ import annotations

import ctypes
import sys
from itertools import product
from typing import Any

import numpy as np
from detector_network import seeded_weights, small_detector
from guarded_run import guarded, kept
from native_network import BFLOAT16_ISAS, SUPPORTED_ISAS, PackedNetwork, image

from mnv2_engine.executors import native
from mnv2_engine.plan.planner import make_plan


def main(threads: int) -> None:
    """The same bits as without guards, with the arena against a page before and one after."""
    network = small_detector()
    weights = seeded_weights(network)
    x = image(network)
    kinds = [*product(SUPPORTED_ISAS, ["float32"]), *product(BFLOAT16_ISAS, ["bfloat16"])]
    for isa, precision in kinds:
        plan = make_plan(network, threads, precision, precision)
        packed: Any = PackedNetwork(network, weights, precision)
        pixels = guarded(x.nbytes)
        ctypes.memmove(pixels, x.tobytes(), x.nbytes)
        copied = guarded(len(packed.buffer))
        ctypes.memmove(copied, bytes(packed.buffer), len(packed.buffer))
        expected: list[bytes] = []
        for at_end in (True, False):
            native.private_memory = lambda size, end=at_end: guarded(size, end)  # type: ignore[assignment]
            executor = native.NativeExecutor(packed, plan, isa)
            executor._weights = executor._ffi.from_buffer(copied)
            assert network.detection is not None
            count = len(weights["anchors"])
            rows = [guarded(4 * count * columns) for columns in (4, network.detection.columns)]
            executor.run(pixels, True, boxes=rows[0], scores=rows[1])
            assert len(executor._arenas[0]) == plan.arena_bytes
            made = [bytes(each) for each in rows]
            assert np.isfinite(np.frombuffer(b"".join(made), np.float32)).all()
            assert made == (expected or made)
            expected = made
    assert kept
    print("ok")


if __name__ == "__main__":
    main(int(sys.argv[1]))
