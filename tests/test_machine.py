"""What `mnv2 info` says of the machine, against what the system says of it."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from mnv2_engine import InputError, UnsupportedError, __version__
from mnv2_engine.cli.machine import machine
from mnv2_engine.executors import native
from mnv2_engine.executors.cpus import usable_cpus

# What Linux calls the parts of each instruction set.
FLAGS = {
    "avx512amx": "avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512vbmi amx_tile amx_int8 "
    "amx_bf16",
    "avx512bf16": "avx512f avx512bw avx512vl avx512_vnni avx512_bf16",
    "avx512vnni": "avx512f avx512bw avx512vl avx512_vnni",
    "avx512": "avx512f avx512bw avx512vl",
    "avxvnni": "avx2 fma f16c avx_vnni",
    "avx2": "avx2 fma f16c",
    "baseline": "sse2",
}


@pytest.fixture(autouse=True)
def nothing_from_the_environment(monkeypatch):
    monkeypatch.delenv("MNV2_ISA", raising=False)


def test_it_is_this_installation():
    found = machine()
    assert found.version == __version__
    assert found.python == platform.python_version()
    assert found.system == f"{platform.system()} {platform.machine()}"
    assert found.threads == usable_cpus()
    assert found.backends["c"] is None
    assert found.backends["numpy"] is None
    assert found.backend == "c"
    assert found.version in str(found)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not os.path.exists("/proc/cpuinfo"),
    reason="needs Linux on x86-64, which lists what the CPU has",
)
def test_instruction_sets_are_those_that_linux_sees():
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    assert flags
    seen = set(flags[1].split())
    expected = {name: seen.issuperset(parts.split()) for name, parts in FLAGS.items()}
    found = machine().isas  # what pip builds by itself has some of them
    assert found.items() <= expected.items()
    assert list(found) == [name for name in expected if name in found]


def test_the_chosen_ones_are_what_executors_take():
    found = machine()
    there = [name for name, supported in found.isas.items() if supported]
    for precision, isa in found.chosen_isas.items():
        own = [name for name, supported in native.isas(precision).items() if supported]
        assert isa == (own[0] if own else None)
        assert isa is None or (isa in there and isa in str(found))


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setenv("MNV2_ISA", "baseline")
    chosen = {"float32": "baseline", "bfloat16": None, "int8": "baseline"}
    assert machine().chosen_isas == chosen


def test_a_bad_choice_of_the_environment_lists_what_there_is(monkeypatch):
    monkeypatch.setenv("MNV2_ISA", "mmx")
    with pytest.raises(InputError, match=r"MNV2_ISA='mmx'.*\bbaseline; unset it"):
        machine()

    class OtherCpu:
        """The C core on a CPU that has the baseline only."""

        def __init__(self, lib: Any) -> None:
            self._lib = lib

        def __getattr__(self, name: str) -> Any:
            return getattr(self._lib, name)

        def mnv2_isa_supported(self, isa: Any) -> int:
            return int(core.ffi.string(core.lib.mnv2_isa_name(isa)) == b"baseline")

    from mnv2_engine import _core as core

    best = next(iter(native.built_isas()))
    if best == "baseline":
        pytest.skip("this build has no instruction set but the baseline")
    monkeypatch.setattr(core, "lib", OtherCpu(core.lib))
    monkeypatch.setenv("MNV2_ISA", best)
    with pytest.raises(UnsupportedError, match=f"MNV2_ISA='{best}'.* it has baseline; unset"):
        machine()


def test_without_the_c_core_it_says_why(monkeypatch):
    import mnv2_engine

    monkeypatch.delattr(mnv2_engine, "_core", raising=False)
    monkeypatch.setitem(sys.modules, "mnv2_engine._core", None)
    found = machine()
    assert found.backend == next(name for name, problem in found.backends.items() if not problem)
    assert "_core" in str(found.backends["c"])
    assert "C compiler" in str(found)
    assert (found.isas, found.chosen_isas) == ({}, {})


def test_the_cache_is_where_the_demo_keeps_its_model(monkeypatch, tmp_path):
    monkeypatch.setenv("MNV2_HOME", str(tmp_path))
    assert machine().cache == str(tmp_path)
    monkeypatch.delenv("MNV2_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without a home
    found = machine()
    assert found.cache is None
    assert "MNV2_HOME" in str(found)
