"""Runs networks with everything that the C core touches flush against inaccessible pages.

Run as a script by test_plan.py, in a process of its own: an access out of bounds ends it.
Each network runs with its arena against a page before and against one after; image, weights and
logits end at a page; in one part, and in three; small ones with weights of 16 bits and in bfloat16
too. In int8 every array of weights ends at a page of its own, and small networks also run by
schedules picked at random. The smallest run layer by layer, too. Prints a line a network.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from conftest import make_weights
from int8_network import INT8_ISAS, PackedInt8, pixels, random_int8, run_oracle
from native_network import (
    BFLOAT16_ISAS,
    SUPPORTED_ISAS,
    NativeNetwork,
    PackedNetwork,
    image,
)
from test_threads import any_schedule

from mnv2_engine.bench.ablations import plan_by_layers
from mnv2_engine.executors import native
from mnv2_engine.model.open_file import private_memory
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import PADDINGS, Network
from mnv2_engine.plan.planner import make_plan

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
PROT_NONE = 0
kept: list[Any] = []  # mappings, as long as something may touch them


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


@lru_cache(maxsize=1)
def weights_of(network: Network) -> dict[str, Any]:
    return make_weights(network)


@lru_cache(maxsize=3)  # dtypes
def packed_of(network: Network, dtype: str) -> PackedNetwork:
    return PackedNetwork(network, weights_of(network), dtype)


def run_guarded(network: Network, isa: str, threads: int, precision: str, dtype: str) -> None:
    weights, same = weights_of(network), packed_of(network, dtype)
    x = image(network)
    alone = make_plan(network, 1, precision, dtype)
    expected, _ = NativeNetwork(network, weights, isa, alone, same)(x)
    pixels = guarded(x.nbytes)
    ctypes.memmove(pixels, x.tobytes(), x.nbytes)
    plans = [make_plan(network, threads, precision, dtype)]
    if max(network.resolution) <= 32 and precision == dtype:
        plans.append(plan_by_layers(network, threads, threads, precision, dtype))
    for plan, at_end in product(plans, (True, False)):
        native.private_memory = lambda size, at_end=at_end: guarded(size, at_end)  # type: ignore[assignment]
        made = NativeNetwork(network, weights, isa, plan, same)
        packed = made.executor._weights
        copied = guarded(len(packed))
        ctypes.memmove(copied, bytes(made.executor._ffi.buffer(packed)), len(packed))
        made.executor._weights = made.executor._ffi.from_buffer(copied)
        logits = guarded(4 * network.classes)
        made.executor.run(pixels, True, logits=logits)
        np.testing.assert_array_equal(np.frombuffer(logits, np.float32), expected)
        arena, _ = made.executor._arenas[0]
        assert len(arena) == made.plan.arena_bytes


def guarded_arrays(model: PackedInt8) -> dict[int, int]:
    """A copy of every array of weights, each in front of a page: offset -> address."""
    found = {}
    for name, tensor in model.tensors.items():
        if name.endswith(".values"):  # which taps alone read
            continue
        array = guarded(tensor.size)
        content = bytes(model.buffer[tensor.offset : tensor.offset + tensor.size])
        ctypes.memmove(array, content, tensor.size)
        found[tensor.offset] = ctypes.addressof(array)
    return found


def use_arrays(executor: native.NativeExecutor, addresses: dict[int, int]) -> None:
    """Leads the offsets of an executor's plan to the arrays, wherever they lie."""
    plan, ffi = executor._plan, executor._ffi
    base = int(ffi.cast("intptr_t", ffi.cast("void *", executor._weights)))
    used = set()
    parts = [plan.stem, plan.head, *(plan.blocks[i] for i in range(plan.block_count))]
    parts += [plan.convs[i] for i in range(plan.conv_count)]
    parts += [plan.dense[i] for i in range(plan.dense_count)]
    for part in parts:
        for name, _ in ffi.typeof(part).fields:
            if name.endswith(("weight", "bias")) and name != "pool_bias":
                offset = getattr(part, name)
                if offset >= 0:  # else there is no such layer
                    used.add(offset)
                    setattr(part, name, addresses[offset] - base)
    assert used == set(addresses)


def run_int8_guarded(network: Network) -> None:
    weights, quantization = random_int8(network)
    model = PackedInt8(network, weights, quantization)
    x = pixels(network)
    expected = run_oracle(model, weights, x)
    floats = ((x - 127.5) / 127.5).astype(np.float32)
    plans = [make_plan(network, threads, "int8") for threads in (1, 3)]
    if max(network.resolution) <= 97:
        plans += [any_schedule(network, 1 + seed % 2 * 2, seed, "int8") for seed in range(6)]
    if max(network.resolution) <= 32:
        plans += [plan_by_layers(network, n, n, "int8") for n in (1, 3)]
    addresses = guarded_arrays(model)
    given = [guarded(image.nbytes) for image in (x, floats)]
    ctypes.memmove(given[0], x.tobytes(), x.nbytes)
    ctypes.memmove(given[1], floats.tobytes(), floats.nbytes)
    logits, features = guarded(4 * network.classes), guarded(4 * network.features)
    for plan, at_end in product(plans, (True, False)):
        arena = guarded(plan.arena_bytes, at_end)

        def planned(size: int, arena: Any = arena) -> Any:
            assert size == len(arena)
            return arena

        native.private_memory = planned
        for isa, is_float in product(INT8_ISAS, (False, True)):
            executor = native.NativeExecutor(model, plan, isa)  # type: ignore[arg-type]
            use_arrays(executor, addresses)
            for memory in (arena, logits, features):
                ctypes.memset(memory, 0xAA, len(memory))
            executor.run(given[is_float], is_float, logits, features)
            np.testing.assert_array_equal(np.frombuffer(logits, np.float32), expected.logits)
            np.testing.assert_array_equal(np.frombuffer(features, np.float32), expected.features)
            del executor
    native.private_memory = private_memory
    kept.clear()  # a process may have some 65 000 mappings


def matrix(every: bool = False) -> list[Network]:
    """The networks; by default with one padding each, in turn."""
    networks = [
        mobilenet_v2(width, size, 10, padding, divisor=4 if width == 0.1 else 8)
        for i, (width, size) in enumerate(product((0.1, 0.35, 1.0, 1.4), (32, (96, 61), 97, 224)))
        for padding in (PADDINGS if every else [PADDINGS[(i + i // 4) % 2]])
    ]
    return [*networks, efficientnet_lite(0, (75, 64), 3), efficientnet_lite(3, (33, 90), 17)]


def kinds(network: Network) -> list[tuple[str, str, str]]:
    """Every (instruction set, precision, dtype) to run the network with."""
    found = [(isa, "float32", "float32") for isa in SUPPORTED_ISAS]
    if max(network.resolution) <= 97:
        halves = ("float16", "bfloat16")
        found += [(isa, "float32", dtype) for isa in SUPPORTED_ISAS for dtype in halves]
        found += [(isa, "bfloat16", "bfloat16") for isa in BFLOAT16_ISAS]
    return found


if __name__ == "__main__":
    for network in matrix("--every" in sys.argv):
        for isa, precision, dtype in kinds(network):
            for threads in (1, 3):
                run_guarded(network, isa, threads, precision, dtype)
            print(network.name, network.padding, isa, precision, dtype, flush=True)
        run_int8_guarded(network)
        print(network.name, network.padding, *INT8_ISAS, "int8 int8", flush=True)
    sys.exit(0)
