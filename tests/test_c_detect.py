"""The C program `detect` of examples/c finds what the package finds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_program import CProgram
from conftest import make_weights
from detector_network import seeded_weights, small_detector
from int8_network import random_int8

from mnv2_engine import Engine
from mnv2_engine.executors.native import NativeExecutor, cpu_family
from mnv2_engine.images import decoded
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.network.ssdlite import ssdlite
from mnv2_engine.plan.planner import make_plan

NETWORK = small_detector((45, 38))
SQUASH = InputSpec((127.5,) * 3, (127.5,) * 3, "bilinear-no-antialias", 1.0, "squash")
needs_photographs = pytest.mark.skipif(
    len(decoded.decoders()) < 2, reason="the C core was built without libjpeg-turbo or libpng"
)


def write(
    path: Path,
    network: Network = NETWORK,
    dtype: str = "float32",
    spec: InputSpec = SQUASH,
    labels: list[str] | None = None,
) -> Path:
    if dtype == "int8":
        weights, quantization = random_int8(network)
        write_model(path, network, weights, spec, labels, {}, quantization)
    else:
        write_model(path, network, seeded_weights(network), spec, labels, {}, dtype=dtype)
    return path


@pytest.fixture
def detect(c_program: CProgram) -> CProgram:
    return c_program.detect


@pytest.fixture
def pixels(tmp_path: Path) -> np.ndarray[Any, Any]:
    made = np.random.default_rng(1).integers(0, 256, (*NETWORK.resolution, 3), np.uint8)
    made.tofile(tmp_path / "image.rgb")
    return made


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_outputs_are_the_engines_to_the_bit(
    dtype: str, detect: CProgram, pixels: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    path = write(tmp_path / "model.npz", dtype=dtype)
    with open_model(path) as model:
        assert NETWORK.detection is not None
        count = len(model.array("anchors"))
        boxes = np.empty((count, 4), np.float32)
        scores = np.empty((count, NETWORK.detection.columns), np.float32)
        precision = "int8" if dtype == "int8" else "float32"
        executor = NativeExecutor(model, make_plan(NETWORK, 1, precision, dtype), "baseline")
        executor.run(pixels, False, boxes=boxes, scores=scores)
    expected = np.concatenate([boxes.ravel(), scores.ravel()])
    for threads in (1, 3):
        answer = detect(path, tmp_path / "image.rgb", "--outputs", "--threads", threads)
        assert (answer.status, answer.err) == (0, "")
        found = np.array([float.fromhex(line) for line in answer.out.split()], np.float32)
        np.testing.assert_array_equal(found, expected)


def objects_of(detect: CProgram, path: Path, image: Path, *options: object) -> list[Any]:
    answer = detect(path, image, "--exactly", *options)
    assert (answer.status, answer.err) == (0, "")
    found = []
    for line in answer.out.splitlines():
        index, *numbers = line.split()
        found.append((int(index), *map(float.fromhex, numbers)))
    return found


def expected_of(path: Path, image: Any, **options: Any) -> list[Any]:
    with Engine.load(path, backend="c") as engine:
        return [(each.index, each.score, *each.box) for each in engine.detect(image, **options)]


def test_objects_are_the_engines(
    detect: CProgram,
    pixels: np.ndarray[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MNV2_ISA", "baseline")
    path, image = write(tmp_path / "model.npz", labels=["a cat", "naïve"]), tmp_path / "image.rgb"
    expected = expected_of(path, pixels)
    assert len(expected) > 3
    assert objects_of(detect, path, image) == expected
    assert objects_of(detect, path, image, "--max-objects", 2) == expected[:2]
    middle = float(np.float32(expected[2][1]))
    some = objects_of(detect, path, image, "--threshold", middle)
    assert some == expected_of(path, pixels, threshold=middle)
    assert 0 < len(some) < len(expected)
    lines = detect(path, image).out.splitlines()
    assert len(lines) == len(expected)
    first = expected[0]
    corners = ",".join(f"{each:.0f}" for each in first[2:])
    assert lines[0] == f"{100 * first[1]:5.1f} %  {corners}  {['a cat', 'naïve'][first[0]]}"
    unnamed = write(tmp_path / "unnamed.npz")
    assert detect(unnamed, image).out.splitlines()[0].endswith(f"  class {first[0]}")


@needs_photographs
@pytest.mark.parametrize("spec", [SQUASH, PRESETS["tf"]], ids=["squash", "crop"])
def test_boxes_are_in_the_photographs_pixels(
    spec: InputSpec, detect: CProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("MNV2_ISA", "baseline")
    path = write(tmp_path / "model.npz", spec=spec)
    noise = np.random.default_rng(3).integers(0, 256, (30, 41, 3), np.uint8)
    exif = image.Exif()
    exif[0x0112] = 6
    tall, wide = tmp_path / "tall.jpg", tmp_path / "wide.png"
    picture = image.fromarray(noise).resize((410, 299), image.Resampling.BICUBIC)
    picture.save(tall, exif=exif)
    picture.save(wide)
    for photograph in (tall, wide):
        expected = expected_of(path, photograph)
        assert expected
        assert objects_of(detect, path, photograph) == expected
    assert max(each[5] for each in expected_of(path, tall)) > 320  # upright: 299 × 410


def test_what_the_model_is(detect: CProgram, tmp_path: Path) -> None:
    path = write(tmp_path / "model.npz", labels=["a", "b"])
    said = detect.description(path, "--threads", 2)
    plan = make_plan(NETWORK, 2, cpu=cpu_family())
    assert said["architecture"] == NETWORK.name
    assert said["classes"] == "2, labelled"
    with np.load(path) as file:
        count = len(file["anchors"])
    assert said["anchors"] == f"{count}, at 3 feature maps"
    assert said["arena"] == f"{plan.arena_bytes} bytes, {len(plan.steps)} steps"
    assert int(said["weights"].split()[0]) == plan.weight_bytes
    shown = detect(path, "--plan", "--threads", 2)
    assert shown.out.count("\nstep") == len(plan.steps)
    assert shown.out.count("\nmap") == 3


def test_each_program_names_the_other(c_program: CProgram, tmp_path: Path) -> None:
    answer = c_program(write(tmp_path / "detector.npz"))
    assert (answer.status, answer.out) == (1, "")
    assert "is a detector" in answer.err
    assert answer.err.endswith("run detect\n")
    classifier = mobilenet_v2(0.1, 32, 5, divisor=4)
    path = tmp_path / "classifier.npz"
    write_model(path, classifier, make_weights(classifier), PRESETS["tf"], None, {})
    answer = c_program.detect(path)
    assert (answer.status, answer.out) == (1, "")
    assert answer.err.endswith("is no detector, so it finds no boxes; run classify\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no argument: expected a model file"),
        (["--threshold"], "--threshold: expected a number from 0 to 1"),
        (["--threshold", "nan"], "--threshold: expected a number from 0 to 1"),
        (["--threshold", "1.1"], "--threshold: expected a number from 0 to 1"),
        (["--threshold", "0.5x"], "--threshold: expected a number from 0 to 1"),
        (["--max-objects", "0"], "--max-objects: expected a count from 1"),
        (["--top", "5"], "--top: expected an option as below"),
        (["--isa"], "--isa: expected the name"),
        (["a", "b", "c"], "c: expected one image"),
    ],
)
def test_misuse_shows_the_usage(arguments: list[str], message: str, detect: CProgram) -> None:
    answer = detect(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"detect: {message}")
    assert detect("--help").out in answer.err


# Memory


@needs_photographs
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize(("dtype", "most"), [("float32", 900_000), ("int8", 650_000)])
def test_12_megapixels_to_boxes_take_little_memory(
    dtype: str,
    most: int,
    detect: CProgram,
    large_photograph: Path,
    peak_of: Callable[..., int],
    tmp_path: Path,
) -> None:
    """The person detector's network; the most bytes that are the process's own."""
    if not detect.is_static:
        pytest.skip("needs a static C library: a shared one has data of its own")
    network = ssdlite(classes=1)
    path = write(tmp_path / "model.npz", network, dtype, SQUASH, ["person"])
    plan = make_plan(network, 1, dtype)
    frame = 300 * 300 * 3
    peak = peak_of(detect.path, path, large_photograph)
    assert plan.arena_bytes + frame < peak < most
