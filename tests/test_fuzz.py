"""tests/fuzz/fuzz.py, for a moment: that it runs, and finds nothing at once."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "fuzz" / "fuzz.py"


@pytest.mark.parametrize("reader", ["model", "torch", "tflite", "npz", "form"])
def test_a_moment_of_fuzzing(reader, tmp_path):
    if reader == "tflite" and find_spec("tflite") is None:
        pytest.skip("needs the package tflite")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), reader, "--count", "30", "--keep", str(tmp_path / "faults")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{reader}: 30 inputs, " in done.stdout


def test_a_moment_of_every_graph(tmp_path):
    readers = ("safetensors", "onnx", "h5", "keras", "weights", "tfjs", "tfjs-graph")
    readers += ("pb", "saved-model", "bundle")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *readers, "--count", "20", "--keep", str(tmp_path / "f")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for reader in readers:
        assert f"{reader}: 20 inputs, " in done.stdout or f"{reader}: left out" in done.stdout
