"""A program that PyInstaller bundles answers as it did before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mnv2_engine import Engine
from mnv2_engine._pyinstaller import get_hook_dirs

SCRIPT = """
import sys
from mnv2_engine import Engine
with Engine.load(sys.argv[1], backend="c") as engine:
    print(engine.predict(memoryview(bytes(32 * 32 * 3)).cast("B", (32, 32, 3)), 1))
"""


def test_a_bundled_program(small_model, tmp_path):
    pytest.importorskip("PyInstaller", reason="PyInstaller is absent")
    (tmp_path / "program.py").write_text(SCRIPT)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", "--log-level", "ERROR"),
            *("--additional-hooks-dir", *get_hook_dirs(), "--exclude-module", "numpy"),
            *("--exclude-module", "numba", "--exclude-module", "PIL", "program.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = small_model()
    program = tmp_path / "dist" / "program" / "program"
    done = subprocess.run([program, model], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with Engine.load(model) as engine:
        best = engine.predict(memoryview(bytes(32 * 32 * 3)).cast("B", (32, 32, 3)), 1)
    assert done.stdout == f"{best}\n"
