"""Detectors as ONNX: onnxruntime gives the codes and scores of the oracle, and finds the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector
from int8_network import random_int8

from mnv2_engine.cli import main
from mnv2_engine.detect.decoding import converted, decoded
from mnv2_engine.detect.suppression import suppressed
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors.reference import run
from mnv2_engine.export import export
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.builder import Builder
from mnv2_engine.network.layer import Network

pytest.importorskip("onnx", reason="needs onnx, the extra onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime, the extra bench")

Array = np.ndarray[Any, Any]

MADE = small_detector()
assert MADE.detection is not None
WEIGHTS = seeded_weights(MADE)
RAW = ["boxes", "scores"]
FOUND = ["detection_boxes", "detection_scores", "detection_classes"]


def network(**fields: Any) -> Network:
    assert MADE.detection is not None
    return MADE._replace(detection=MADE.detection._replace(**fields))


def written(folder: Path, made: Network, **options: Any) -> tuple[Any, Any]:
    """What `export` said, and onnxruntime's session."""
    model, out = folder / "detector.npz", folder / "detector.onnx"
    write_model(model, made, WEIGHTS, PRESETS["tf"], None, {})
    said = export(model, out, **options)
    return said, ort.InferenceSession(str(out), providers=["CPUExecutionProvider"])


def images(count: int, seed: int = 0) -> Array:
    size = (count, *MADE.resolution, 3)
    return np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)


def planar(x: Array) -> dict[str, Array]:
    return {"input": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}


@pytest.mark.parametrize(("dynamic", "count"), [(False, 1), (True, 2)])
def test_onnxruntime_gives_the_oracles_numbers(tmp_path: Path, dynamic: bool, count: int) -> None:
    made, session = written(tmp_path, MADE, dynamic_batch=dynamic)
    assert made.boxes == ("N" if dynamic else 1, len(WEIGHTS["anchors"]), 4)
    assert "scores  float32" in str(made)
    assert "detection_boxes" not in str(made)
    assert [each.name for each in session.get_outputs()] == RAW
    x = images(count)
    due = run(MADE, WEIGHTS, x.astype(np.float64), np.float64)
    for found, truth in zip(session.run(RAW, planar(x)), (due.boxes, due.scores), strict=True):
        assert truth is not None
        assert found.shape == truth.shape
        assert np.abs(found - truth).max() < 1e-4 * np.abs(truth).max()


@pytest.mark.parametrize(
    "fields",
    [
        {"score_threshold": 0.2, "max_objects": 100, "max_per_class": 30},
        {"score_threshold": 0.0, "max_objects": 7},
        {"score_conversion": "softmax", "score_threshold": 0.1},
        {"score_threshold": 0.999999},  # nothing is found
        {"box_coding": (1.0, 1.0, 2.0, 2.0), "score_threshold": 0.3, "iou_threshold": 0.2},
    ],
)
def test_its_objects_are_those_of_the_definition(tmp_path: Path, fields: dict[str, Any]) -> None:
    how = network(**fields).detection
    assert how is not None
    made, session = written(tmp_path, network(**fields), objects=True)
    assert made.objects
    assert "detection_classes" in str(made)
    for seed in range(3):
        codes, scores, *found = session.run([*RAW, *FOUND], planar(images(1, seed)))
        due = suppressed(
            decoded(codes[0], WEIGHTS["anchors"], how.box_coding),
            converted(scores[0], how.score_conversion, how.background),
            how.score_threshold,
            how.iou_threshold,
            how.max_per_class,
            how.max_objects,
        )
        assert (len(due) == 0) == (how.score_threshold > 0.99)
        assert found[2].tolist() == [each.index for each in due]
        np.testing.assert_allclose(found[1], [each.score for each in due], rtol=1e-6)
        boxes = np.array([each.box for each in due], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(found[0], boxes, atol=1e-5)


def test_a_detector_without_a_background(tmp_path: Path) -> None:
    made = small_detector(classes=2)
    detection = made.detection
    assert detection is not None
    # The same heads: three classes instead of two and the background.
    made = made._replace(detection=detection._replace(classes=3, background=False))
    _, session = written(tmp_path, made, objects=True)
    scores, classes, values = session.run(["scores", FOUND[2], FOUND[1]], planar(images(1)))
    assert set(classes.tolist()) >= {0, 1}  # the background's column would be left out
    best = scores[0].reshape(-1).argmax() % 3
    assert classes[0] == best
    assert values[0] == pytest.approx(1 / (1 + np.exp(-scores.max())), abs=1e-6)


def test_what_cannot_be_written(
    tmp_path: Path, small_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "detector.npz"
    write_model(model, MADE, WEIGHTS, PRESETS["tf"], None, {})
    for out, options in (("a.tflite", {}), ("a.c", {}), ("a.onnx", {"dynamic_batch": True})):
        with pytest.raises(InputError, match=r"objects are written into \.onnx files of one"):
            export(model, tmp_path / out, objects=True, **options)
    with pytest.raises(UnsupportedError, match=r"is no detector"):
        export(small_model(), tmp_path / "a.onnx", objects=True)
    assert main(["export", str(model), str(tmp_path / "a.onnx"), "--objects"]) == 0
    assert "detection_scores" in capsys.readouterr().out


def test_detectors_in_int8_are_refused(tmp_path: Path) -> None:
    model, out = tmp_path / "detector.npz", tmp_path / "detector.onnx"
    weights, quantization = random_int8(MADE)
    write_model(model, MADE, weights, PRESETS["tf"], None, {}, quantization)
    with pytest.raises(UnsupportedError, match=r"is a detector in int8.*quantised from"):
        export(model, out)
    assert not out.exists()


def test_names_of_layers_that_the_file_needs_are_refused(tmp_path: Path) -> None:
    """A table may call its layers as it likes."""
    build = Builder((32, 32))
    at = build.conv("input", "image", 8, 3, 2, "same", "relu6")
    at = build.depthwise("block0.depthwise", at, 3, 2, "same", "relu6")
    at = build.pointwise("block0.project", at, 8)
    names = build.pointwise("here", at, 8), build.pointwise("there", at, 6)
    assert MADE.detection is not None
    maps = (MADE.detection.maps[0]._replace(boxes=names[0], scores=names[1], anchors=2),)
    detection = MADE.detection._replace(maps=maps)
    made = build.network("odd names", detection.outputs, "boxes", detection)
    model = tmp_path / "odd.npz"
    write_model(model, made, seeded_weights(made), PRESETS["tf"], None, {})
    with pytest.raises(UnsupportedError, match=r"odd names: .*such as `input`: .*'input'"):
        export(model, tmp_path / "odd.onnx")
    assert not (tmp_path / "odd.onnx").exists()
