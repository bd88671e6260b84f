"""What lies around a network's run: a photograph to pixels, a file to an engine, a fresh process to
its first prediction."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnv2_engine import Engine
from mnv2_engine.bench.kernel_shapes import networks
from mnv2_engine.bench.python import answer_of
from mnv2_engine.images.preprocess import load_image, pixels_for
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.plan.planner import make_plan

DTYPES = ("float32", "int8")
NETWORK = networks()[0]
COLD_STARTS = 7
PREDICT = """
from mnv2_engine import Engine
pixels = memoryview(bytes({height} * {width} * 3)).cast("B", ({height}, {width}, 3))
Engine.load({path!r}).predict(pixels)
"""

Models = Callable[[str, str], str]


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """A JPEG of 640×480 pixels, about as rich in detail as one of a camera."""
    image = pytest.importorskip("PIL.Image")
    rows, columns = np.mgrid[0:480, 0:640]
    noise = np.random.default_rng(0).normal(0, 12, (480, 640, 3))
    waves = np.stack([rows / 2, columns / 3, 127 + 100 * np.sin(rows * columns / 4e3)], -1)
    made = io.BytesIO()
    pixels = np.clip(waves + noise, 0, 255).astype(np.uint8)
    image.fromarray(pixels).save(made, "JPEG", quality=90)
    return made.getvalue()


def test_decode(benchmark: Any, photograph: bytes) -> None:
    benchmark(load_image, photograph)


def test_resize_and_crop(benchmark: Any, photograph: bytes) -> None:
    image = load_image(photograph)
    benchmark(pixels_for, image, PRESETS["tf"], NETWORK.resolution)


@pytest.mark.parametrize("dtype", DTYPES)
def test_photograph_to_predictions(
    benchmark: Any, models: Models, photograph: bytes, dtype: str
) -> None:
    with Engine.load(models(NETWORK.name, dtype)) as engine:
        benchmark(engine.predict, photograph)


@pytest.mark.parametrize("dtype", DTYPES)
def test_load(benchmark: Any, models: Models, dtype: str) -> None:
    """From a path to an engine that can run: validating, mapping, planning."""
    benchmark(Engine.load, models(NETWORK.name, dtype))


@pytest.mark.parametrize("precision", DTYPES)
def test_plan(benchmark: Any, precision: str) -> None:
    benchmark(make_plan, NETWORK, 1, precision)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cold_start(benchmark: Any, models: Models, dtype: str) -> None:
    """A fresh Python process up to its end, which has predicted raw pixels once."""
    height, width = NETWORK.resolution
    script = PREDICT.format(height=height, width=width, path=models(NETWORK.name, dtype))
    benchmark.pedantic(answer_of, (script,), rounds=COLD_STARTS, warmup_rounds=1)
