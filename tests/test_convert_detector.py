"""Detectors of TensorFlow's detection API out of frozen graphs: layers, anchors, thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorboard", reason="needs tensorboard, the extra tensorflow")
import detection_graphs as graphs

from mnv2_engine.convert import convert
from mnv2_engine.errors import InputError, MnvError, UnsupportedError
from mnv2_engine.model.modelfile import ModelFile, open_model


def converted(tmp_path: Path, content: bytes, **options: Any) -> ModelFile:
    source = tmp_path / "frozen.pb"
    source.write_bytes(content)
    out = tmp_path / "detector.npz"
    convert(source, out, **{"labels": "none", **options})
    return open_model(out)


def test_everything_is_read_from_the_graph(tmp_path: Path) -> None:
    with converted(tmp_path, graphs.detector()) as model:
        network, spec = model.network, model.input_spec
        assert (network.resolution, network.answer) == (graphs.SIZE, "boxes")
        found = network.detection
        assert found is not None
        assert [(each.boxes, each.scores, each.anchors) for each in found.maps] == [
            ("boxes0", "scores0", 2), ("boxes1", "scores1", 1),
        ]  # fmt: skip
        assert (found.classes, found.background, found.score_conversion) == (2, True, "sigmoid")
        assert found.box_coding == (10.0, 8.0, 5.0, 4.0)
        assert found.score_threshold == np.float32(0.1)
        assert found.iou_threshold == np.float32(0.5)
        assert (found.max_per_class, found.max_objects) == (20, 30)
        assert spec.mean == (127.5,) * 3
        assert spec.std == (127.5,) * 3
        assert (spec.resample, spec.crop_fraction, spec.fit) == (
            "bilinear-from-corner", 1.0, "squash",
        )  # fmt: skip
        canonical = model.weights()
        for name, (weight, bias) in graphs.weights().items():
            assert np.array_equal(canonical[f"{name}.weight"], weight), name
            assert np.array_equal(canonical[f"{name}.bias"], bias), name


@pytest.mark.parametrize(
    ("resize", "due"),
    [
        ({}, "bilinear-from-corner"),  # as files from before 2019 leave it
        ({"half_pixel_centers": False, "align_corners": False}, "bilinear-from-corner"),
        ({"half_pixel_centers": True}, "bilinear-no-antialias"),
    ],
)
def test_the_resize_is_the_graphs(tmp_path: Path, resize: dict[str, bool], due: str) -> None:
    with converted(tmp_path, graphs.detector(resize=resize)) as model:
        assert model.input_spec.resample == due


def test_aligned_corners_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="corners that are aligned"):
        converted(tmp_path, graphs.detector(resize={"align_corners": True}))


def test_anchors_are_those_that_the_graph_computes(tmp_path: Path) -> None:
    due = []
    for (height, width), count in zip(graphs.MAPS, graphs.ANCHORS, strict=True):
        for cell in range(height * width):
            due += [[cell / (height * width)] * 2 + [0.4, 0.3]] * count
    with converted(tmp_path, graphs.detector()) as model:
        assert np.allclose(model.array("anchors"), due, atol=1e-6)


def test_scores_by_softmax_and_without_a_background(tmp_path: Path) -> None:
    with converted(tmp_path, graphs.detector(softmax=True)) as model:
        found = model.network.detection
        assert found is not None
        assert (found.score_conversion, found.background) == ("softmax", True)
    with converted(tmp_path, graphs.detector(background=False)) as model:
        found = model.network.detection
        assert found is not None
        assert (found.classes, found.background) == (2, False)


def test_labels_are_those_of_the_objects(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    with converted(tmp_path, graphs.detector(), labels=labels) as model:
        assert list(model.labels or ()) == ["cat", "dog"]
    labels.write_text("???\ncat\ndog\n")
    with pytest.raises(InputError, match=r"3 labels, but .* has 2 classes"):
        converted(tmp_path, graphs.detector(), labels=labels)


OTHER_WAYS = {
    "thresholds of its own for a class": ({"class1_iou": 0.7}, "thresholds differ"),
    "a size that is not constant": ({"Preprocessor_size": [0, 40]}, "size is not constant"),
    "two resizes": ({"Preprocessor_ResizeBilinear_op": "ResizeArea"}, "one bilinear resize"),
    "scaled logits": ({"scale": 2.0}, "logits that are scaled"),
    "an unknown suppression": ({"class0_NonMaxSuppressionV3_op": "NonMaxSuppression"}, "V3 to V5"),
    "no conversion": ({"convert_scores_op": "Tanh"}, "one sigmoid or softmax"),
    "maps joined along another axis": ({"concat_axis": 0}, "joined along their boxes"),
    "a code of another kind": ({"Decode_Exp2_op": "Square"}, "a decoding of boxes"),
    "columns that do not fit": ({"scores0_shape": [1, -1, 4]}, "channels for 2 boxes"),
}


@pytest.mark.parametrize("case", OTHER_WAYS)
def test_what_is_said_in_another_way_is_refused(tmp_path: Path, case: str) -> None:
    change, reason = OTHER_WAYS[case]
    with pytest.raises(UnsupportedError, match=rf"frozen\.pb: a detector.*{reason}"):
        converted(tmp_path, graphs.detector(**change))


HOSTILE = {
    "anchors that do not match the maps": ({"Anchors1_limit": 24}, "anchors"),
    "anchors that are NaN": ({"Anchors0_around": [np.nan, 0, 1, 1]}, "NaN or infinite"),
    "anchors without a size": ({"Anchors0_around": [0, 0, 0, 1]}, "above 0"),
    "anchors without end": ({"Anchors0_limit": 1 << 30}, "do not fit"),
    "a range that goes nowhere": ({"Anchors0_delta": 0}, "do not fit"),
    "tiles without end": ({"Anchors0_times": [1 << 20, 1 << 20]}, "do not fit"),
    "tiles of less than nothing": ({"Anchors0_times": [-1, 4]}, "do not fit"),
    "a threshold of overlap": ({"class0_iou": 1.5, "class1_iou": 1.5}, "iou_threshold"),
    "a NaN threshold": ({"class0_score": np.nan, "class1_score": np.nan}, "threshold"),
    "a scale of zero": ({"Decode_scale2": 0.0}, "box_coding"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_numbers_end_in_an_error(tmp_path: Path, case: str) -> None:
    change, reason = HOSTILE[case]
    with pytest.raises(MnvError, match=rf"frozen\.pb: .*{reason}"):
        converted(tmp_path, graphs.detector(**change))
    assert not (tmp_path / "detector.npz").exists()


def test_a_damaged_graph_ends_in_an_error(tmp_path: Path) -> None:
    whole = graphs.detector()
    random = np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(whole)
        for at in random.integers(0, len(whole), 6):
            content[at] = random.integers(0, 256)
        try:
            converted(tmp_path, bytes(content)).close()
        except MnvError:
            continue


def test_torchvisions_detector_is_named(tmp_path: Path) -> None:
    names = ("backbone.features.0.0.0.weight", "head.classification_head.module_list.0.0.0.weight")
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    source = tmp_path / "ssdlite320.safetensors"
    safetensors.save_file({name: np.zeros((8, 8, 1, 1), np.float32) for name in names}, source)
    with pytest.raises(UnsupportedError, match=r"ssdlite320_mobilenet_v3_large.*MobileNetV3"):
        convert(source, tmp_path / "out.npz")
