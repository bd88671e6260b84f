"""The matrix of docs/architecture.md is what the build's own lists say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mnv2_engine.executors.native import built_isas, isas

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "matrix.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_page_has_the_matrix_of_today() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stderr


HEADS = {"float32": "float32, weights of", "int8": "int8", "bfloat16": "bfloat16"}


@pytest.mark.parametrize("precision", HEADS)
def test_the_matrix_is_what_the_core_says(precision: str) -> None:
    """A set has kernels of its own where no lesser set that was built runs the same."""
    lines = run().stdout.split("\n\n")[0].splitlines()
    rows = [[cell.strip("` ") for cell in line.strip("|").split(" | ")] for line in lines]
    column = next(i for i, head in enumerate(rows[0]) if head.startswith(HEADS[precision]))
    cells = {row[0]: row[column] for row in rows[2:]}
    built = list(built_isas())
    assert set(built) <= set(cells)
    for at, name in enumerate(built):
        lesser = {cells[other] for other in built[at + 1 :]}
        own = cells[name] != "-" and cells[name] not in lesser
        assert own == (name in isas(precision)), name
