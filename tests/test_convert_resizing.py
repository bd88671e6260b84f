"""Keras models that resize their input: the layer says how pictures reach the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graph_files
import numpy as np
import pytest
from conftest import make_weights
from PIL import Image

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.errors import UnsupportedError
from mnv2_engine.executors.reference import run
from mnv2_engine.images.preprocess import pixels_for
from mnv2_engine.network.families import mobilenet_v2

pytest.importorskip("h5py", reason="needs h5py, of the extra keras")

NETWORK = mobilenet_v2(0.1, 32, 5, divisor=4)
WEIGHTS = make_weights(NETWORK)
PICTURE = np.random.default_rng(6).integers(0, 256, (64, 128, 3)).astype(np.uint8)
OPTIONS: dict[str, Any] = {"preprocess": "tf", "labels": "none"}


def source(tmp_path: Path, size: Any, kind: str = "Resizing", **config: Any) -> Path:
    """A model of pictures of `size` that makes 32x32 of them."""
    document = graph_files.config(NETWORK)
    layers = document["config"]["layers"]
    layers[0]["config"]["batch_input_shape"] = [None, *size, 3]
    first = layers[0]["name"]
    config = {"name": "to_size", "height": 32, "width": 32, **config}
    resize = {"class_name": kind, "name": "to_size", "config": config}
    layers[1]["inbound_nodes"] = [[["to_size", 0, 0, {}]]]
    layers.insert(1, {**resize, "inbound_nodes": [[[first, 0, 0, {}]]]})
    path = tmp_path / "a.h5"
    path.write_bytes(graph_files.keras_h5(NETWORK, WEIGHTS, document))
    return path


def bilinear(pixels: Any, size: int) -> Any:
    """Two pixels a side whatever the scale, centres of pixels at halves, as tf.image.resize."""
    for axis in (0, 1):
        extent = pixels.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * extent / size - 0.5, 0, extent - 1)
        low = at.astype(int)
        high = np.minimum(low + 1, extent - 1)
        part = (at - low).reshape(-1, *[1] * (2 - axis))
        pixels = pixels.take(low, axis) * (1 - part) + pixels.take(high, axis) * part
    return pixels


def logits(pixels: Any) -> Any:
    x = (pixels[np.newaxis] - 127.5) / 127.5
    return np.asarray(run(NETWORK, WEIGHTS, x, np.float64).logits)


@pytest.mark.parametrize(
    ("kind", "config", "fit", "seen"),
    [
        ("Resizing", {}, "squash", PICTURE),
        ("Resizing", {"crop_to_aspect_ratio": True}, "crop", PICTURE[:, 32:96]),
        ("RandomCrop", {}, "crop", PICTURE[:, 32:96]),
    ],
)
def test_its_layer_is_the_input_specification(kind, config, fit, seen, tmp_path):
    path, out = source(tmp_path, (None, None), kind, **config), tmp_path / "out.npz"
    made = convert(path, out, **OPTIONS)
    spec = made.input_spec
    assert made.network.resolution == (32, 32)
    assert (spec.fit, spec.resample, spec.crop_fraction) == (fit, "bilinear-no-antialias", 1.0)
    assert any("'to_size'" in line and fit in line for line in made.read)
    pixels = np.frombuffer(pixels_for(Image.fromarray(PICTURE), spec, (32, 32)), np.uint8)
    with Engine.load(out, backend="numpy") as engine:
        found = engine.logits(pixels.reshape(32, 32, 3))
    # The engine resizes to 8 bits: half a step of a pixel.
    due = logits(bilinear(seen.astype(np.float64), 32))
    rounded = logits(np.rint(bilinear(seen.astype(np.float64), 32)))
    assert np.abs(found - due).max() <= 2 * np.abs(rounded - due).max() + 1e-5
    assert np.abs(found - logits(bilinear(PICTURE[:32, :32].astype(float), 32))).max() > 0.05


def test_a_fixed_size_before_it_is_named(tmp_path):
    made = convert(source(tmp_path, (64, 128)), tmp_path / "out.npz", **OPTIONS)
    assert any("32x32 pixels at once: the source takes 64x128" in note for note in made.notes)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"interpolation": "nearest"}, "'nearest': expected 'bilinear'"),
        ({"pad_to_aspect_ratio": True}, "pads to the aspect ratio"),
        ({"height": 0}, "expected 1 to"),
    ],
)
def test_what_no_input_specification_says(config, why, tmp_path):
    with pytest.raises(UnsupportedError, match=rf"'to_size' \(Resizing\).*{why}"):
        convert(source(tmp_path, (None, None), **config), tmp_path / "out.npz", **OPTIONS)
