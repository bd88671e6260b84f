"""Golden answers for anyone: weights/shapes, a tiny network, from picture files to answers.

The oracle is PyTorch in float64 (weights/shapes/train.py); int8 has that of the NumPy reference,
bit for bit, and PyTorch's within what 8 bits lose.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from every_backend import backends
from snippets import snippets

from mnv2_engine import Engine

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ROOT / "weights" / "shapes"
PHOTOGRAPH = ROOT / "mnv2_engine" / "data" / "chelsea.jpg"

pytestmark = pytest.mark.skipif(
    not (SHAPES / "shapes.npz").is_file(), reason="the network is in a clone only"
)


def golden() -> dict[str, list]:
    return json.loads((SHAPES / "golden.json").read_text("utf-8"))


def files() -> list[Path]:
    return [PHOTOGRAPH if name == "chelsea.jpg" else SHAPES / name for name in golden()["files"]]


def logits(model: Path, backend: str) -> np.ndarray:
    """Of every stored picture, the photograph included: from the file, as `predict` sees it."""
    from mnv2_engine.images.preprocess import load_image, pixels_for

    with Engine.load(model, backend=backend) as engine:
        size, spec = engine.info.network.resolution, engine.info.input_spec
        frames = [pixels_for(load_image(str(path)), spec, size) for path in files()]
        pixels = np.stack([np.frombuffer(frame, np.uint8).reshape(*size, 3) for frame in frames])
        return engine.logits(pixels)


@pytest.mark.parametrize("backend", backends())
def test_float_answers_are_those_of_pytorch(backend, monkeypatch):
    if backend.isa:
        monkeypatch.setenv("MNV2_ISA", backend.isa)
    expected = np.array(golden()["float"])
    found = logits(SHAPES / "shapes.npz", backend.name)
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("backend", backends("int8"))
def test_int8_answers_are_the_same_bits_everywhere(backend, monkeypatch):
    if backend.isa:
        monkeypatch.setenv("MNV2_ISA", backend.isa)
    expected = [[float.fromhex(value) for value in row] for row in golden()["int8"]]
    found = logits(SHAPES / "shapes_int8.npz", backend.name)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_int8_is_as_near_to_pytorch_as_eight_bits_are():
    exact = np.array(golden()["float"])
    integers = np.array([[float.fromhex(value) for value in row] for row in golden()["int8"]])
    spread = exact.std()
    assert np.abs(integers - exact).mean() < 0.15 * spread


@pytest.mark.parametrize(("model", "key"), [("shapes.npz", "float"), ("shapes_int8.npz", "int8")])
def test_every_picture_is_named_from_its_file(model, key):
    """By the class of the oracle's largest logit, which is mostly the picture's: it was trained."""
    said = golden()
    right = 0
    rows = [[float.fromhex(each) if key == "int8" else each for each in row] for row in said[key]]
    with Engine.load(SHAPES / model) as engine:
        for path, row in zip(files(), rows, strict=True):
            best = engine.predict(path, top_k=1)[0]
            assert best.index == int(np.argmax(row))
            assert engine.predict(path.read_bytes(), top_k=1)[0] == best
            right += best.label == path.stem
    assert said["trained"]
    assert said["accuracy on 1000 unseen pictures"] > 0.9
    assert right >= 9  # of 10


def test_the_snippet_of_its_readme_runs_in_a_clone(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (snippet,) = snippets(SHAPES / "README.md")
    exec(compile(snippet.text, snippet.place, "exec"), {})
    assert capsys.readouterr().out == "ring\n"
