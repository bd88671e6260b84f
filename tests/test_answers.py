"""What networks answer with: softmax, sigmoids, numbers, features; heads of several layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import make_weights

from mnv2_engine import Engine, UnsupportedError
from mnv2_engine.errors import InputError, ModelFileError
from mnv2_engine.executors.reference import normalise, run
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.builder import Builder
from mnv2_engine.network.families import BlockShape, inverted_residuals

BACKENDS = ["c", "numpy"]
SPEC = PRESETS["tf"]
BLOCKS = [BlockShape(16, 16, expands=False), BlockShape(48, 24, stride=2), BlockShape(72, 24)]
PIXELS = np.random.default_rng(5).integers(0, 256, (32, 32, 3), np.uint8)


def small(dense: list[int], answer: str | None = None, **options: Any) -> Any:
    return inverted_residuals("small", 32, 16, BLOCKS, 40, dense, answer=answer, **options)


def write(path: Any, network: Any, labels: list[str] | None = None) -> Any:
    write_model(path, network, make_weights(network, 3), SPEC, labels, {})
    return path


def truth(network: Any) -> Any:
    x = normalise(SPEC, PIXELS[np.newaxis], np.float64)
    return run(network, make_weights(network, 3), x, np.float64)


def close(found: Any, expected: Any) -> None:
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dense", [[7], [100, 3], [33, 17, 5], [20, 20, 20, 2]])
@pytest.mark.parametrize("activation", ["relu", "relu6", "linear"])
def test_heads_of_several_layers(backend, dense, activation, tmp_path):
    network = small(dense, dense_activation=activation)
    with Engine.load(write(tmp_path / "m.npz", network), backend=backend) as engine:
        expected = truth(network)
        close(engine.logits(PIXELS)[0], expected.logits[0])
        close(engine.embed(PIXELS), expected.features[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_sigmoids_answer_each_class_by_itself(backend, tmp_path):
    network = small([3], "sigmoid")
    with Engine.load(write(tmp_path / "m.npz", network), backend=backend) as engine:
        shares = 1 / (1 + np.exp(-truth(network).logits[0]))
        found = engine.predict(PIXELS)
    assert [p.index for p in found] == list(np.argsort(-shares))
    for prediction in found:
        assert prediction.probability == pytest.approx(shares[prediction.index], abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (None, ["class 0", "class 1"]),
        (["cat", "dog"], ["cat", "dog"]),
        (["dog"], ["not dog", "dog"]),
    ],
)
def test_one_sigmoid_is_the_probability_of_class_1(labels, names, tmp_path):
    network = small([1], "sigmoid")
    with Engine.load(write(tmp_path / "m.npz", network, labels)) as engine:
        share = float(1 / (1 + np.exp(-truth(network).logits[0, 0])))
        found = {p.index: p for p in engine.predict(PIXELS)}
    assert [found[i].label for i in range(2)] == names
    assert found[1].probability == pytest.approx(share, abs=1e-5)
    assert found[0].probability == pytest.approx(1 - share, abs=1e-5)


def test_numbers_are_not_predicted(tmp_path):
    network = small([2], "linear")
    with Engine.load(write(tmp_path / "m.npz", network)) as engine:
        with pytest.raises(UnsupportedError, match="`logits` gives them"):
            engine.predict(PIXELS)
        close(engine.logits(PIXELS)[0], truth(network).logits[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_without_a_classifier_embeds(backend, tmp_path):
    network = small([])
    with Engine.load(write(tmp_path / "m.npz", network), backend=backend) as engine:
        for call in (engine.predict, engine.logits):
            with pytest.raises(UnsupportedError, match="`embed` gives"):
                call(PIXELS)
        close(engine.embed(PIXELS), truth(network).features[0])
        assert "features are the answer" in str(engine.info)


def test_one_softmax_is_refused():
    build = Builder(32)
    at = build.conv("stem", "image", 16, 3, 2, activation="relu6")
    at = build.depthwise("d", at, 3, activation="relu6")
    at = build.pointwise("p", at, 16)
    at = build.dense("answer", build.pool("pool", at), 1)
    with pytest.raises(InputError, match=r"100 % for every image.*sigmoid"):
        build.network("one", (at,), "softmax")


def test_labels_that_a_network_cannot_have(tmp_path):
    with pytest.raises(InputError, match="expected 2 labels"):
        write(tmp_path / "a.npz", small([1], "sigmoid"), ["a", "b", "c"])
    with pytest.raises(InputError, match="expected none"):
        write(tmp_path / "b.npz", small([]), ["a"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_thin_tensors_are_given_behind_named_blocks(backend, tmp_path):
    network = small([5])
    path = write(tmp_path / "m.npz", network)
    with Engine.load(path, backend=backend) as engine:
        x = normalise(SPEC, PIXELS[np.newaxis], np.float64)
        expected = run(
            network, make_weights(network, 3), x, np.float64, taps=("block0.add", "block2.add")
        ).maps
        names = ["block2", "block0"]
        for found, due in zip(engine.features(PIXELS, names), reversed(expected), strict=True):
            assert found.dtype == np.float32
            close(found, due[0])
        own = [np.empty(each.shape[1:], np.float32) for each in reversed(expected)]
        assert engine.features(PIXELS, names, own)[0] is own[0]
        close(own[1], expected[0][0])
        (last,) = engine.features(PIXELS, ["block2"])
        (default,) = engine.features(PIXELS)  # one stride beyond 2: the last block's
        np.testing.assert_array_equal(default, last)
        assert engine.memory_plan(names).taps == (0, 2)
        # The answers are those of the plan without taps.
        close(engine.logits(PIXELS)[0], truth(network).logits[0])


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (["block9"], "'block9' is no block; there are block0 to block2, and expanded "),
        ([], "expected blocks"),
        (["block1", "block1"], "each once"),
        ([3], "3 is no block"),
    ],
)
def test_unknown_blocks_are_named(at, message, tmp_path):
    path = write(tmp_path / "m.npz", small([5]))
    with Engine.load(path) as engine, pytest.raises(InputError, match=message):
        engine.features(PIXELS, at)


def test_arrays_to_fill_have_to_fit(tmp_path):
    path = write(tmp_path / "m.npz", small([5]))
    with Engine.load(path) as engine, pytest.raises(InputError, match="expected writable"):
        engine.features(PIXELS, ["block2"], [np.empty((8, 8, 23), np.float32)])


def test_a_model_file_says_how_it_answers(tmp_path):
    path = write(tmp_path / "m.npz", small([4, 2], "sigmoid"), ["a", "b"])
    with open_model(path) as model:
        assert model.version == 2
        assert model.network.answer == "sigmoid"
        assert [layer.name for layer in model.network.layers[-3:]] == [
            "pool",
            "dense0",
            "classifier",
        ]
    with pytest.raises(ModelFileError):
        open_model(tmp_path / "absent.npz")
