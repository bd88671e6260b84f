"""Images per second of `mnv2 classify FOLDER` with one worker process and with several.

    python benches/workers.py MODEL.npz PHOTOGRAPH_OR_FOLDER... [--workers 2] [--images 600]

The photographs are copied into a folder until there are enough. The turns alternate; each is the
whole command, start included. Prints the medians and how near they come to that many times one
worker's rate; and the CPU time of an image, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from mnv2_engine.images.image_files import find_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    args.model = os.path.abspath(args.model)
    found = [each.name for each in find_images(args.photographs)]
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(islice(cycle(found), args.images)):
            shutil.copy(name, Path(folder) / f"{i:05}{Path(name).suffix.lower()}")
        seconds: dict[int, list[float]] = {1: [], args.workers: []}
        used: dict[int, list[float]] = {1: [], args.workers: []}
        for turn in range(args.turns + 1):
            for workers, taken in seconds.items():
                started, before = time.perf_counter(), cpu_seconds()
                answer(args.model, folder, workers)
                if turn:  # the first reads the files from the disk
                    taken.append(time.perf_counter() - started)
                    used[workers].append(cpu_seconds() - before)
                    rate = args.images / taken[-1]
                    cpu = used[workers][-1] / args.images
                    print(f"{workers}: {rate:.0f} images/s, {cpu * 1e3:.2f} ms of CPU", flush=True)
    rates = {workers: args.images / median(taken) for workers, taken in seconds.items()}
    for workers, rate in rates.items():
        spread = [round(args.images / each) for each in seconds[workers]]
        print(f"{workers} workers: {rate:.0f} images/s, turns {spread}")
        cpu = median(used[workers]) / args.images
        print(f"  {cpu * 1e3:.2f} ms of CPU an image, all processes and their start")
    ratio = rates[args.workers] / rates[1]
    paired = [a / b for a, b in zip(seconds[1], seconds[args.workers], strict=True)]
    print(f"ratio {ratio:.2f}, in pairs {median(paired):.2f}: {ratio / args.workers:.2f} × workers")


def cpu_seconds() -> float:
    """Of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def answer(model: str, folder: str, workers: int) -> None:
    command = [sys.executable, "-m", "mnv2_engine", "classify", folder, "--model", model, "--json"]
    subprocess.run(
        [*command, "--workers", str(workers)],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=os.path.dirname(folder),
    )


if __name__ == "__main__":
    main()
