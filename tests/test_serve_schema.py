"""Schemathesis on the service's own description, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from serve_process import Service

pytestmark = pytest.mark.skipif(find_spec("uvicorn") is None, reason="uvicorn is absent")


def test_the_service_is_as_it_is_described(small_model, tmp_path):
    beside = Path(sys.executable).with_name("schemathesis")
    command = str(beside) if beside.exists() else shutil.which("schemathesis")
    if command is None:
        pytest.skip("schemathesis is absent")
    running = Service(tmp_path, str(small_model()))
    try:
        done = subprocess.run(
            [
                *(command, "run", f"http://127.0.0.1:{running.port}/openapi.json"),
                *("--max-examples", "15", "--seed", "1", "--generation-database", "none"),
                # No schema can say that bytes are an image: most are refused.
                *("--exclude-checks", "positive_data_acceptance"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    finally:
        assert running.stop() == 0
