"""Networks that were trained on blue, green, red or on grey, given red, green and blue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network

from mnv2_engine.convert import convert
from mnv2_engine.convert.checkpoint import Checkpoint
from mnv2_engine.convert.colours import stated_in_rgb
from mnv2_engine.convert.entrance import Normalisation
from mnv2_engine.errors import InputError
from mnv2_engine.executors.reference import run
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model

NETWORK = small_network()
OPTIONS: dict[str, Any] = {"padding": "same", "labels": "none", "resolution": 32}
PIXELS = np.random.default_rng(6).integers(0, 256, (3, 32, 32, 3)).astype(np.float64)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("colours") / "source.npz"
    np.savez(path, **make_weights(NETWORK))  # type: ignore[arg-type]
    return path


def answers(path: Path) -> Any:
    """Of red, green and blue, as the model file says."""
    with open_model(path) as model:
        weights = {name: np.array(array) for name, array in model.weights().items()}
        spec = model.input_spec
        x = (PIXELS - spec.mean) / spec.std
        return np.asarray(run(model.network, weights, x, np.float64).logits)


def theirs(given: Any) -> Any:
    """Of what the network was trained on, normalised."""
    return np.asarray(run(NETWORK, make_weights(NETWORK), given, np.float64).logits)


def test_blue_green_red(source, tmp_path):
    convert(source, tmp_path / "out.npz", preprocess="imagenet", colours="bgr", **OPTIONS)
    spec = PRESETS["imagenet"]  # of red, green and blue, whatever their order
    due = theirs(((PIXELS - spec.mean) / spec.std)[..., ::-1])
    np.testing.assert_allclose(answers(tmp_path / "out.npz"), due, atol=1e-9)
    convert(source, tmp_path / "rgb.npz", preprocess="imagenet", colours="rgb", **OPTIONS)
    assert np.abs(answers(tmp_path / "rgb.npz") - due).max() > 0.01


def test_grey(source, tmp_path):
    convert(source, tmp_path / "out.npz", preprocess="unit", colours="grey", **OPTIONS)
    luma = PIXELS @ [0.299, 0.587, 0.114]
    due = theirs(np.repeat(luma[..., np.newaxis], 3, -1) / 255)
    np.testing.assert_allclose(answers(tmp_path / "out.npz"), due, atol=1e-5)


def test_grey_of_uneven_channels(source, tmp_path):
    with pytest.raises(InputError, match=r"'grey' need one mean and one deviation.*give preproc"):
        convert(source, tmp_path / "out.npz", preprocess="imagenet", colours="grey", **OPTIONS)


def test_colours_that_are_none(source, tmp_path):
    with pytest.raises(InputError, match="colours 'yuv': expected rgb, bgr or grey"):
        convert(source, tmp_path / "out.npz", preprocess="tf", colours="yuv", **OPTIONS)


def test_what_a_source_says_of_its_channels_is_said_of_colours():
    stated = Normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "the graph")
    checkpoint = Checkpoint("a", lambda *_: NETWORK, 5, {}, normalisation=stated)
    assert stated_in_rgb(checkpoint, None).normalisation == stated
    turned = stated_in_rgb(checkpoint, "bgr").normalisation
    assert turned == Normalisation((3.0, 2.0, 1.0), (6.0, 5.0, 4.0), "the graph")
