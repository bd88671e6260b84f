"""Classifiers as people's tools wrote them, against their own frameworks' stored answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine.convert import convert
from mnv2_engine.executors.reference import run
from mnv2_engine.model.modelfile import open_model

pytest.importorskip("tflite", reason="needs the package tflite")

# (file, options for what it does not say, bound of a probability, of their mean)
TF = {"preprocess": "tf"}
WILD: dict[str, tuple[str, dict[str, str], float, float]] = {
    "teachable_machine_13": (".tflite", TF, 1e-4, 1e-4),
    "hidden_dense_sigmoid_dynamic_range": (".tflite", TF, 0.02, 0.02),
    "normalised_in_graph_20": (".tflite", {}, 0.1, 0.03),  # LiteRT's own kernels differ by 0.12
    "conv_head_2_int8": (".tflite", {}, 0.2, 0.03),
    "efficientnet_lite0_normalised_in_graph_4_int8": (".tflite", {}, 0.2, 0.03),
    "inat_birds_965_uint8": (".tflite", {}, 0.4, 0.03),
    "teachable_machine_h5": ("teachable_machine.h5", TF, 1e-4, 1e-4),
    "teachable_machine_tfjs": ("teachable_machine_tfjs/model.json", TF, 1e-4, 1e-4),
}
EVERY = 6  # of the 24 images, for time's sake; shared/checks/wild.py takes all


@pytest.mark.parametrize("name", WILD)
def test_wild(name, shared, tmp_path):
    where, options, largest, mean = WILD[name]
    source = shared / "wild" / (name + where if where.startswith(".") else where)
    if not source.is_file():
        pytest.skip(f"needs {source.name}, which is not here")
    if source.suffix == ".h5":
        pytest.importorskip("h5py", reason="needs the extra keras")
    out = tmp_path / "out.npz"
    made = convert(source, out, labels="none", **options)
    pixels = np.load(shared / "images" / "references.npz")["pixels"][::EVERY]
    due = np.load(shared / "wild" / "references.npz")[name][::EVERY]
    with open_model(out) as model:
        weights = {key: np.array(value) for key, value in model.weights().items()}
    x = (pixels - np.array(made.input_spec.mean)) / np.array(made.input_spec.std)
    logits = np.concatenate(
        [run(made.network, weights, each[np.newaxis], np.float32).logits for each in x]
    )
    found = _probabilities(logits.astype(np.float64), made.network.answer)
    assert np.abs(found - due).max() <= largest
    assert np.abs(found - due).mean() <= mean
    assert (found.argmax(1) == due.argmax(1)).all()


def _probabilities(logits: np.ndarray[Any, Any], answer: str) -> np.ndarray[Any, Any]:
    if answer == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-logits)))
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


def test_teachable_machine_states_its_labels(shared, tmp_path):
    source = shared / "wild" / "teachable_machine_tfjs" / "model.json"
    if not source.is_file():
        pytest.skip("needs the TensorFlow.js model of ../shared/wild, which is not here")
    made = convert(source, tmp_path / "out.npz", preprocess="tf")
    assert made.labels == 10
    assert any("10 labels, from metadata.json" in line for line in made.read)


def test_arithmetic_in_the_graph_is_the_preprocessing(shared, tmp_path):
    source = shared / "wild" / "efficientnet_lite0_normalised_in_graph_4_int8.tflite"
    if not source.is_file():
        pytest.skip("needs ../shared/wild, which is not here")
    spec = convert(source, tmp_path / "out.npz").input_spec
    assert (spec.mean, spec.std) == ((127.0,) * 3, (1.0,) * 3)


def test_every_quantised_file_keeps_its_integers(shared, tmp_path):
    for name in ("conv_head_2_int8", "efficientnet_lite0_normalised_in_graph_4_int8"):
        source = Path(shared, "wild", f"{name}.tflite")
        if not source.is_file():
            pytest.skip("needs ../shared/wild, which is not here")
        made = convert(source, tmp_path / f"{name}.npz", labels="none", weights="int8")
        assert any("its integers kept" in line for line in made.read)
