"""Runs a detector with all that the C core touches between inaccessible pages.

usage: guarded_detector.py THREADS [changes | changes-int8]. Run as a script by
test_native_detector.py, in a process of its own: an access out of bounds ends it. With `changes`
numbers of the plan are changed, one at a time: mnv2_check_plan refuses the plan, or it runs inside
its arrays. Prints "ok".
"""

from __future__ import annotations

import ctypes
import sys
from itertools import product
from typing import Any

import numpy as np
from detector_network import seeded_weights, small_detector
from guarded_hand_plans import changed, numbers_of
from guarded_run import guarded, kept
from int8_network import INT8_ISAS, PackedInt8, random_int8
from native_network import BFLOAT16_ISAS, SUPPORTED_ISAS, PackedNetwork, image

from mnv2_engine._core import ffi, lib
from mnv2_engine.executors import native
from mnv2_engine.plan.planner import make_plan

MAP_FIELDS = ("boxes", "scores", "anchors")
# A plan's tables, and how long each may be: mnv2_check_plan reads as much as a count says.
TABLES = {
    "blocks": ("mnv2_block", "block_count", lib.MNV2_MAX_BLOCKS),
    "convs": ("mnv2_conv", "conv_count", lib.MNV2_MAX_CONVS),
    "dense": ("mnv2_dense", "dense_count", lib.MNV2_MAX_DENSE),
    "taps": ("mnv2_tap", "tap_count", lib.MNV2_MAX_TAPS),
    "maps": ("mnv2_map", "map_count", lib.MNV2_MAX_MAPS),
    "steps": ("mnv2_step", "step_count", lib.MNV2_MAX_STEPS),
}


def main(threads: int) -> None:
    """The same bits as without guards, with the arena against a page before and one after."""
    network = small_detector((21, 18))
    weights = seeded_weights(network)
    x = image(network)
    kinds = [*product(SUPPORTED_ISAS, ["float32"]), *product(BFLOAT16_ISAS, ["bfloat16"])]
    kinds += product(INT8_ISAS, ["int8"])
    for isa, precision in kinds:
        plan = make_plan(network, threads, precision, precision)
        packed: Any
        if precision == "int8":
            packed = PackedInt8(network, *random_int8(network))
        else:
            packed = PackedNetwork(network, weights, precision)
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
            assert len(executor._arenas[0][0]) == plan.arena_bytes
            made = [bytes(each) for each in rows]
            assert np.isfinite(np.frombuffer(b"".join(made), np.float32)).all()
            assert made == (expected or made)
            expected = made
    assert kept
    print("ok")


def change(threads: int, integers: bool = False) -> None:
    """Every number of a plan, changed."""
    network = small_detector((21, 18))
    packed: Any
    if integers:
        packed = PackedInt8(network, *random_int8(network))
        plan = make_plan(network, threads, "int8", taps=(2,))
        assert max(step.bands for step in plan.steps) > 1
    else:
        packed = PackedNetwork(network, seeded_weights(network))
        plan = make_plan(network, threads, taps=(2,), expanded=(1, 3))
    executor = native.NativeExecutor(packed, plan, (INT8_ISAS if integers else SUPPORTED_ISAS)[0])
    built = executor._plan
    tables = lengthen(built)
    maps = [built.maps[i] for i in range(built.map_count)]
    steps = [built.steps[i] for i in range(built.step_count)]
    taps = [built.taps[i] for i in range(built.tap_count)]
    random = np.random.default_rng(threads)
    refused = ran = 0
    for owner, field in [*numbers_of(built), *((m, name) for m in maps for name in MAP_FIELDS)]:
        before = getattr(owner, field)
        size = ffi.sizeof(dict(ffi.typeof(owner).fields)[field].type)
        for _ in range(3):
            setattr(owner, field, changed(before, size, random))
            if lib.mnv2_check_plan(executor._isa, built, ffi.NULL) != lib.MNV2_OK:
                refused += 1
            else:
                ran += run_changed(executor._isa, built, bytes(packed.buffer), maps, taps)
        setattr(owner, field, before)
    assert len(steps) > 5
    assert len(tables) == len(TABLES)
    assert refused > 500
    assert ran > 20


def lengthen(plan: Any) -> list[Any]:
    """Leads a plan to tables of full length, which the caller keeps."""
    made = []
    for name, (kind, counted, most) in TABLES.items():
        count = getattr(plan, counted)
        made.append(ffi.new(f"{kind}[]", most))
        if count:
            ffi.memmove(made[-1], getattr(plan, name), count * ffi.sizeof(kind))
        setattr(plan, name, made[-1])
    return made


def run_changed(isa: Any, built: Any, weights: bytes, maps: list[Any], taps: list[Any]) -> int:
    """Runs a plan that was found sound, if it is small."""
    blocks = [built.blocks[each.boxes] for each in maps]
    pixels = (each.out_height * each.out_width for each in blocks)
    anchors = sum(count * each.anchors for count, each in zip(pixels, maps, strict=True))
    sizes = [built.arena_bytes, built.weight_bytes]
    sizes += [built.stem.in_height * built.stem.in_width * 3]
    sizes += [16 * anchors, 4 * anchors * built.columns]
    sizes += [4 * each.height * each.width * each.channels for each in taps]
    if max(sizes) > 1 << 24:
        return 0
    # The arena and the weights have to begin at multiples of 64.
    ends = [size % 64 == 0 for size in sizes[:2]] + [True] * (len(sizes) - 2)
    arena, memory, image, boxes, scores, *tensors = (
        guarded(size, at_end, fill=0x3C) for size, at_end in zip(sizes, ends, strict=True)
    )
    content = weights[: len(memory)]
    memoryview(memory).cast("B")[: len(content)] = content
    pointers = ffi.new("float *[]", [ffi.from_buffer("float[]", each) for each in tensors])
    places = [ffi.from_buffer(each) for each in (memory, arena, image)]
    rows = [ffi.from_buffer("float[]", each) for each in (boxes, scores)]
    status = lib.mnv2_run_detector(isa, built, ffi.NULL, *places, 0, *rows, pointers)
    assert status == lib.MNV2_OK
    del kept[-len(sizes) :]
    return 1


if __name__ == "__main__":
    if sys.argv[2:]:
        change(int(sys.argv[1]), sys.argv[2] == "changes-int8")
        print("ok")
    else:
        main(int(sys.argv[1]))
