"""What is built by default: pip, this CPU's best instruction set and few others; CMake, all."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mnv2_engine.executors.native import isas

ROOT = Path(__file__).resolve().parents[1]
AMX = "avx512amx"

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")


def configured(folder: Path, *options: str) -> list[str]:
    """The instruction sets that would be built."""
    command = ["cmake", "-S", ROOT, "-B", folder, "-DMNV2_PYTHON=OFF", "-G", "Unix Makefiles"]
    command += options
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = (folder / "built_isas.def").read_text()
    return re.findall(r"^ISA\((\w+)", lines, re.MULTILINE)


def test_native_builds_the_best_of_this_cpu_what_most_have_and_baseline(tmp_path: Path) -> None:
    found = configured(tmp_path, "-DMNV2_ISAS=native")
    built = isas("int8")
    here = [name for name, supported in built.items() if supported]
    if found[0] in built:  # the installed core may have been built for other sets
        assert found[0] == here[0]
        assert ("avx512vnni" in found) == (here[0] in (AMX, "avx512vnni"))
    assert found[-1] == "baseline"
    assert set(found) <= {found[0], "avx512vnni", "avx2", "neon", "baseline"}
    if "avx2" in here or "avx2" in found:
        assert "avx2" in found
    assert "-O1" in (tmp_path / flags_of("baseline")).read_text()
    assert "-O1" not in (tmp_path / flags_of(found[0], "int8")).read_text()


def test_auto_is_native_here_and_all_for_another_machine(tmp_path: Path) -> None:
    assert configured(tmp_path / "a", "-DMNV2_ISAS=auto") == configured(
        tmp_path / "b", "-DMNV2_ISAS=native"
    )
    every = configured(tmp_path / "c", "-DMNV2_ISAS=all")
    assert every == configured(tmp_path / "d")
    assert set(configured(tmp_path / "a")) < set(every)  # the cache has auto
    other = ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={platform.machine()}"]
    assert configured(tmp_path / "e", "-DMNV2_ISAS=auto", *other) == every


def test_pip_builds_auto_and_wheels_for_others_all() -> None:
    tomllib = pytest.importorskip("tomllib", reason="CPython 3.10 has no tomllib")
    with (ROOT / "pyproject.toml").open("rb") as file:
        made = tomllib.load(file)["tool"]
    assert made["scikit-build"]["cmake"]["define"] == {
        "MNV2_ISAS": {"env": "MNV2_ISAS", "default": "auto"}
    }
    assert made["cibuildwheel"]["environment"]["MNV2_ISAS"] == "all"
    assert made["cibuildwheel"]["windows"]["environment"]["MNV2_ISAS"] == "all"


def flags_of(isa: str, precision: str = "float32") -> str:
    return f"CMakeFiles/mnv2_{precision}_{isa}.dir/flags.make"
