"""The version is said in four places, and they agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mnv2_engine import __version__
from mnv2_engine.model.meta import NEWEST

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "CITATION.cff").is_file(), reason="these files are in a clone only"
)


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("pyproject.toml", r'^version = "(.*)"$'),
        ("CITATION.cff", r"^version: (.*)$"),
        ("CHANGELOG.md", r"^## \[(\d.*)\] - \d{4}-\d\d-\d\d$"),  # the newest comes first
    ],
)
def test_the_versions_agree(file: str, pattern: str) -> None:
    found = re.search(pattern, (ROOT / file).read_text("utf-8"), re.MULTILINE)
    assert found is not None, file
    assert found[1] == __version__


def test_the_page_of_the_format_names_its_newest_version() -> None:
    page = (ROOT / "docs" / "model-file.md").read_text("utf-8")
    assert f"This is format version {NEWEST}." in page
    assert f'"version": {NEWEST},' in page
