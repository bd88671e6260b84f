"""The README: what it says of numbers is generated, what it links to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the README is in a clone only")


def test_the_headline_is_that_of_the_benchmarks():
    text = README.read_text("utf-8")
    lines = [line for line in text.split("\n") if line.startswith("- **mobilenet_v2")]
    assert len(lines) == 2
    generated = (ROOT / "docs" / "benchmarks.md").read_text("utf-8").split("\n")
    assert set(lines) <= set(generated)


def test_it_fits_a_screen_or_two():
    assert len(README.read_text("utf-8").split()) < 1000


@pytest.mark.parametrize(
    "page", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
