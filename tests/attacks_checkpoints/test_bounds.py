"""No file of any format takes more than 3 × its size + 64 MiB, or 10 s; a process for each."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("bounds.py")
FORMATS = {
    "pt": None, "pt-legacy": None, "npz": None, "safetensors": None, "tflite": "tflite",
    "onnx": "onnx", "h5": "h5py", "keras": "h5py", "weights": "h5py", "tfjs": None,
    "tfjs-graph": None, "pb": "tensorboard", "saved-model": "tensorboard", "bundle": "tensorboard",
}  # fmt: skip
SECONDS = 10.0
SLACK_KIB = 64 << 10

if not Path("/proc/self/clear_refs").exists():
    pytest.skip("needs Linux's /proc to measure a process's peak", allow_module_level=True)


@pytest.mark.parametrize("name", FORMATS)
def test_memory_and_time(name, tmp_path, request):
    needed = FORMATS[name]
    if needed is not None and find_spec(needed) is None:
        pytest.skip(f"needs the package {needed}")
    every = ["--every"] if request.config.getoption("--every") else []
    done = subprocess.run(
        [sys.executable, str(SCRIPT), name, str(tmp_path), *every],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) >= 8
    for each in found:
        assert not each["said"].startswith("FAULT"), each
        assert each["kib"] <= 3 * each["bytes"] / 1024 + SLACK_KIB, each
        assert each["seconds"] <= SECONDS, each
    assert not found[0]["refused"], found[0]
    assert sum(each["refused"] for each in found) >= 3
