"""The README: one screen, and its numbers are those of the report. tests/test_docs.py runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the README is in a clone only")


@pytest.mark.parametrize("script", ["headline.py", "gallery.py"])
def test_what_is_generated_is_that_of_today(script):
    command = [sys.executable, str(ROOT / "docs" / script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_it_fits_a_screen():
    assert len(README.read_text("utf-8").split()) < 700
    assert len(README.read_text("utf-8").splitlines()) <= 75
