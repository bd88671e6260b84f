"""Runs plans made by hand (hand_plans.py) with all that the C core touches between inaccessible
pages, and plans of which one number was changed.

usage: guarded_hand_plans.py answers|changes PRECISION FIRST COUNT

`answers` checks the answers of networks FIRST .. FIRST + COUNT against the oracle, in one part and
in several, with their bits the same on each instruction set whatever the schedules. `changes`
changes numbers of good plans, one at a time: mnv2_check_plan refuses the plan, or it runs inside
its arrays.
Run as a script by test_hand_plans.py, in a process of its own: an access out of bounds ends it.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import numpy as np
from guarded_run import guarded, kept
from hand_plans import (
    FLOAT_TOLERANCE,
    PRECISIONS,
    Answer,
    HandPlan,
    answer_of,
    differ,
    ffi,
    isas_for,
    lib,
    random_network,
)

TOLERANCE = {"bfloat16": 3e-2, "int8": 0.0}  # of the largest value; else FLOAT_TOLERANCE
MOST_BYTES = 1 << 24  # that a changed plan may ask for and still run


def pool_of(threads: int) -> Any:
    memory = guarded(-(-lib.mnv2_pool_bytes(threads) // 64) * 64, fill=0)
    assert lib.mnv2_pool_start(ffi.from_buffer(memory), threads) == lib.MNV2_OK
    return ffi.cast("mnv2_pool *", ffi.from_buffer(memory))


def check_answers(precision: str, first: int, count: int) -> None:
    pool = {threads: pool_of(threads) for threads in (2, 3, 4)}
    stay = len(kept)
    shared = []  # plans of runs in a pool, whose late threads may read them until it is stopped
    for seed in range(first, first + count):
        network = random_network(seed, precision)
        expected = answer_of(network)
        bits: dict[str, Answer] = {}
        for turn, threads in enumerate((1, 2 + seed % 3, 1 + seed % 4)):
            plan = HandPlan(network, threads, seed + turn)
            if threads > 1 and turn == 1:
                shared.append(plan)
            memory = [lambda size: guarded(size, True), lambda size: guarded(size, False)][turn % 2]
            for name, isa in isas_for(precision).items():
                place = f"{precision} {name}, network {seed}, {threads} parts, turn {turn}"
                refusal = plan.refusal(isa)
                assert not refusal, f"{place}: {refusal}"
                together = pool[threads] if threads > 1 and turn == 1 else ffi.NULL
                found = plan.run(isa, memory, together)
                wrong = differ(found, expected, TOLERANCE.get(precision, FLOAT_TOLERANCE))
                assert not wrong, f"{place}: {wrong}"
                wrong = differ(found, bits.setdefault(name, found), -1.0)
                assert not wrong, f"{place}, beside another plan: {wrong}"
            del kept[stay:]
    for each in pool.values():
        lib.mnv2_pool_stop(each)
    shared.clear()


def numbers_of(plan: Any) -> list[tuple[Any, str]]:
    """Every integer of a plan and its tables, as (struct, field)."""
    structs = [plan[0], plan.stem, plan.head]
    for table, count in (
        (plan.blocks, plan.block_count),
        (plan.convs, plan.conv_count),
        (plan.dense, plan.dense_count),
        (plan.taps, plan.tap_count),
        (plan.steps, plan.step_count),
    ):
        structs += [table[i] for i in range(count)]
    return [
        (each, name)
        for each in structs
        for name, field in ffi.typeof(each).fields
        if field.type.cname in ("int32_t", "int64_t")
    ]


def changed(value: int, size: int, random: Any) -> int:
    most = (1 << (8 * size - 1)) - 1
    choices = [
        0,
        1,
        -1,
        value + 1,
        value - 1,
        value + 64,
        value - 64,
        value * 2,
        value // 2,
        -value,
    ]
    choices += [most, -most - 1, most - 63, 1 << 20, 1 << 13, 2, 3, 5, 7, 16]
    made = int(choices[random.integers(len(choices))])
    return made if -most - 1 <= made <= most else most


def check_changes(precision: str, first: int, count: int) -> None:
    said: Counter[str] = Counter()
    for seed in range(first, first + count):
        random = np.random.default_rng(seed)
        network = random_network(seed, precision)
        made = HandPlan(network, 1 + seed % 3, seed)
        isa = next(iter(isas_for(precision).values()))
        assert not made.refusal(isa)
        for owner, field in numbers_of(made.plan):
            before = getattr(owner, field)
            size = ffi.sizeof(dict(ffi.typeof(owner).fields)[field].type)
            value = changed(before, size, random)
            setattr(owner, field, value)
            if value != before:
                refusal = made.refusal(isa)
                said[refusal] += 1
                if not refusal:
                    run_changed(made, isa)
            setattr(owner, field, before)
        kept.clear()
    print(sum(said.values()) - said[""], "refused,", said[""], "ran;", len(said) - 1, "sentences")


def run_changed(made: HandPlan, isa: Any) -> None:
    plan = made.plan
    sizes = [plan.arena_bytes, plan.weight_bytes, plan.stem.in_height * plan.stem.in_width * 3]
    sizes += [
        4 * plan.taps[i].height * plan.taps[i].width * plan.taps[i].channels
        for i in range(plan.tap_count)
    ]
    last = plan.dense[plan.dense_count - 1].outputs if plan.dense_count else 1
    sizes += [4 * plan.head.features, 4 * last]
    if max(sizes) > MOST_BYTES:
        return
    # The arena and the weights are aligned, whatever their changed size is.
    ends = [size % 64 == 0 for size in sizes[:2]] + [True] * (len(sizes) - 2)
    arena, weights, image, *taps, features, logits = (
        guarded(size, end, fill=0x3C) for size, end in zip(sizes, ends, strict=True)
    )
    content = bytes(made.packed.buffer)[: len(weights)]
    memoryview(weights).cast("B")[: len(content)] = content
    pointers = ffi.new("float *[]", [ffi.from_buffer("float[]", tap) for tap in taps])
    status = lib.mnv2_run(
        isa,
        plan,
        ffi.NULL,
        ffi.from_buffer(weights),
        ffi.from_buffer(arena),
        ffi.from_buffer(image),
        0,
        ffi.from_buffer("float[]", features),
        ffi.from_buffer("float[]", logits),
        pointers if taps else ffi.NULL,
    )
    assert status == lib.MNV2_OK
    del kept[-len(sizes) :]


if __name__ == "__main__":
    what, chosen, begin, many = sys.argv[1:]
    assert chosen in PRECISIONS
    {"answers": check_answers, "changes": check_changes}[what](chosen, int(begin), int(many))
    print(what, chosen, "done", flush=True)
