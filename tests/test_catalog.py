"""weights/catalog.toml tells the truth about checkpoints, as far as it can be checked here."""

from __future__ import annotations

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mnv2_engine.cli import demo, demo_detect
from mnv2_engine.convert import convert
from mnv2_engine.convert.options import Options, check_options
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.box_maps import raw_shapes
from mnv2_engine.network.families import family_network
from mnv2_engine.network.layer import PADDINGS

tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")

CATALOG = Path(__file__).parents[1] / "weights" / "catalog.toml"
WHOLE = tomllib.loads(CATALOG.read_text(encoding="utf-8"))
CHECKPOINTS, PUBLISHED = WHOLE["checkpoint"], WHOLE["published"]
DETECTORS = WHOLE["detector"]

each = pytest.mark.parametrize("entry", CHECKPOINTS, ids=lambda entry: entry["name"])


def located(entry: dict[str, Any], shared: Path) -> Path:
    """The checkpoint of `entry` on this machine; skips the test if it is not here."""
    package, _, inside = entry["file"].partition("/")
    if not inside:
        path = shared / "checkpoints" / entry["file"]
    else:
        spec = find_spec(package)
        if spec is None:
            pytest.skip(f"needs the package {package}, which is not installed")
        assert spec.submodule_search_locations
        path = Path(spec.submodule_search_locations[0], inside)
    if not path.is_file():
        pytest.skip(f"needs {path.name}, which is not here")
    return path


def test_names_and_sums_are_unique():
    for key in ("name", "sha256", "file"):
        values = [entry[key] for entry in CHECKPOINTS]
        assert len(set(values)) == len(values) >= 5


@each
def test_entries_are_complete(entry):
    assert re.fullmatch("[0-9a-f]{64}", entry["sha256"])
    assert entry["licence"]
    assert entry["description"]
    assert "://" not in entry["source"]
    for accuracy in entry["accuracy"]:
        assert 0 < accuracy["top1"] <= accuracy.get("top5", 100) <= 100
        assert accuracy["images"]
        assert accuracy["by"].startswith(("published: ", "stated with "))


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry["name"])
def test_what_is_to_be_fetched_by_hand_is_described_whole(entry):
    due = {"name", "source", "file", "format", "licence", "classes", "padding", "options", "tried"}
    assert {*entry} == due
    assert all(entry[key] for key in due - {"options"})
    assert entry["format"] in ("PyTorch", "safetensors", "Keras weights", "TFLite", "ONNX")
    assert entry["padding"] in PADDINGS
    assert "://" not in entry["source"]
    check_options(Options(**entry["options"]))  # raises for what mnv2 convert does not take
    stated = "config.json" in entry["file"] or entry["format"] == "TFLite"
    assert "preprocess" in entry["options"] or stated
    labels = entry["options"].get("labels")
    assert labels != "imagenet" or entry["classes"] in (1000, 1001)


def test_published_names_are_unique():
    assert len({entry["name"] for entry in PUBLISHED}) == len(PUBLISHED) >= 10


def test_the_demo_uses_the_checkpoint_of_the_catalog():
    entry = next(entry for entry in CHECKPOINTS if "mnv2 demo" in entry["description"])
    assert entry["sha256"] == demo.SHA256
    assert entry["file"] == f"{demo.MODULE}/{demo.CHECKPOINT}"
    assert demo.PACKAGE in entry["source"]
    assert entry["options"] == {"preprocess": demo.PREPROCESS, "labels": demo.LABELS}
    assert f"{entry['name']}.npz" == demo.MODEL_FILE


def test_the_demo_of_detectors_uses_that_of_the_catalog():
    (entry,) = DETECTORS
    source = demo_detect.SOURCE
    assert "mnv2 demo --detect" in entry["description"]
    assert source.package in entry["source"]
    assert source.extra in entry["source"]
    assert entry["file"] == f"{source.module}/{source.checkpoint}"
    assert (entry["sha256"], f"{entry['name']}.npz") == (source.sha256, source.file)
    assert tuple(entry["labels"]) == demo_detect.LABELS
    assert entry["licence"]
    assert "://" not in entry["source"]


@pytest.mark.parametrize("entry", DETECTORS, ids=lambda entry: entry["name"])
def test_converting_a_detector_finds_what_the_catalog_says(entry, shared, tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard, the extra tensorflow")
    source, out = located(entry, shared), tmp_path / "out.npz"
    assert hashlib.sha256(source.read_bytes()).hexdigest() == entry["sha256"]
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(entry["labels"]), encoding="utf-8")
    convert(source, out, labels=str(labels))
    with open_model(out) as model:
        network, spec = model.network, model.input_spec
        assert network.name == entry["network"]
        assert network.resolution == (entry["resolution"],) * 2
        assert network.padding == entry["padding"]
        assert raw_shapes(network)[0] == (entry["anchors"], 4)
        assert network.detection.classes == len(entry["labels"])
        assert (list(spec.mean), list(spec.std)) == (entry["mean"], entry["std"])
        assert spec.fit == entry["fit"]
        assert list(model.labels) == entry["labels"]
        assert model.provenance["sha256"] == entry["sha256"]


@each
def test_checkpoints_have_their_sum(entry, shared):
    digest = hashlib.sha256(located(entry, shared).read_bytes()).hexdigest()
    assert digest == entry["sha256"]


@each
def test_converting_finds_what_the_catalog_says(entry, shared, tmp_path):
    if entry["file"].endswith(".tflite"):
        pytest.importorskip("tflite")
    source, out = located(entry, shared), tmp_path / "out.npz"
    convert(source, out, **entry["options"])
    with open_model(out) as model:
        size = (entry["resolution"], entry["resolution"])
        expected = family_network(
            entry["family"], entry["width"], 8, size, entry["classes"], entry["padding"]
        )
        assert model.network == expected
        assert list(model.input_spec.mean) == entry["mean"]
        assert model.input_spec.std == pytest.approx(entry["std"])
        assert model.labels is not None
        assert model.labels[-1] == "toilet tissue, toilet paper, bathroom tissue"
        assert model.provenance["sha256"] == entry["sha256"]
