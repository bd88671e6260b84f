"""The .npz dictionary of canonical weights, and the recognition of a network by its shapes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network

from mnv2_engine.convert import Conversion, convert
from mnv2_engine.convert.recognise import recognise
from mnv2_engine.errors import CheckpointError, UnsupportedError
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network

NETWORK = small_network()
WEIGHTS = make_weights(NETWORK)
OPTIONS = {"padding": "same", "preprocess": "tf", "labels": "none", "resolution": 32}


@pytest.fixture
def converted(tmp_path: Path) -> Any:
    """`converted(arrays)` saves them by `save`, converts, and returns the weights that came out."""

    def run(arrays: dict[str, Any], save: Any = np.savez) -> tuple[Conversion, dict[str, Any]]:
        source, out = tmp_path / "source.npz", tmp_path / "out.npz"
        save(source, **arrays)
        made = convert(source, out, **OPTIONS)
        with open_model(out) as opened:
            return made, opened.weights()

    return run


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_weights_go_through_unchanged(save, converted):
    made, found = converted(WEIGHTS, save)
    assert made.network == NETWORK
    assert_equal(found, WEIGHTS)


def test_fortran_order_and_big_endian(converted):
    arrays = {name: np.asfortranarray(array) for name, array in WEIGHTS.items()}
    assert_equal(converted(arrays)[1], WEIGHTS)
    arrays = {name: array.astype(">f4") for name, array in WEIGHTS.items()}
    assert_equal(converted(arrays)[1], WEIGHTS)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions(dtype, converted):
    arrays = {name: array.astype(dtype) for name, array in WEIGHTS.items()}
    expected = {name: array.astype(np.float32) for name, array in arrays.items()}
    assert_equal(converted(arrays)[1], expected)


def test_a_suffix_means_nothing(tmp_path):
    source = tmp_path / "weights.tflite"
    with source.open("wb") as file:
        np.savez(file, **WEIGHTS)  # type: ignore[arg-type]
    assert convert(source, tmp_path / "out", **OPTIONS).network == NETWORK


def test_missing_and_unknown_names_are_listed(converted):
    arrays = {name: array for name, array in WEIGHTS.items() if name != "block3.expand.bias"}
    arrays["block3.expand.offset"] = WEIGHTS["block3.expand.bias"]
    with pytest.raises(CheckpointError) as error:
        converted(arrays)
    assert "lacks block3.expand.bias and has the unknown block3.expand.offset" in str(error.value)


def test_shapes_that_contradict_each_other(converted):
    wrong = np.zeros((8, 4, 1, 1), np.float32)
    with pytest.raises(CheckpointError, match=r"block0\.project"):
        converted({**WEIGHTS, "block0.project.bias": np.zeros(9, np.float32)})
    with pytest.raises(CheckpointError, match=r"block1\."):
        converted({**WEIGHTS, "block1.expand.weight": wrong})


@pytest.mark.parametrize("array", [np.zeros((4, 3, 3, 3), np.int8), np.array([{}], object)])
def test_elements_that_are_no_weights(array, converted):
    with pytest.raises(
        CheckpointError, match=r"stem.weight.npy holds (dtype int8|pickled objects)"
    ):
        converted({**WEIGHTS, "stem.weight": array})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_values_that_float32_cannot_hold(value, converted):
    bias = WEIGHTS["head.bias"].astype(np.float64)
    bias[5] = value
    with pytest.raises(CheckpointError, match=r"head.bias holds NaN, infinity or values beyond"):
        converted({**WEIGHTS, "head.bias": bias})


def test_a_model_file_is_not_a_checkpoint(small_model, tmp_path):
    with pytest.raises(CheckpointError, match="it is a model file already"):
        convert(small_model(), tmp_path / "out.npz", **OPTIONS)


def test_provenance(tmp_path):
    import hashlib

    source, out = tmp_path / "my\nweights.npz", tmp_path / "out.npz"
    np.savez(source, **WEIGHTS)  # type: ignore[arg-type]
    convert(source, out, **OPTIONS)
    with open_model(out) as opened:
        found = opened.provenance
    assert found.pop("converter").startswith("mnv2_engine ")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    expected = {"source": "my?weights.npz", "sha256": digest, "format": "canonical .npz"}
    assert found == expected


def test_a_zip_of_something_else(tmp_path):
    source = tmp_path / "source.npz"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("model.h5", b"")
    with pytest.raises(CheckpointError, match=r"a zip archive around 'model.h5': unpack it first"):
        convert(source, tmp_path / "out.npz", **OPTIONS)


# Recognition


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for layer in network.weighted:
        found[f"{layer.name}.weight"] = layer.weight_shape
        found[f"{layer.name}.bias"] = (layer.out_channels,)
    return found


PUBLISHED = [(0.25, 8), (0.35, 8), (0.5, 8), (0.75, 8), (1.0, 8), (1.3, 8), (1.4, 8), (0.1, 4)]


@pytest.mark.parametrize(("width", "divisor"), PUBLISHED)
@pytest.mark.parametrize("classes", [1, 1000, 1001])
def test_published_widths(width, divisor, classes):
    network = mobilenet_v2(width, classes=classes, divisor=divisor)
    found = recognise(shapes(network), "source")
    assert (found.label, found.classes) == (network.name.rpartition("_")[0], classes)
    assert found.network((224, 224), "same", network.answer) == network


OTHERS = [(0.05, 8), (0.2, 8), (0.42, 8), (0.65, 8), (1.1, 8), (2.0, 8), (0.333, 8), (3.75, 8)]
OTHERS += [(0.15, 4), (0.6, 4), (1.7, 16), (0.9, 1), (0.37, 2)]


@pytest.mark.parametrize(("width", "divisor"), OTHERS)
def test_other_widths_become_the_same_blocks(width, divisor):
    """The width found may be another one with the same channels, which is the same network."""
    network = mobilenet_v2(width, 64, 10, divisor=divisor)
    found = recognise(shapes(network), "source").network((64, 64), "same", "softmax")
    assert found.layers == network.layers


@pytest.mark.parametrize("variant", range(5))
def test_efficientnet_lite(variant):
    network = efficientnet_lite(variant, classes=12)
    identity = recognise(shapes(network), "source")
    own = identity.own_resolution
    assert identity.network((own, own), "same", "softmax") == network


def test_a_network_that_is_none_of_them():
    found = shapes(mobilenet_v2(1.0))
    found["block4.depthwise.weight"] = (192, 1, 5, 5)
    with pytest.raises(UnsupportedError, match=r"192-32 k5") as error:
        recognise(found, "source")
    assert "no MobileNetV2 of any width, no EfficientNet-Lite and none of their" in str(error.value)
    assert "export the network to ONNX" in str(error.value)
    assert "stem 32; 17 blocks" in str(error.value)
    assert "head 1280" in str(error.value)


def test_a_network_too_large():
    with pytest.raises(UnsupportedError, match="parameters; at most"):
        recognise(shapes(mobilenet_v2(16.0)), "source")
