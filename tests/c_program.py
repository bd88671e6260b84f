"""The C program of examples/c, built once for all tests that run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

SOURCE = Path(__file__).resolve().parents[1] / "examples" / "c"
TIMEOUT = 120  # seconds, of a run
BUILD_TIMEOUT = 1800  # on a busy machine


class Answer(NamedTuple):
    status: int
    out: str
    err: str


class CProgram(NamedTuple):
    """A built `classify`, or `detect`, whose core has the instruction set `baseline` alone."""

    build: Path
    path: Path

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Answer:
        run = subprocess.run(
            [str(self.path), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT,
        )
        return Answer(run.returncode, run.stdout.decode(), run.stderr.decode())

    def logits(self, model: Path, image: Path, *arguments: object) -> np.ndarray[Any, Any]:
        """Of one image, every bit of them."""
        answer = self(model, image, "--logits", *arguments)
        assert (answer.status, answer.err) == (0, "")
        return np.array([float.fromhex(line) for line in answer.out.split()], np.float32)

    def description(self, model: Path, *arguments: object) -> dict[str, str]:
        """What it says of a model file."""
        answer = self(model, *arguments)
        assert (answer.status, answer.err) == (0, "")
        pairs = (line.partition(" ") for line in answer.out.splitlines())
        return {key: value.strip() for key, _, value in pairs}

    @property
    def detect(self) -> CProgram:
        """The program for detectors that was built beside it."""
        return self._replace(path=self.path.with_name(self.path.name.replace("classify", "detect")))

    @property
    def is_static(self) -> bool:
        return "CLASSIFY_STATIC:BOOL=ON" in (self.build / "CMakeCache.txt").read_text()


@contextmanager
def one_folder(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder for all processes of pytest-xdist, of which one at a time is in it; or, without
    them, one of this process."""
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None  # type: ignore[assignment]
    if fcntl is None or "PYTEST_XDIST_WORKER" not in os.environ:
        yield factory.mktemp(name)
        return
    folder = factory.getbasetemp().parent / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def build_program(folder: Path) -> CProgram:
    """Skips where there is no CMake or no compiler. Of a debug build, which is made three times as
    fast and computes the same."""
    _cmake(
        *("-S", SOURCE, "-B", folder, "-DCMAKE_BUILD_TYPE=Debug", "-DMNV2_WERROR=ON"),
        *("-DMNV2_ISAS=baseline", "-DCLASSIFY_SANITIZE=address,undefined"),
    )
    targets = ("--target", "classify", "--target", "detect")
    _cmake("--build", folder, *targets, "--parallel", os.cpu_count() or 1)
    return CProgram(folder, folder / "classify")


def build_sanitized(plain: CProgram) -> CProgram:
    """The same with its own code, not the core's, under the sanitizers; skips where the compiler
    has none."""
    try:
        targets = ("--target", "classify_sanitized", "--target", "detect_sanitized")
        _cmake("--build", plain.build, *targets, "--parallel", os.cpu_count() or 1)
    except subprocess.CalledProcessError:
        pytest.skip("needs a compiler with the address and undefined-behaviour sanitizers")
    return CProgram(plain.build, plain.build / "classify_sanitized")


def configure(folder: Path, *options: str) -> str:
    """What CMake says of options that are wrong."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        _cmake("-S", SOURCE, "-B", folder, *options)
    return " ".join(caught.value.stderr.split())


def _cmake(*arguments: object) -> None:
    beside = Path(sys.executable).with_name("cmake")  # of PyPI, in this environment
    cmake = str(beside) if beside.exists() else shutil.which("cmake")
    if cmake is None:
        pytest.skip("needs cmake")
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        pytest.skip("needs a C compiler")
    subprocess.run(
        [cmake, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT,
    )
