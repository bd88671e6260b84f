"""Detectors as TensorFlow Lite: LiteRT gives the codes and scores of the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector

from mnv2_engine.errors import UnsupportedError
from mnv2_engine.executors.reference import run
from mnv2_engine.export import export
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model

pytest.importorskip("tflite", reason="needs tflite, the extra tflite")

NETWORK = small_detector()
WEIGHTS = seeded_weights(NETWORK)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    out = tmp_path / "detector.npz"
    write_model(out, NETWORK, WEIGHTS, PRESETS["tf"], None, {})
    return out


def test_litert_gives_the_oracles_numbers(model: Path, tmp_path: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs LiteRT")
    out = tmp_path / "detector.tflite"
    made = export(model, out)
    assert made.boxes == (1, len(WEIGHTS["anchors"]), 4)
    assert "boxes   float32" in str(made)
    x = np.random.default_rng(0).uniform(-1, 1, (1, *NETWORK.resolution, 3)).astype(np.float32)
    theirs: Any = interpreter.Interpreter(model_path=str(out))
    theirs.allocate_tensors()
    theirs.set_tensor(theirs.get_input_details()[0]["index"], x)
    theirs.invoke()
    found = {each["name"]: theirs.get_tensor(each["index"]) for each in theirs.get_output_details()}
    due = run(NETWORK, WEIGHTS, x.astype(np.float64), np.float64)
    for name, truth in (("boxes", due.boxes), ("scores", due.scores)):
        assert truth is not None
        assert found[name].shape == truth.shape
        assert np.abs(found[name] - truth).max() < 1e-4 * np.abs(truth).max()


def test_other_formats_are_refused(model: Path, tmp_path: Path) -> None:
    for name in ("detector.onnx", "detector.c"):
        with pytest.raises(UnsupportedError, match=r"is a detector.*\.tflite alone"):
            export(model, tmp_path / name)
        assert not (tmp_path / name).exists()
