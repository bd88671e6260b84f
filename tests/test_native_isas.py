"""MNV2_ISAS=native: the build of this CPU's best instruction set and of baseline."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mnv2_engine.executors.native import isas

ROOT = Path(__file__).resolve().parents[1]
AMX = "avx512amx"

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")


def test_it_builds_the_best_of_this_cpu_and_baseline(tmp_path: Path) -> None:
    command = ["cmake", "-S", ROOT, "-B", tmp_path, "-DMNV2_PYTHON=OFF", "-DMNV2_ISAS=native"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "built_isas.def").read_text()
    found = re.findall(r"^ISA\((\w+)", lines, re.MULTILINE)
    here = [name for name, supported in isas("int8").items() if supported]
    if here[0] in found:  # the installed core may have been built for other sets
        assert found == [here[0], *(["avx512vnni"] if here[0] == AMX else []), "baseline"]
    assert found[-1] == "baseline"
    assert len(found) <= 3
