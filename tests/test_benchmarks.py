"""The scripts and benchmarks of benches/ that this engine alone is in: they run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[1] / "benches"


def test_the_ablations_are_printed_as_a_table():
    command = [sys.executable, str(BENCHES / "ablations.py"), "mobilenet_v2_0.1_32"]
    shortest = ["--pairs", "2", "--inner", "1"]
    done = subprocess.run([*command, *shortest], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v2_0.1_32, float32 weights, 1 thread" in done.stdout
    assert "| layer by layer |" in done.stdout
    assert "the fastest fused plan" in done.stdout


def test_the_benchmarks_run(tmp_path):
    """A few of each kind, once."""
    pytest.importorskip("pytest_benchmark", reason="needs pytest-benchmark, of the extra bench")
    names = "block and 7x7 or 7x7-160-960 or depthwise3s2-14x14 or stem-224x224 or decode or plan"
    command = [sys.executable, "-m", "pytest", str(BENCHES), "-q", "--benchmark-disable"]
    command += ["-p", "no:cacheprovider", "-k", names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
