"""One thread, one image: this engine and LiteRT on the same weights, in turn, in one process.

    pip install ".[bench]"
    python benches/against_litert.py MODEL.npz MODEL.tflite

Prints the median of each, their spread, and the median of the ratio taken pair by pair, which
holds where the machine's speed drifts. Also compares the logits of a random image.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from mnv2_engine import Engine


def litert(path: str, x: np.ndarray) -> Callable[[], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(source["index"], x)

    def run() -> np.ndarray:
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return run


def milliseconds(run: Callable[[], object], inner: int) -> float:
    start = time.perf_counter()
    for _ in range(inner):
        run()
    return (time.perf_counter() - start) * 1e3 / inner


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:7.3f}   ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("tflite")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--inner", type=int, default=5, help="runs of one engine before the other")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    engine = Engine.load(options.model)
    height, width = engine.memory_plan().architecture.resolution
    x = np.random.default_rng(0).uniform(-1, 1, (1, height, width, 3)).astype(np.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    peer = litert(options.tflite, x)
    difference = np.abs(peer() - engine.logits(x)).max()

    ours, theirs = [], []
    for pair in range(options.pairs + 2):
        a = milliseconds(lambda: engine.logits(pixels), options.inner)
        b = milliseconds(peer, options.inner)
        if pair >= 2:  # the first pairs warm up
            ours.append(a)
            theirs.append(b)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"{engine.memory_plan().architecture.name}, one thread, ms: median (quartiles)")
    print(f"mnv2_engine ({engine.info.isa})   {quartiles(ours)}")
    print(f"LiteRT               {quartiles(theirs)}")
    print(f"ratio, pair by pair  {quartiles(ratios)}")
    print(f"largest logit difference {difference:.2e}")


if __name__ == "__main__":
    main()
