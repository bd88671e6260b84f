"""Whether a process stays as it is: memory, descriptors, threads, over many loads and calls.

    python benches/endurance.py MODEL.npz [--loads 10000] [--calls 1000000] [--threads 64]

Prints each after a warm-up and at the end; exit code 1 where anonymous memory has grown by more
than 1 MB, or descriptors or threads are left.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import threading
from collections.abc import Callable

from mnv2_engine import Engine


def state() -> tuple[int, int, int]:
    """(KB of anonymous memory, descriptors, threads)."""
    gc.collect()
    with open("/proc/self/smaps_rollup") as file:
        anonymous = int(re.search(r"Anonymous:\s+(\d+)", file.read())[1])
    return anonymous, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def watched(what: str, count: int, work: Callable[[int], None]) -> bool:
    work(max(1, count // 20))
    before = state()
    work(count)
    after = state()
    flat = after[0] - before[0] <= 1024 and after[1:] == before[1:]
    print(
        f"{count} {what}: {before[0]} -> {after[0]} KB anonymous, descriptors {before[1]} -> "
        f"{after[1]}, threads {before[2]} -> {after[2]}{'' if flat else '  NOT FLAT'}",
        flush=True,
    )
    return flat


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--loads", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=64)
    args = parser.parse_args()
    with Engine.load(args.model) as engine:
        height, width = engine.info.network.resolution
    pixels = memoryview(os.urandom(3 * height * width)).cast("B", (height, width, 3))

    def loads(count: int) -> None:
        for _ in range(count):
            with Engine.load(args.model, threads=2) as engine:
                engine.predict(pixels, 1)

    shared = Engine.load(args.model)
    expected = shared.predict(pixels, 1)

    def calls(count: int) -> None:
        for _ in range(count):
            shared.predict(pixels, 1)

    def from_threads(count: int) -> None:
        wrong = []

        def caller() -> None:
            for _ in range(count // args.threads):
                if shared.predict(pixels, 1) != expected:
                    wrong.append(1)

        callers = [threading.Thread(target=caller) for _ in range(args.threads)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        assert not wrong

    flat = [
        watched("loads with a call and a close, threads=2", args.loads, loads),
        watched("calls", args.calls, calls),
        watched(f"calls from {args.threads} threads", args.calls // 4, from_threads),
    ]
    print(shared.stats())
    return int(not all(flat))


if __name__ == "__main__":
    raise SystemExit(main())
