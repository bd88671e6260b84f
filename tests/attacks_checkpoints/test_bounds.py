"""No file of any format takes more than 3 × its size + 64 MiB, or 10 s; a process for each."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest, tmp_path_factory: Any) -> list[dict[str, Any]]:
    """What every file of every format took. One process imports all; each file has a child."""
    names = [name for name, needed in FORMATS.items() if needed is None or find_spec(needed)]
    every = ["--every"] if request.config.getoption("--every") else []
    folder = tmp_path_factory.mktemp("bounds")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *names, *every],
        capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", FORMATS)
def test_memory_and_time(name, measured):
    needed = FORMATS[name]
    if needed is not None and find_spec(needed) is None:
        pytest.skip(f"needs the package {needed}")
    found = [each for each in measured if each["format"] == name]
    assert len(found) >= 7
    for each in found:
        assert not each["said"].startswith("FAULT"), each
        assert each["kib"] <= 3 * each["bytes"] / 1024 + SLACK_KIB, each
        assert each["seconds"] <= SECONDS, each
    assert not found[0]["refused"], found[0]
    assert sum(each["refused"] for each in found) >= 3
