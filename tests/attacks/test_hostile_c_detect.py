"""The C program `detect` refuses of a model file what the package refuses. Under sanitizers,
which end it if it touches a byte that it must not."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_program import CProgram
from detector_network import detection_of, seeded_weights, small_detector
from hostile_model_files import Fuzzed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnv2_engine import Engine
from mnv2_engine.errors import MnvError
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.builder import Builder
from mnv2_engine.network.detection import BoxMap
from mnv2_engine.network.layer import Network

NETWORK = small_detector((45, 38))


@pytest.fixture
def sanitized(sanitized_c_program: CProgram) -> CProgram:
    return sanitized_c_program.detect


@pytest.fixture
def image(tmp_path: Path) -> Path:
    made = np.random.default_rng(1).integers(0, 256, (*NETWORK.resolution, 3), np.uint8)
    made.tofile(tmp_path / "image.rgb")
    return tmp_path / "image.rgb"


def write(path: Path) -> Path:
    write_model(path, NETWORK, seeded_weights(NETWORK), PRESETS["tf"], None, {})
    return path


def is_accepted(path: Path) -> bool:
    try:
        open_model(path).close()
    except MnvError:
        return False
    return True


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    ("at", "value"),
    [
        *(((0, 0), np.nan), ((3, 1), -np.inf), ((5, 2), 0.0), ((5, 3), -1.0), ((-1, 3), np.inf)),
        *(((0, 0), 5.0), ((0, 1), -5.0), ((2, 2), 1e-40), ((2, 2), 3e38)),
    ],
)
def test_anchors_are_checked_as_in_python(
    at: tuple[int, int],
    value: float,
    save: Callable[..., None],
    sanitized: CProgram,
    image: Path,
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "model.npz")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["anchors"][at] = value
    save(path, **arrays)
    answer = sanitized(path, image)
    assert answer.status == (0 if is_accepted(path) else 1), answer.err
    if answer.status:
        assert "expected finite numbers, height and width above 0" in answer.err


@pytest.mark.parametrize("change", ["absent", "short", "flat", "double", "another"])
def test_anchors_that_do_not_match_the_maps(
    change: str, sanitized: CProgram, tmp_path: Path
) -> None:
    path = write(tmp_path / "model.npz")
    with np.load(path) as file:
        arrays = dict(file)
    anchors = arrays.pop("anchors")
    if change != "absent":
        arrays["anchors"] = {
            "short": anchors[:-1],
            "flat": anchors.ravel(),
            "double": anchors.astype(np.float64),
            "another": anchors,
        }[change]
    if change == "another":
        arrays["anchors2"] = anchors
    np.savez(path, **arrays)
    assert not is_accepted(path)
    answer = sanitized(path)
    assert answer.status == 1
    assert "anchors" in answer.err


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_and_cuts_are_refused_by_both_or_by_neither(
    data: st.DataObject, sanitized: CProgram, tmp_path: Path
) -> None:
    whole = write(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "fuzzed.npz"
    path.write_bytes(Fuzzed(whole).altered(data))
    answer = sanitized(path)
    assert answer.status == (0 if is_accepted(path) else 1), answer.err


def test_verify_reads_every_weight(sanitized: CProgram, tmp_path: Path) -> None:
    path = write(tmp_path / "model.npz")
    assert sanitized(path, "--verify").status == 0
    with zipfile.ZipFile(path) as file:
        place = file.getinfo("boxes1.weight.npy").header_offset + 300
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)
    answer = sanitized(path, "--verify")
    assert answer.status == 1
    assert "member 'boxes1.weight' does not match its checksum" in answer.err


def test_a_hundred_thousand_candidates(sanitized: CProgram, tmp_path: Path) -> None:
    """All anchors of a detector with as many candidates as they are, and more than the arena
    holds; the same objects as in Python."""
    network = many_anchors()
    path = tmp_path / "many.npz"
    weights = seeded_weights(network)
    count = len(weights["anchors"])
    assert count > 100_000
    write_model(path, network, weights, PRESETS["tf"], None, {})
    image = np.random.default_rng(1).integers(0, 256, (*network.resolution, 3), np.uint8)
    image.tofile(tmp_path / "image.rgb")
    answer = sanitized(path, tmp_path / "image.rgb", "--exactly", "--threshold", 0)
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert len(lines) == 5  # of a class at most
    with Engine.load(path, backend="numpy") as engine:
        expected = [each.score for each in engine.detect(image, threshold=0)]
    found = [float.fromhex(line.split()[1]) for line in lines]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def many_anchors() -> Network:
    build = Builder(100)
    at = build.conv("stem", "image", 8, 3, 2, "same", "relu6")
    at = build.depthwise("block0.depthwise", at, 3, 1, "same", "relu6")
    at = build.pointwise("block0.project", at, 8)
    boxes = build.pointwise("boxes0", at, 4 * 41)
    scores = build.pointwise("scores0", at, 41)
    detection = detection_of([BoxMap(boxes, scores, 41)], 1, background=False)
    detection = detection._replace(score_threshold=0.0)
    return build.network("many anchors", detection.outputs, "boxes", detection)
