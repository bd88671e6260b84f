"""What a process that loads the engine grows by: the arena, and the little that Python adds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_weights, small_network
from detector_network import seeded_weights
from int8_network import random_int8

from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.labels import imagenet
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.ssdlite import ssd_anchors, ssdlite
from mnv2_engine.plan.planner import make_plan

KIB = 1024
# Planning, C structures and parsed metadata: Python objects, far from the megabytes of tensors.
PYTHON_BYTES = 384 * KIB

SCRIPT = """
import sys
from mnv2_engine import Engine
import json, mnv2_engine.executors.native, mnv2_engine._core, mnv2_engine.executors.native_objects
# Else compiled now, where not cached; code is no growth by what is loaded.
import mnv2_engine.model.packing_int8, mnv2_engine.network.quantization
import mnv2_engine.detect.answers, mnv2_engine.network.detector, mnv2_engine.model.reading
# At some number of names Python's table of them grows by a quarter of a mebibyte: grown before.
names = [sys.intern(f"name {i}") for i in range(4000)]

def anonymous():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Anonymous"))

call, size = sys.argv[2], int(sys.argv[3])
pixels = memoryview(bytes(size * size * 3)).cast("B", (size, size, 3))
before = anonymous()
engine = Engine.load(sys.argv[1])
for _ in range(10):
    getattr(engine, call)(pixels)
print(anonymous() - before)
"""


needs_smaps = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"
)


def bytes_added(path: Path, call: str = "predict", size: int = 224) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), call, str(size)],
        cwd=path.parent,  # not the checkout, whose sources hide the installed package
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@needs_smaps
def test_loading_and_predicting_adds_the_arena_and_little_else(tmp_path):
    network = mobilenet_v2(1.0, 224)
    path = tmp_path / "model.npz"
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {})
    arena = make_plan(network).arena_bytes
    assert arena * 0.9 < bytes_added(path) < arena + PYTHON_BYTES


@needs_smaps
def test_in_int8_both_together_are_less_than_three_quarters_of_a_mebibyte(tmp_path):
    network = mobilenet_v2(1.0, 224, classes=1001)
    path = tmp_path / "model.npz"
    weights, quantization = random_int8(network)
    write_model(path, network, weights, PRESETS["tf"], imagenet(1001), {}, quantization)
    arena = make_plan(network, 1, "int8").arena_bytes
    found = bytes_added(path)
    assert arena * 0.9 < found < arena + PYTHON_BYTES
    assert found < 768 * KIB


@needs_smaps
def test_finding_objects_adds_less_than_one_and_a_fifth_mebibytes(tmp_path):
    """With a hundred objects on each image, about: random scores pass the threshold."""
    network = ssdlite(classes=1)
    path = tmp_path / "model.npz"
    weights = {**seeded_weights(network), "anchors": np.array(ssd_anchors(network), np.float32)}
    write_model(path, network, weights, PRESETS["tf"], ["person"], {})
    arena = make_plan(network).arena_bytes
    assert arena * 0.9 < bytes_added(path, "detect", 300) < 1.2 * 1024 * KIB


# --- many predictions ---------------------------------------------------------------------

PREDICTIONS = 2000
# Of Python's own, between two rounds of so many predictions. A leak of 64 bytes a prediction,
# less than any tensor, is 125 KiB.
FLAT_BYTES = 64 * KIB

# Callers are threads that live through all rounds; what starting them takes is not counted.
ROUNDS = """
import gc, sys, threading
from mnv2_engine import Engine

path, threads, callers, predictions, rounds = sys.argv[1], *map(int, sys.argv[2:])

def anonymous():
    with open("/proc/self/smaps_rollup", "rb") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"Anonymous"))

engine = Engine.load(path, threads=threads)
height, width = engine.info.network.resolution
images = [memoryview(bytes([i]) * (height * width * 3)).cast("B", (height, width, 3))
          for i in range(callers)]
expected = [engine.predict(image) for image in images]
#OVERLAPPING
gate = threading.Barrier(callers + 1)

def call(number):
    for _ in range(rounds):
        gate.wait()
        for _ in range(predictions // callers):
            assert engine.predict(images[number]) == expected[number]
        gate.wait()

workers = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(callers)]
for worker in workers:
    worker.start()
found = []
for _ in range(rounds):
    gate.wait(100)
    gate.wait(100)
    gc.collect()
    found.append(anonymous())
for worker in workers:
    worker.join()
print(*found)
"""

# A call that is in flight has the arena; a second one then takes one of its own. On busy machines
# that is rare, so the first is only pretended.
OVERLAPPING = """
def overlapping(image):
    held = engine._executor._arenas.pop()
    alone(image)
    engine._executor._arenas.append(held)
    return alone(image)  # which finds two, and gives one back

alone, engine.predict = engine.predict, overlapping
"""


def memory_after_rounds(
    path: Path, threads: int, callers: int, overlapping: bool = False, rounds: int = 4
) -> list[int]:
    """Anonymous bytes of a process after each round of predictions by so many callers."""
    numbers = (threads, callers, PREDICTIONS, rounds)
    script = ROUNDS.replace("#OVERLAPPING", OVERLAPPING if overlapping else "")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), *map(str, numbers)],
        cwd=path.parent,  # not the checkout, whose sources hide the installed package
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(each) for each in done.stdout.split()]


@needs_smaps
@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(("threads", "callers"), [(1, 1), (2, 1), (1, 4), (2, 4)])
def test_memory_is_flat_over_thousands_of_predictions(dtype, threads, callers, tmp_path):
    """Between one round of 2000 and the best of those after it, which a leak would all raise."""
    network = small_network()
    path = tmp_path / "model.npz"
    if dtype == "int8":
        weights, quantization = random_int8(network)
        write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    else:
        write_model(path, network, make_weights(network), PRESETS["tf"], None, {})
    first, *later = memory_after_rounds(path, threads, callers)
    assert min(later) - first < FLAT_BYTES


@needs_smaps
def test_arenas_of_calls_that_overlap_are_given_back(small_model):
    first, *later = memory_after_rounds(small_model(), 1, 1, overlapping=True)
    assert min(later) - first < FLAT_BYTES
