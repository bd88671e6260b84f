"""What a process that loads the engine grows by: the arena, and the little that Python adds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_weights
from int8_network import random_int8

from mnv2_engine.architecture import mobilenet_v2
from mnv2_engine.input_spec import PRESETS
from mnv2_engine.modelfile import write_model
from mnv2_engine.plan import make_plan

KIB = 1024
# Planning, C structures and parsed metadata: Python objects, far from the megabytes of tensors.
PYTHON_BYTES = 384 * KIB

SCRIPT = """
import sys
from mnv2_engine import Engine
import json, mnv2_engine.executors.native, mnv2_engine._core
import mnv2_engine.packing_int8, mnv2_engine.quantization  # else compiled now, where not cached

def anonymous():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Anonymous"))

pixels = memoryview(bytes(224 * 224 * 3)).cast("B", (224, 224, 3))
before = anonymous()
engine = Engine.load(sys.argv[1])
for _ in range(10):
    engine.predict(pixels)
print(anonymous() - before)
"""


needs_smaps = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"
)


def bytes_added(path: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
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
    network = mobilenet_v2(1.0, 224)
    path = tmp_path / "model.npz"
    weights, quantization = random_int8(network)
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    arena = make_plan(network, 1, "int8").arena_bytes
    found = bytes_added(path)
    assert arena * 0.9 < found < arena + PYTHON_BYTES
    assert found < 768 * KIB
