"""Keras files, written by Keras itself: they convert and answer as Keras does.

Needs the extras `test-keras` (keras on PyTorch's backend) and `keras` (h5py). Seeded networks,
seeded pictures; TensorFlow is not needed.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.errors import CheckpointError, InputError, UnsupportedError

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch", reason="needs the extra test-keras")
pytest.importorskip("h5py", reason="needs the extra keras")
keras = pytest.importorskip("keras", reason="needs the extra test-keras")

# Keras's PyTorch backend and this NumPy differ about __array__.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
SIZE = 64
PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
PIXELS[1] //= 4  # one is bright, one dark
TF = {"preprocess": "tf", "labels": "none"}


@pytest.fixture(scope="module")
def backbone() -> Any:
    keras.utils.set_random_seed(1)
    made = keras.applications.MobileNetV2(
        weights=None, include_top=False, alpha=0.35, input_shape=(SIZE, SIZE, 3)
    )
    _shake(made)
    return made


def _shake(model: Any) -> None:
    """Batch-norms that do something, and features that are not all alike."""
    random = np.random.default_rng(2)
    for layer in model.layers:
        if layer.__class__.__name__ != "BatchNormalization":
            continue
        gamma, beta, mean, variance = layer.get_weights()
        layer.set_weights(
            [
                random.uniform(0.7, 1.5, gamma.shape),
                random.normal(0, 0.4, beta.shape),
                random.normal(0, 0.1, mean.shape),
                random.uniform(0.25, 0.6, variance.shape),
            ]
        )


def _heads(width: int) -> list[Any]:
    layers = keras.layers
    made = [layers.Dropout(0.2)]
    for units in (24, 12)[: width - 1]:
        made.append(layers.Dense(units, activation="relu"))
    return made


def _answers(path: Path) -> np.ndarray[Any, Any]:
    """Probabilities of the converted model, in the order of the classes."""
    with Engine.load(str(path), backend="numpy") as engine:
        logits = np.asarray(engine.logits(PIXELS), np.float64)
        answer = engine.info.network.answer
    if answer == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-logits)))
    if answer == "linear":
        return logits
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


def _keras(model: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(model.predict(x.astype(np.float32), verbose=0))


def _agree(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    assert ours.shape == theirs.shape
    assert np.ptp(theirs) > 0  # a little: the network is not trained
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_sequential_around_a_functional_model(heads, suffix, backbone, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            backbone,
            keras.layers.GlobalAveragePooling2D(),
            *_heads(heads),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    source, out = tmp_path / f"model{suffix}", tmp_path / "out.npz"
    model.save(source)
    made = convert(source, out, **TF)
    assert made.network.resolution == (SIZE, SIZE)
    assert made.name == f"mobilenet_v2_0.35_{SIZE}"
    assert made.network.padding == "same"
    _agree(_answers(out), _keras(model, PIXELS / 127.5 - 1))


ENTRANCES = {
    "Rescaling": lambda: [keras.layers.Rescaling(1 / 127.5, offset=-1)],
    "Rescaling and Normalization": lambda: [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.052, 0.05, 0.051]),
    ],
    "augmentation": lambda: [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(0.1),
        keras.layers.Rescaling(1 / 127.5, offset=-1),
    ],
}


@pytest.mark.parametrize("name", ENTRANCES)
def test_the_entrance_is_the_preprocessing(name, backbone, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            *ENTRANCES[name](),
            backbone,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    source, out = tmp_path / "model.keras", tmp_path / "out.npz"
    model.save(source)
    made = convert(source, out, labels="none")
    assert made.network.answer == "sigmoid"
    _agree(_answers(out), _keras(model, PIXELS))
    with pytest.raises(InputError, match="contradicts the arithmetic in front of its first layer"):
        convert(source, tmp_path / "other.npz", labels="none", preprocess="unit")


def test_functional_with_operators(backbone, tmp_path):
    """preprocess_input of keras.applications, as the guides for fine-tuning have it."""
    entry = keras.Input((SIZE, SIZE, 3))
    at = keras.applications.mobilenet_v2.preprocess_input(entry)
    at = keras.layers.GlobalAveragePooling2D()(backbone(at, training=False))
    at = keras.layers.BatchNormalization()(at)
    model = keras.Model(entry, keras.layers.Dense(3)(at))
    model.layers[-2].set_weights([np.full(1280, v, np.float32) for v in (1.2, 0.1, 0.3, 0.8)])
    source, out = tmp_path / "model.keras", tmp_path / "out.npz"
    model.save(source)
    made = convert(source, out, labels="none")
    assert (made.input_spec.mean[0], made.input_spec.std[0]) == (127.5, 127.5)
    with Engine.load(str(out), backend="numpy") as engine:
        _agree(np.asarray(engine.logits(PIXELS)), _keras(model, PIXELS))


@pytest.mark.parametrize("alpha", [0.35, 0.5, 0.75, 1.0, 1.3, 1.4])
def test_applications_at_every_width(alpha, tmp_path):
    model = keras.applications.MobileNetV2(
        weights=None, alpha=alpha, input_shape=(32, 32, 3), classes=4
    )
    source, out = tmp_path / "model.h5", tmp_path / "out.npz"
    model.save(source)
    made = convert(source, out, **TF)
    assert made.name == f"mobilenet_v2_{alpha}_32"
    assert (made.classes, made.network.answer) == (4, "softmax")


def test_without_top_is_a_feature_extractor(backbone, tmp_path):
    source, out = tmp_path / "model.keras", tmp_path / "out.npz"
    backbone.save(source)
    made = convert(source, out, preprocess="tf")
    assert (made.classes, made.network.features) == (0, 1280)
    theirs = _keras(backbone, PIXELS / 127.5 - 1).mean((1, 2))
    with Engine.load(str(out), backend="numpy") as engine:
        ours = np.stack([np.asarray(engine.embed(picture)) for picture in PIXELS])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_mobilenet_v1(tmp_path):
    model = keras.applications.MobileNet(
        weights=None, alpha=0.25, input_shape=(SIZE, SIZE, 3), classes=3
    )
    _shake(model)
    source, out = tmp_path / "model.h5", tmp_path / "out.npz"
    model.save(source)
    made = convert(source, out, **TF)
    assert made.name == f"mobilenet_v1_0.25_{SIZE}"
    _agree(_answers(out), _keras(model, PIXELS / 127.5 - 1))


def test_one_number_needs_to_be_explained(backbone, tmp_path):
    layers = [backbone, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers])
    source, out = tmp_path / "model.keras", tmp_path / "out.npz"
    model.save(source)
    with pytest.raises(InputError, match=r"give the option answer \(sigmoid, .* or linear"):
        convert(source, out, **TF)
    assert convert(source, out, answer="linear", **TF).network.answer == "linear"
    _agree(_answers(out), _keras(model, PIXELS / 127.5 - 1))


def _small(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((32, 32, 3)), *layers])


REFUSED = {
    "hard-swish": (
        lambda: keras.applications.MobileNetV3Small(
            weights=None, input_shape=(32, 32, 3), include_preprocessing=False
        ),
        "hard-swish|hard_s|squeeze",
    ),
    "max-pooling": (
        lambda: _small(keras.layers.Conv2D(8, 3, activation="relu"), keras.layers.MaxPool2D()),
        r"a network with max-pooling, such as ResNet or VGG: layer 'max_pooling2d.*MaxPooling2D",
    ),
    "an LSTM": (
        lambda: keras.Sequential([keras.Input((8, 3)), keras.layers.LSTM(4)]),
        r"input of shape \(None, 8, 3\): expected images",
    ),
    "flattened": (
        lambda: _small(
            keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ),
        r"layer 'flatten.*: it makes a list of a map of 16x16 pixels",
    ),
    "an ELU": (
        lambda: _small(keras.layers.Conv2D(8, 3, activation="elu")),
        "the activation elu, which this engine has not",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_are_named(name, tmp_path):
    make, message = REFUSED[name]
    source = tmp_path / "model.keras"
    make().save(source)
    with pytest.raises(UnsupportedError, match=message):
        convert(source, tmp_path / "out.npz", **TF)


def test_lambda_layers_are_not_executed(tmp_path):
    model = _small(keras.layers.Lambda(lambda x: x * 2), keras.layers.Conv2D(8, 3))
    source = tmp_path / "model.keras"
    model.save(source)
    with pytest.raises(UnsupportedError, match=r"layer 'lambda.*holds code of its own, which is"):
        convert(source, tmp_path / "out.npz", **TF)


def _altered(source: Path, out: Path, alter: Any) -> None:
    """A .keras archive whose configuration `alter` has changed."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(out, "w") as written:
        for member in read.namelist():
            content = read.read(member)
            if member == "config.json":
                config = json.loads(content)
                alter(config)
                content = json.dumps(config).encode()
            written.writestr(member, content)


def _deep(config: Any) -> None:
    inner = config["config"]["layers"][1]
    for _ in range(40):
        inner = {"class_name": "Sequential", "config": {"name": "a", "layers": [inner]}}
    config["config"]["layers"][1] = inner


ATTACKS = {
    "models within models": (_deep, "configuration is damaged .*without end"),
    "no layers": (lambda c: c["config"].pop("layers"), "configuration is damaged"),
    "a class that is a number": (lambda c: c.update(class_name=7), "class 7"),
    "a layer that is missing": (
        lambda c: c["config"]["layers"][1]["config"]["layers"].pop(5),
        "lacks the|damaged|configuration",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_configurations(name, backbone, tmp_path):
    alter, message = ATTACKS[name]
    layers = [backbone, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), *layers]).save(tmp_path / "model.keras")
    _altered(tmp_path / "model.keras", tmp_path / "hostile.keras", alter)
    with pytest.raises((CheckpointError, UnsupportedError), match=message):
        convert(tmp_path / "hostile.keras", tmp_path / "out.npz", **TF)


def test_hdf5_that_points_elsewhere(tmp_path):
    import h5py

    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        file.attrs["layer_names"] = ["conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = ["conv/kernel:0"]
        group["conv"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(CheckpointError, match=r"is a link to another place"):
        convert(tmp_path / "hostile.h5", tmp_path / "out.npz", **TF)


def test_hdf5_that_inflates(tmp_path):
    import h5py

    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        file.attrs["layer_names"] = ["conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = ["conv/kernel:0"]
        group.create_dataset(
            "conv/kernel:0", (1 << 15, 1 << 15), "f4", chunks=(64, 64), compression="gzip"
        )
    with pytest.raises(CheckpointError, match=r"would inflate from .* refused"):
        convert(tmp_path / "hostile.h5", tmp_path / "out.npz", **TF)
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file["a"] = np.zeros(1000)
    content = (tmp_path / "cut.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[:700])
    with pytest.raises(CheckpointError, match="the HDF5 file is damaged"):
        convert(tmp_path / "cut.h5", tmp_path / "out.npz", **TF)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("is_nested", [True, False])
def test_weights_alone(heads, is_nested, backbone, tmp_path):
    """What save_weights writes: the layers' names say what they are, nothing else does."""
    x = keras.Input((SIZE, SIZE, 3))
    y = backbone(x) if is_nested else backbone.output
    y = keras.layers.GlobalAveragePooling2D()(y)
    for layer in _heads(heads):
        y = layer(y)
    y = keras.layers.Dense(5, activation="softmax")(y)
    model = keras.Model(x if is_nested else backbone.input, y)
    source, out = tmp_path / "model.weights.h5", tmp_path / "out.npz"
    model.save_weights(source)
    options = TF if heads == 1 else {**TF, "hidden": "relu"}
    made = convert(source, out, resolution=SIZE, **options)
    assert made.name == f"mobilenet_v2_0.35_{SIZE}"
    assert made.network.padding == "same"
    _agree(_answers(out), _keras(model, PIXELS / 127.5 - 1))


def test_weights_alone_of_mobilenet_v1(tmp_path):
    keras.utils.set_random_seed(4)
    model = keras.applications.MobileNet(
        weights=None, alpha=0.25, input_shape=(SIZE, SIZE, 3), classes=7, dropout=0
    )
    _shake(model)
    source, out = tmp_path / "model.weights.h5", tmp_path / "out.npz"
    model.save_weights(source)
    made = convert(source, out, resolution=SIZE, **TF)
    assert made.name == f"mobilenet_v1_0.25_{SIZE}"
    _agree(_answers(out), _keras(model, PIXELS / 127.5 - 1))


def test_weights_alone_of_two_layers_of_one_name(backbone, tmp_path):
    inner = keras.Sequential([keras.Input((1280,)), keras.layers.Dense(8, name="twin")], name="a")
    model = keras.Sequential(
        [backbone, keras.layers.GlobalAveragePooling2D(), inner, keras.layers.Dense(5, name="twin")]
    )
    source = tmp_path / "model.weights.h5"
    model.save_weights(source)
    with pytest.raises(UnsupportedError, match=r"two layers named 'twin'.*model\.save\('model\.ke"):
        convert(source, tmp_path / "out.npz", resolution=SIZE, hidden="relu", **TF)
