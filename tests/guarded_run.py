"""Runs networks with everything that the C core touches flush against inaccessible pages.

Run as a script by test_plan.py, in a process of its own: an access out of bounds ends it.
Each network runs with its arena against a page before and against one after; image, weights and
logits end at a page; in one part, and in three; small ones with weights of 16 bits and in bfloat16
too. Prints a line a network.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Any

import numpy as np
from conftest import make_weights
from native_network import BFLOAT16_ISAS, SUPPORTED_ISAS, NativeNetwork, image

from mnv2_engine.architecture import Architecture, efficientnet_lite, mobilenet_v2
from mnv2_engine.executors import native
from mnv2_engine.plan import make_plan

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
PROT_NONE = 0
kept: list[Any] = []  # mappings live as long as the process


def guarded(size: int, at_end: bool = True, fill: int = 0xAA) -> Any:
    """`size` bytes between two inaccessible pages, touching the later one or the earlier one."""
    span = -(-size // PAGE) * PAGE
    mapping = mmap.mmap(-1, span + 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    for guard in (base, base + PAGE + span):
        if LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    kept.append(mapping)
    start = base + PAGE + (span - size if at_end else 0)
    ctypes.memset(base + PAGE, fill, span)
    return (ctypes.c_char * size).from_address(start)


def run_guarded(network: Architecture, isa: str, threads: int, precision: str, dtype: str) -> None:
    weights = make_weights(network)
    x = image(network)
    alone = make_plan(network, 1, precision, dtype)
    expected, _ = NativeNetwork(network, weights, isa, alone)(x)
    pixels = guarded(x.nbytes)
    ctypes.memmove(pixels, x.tobytes(), x.nbytes)
    for at_end in (True, False):
        native.private_memory = lambda size, at_end=at_end: guarded(size, at_end)  # type: ignore[assignment]
        plan = make_plan(network, threads, precision, dtype)
        made = NativeNetwork(network, weights, isa, plan)
        packed = made.executor._weights
        copied = guarded(len(packed))
        ctypes.memmove(copied, bytes(made.executor._ffi.buffer(packed)), len(packed))
        made.executor._weights = made.executor._ffi.from_buffer(copied)
        logits = guarded(4 * network.classes)
        made.executor.run(pixels, True, logits=logits)
        np.testing.assert_array_equal(np.frombuffer(logits, np.float32), expected)
        arena = made.executor._arenas[0]
        assert len(arena) == made.plan.arena_bytes


def matrix() -> list[Architecture]:
    networks = [
        mobilenet_v2(width, size, 10, padding, divisor=4 if width == 0.1 else 8)
        for width in (0.1, 0.35, 1.0, 1.4)
        for size in (32, (96, 61), 97, 224)
        for padding in ("same", "symmetric")
    ]
    return [*networks, efficientnet_lite(0, (75, 64), 3), efficientnet_lite(3, (33, 90), 17)]


def kinds(network: Architecture) -> list[tuple[str, str, str]]:
    """Every (instruction set, precision, dtype) to run the network with."""
    found = [(isa, "float32", "float32") for isa in SUPPORTED_ISAS]
    if max(network.resolution) <= 97:
        halves = ("float16", "bfloat16")
        found += [(isa, "float32", dtype) for isa in SUPPORTED_ISAS for dtype in halves]
        found += [(isa, "bfloat16", "bfloat16") for isa in BFLOAT16_ISAS]
    return found


if __name__ == "__main__":
    for network in matrix():
        for isa, precision, dtype in kinds(network):
            for threads in (1, 3):
                run_guarded(network, isa, threads, precision, dtype)
            print(network.name, network.padding, isa, precision, dtype, flush=True)
    sys.exit(0)
