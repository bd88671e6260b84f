"""Graphs as TensorFlow's optimiser leaves them, and detectors for TensorFlow.js: what coco-ssd, the
detector of many web pages, is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorboard", reason="needs tensorboard, the extra tensorflow")
import detection_graphs as graphs
import graph_files
from conftest import make_weights, small_network
from tensorboard.compat.proto.graph_pb2 import GraphDef

from mnv2_engine.convert import convert
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.model.modelfile import ModelFile, open_model

GIVEN = {"preprocess": "tf", "labels": "none"}


def converted(source: Path, **options: Any) -> ModelFile:
    out = source.with_suffix(".npz")
    convert(source, out, **options)
    return open_model(out)


def same_model(one: ModelFile, other: ModelFile) -> None:
    assert one.network == other.network
    assert one.input_spec == other.input_spec
    mine, theirs = one.weights(), other.weights()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert np.array_equal(array, theirs[name]), name


# --- a bias behind a shortcut ---------------------------------------------------------------


def parse(content: bytes) -> Any:
    graph = GraphDef()
    graph.ParseFromString(content)
    return graph


def biases_behind_shortcuts(graph: Any) -> int:
    """Rewrite (convolution + bias) + shortcut as bias + AddN(convolution, shortcut), in place."""
    nodes = {node.name: node for node in graph.node}
    done = 0
    for node in list(graph.node):
        if node.op != "AddV2":
            continue
        biased = next(nodes[each] for each in node.input if nodes[each].op == "BiasAdd")
        (shortcut,) = [each for each in node.input if each != biased.name]
        summed = graph.node.add(name=f"{node.name}/Leaf_1_add", op="AddN")
        summed.input.extend([biased.input[0], shortcut])
        del node.input[:]
        node.input.extend([biased.input[1], summed.name])
        graph.node.remove(biased)
        done += 1
    return done


def test_a_bias_behind_a_shortcut_is_that_of_the_convolution(tmp_path: Path) -> None:
    network = small_network()
    content = graph_files.frozen(network, make_weights(network))
    plain, moved = tmp_path / "plain.pb", tmp_path / "moved.pb"
    plain.write_bytes(content)
    graph = parse(content)
    shortcuts = sum(layer.operation == "add" for layer in network.layers)
    assert biases_behind_shortcuts(graph) == shortcuts > 0
    moved.write_bytes(graph.SerializeToString())
    same_model(converted(moved, **GIVEN), converted(plain, **GIVEN))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("scaled", "arithmetic behind a shortcut"),
        ("shared", "what goes into it goes into other nodes too"),
        ("three", r"\(AddN\): an operation that this engine has not"),
    ],
)
def test_other_arithmetic_behind_a_shortcut_is_refused(
    tmp_path: Path, fault: str, message: str
) -> None:
    network = small_network()
    graph = parse(graph_files.frozen(network, make_weights(network)))
    biases_behind_shortcuts(graph)
    nodes = {node.name: node for node in graph.node}
    summed = next(node for node in graph.node if node.op == "AddN")
    behind = next(node for node in graph.node if summed.name in node.input)
    if fault == "scaled":
        behind.op = "Mul"
    elif fault == "shared":  # the next layer takes the sum without the bias, too
        reader = next(node for node in nodes.values() if behind.name in node.input)
        reader.input[list(reader.input).index(behind.name)] = "both"
        graph.node.add(name="both", op="AddV2").input.extend([summed.name, behind.name])
    else:
        summed.input.append(summed.input[0])
    source = tmp_path / "faulty.pb"
    source.write_bytes(graph.SerializeToString())
    with pytest.raises(UnsupportedError, match=message):
        converted(source, **GIVEN)


# --- detectors of TensorFlow.js ---------------------------------------------------------------


@pytest.mark.parametrize("as_bytes", [False, True], ids=["base64", "bytes"])
@pytest.mark.parametrize("optimised", [False, True], ids=["plain", "optimised"])
def test_a_detector_for_tensorflow_js_is_the_frozen_graphs(
    tmp_path: Path, as_bytes: bool, optimised: bool
) -> None:
    frozen = tmp_path / "frozen.pb"
    frozen.write_bytes(graphs.detector())
    source = graphs.graph_model(graphs.detector(optimised=optimised), tmp_path / "js", as_bytes)
    ours = converted(source, labels="none")
    same_model(ours, converted(frozen, labels="none"))
    assert ours.provenance["format"] == "TensorFlow.js graph model of a detector"


@pytest.mark.parametrize("optimised", [False, True], ids=["plain", "optimised"])
def test_a_detector_without_suppression_takes_the_apis(tmp_path: Path, optimised: bool) -> None:
    source = graphs.graph_model(
        graphs.detector(optimised=optimised, suppressed=False), tmp_path / "js", True
    )
    done = convert(source, tmp_path / "m.npz", labels="none")
    assert any("more than 0.6 the better one stays" in note for note in done.notes)
    with open_model(tmp_path / "m.npz") as model:
        found = model.network.detection
        assert found is not None
        assert (found.iou_threshold, found.max_per_class, found.max_objects) == (0.6, 100, 100)
        assert (found.classes, found.box_coding) == (2, (10.0, 8.0, 5.0, 4.0))


def test_an_exponential_of_another_size_is_refused(tmp_path: Path) -> None:
    """Anchors whose sizes are halved for the corners, and no other number."""
    source = graphs.graph_model(
        graphs.detector(optimised=True, Decode_half=0.25), tmp_path / "js", False
    )
    with pytest.raises(UnsupportedError, match="times the anchor's size"):
        converted(source, labels="none")


def test_labels_of_coco_are_those_of_ninety_classes_alone(tmp_path: Path) -> None:
    source = tmp_path / "frozen.pb"
    source.write_bytes(graphs.detector())
    with pytest.raises(InputError, match="COCO's labels for 2 classes: there are 80, or 90"):
        converted(source, labels="coco")
