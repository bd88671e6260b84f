"""Average precision of a detector on photographs with objects in COCO's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector

from mnv2_engine import Engine
from mnv2_engine.cli import main
from mnv2_engine.errors import InputError, MnvError, UnsupportedError
from mnv2_engine.evaluate.coco import evaluate_coco
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("pycocotools", reason="needs pycocotools, the extra coco")
pytestmark = pytest.mark.filterwarnings("ignore")  # of pycocotools

LABELS = ["cat", "dog"]
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 17, "name": "Cat"}, {"id": 1, "name": "person"}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = small_detector()
    spec = PRESETS["tf"]._replace(crop_fraction=1.0, fit="squash")
    path = tmp_path / "detector.npz"
    write_model(path, network, seeded_weights(network), spec, LABELS, {})
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photographs"
    made.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (60 + i, 80, 3), np.uint8)
        Image.fromarray(pixels).save(made / f"{i}.png")
    return made


def annotated(model: Path, folder: Path, keep: int = 100, **change: Any) -> Path:
    """Annotations that are what the model itself finds, its best `keep` objects an image."""
    images, objects = [], []
    with Engine.load(model) as engine:
        for i, path in enumerate(sorted(folder.iterdir())):
            images.append({"id": i + 5, "file_name": path.name, "width": 80, "height": 60 + i})
            for found in engine.detect(path, 0)[:keep]:
                left, top, right, bottom = found.box
                objects.append(
                    {
                        "image_id": i + 5,
                        "category_id": {"cat": 17, "dog": 18}[found.label],
                        "bbox": [left, top, right - left, bottom - top],
                    }
                )
    out = folder.parent / "instances.json"
    said = {"images": images, "annotations": objects, "categories": CATEGORIES, **change}
    out.write_text(json.dumps(said))
    return out


def test_a_model_that_finds_what_is_there_has_a_precision_of_one(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = annotated(model, folder)
    report = evaluate_coco(str(model), str(folder), str(annotations))
    assert (report.images, report.unreadable) == (3, 0)
    assert report.ap == pytest.approx(1.0, abs=1e-6)
    assert capsys.readouterr().out == ""  # pycocotools prints much
    assert main(["evaluate", str(model), str(folder), "--coco", str(annotations), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ap"] == report.ap
    assert main(["evaluate", str(model), str(folder), "--coco", str(annotations)]) == 0
    assert "AP50" in capsys.readouterr().out


def test_what_is_not_found_costs_precision(model: Path, folder: Path) -> None:
    annotations = annotated(model, folder)
    said = json.loads(annotations.read_text())
    for each in said["annotations"][::2]:
        each["bbox"] = [0.0, 0.0, 1.0, 1.0]
    annotations.write_text(json.dumps(said))
    assert evaluate_coco(str(model), str(folder), str(annotations)).ap < 0.8


def test_an_unreadable_photograph_is_told_and_left_out(model: Path, folder: Path) -> None:
    annotations = annotated(model, folder)
    (folder / "1.png").write_bytes(b"nothing")
    told: list[str] = []
    report = evaluate_coco(str(model), str(folder), str(annotations), note=told.append)
    assert (report.images, report.unreadable, len(told)) == (3, 1, 1)
    assert report.ap == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": 3}, "lists of images"),
        ({"categories": [{"id": 1, "name": "person"}]}, "no category is called 'cat'"),
        ({"annotations": [{"image_id": 5, "category_id": 17, "bbox": [1, 2]}]}, "four numbers"),
        ({"annotations": [{"image_id": 5, "category_id": 17}]}, "bbox"),
    ],
)
def test_annotations_of_another_form(
    model: Path, folder: Path, change: dict[str, Any], reason: str
) -> None:
    annotations = annotated(model, folder, **change)
    with pytest.raises(InputError, match=reason):
        evaluate_coco(str(model), str(folder), str(annotations))


def test_files_beyond_the_folder_are_not_read(model: Path, folder: Path) -> None:
    for name in ("../detector.npz", "/etc/hostname", "a/../../b"):
        images = [{"id": 5, "file_name": name}]
        annotations = annotated(model, folder, images=images)
        told: list[str] = []
        report = evaluate_coco(str(model), str(folder), str(annotations), note=told.append)
        assert report.unreadable == 1
        assert "is not in the folder" in told[0]


def test_other_models_and_files(model: Path, folder: Path, small_model: Any) -> None:
    annotations = annotated(model, folder)
    with pytest.raises(UnsupportedError, match="is no detector"):
        evaluate_coco(str(small_model()), str(folder), str(annotations))
    annotations.write_text("{")
    with pytest.raises(MnvError, match="not JSON"):
        evaluate_coco(str(model), str(folder), str(annotations))
    with pytest.raises(InputError, match="cannot be read"):
        evaluate_coco(str(model), str(folder), str(folder / "none.json"))
