"""Detectors as tables: matched, stored, read again, refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import detection_of, seeded_weights, small_detector

from mnv2_engine.errors import CheckpointError, InputError, ModelFileError, UnsupportedError
from mnv2_engine.executors.reference import run
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network import table
from mnv2_engine.network.blocks import match
from mnv2_engine.network.box_maps import anchor_counts
from mnv2_engine.network.builder import Builder
from mnv2_engine.network.detection import ANCHORS, BoxMap
from mnv2_engine.network.layer import Network
from mnv2_engine.network.ssdlite import ssd_anchors, ssdlite


def test_ssdlite_has_the_maps_and_anchors_of_the_detection_api() -> None:
    network = ssdlite(classes=1)
    layers = {layer.name: layer for layer in network.layers}
    assert network.detection is not None
    assert anchor_counts(network.detection, layers) == [1083, 600, 150, 54, 24, 6]
    anchors = ssd_anchors(network)
    assert len(anchors) == 1917
    # The first cell of the first map, and the one anchor of the last that is as wide as it is high.
    assert anchors[0] == pytest.approx((0.5 / 19, 0.5 / 19, 0.1, 0.1))
    assert anchors[1] == pytest.approx((0.5 / 19, 0.5 / 19, 0.2 / 2**0.5, 0.2 * 2**0.5))
    assert anchors[-1] == pytest.approx((0.5, 0.5, 0.95**0.5, 0.95**0.5))


def test_heads_are_matched_with_the_tensors_that_they_read() -> None:
    parts = match(ssdlite())
    assert len(parts.blocks) == 22
    found = [(head.at, head.expanded) for head in parts.heads]
    assert found[::2] == found[1::2]
    assert found[::2] == [(13, True), (17, True), *((i, False) for i in (18, 19, 20, 21))]
    assert parts.blocks[17].depthwise.operation == "identity"


def test_a_detector_is_stored_and_read_again(tmp_path: Path) -> None:
    network, path = small_detector(), tmp_path / "d.npz"
    weights = seeded_weights(network)
    write_model(path, network, weights, PRESETS["tf"], ["cat", "dog"], {"source": "seed"})
    with open_model(path) as model:
        assert model.network == network
        model.verify()
        for name, values in model.weights().items():
            assert np.array_equal(values, weights[name]), name
    document = json.loads(json.dumps(table.to_json(network)))
    assert table.from_json(document) == network


def test_outputs_are_rows_of_anchors() -> None:
    network = small_detector()
    weights = seeded_weights(network)
    x = np.random.default_rng(1).uniform(-1, 1, (1, *network.resolution, 3))
    seen: dict[str, Any] = {}
    outputs = run(network, weights, x, seen=seen)
    assert outputs.boxes is not None
    assert outputs.scores is not None
    assert network.detection is not None
    first, second = network.detection.maps[:2]
    height, width = seen[first.boxes].shape[1:3]
    at = (height * width + 1) * first.anchors  # anchor 1 of cell (0, 1) of the second map is 4th on
    row = height * width * first.anchors + second.anchors + 1
    assert at < len(outputs.boxes[0])
    assert np.array_equal(outputs.boxes[0, row], seen[second.boxes][0, 0, 1, 4:8])
    assert np.array_equal(outputs.scores[0, row], seen[second.scores][0, 0, 1, 3:6])


def changed(network: Network, path: list[Any], value: object) -> Any:
    document = json.loads(json.dumps(table.to_json(network)))
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


HOSTILE: list[tuple[list[Any], object, str]] = [
    (["detection", "maps", 0, "anchors"], 3, "channels: expected"),
    (["detection", "maps", 0, "boxes"], "block1.project", "channels: expected"),
    (["detection", "maps", 0, "boxes"], "nothing", "is no layer"),
    (["detection", "maps", 0, "boxes"], 3, "expected names"),
    (["detection", "maps", 0], {}, "expected exactly the keys"),
    (["detection", "maps"], [], "feature maps"),
    (["detection", "classes"], 0, "classes 0"),
    (["detection", "classes"], True, "classes True"),
    (["detection", "background"], 1, "background"),
    (["detection", "score_threshold"], 1.5, "score_threshold"),
    (["detection", "score_threshold"], float("nan"), "score_threshold"),
    (["detection", "iou_threshold"], -0.1, "iou_threshold"),
    (["detection", "iou_threshold"], None, "iou_threshold"),
    (["detection", "max_objects"], 1 << 40, "max_objects"),
    (["detection", "max_per_class"], 2.0, "max_per_class"),
    (["detection", "box_coding"], [10, 10, 5], "box_coding"),
    (["detection", "box_coding"], [10, 10, 5, 0], "box_coding"),
    (["detection", "score_conversion"], "relu", "score_conversion"),
    (["detection"], None, "detection: expected exactly"),
    (["outputs"], ["boxes0"], "outputs"),
    (["outputs", 0], 7, "outputs"),
    (["answer"], "softmax", "expected exactly the keys"),
]


@pytest.mark.parametrize(("path", "value", "said"), HOSTILE)
def test_hostile_tables_are_refused(path: list[Any], value: object, said: str) -> None:
    with pytest.raises((ModelFileError, InputError), match=said):
        table.from_json(changed(small_detector(), path, value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_anchors_are_finite_and_have_an_area(tmp_path: Path, value: float) -> None:
    network = small_detector()
    weights = seeded_weights(network)
    weights[ANCHORS][5, 2] = value
    with pytest.raises(CheckpointError, match="anchor 5"):
        write_model(tmp_path / "d.npz", network, weights, PRESETS["tf"], None, {})


def test_a_file_with_damaged_anchors_is_refused(tmp_path: Path) -> None:
    network, path = small_detector(), tmp_path / "d.npz"
    write_model(path, network, seeded_weights(network), PRESETS["tf"], None, {})
    with open_model(path) as model:
        at = model.tensors[ANCHORS].offset
    content = bytearray(path.read_bytes())
    content[at : at + 4] = np.array([np.nan], "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="anchor 0: nan"):
        open_model(path)


def test_anchors_have_to_be_as_many_as_the_maps_have(tmp_path: Path) -> None:
    network = small_detector()
    weights = seeded_weights(network)
    weights[ANCHORS] = weights[ANCHORS][1:]
    with pytest.raises(CheckpointError, match="anchors: shape"):
        write_model(tmp_path / "d.npz", network, weights, PRESETS["tf"], None, {})


def test_what_no_kernel_runs_is_refused_by_name() -> None:
    build = Builder(32)
    at = build.conv("stem", "image", 8, 3, 2, "same", "relu6")
    boxes = build.pointwise("boxes", at, 4)
    at = build.depthwise("block0.depthwise", at, 3, 1, "same", "relu6")
    at = build.pointwise("block0.project", at, 8)
    scores = build.pointwise("scores", at, 3)
    detection = detection_of([BoxMap(boxes, scores, 1)])
    network = build.network("d", detection.outputs, "boxes", detection)
    with pytest.raises(UnsupportedError, match="'boxes' reads 'stem'"):
        match(network)
