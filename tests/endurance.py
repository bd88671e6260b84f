"""Whether a process stays as small as it was, over very many loads or predictions.

    python tests/endurance.py loads MODEL 10000
    python tests/endurance.py predictions MODEL 1000000 --threads 64

Prints anonymous memory as it goes, then what the second half of the run added, by the slope of a
line through its samples. `test_endurance.py --every` runs both and has a bound.
"""

from __future__ import annotations

import argparse
import gc
import threading
from collections.abc import Callable

from mnv2_engine import Engine

SAMPLES = 40


def anonymous() -> int:
    """Bytes that this process alone has."""
    with open("/proc/self/smaps_rollup", "rb") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Anonymous"))


def open_files() -> int:
    import os

    return len(os.listdir("/proc/self/fd"))


def slope(samples: list[tuple[int, int]]) -> float:
    """Bytes each, of the least squares' line through (count, bytes)."""
    count = len(samples)
    mean_x = sum(x for x, _ in samples) / count
    mean_y = sum(y for _, y in samples) / count
    above = sum((x - mean_x) * (y - mean_y) for x, y in samples)
    return above / sum((x - mean_x) ** 2 for x, _ in samples)


def loads(path: str, count: int) -> Callable[[int], None]:
    """Load, answer every eighth time, close."""
    image = image_of(Engine.load(path))

    def one(number: int) -> None:
        engine = Engine.load(path)
        if number % 8 == 0:
            engine.predict(image)
        engine.close()

    def some(many: int) -> None:
        for number in range(many):
            one(number)

    return some


def predictions(path: str, threads: int) -> Callable[[int], None]:
    """One engine, called from all threads, which live as long as the process."""
    engine = Engine.load(path)
    image = image_of(engine)
    expected = engine.predict(image)
    begin, end = threading.Barrier(threads + 1), threading.Barrier(threads + 1)
    todo = [0] * threads
    wrong: list[object] = []

    def work(number: int) -> None:
        while True:
            begin.wait()
            for _ in range(todo[number]):
                if engine.predict(image) != expected:
                    wrong.append(number)
            end.wait()

    for number in range(threads):
        threading.Thread(target=work, args=(number,), daemon=True).start()

    def some(many: int) -> None:
        for number in range(threads):
            todo[number] = many // threads + (number < many % threads)
        begin.wait()
        end.wait()
        assert not wrong, "an answer differs"

    return some


def image_of(engine: Engine) -> memoryview:
    height, width = engine.info.network.resolution
    return (
        memoryview(bytes(range(256)) * (height * width))
        .cast("B")[: height * width * 3]
        .cast("B", (height, width, 3))
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("loads", "predictions"))
    parser.add_argument("model")
    parser.add_argument("count", type=int)
    parser.add_argument("--threads", type=int, default=64)
    args = parser.parse_args()
    some = (
        loads(args.model, args.count)
        if args.what == "loads"
        else predictions(args.model, args.threads)
    )
    samples: list[tuple[int, int]] = []
    done = 0
    for number in range(1, SAMPLES + 1):
        until = args.count * number // SAMPLES
        some(until - done)
        done = until
        gc.collect()
        samples.append((done, anonymous()))
        if number % 4 == 0:
            print(f"{done} {args.what}: {samples[-1][1] / 1e6:.3f} MB", flush=True)
    half = samples[SAMPLES // 2 :]
    added = slope(half) * (half[-1][0] - half[0][0])
    print(
        f"{args.what}: {done}, {open_files()} open files, the second half added "
        f"{added / 1024:.1f} KiB, {slope(half):.4f} bytes each"
    )


if __name__ == "__main__":
    main()
