"""Detectors in TensorFlow Lite: the custom operator's options and anchors, and the way to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector
from int8_network import pixels, random_int8

from mnv2_engine.convert import convert
from mnv2_engine.errors import InputError, MnvError, UnsupportedError
from mnv2_engine.executors import integer
from mnv2_engine.export.tflite_graph import Scales, TfliteGraph
from mnv2_engine.export.tflite_integers import IntegerLayers
from mnv2_engine.export.tflite_layers import FloatLayers
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import ModelFile, open_model, write_model

pytest.importorskip("tflite", reason="needs tflite, the extra tflite")
pytest.importorskip("flatbuffers.flexbuffers")

from flatbuffers import flexbuffers
from tflite_metadata import packed

NETWORK = small_detector()
WEIGHTS = seeded_weights(NETWORK)
OPTIONS: dict[str, Any] = {
    "max_detections": 8,
    "max_classes_per_detection": 1,
    "detections_per_class": 5,
    "use_regular_nms": True,
    "nms_score_threshold": 0.25,
    "nms_iou_threshold": 0.5,
    "num_classes": 2,
    "y_scale": 10.0,
    "x_scale": 9.0,
    "h_scale": 5.0,
    "w_scale": 4.0,
}


class Graph(TfliteGraph):
    """With the custom operator."""

    custom = "TFLite_Detection_PostProcess"

    def choose(self, inputs: list[int], outputs: list[int], options: bytes) -> None:
        self._codes.append(("CUSTOM", 1))
        self._operators.append(
            self._table(
                "Operator",
                OpcodeIndex=len(self._codes) - 1,
                Inputs=self._numbers(inputs, "<i4"),
                Outputs=self._numbers(outputs, "<i4"),
                CustomOptions=self._numbers(np.frombuffer(options, np.uint8), "u1"),
            )
        )

    def _code(self, kind: str, version: int) -> int:
        if kind != "CUSTOM":
            return super()._code(kind, version)
        text = self._builder.CreateString(self.custom)
        return self._table(
            "OperatorCode", DeprecatedBuiltinCode=32, BuiltinCode=32, CustomCode=text, Version=1
        )


def detector(
    model: ModelFile,
    options: dict[str, Any] | bytes = OPTIONS,
    conversion: str = "LOGISTIC",
    anchors: Any = WEIGHTS["anchors"],
    quantised: bool = False,
    metadata: bytes | None = None,
) -> bytes:
    """A file that ends in the custom operator. If `quantised`, its anchors are 8 bits, and so are
    the scores on their way."""
    graph = Graph()
    if metadata is not None:
        graph.metadata("TFLITE_METADATA", metadata)
    layers = (IntegerLayers if model.dtype == "int8" else FloatLayers)(graph, model, 1)
    entry, image = layers.image()
    boxes, logits = layers.raw_heads(image)
    count, columns = len(WEIGHTS["anchors"]), 3
    scales = Scales(np.array([1 / 255], np.float32), 0)
    if quantised:
        there = graph.tensor("q", (1, count, columns), "uint8", Scales(scales.scale * 9, 128))
        graph.operator("QUANTIZE", 1, [logits], [there])
        logits = graph.tensor("d", (1, count, columns), "float32")
        graph.operator("DEQUANTIZE", 1, [there], [logits])
    scores = graph.tensor("converted", (1, count, columns), "float32")
    graph.operator(conversion, 1, [logits], [scores])
    values = np.asarray(anchors, np.float32)
    if quantised:
        stored = np.round(values * 255).astype(np.uint8)
        at = graph.tensor("anchors", values.shape, "uint8", scales, stored)
    else:
        at = graph.tensor("anchors", values.shape, "float32", values=values)
    outputs = [
        graph.tensor(f"detection{i}", shape, "float32")
        for i, shape in enumerate(((1, 8, 4), (1, 8), (1, 8), (1,)))
    ]
    packed = options if isinstance(options, bytes) else bytes(flexbuffers.Dumps(options))
    graph.choose([boxes, scores, at], outputs, packed)
    return graph.file("detector", "for a test", [entry], outputs)


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    out = tmp_path / "made.npz"
    write_model(out, NETWORK, WEIGHTS, PRESETS["tf"], None, {})
    return open_model(out)


def converted(tmp_path: Path, content: bytes, **options: Any) -> ModelFile:
    source = tmp_path / "detector.tflite"
    source.write_bytes(content)
    convert(source, tmp_path / "out.npz", **{"labels": "none", "preprocess": "tf", **options})
    return open_model(tmp_path / "out.npz")


def test_everything_is_read(tmp_path: Path, model: ModelFile) -> None:
    with converted(tmp_path, detector(model)) as found:
        given = found.network.detection
        assert given is not None
        assert [each.anchors for each in given.maps] == [2, 3, 3]
        assert (given.classes, given.background, given.score_conversion) == (2, True, "sigmoid")
        assert given.box_coding == (10.0, 9.0, 5.0, 4.0)
        assert (given.score_threshold, given.iou_threshold) == (0.25, 0.5)
        assert (given.max_per_class, given.max_objects) == (5, 8)
        assert (found.input_spec.fit, found.input_spec.crop_fraction) == ("squash", 1.0)
        due, weights = model.weights(), found.weights()
        names = {layer.name for layer in NETWORK.weighted}
        assert len(weights) == len(due)
        for name in names & {layer.name for layer in found.network.weighted}:
            assert np.array_equal(weights[f"{name}.weight"], due[f"{name}.weight"])
        assert np.array_equal(weights["anchors"], WEIGHTS["anchors"])


@pytest.mark.parametrize("at", [0, 1, 3])
def test_labels_of_the_metadata_are_those_of_the_objects(
    tmp_path: Path, model: ModelFile, at: int
) -> None:
    """They stand for the values of one output, that of the classes."""
    said, archive = packed([127.5], [127.5], [("labels.txt", "")], b"cat\ndog\n", 3, at)
    content = detector(model, metadata=said) + archive
    with converted(tmp_path, content, labels=None, preprocess=None) as found:
        assert found.labels == ("cat", "dog")
        assert found.input_spec.mean == (127.5,) * 3


def test_the_answers_are_the_same(tmp_path: Path, model: ModelFile) -> None:
    from mnv2_engine.executors.reference import run

    x = np.random.default_rng(0).uniform(-1, 1, (1, *NETWORK.resolution, 3))
    due = run(NETWORK, WEIGHTS, x, np.float64)
    with converted(tmp_path, detector(model)) as found:
        again = run(found.network, found.weights(), x, np.float64)
    for some, true in ((again.boxes, due.boxes), (again.scores, due.scores)):
        assert np.allclose(some, true, rtol=1e-9, atol=1e-9)


def test_quantised_tensors_on_the_way(tmp_path: Path, model: ModelFile) -> None:
    with converted(tmp_path, detector(model, quantised=True)) as found:
        assert np.abs(found.array("anchors") - WEIGHTS["anchors"]).max() <= 0.5 / 255 + 1e-6


def test_suppression_of_all_classes_together_is_told(tmp_path: Path, model: ModelFile) -> None:
    source = tmp_path / "detector.tflite"
    source.write_bytes(detector(model, {**OPTIONS, "use_regular_nms": False}))
    made = convert(source, tmp_path / "out.npz", labels="none", preprocess="tf")
    assert any("boxes of all classes" in note for note in made.notes)


OTHER_WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "softmax of one class less": ({"options": {**OPTIONS, "num_classes": 1}}, "3 scores of 1"),
    "no bound": ({"options": {**OPTIONS, "max_detections": 0}}, "max_detections"),
    "a NaN scale": ({"options": {**OPTIONS, "y_scale": float("nan")}}, "y_scale"),
    "no scale": ({"options": {k: v for k, v in OPTIONS.items() if k != "h_scale"}}, "h_scale"),
    "other scores": ({"conversion": "TANH"}, "scores by TANH"),
}


@pytest.mark.parametrize("case", OTHER_WAYS)
def test_what_is_said_in_another_way_is_refused(
    tmp_path: Path, model: ModelFile, case: str
) -> None:
    change, reason = OTHER_WAYS[case]
    with pytest.raises(UnsupportedError, match=rf"detector\.tflite: a detector: .*{reason}"):
        converted(tmp_path, detector(model, **change))


HOSTILE: dict[str, dict[str, Any]] = {
    "fewer anchors": {"anchors": WEIGHTS["anchors"][:-1]},
    "anchors that are NaN": {"anchors": WEIGHTS["anchors"] * np.nan},
    "anchors of three numbers": {"anchors": WEIGHTS["anchors"][:, :3]},
    "anchors without a size": {"anchors": WEIGHTS["anchors"] * 0},
    "options that are no map": {"options": bytes(flexbuffers.Dumps([1, 2, 3]))},
    "options that are noise": {"options": bytes(range(40))},
    "options without end": {"options": bytes(5000)},
    "a scale of zero": {"options": {**OPTIONS, "w_scale": 0.0}},
    "an overlap of two": {"options": {**OPTIONS, "nms_iou_threshold": 2.0}},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_numbers_end_in_an_error(tmp_path: Path, model: ModelFile, case: str) -> None:
    with pytest.raises(MnvError, match=r"detector\.tflite: "):
        converted(tmp_path, detector(model, **HOSTILE[case]))
    assert not (tmp_path / "out.npz").exists()


def test_floats_are_not_taken_as_int8(tmp_path: Path, model: ModelFile) -> None:
    with pytest.raises(InputError, match=r"is not quantised as a whole.*or its heads.*quantize"):
        converted(tmp_path, detector(model), weights="int8")


def test_the_integers_of_a_quantised_file_are_taken(tmp_path: Path) -> None:
    weights, said = random_int8(NETWORK)
    assert NETWORK.detection is not None
    for name in NETWORK.detection.outputs:  # as a tensor of TFLite's is: one scale for all
        scale, zero = said.layers[name].scale, said.layers[name].zero_point
        weights[f"{name}.values"][:] = np.array([[scale], [-scale * zero]], np.float32)
    source, x = tmp_path / "int8.npz", pixels(NETWORK)[np.newaxis]
    write_model(source, NETWORK, weights, PRESETS["tf"], None, {}, said)
    due = integer.run(NETWORK, weights, said, PRESETS["tf"], x)
    with open_model(source) as model:
        content = detector(model)
    with converted(tmp_path, content, weights="int8", preprocess=None) as found:
        assert found.dtype == "int8"
        assert found.quantization is not None
        assert (found.input_spec.mean, found.input_spec.fit) == ((128.0,) * 3, "squash")
        again = found.weights()
        renamed = {layer.name for layer in found.network.weighted}
        kept = {layer.name for layer in NETWORK.weighted} & renamed
        assert len(kept) > 15
        for name in kept:
            alive = weights[f"{name}.multiplier"] > 0
            assert np.array_equal(again[f"{name}.weight"][alive], weights[f"{name}.weight"][alive])
        made = integer.run(found.network, again, found.quantization, found.input_spec, x)
    for some, true in ((made.boxes, due.boxes), (made.scores, due.scores)):
        assert some is not None
        assert true is not None
        assert len(np.unique(true)) > 50
        assert np.abs(some - true).max() < 3.5 * 0.02  # steps; factors have 15 bits
        assert (np.abs(some - true) < 1e-4).mean() > 0.8
