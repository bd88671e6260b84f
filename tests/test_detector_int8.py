"""Detectors in 8 bits: bit for bit the oracle's on every instruction set, in any schedule, and
close to the float detector that they were made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import detection_of, seeded_weights, small_detector
from int8_network import INT8_ISAS, Arrays, PackedInt8, pixels, random_int8

from mnv2_engine import Engine
from mnv2_engine.cli import main
from mnv2_engine.errors import ModelFileError
from mnv2_engine.executors import integer, reference
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.detection import BoxMap
from mnv2_engine.network.layer import Network
from mnv2_engine.network.quantization import Quantization, from_json, to_json
from mnv2_engine.network.ssdlite import ssdlite
from mnv2_engine.plan.planner import assemble, every_schedule, fastest, make_plan
from mnv2_engine.plan.shapes import PRECISIONS, Shapes
from mnv2_engine.plan.steps import Plan
from mnv2_engine.quantize import quantize
from mnv2_engine.quantize.equalisation import ChannelRange
from mnv2_engine.quantize.frames import with_mosaics
from mnv2_engine.quantize.head_ranges import widened
from mnv2_engine.quantize.report import FoundAgreement, found_agreement

NETWORKS = {
    "small": small_detector(),
    "odd": small_detector((57, 64), 20),
    "ssdlite": ssdlite(0.35, 160, classes=3),
}


def outputs_of(model: PackedInt8, plan: Plan, isa: str | None, x: Any) -> tuple[Any, Any]:
    detection = model.network.detection
    assert detection is not None
    count = model.tensors["anchors"].shape[0]
    boxes = np.full((count, 4), np.nan, np.float32)
    scores = np.full((count, detection.columns), np.nan, np.float32)
    executor = NativeExecutor(model, plan, isa)  # type: ignore[arg-type]
    executor.run(x, x.dtype == np.float32, boxes=boxes, scores=scores)
    return boxes, scores


def truth_of(model: PackedInt8, weights: Arrays, x: Any) -> tuple[Any, Any]:
    network, said = model.network, model.quantization
    made = integer.run(network, weights, said, model.input_spec, x[np.newaxis])
    assert made.boxes is not None
    assert made.scores is not None
    return made.boxes[0], made.scores[0]


def assert_same(found: tuple[Any, Any], true: tuple[Any, Any]) -> None:
    for some, each in zip(found, true, strict=True):
        np.testing.assert_array_equal(some, each)


@pytest.mark.parametrize("extreme", [False, True], ids=["", "extreme"])
@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_and_scores_are_the_oracles_bit_for_bit(name: str, extreme: bool) -> None:
    network = NETWORKS[name]
    weights, said = random_int8(network, 1, extreme)
    model, x = PackedInt8(network, weights, said), pixels(network)
    true = truth_of(model, weights, x)
    assert len(np.unique(true[1])) > 20
    for isa in INT8_ISAS:
        for threads in (1, 2, 3):
            assert_same(outputs_of(model, make_plan(network, threads, "int8"), isa, x), true)


def test_any_schedule_gives_the_same_bits() -> None:
    network = NETWORKS["odd"]
    weights, said = random_int8(network, 2)
    model, x = PackedInt8(network, weights, said), pixels(network)
    true = truth_of(model, weights, x)
    shapes = Shapes(network, 1, PRECISIONS["int8"])
    choices = every_schedule(shapes)
    bands = set()
    for i, some in enumerate(choices):  # each schedule of each block once
        for schedule in some:
            only = [*choices[:i], [schedule], *choices[i + 1 :]]
            try:
                chosen = fastest(shapes, only, 1 << 30)
            except ValueError:  # nothing else begins where it ends
                continue
            bands.add(schedule.bands)
            assert_same(outputs_of(model, assemble(shapes, chosen), None, x), true)
    assert bands == {1, 2, 3, 4}


def test_floats_and_taps_too() -> None:
    network = NETWORKS["small"]
    weights, said = random_int8(network, 3)
    model, x = PackedInt8(network, weights, said), pixels(network)
    spec = model.input_spec
    normalised = reference.normalise(spec, x)
    plan = make_plan(network, 1, "int8", taps=(1, 3))
    true = integer.run(
        network, weights, said, spec, x[np.newaxis], taps=("block1.project", "extra0.expand")
    )
    executor = NativeExecutor(model, plan)  # type: ignore[arg-type]
    maps = [np.full(each.shape[1:], np.nan, np.float32) for each in true.maps]
    executor.run(x, False, maps=maps)
    for found, each in zip(maps, true.maps, strict=True):
        np.testing.assert_array_equal(found, each[0])
    assert_same(outputs_of(model, plan, None, normalised), truth_of(model, weights, x))


# --- what `quantize` makes ------------------------------------------------------------------


def frames_of(network: Network, count: int = 4) -> Any:
    random = np.random.default_rng(0)
    height, width = network.resolution
    coarse = random.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3))
    fine = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.clip(fine + random.integers(-30, 31, fine.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A float detector, the 8-bit one made of it, and the report."""
    folder = tmp_path_factory.mktemp("detector")
    source, out = folder / "float.npz", folder / "int8.npz"
    network = NETWORKS["small"]
    write_model(source, network, seeded_weights(network), PRESETS["tf"], ["a", "b"], {})
    return source, out, quantize(source, out, frames_of(network))


def test_a_quantised_detector_says_much_what_it_said(made: tuple[Path, Path, Any]) -> None:
    source, out, report = made
    network, frames = NETWORKS["small"], frames_of(NETWORKS["small"])
    with open_model(source) as model, open_model(out) as integers:
        integers.verify()
        assert integers.dtype == "int8"
        spec, said = model.input_spec, integers.quantization
        assert said is not None
        assert said.pool is None
        true = reference.run(network, model.weights(), reference.normalise(spec, frames))
        found = integer.run(network, integers.weights(), said, spec, frames)
        for some, each in ((found.boxes, true.boxes), (found.scores, true.scores)):
            assert some is not None
            assert each is not None
            assert np.abs(some - each).mean() < 0.03 * each.std()
        assert network.detection is not None
        anchors = model.weights()["anchors"]
        assert report.agreement.images == len(frames)
        again = found_agreement(network.detection, anchors, true, found)
        assert report.agreement.logit_error == pytest.approx(again.logit_error, rel=1e-3)
        assert report.agreement.objects == again.objects > 0
        assert np.array_equal(integers.weights()["anchors"], anchors)
    layers = {layer.name for layer in network.weighted}
    assert {layer.name for layer in report.layers} == layers
    assert "objects in float32" in str(report)


def test_every_backend_and_command_runs_it(made: tuple[Path, Path, Any], capsys: Any) -> None:
    _, out, _ = made
    frame = frames_of(NETWORKS["small"])[0]
    with Engine.load(out, backend="c") as core, Engine.load(out, backend="numpy") as oracle:
        assert core.info.precision == "int8"
        found, true = core.detect(frame), oracle.detect(frame)
        assert [each.label for each in found] == [each.label for each in true]
        assert len(found) > 0
        for some, each in zip(found, true, strict=True):
            assert some.score == pytest.approx(each.score, abs=1e-6)
            assert some.box == pytest.approx(each.box, abs=1e-4)
    for command in (["info"], ["plan"], ["verify"]):
        assert main([*command, str(out)]) == 0
        assert "int8" in capsys.readouterr().out or command == ["verify"]


def test_what_is_found() -> None:
    """Of objects by hand: one is found, one too far away, one of another class."""
    detection = small_detector().detection
    assert detection is not None
    anchors = np.array([[0.3, 0.3, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.3, 0.7, 0.2, 0.2]])
    none: Any = np.empty((1, 0), np.float32)
    boxes = np.zeros((1, 3, 4), np.float32)
    scores = np.full((1, 3, 3), -9, np.float32)
    scores[0, :, 1] = 5
    moved, other = boxes.copy(), scores.copy()
    moved[0, 1, 0] = 5  # half the height of its anchor
    other[0, 2] = [-9, -9, 5]
    true = reference.Outputs(none, none, (), boxes, scores)
    found = reference.Outputs(none, none, (), moved, other)
    assert found_agreement(detection, anchors, true, true)[:4] == (1, 3, 1.0, 0)
    assert found_agreement(detection, anchors, true, found)[:4] == (1, 3, 1 / 3, 2)
    empty = reference.Outputs(none, none, (), boxes, scores - 20)
    assert found_agreement(detection, anchors, empty, found)[:4] == (1, 0, 1.0, 3)
    assert str(FoundAgreement(1, 0, 1.0, 3, 0.1)) == "no objects in float32, 3 in int8"


def test_a_detectors_quantization_has_no_pool(made: tuple[Path, Path, Any]) -> None:
    network = NETWORKS["small"]
    said = random_int8(network)[1]
    text = json.loads(json.dumps(to_json(said)))
    assert from_json(text, network) == Quantization(said.layers, None)
    with pytest.raises(ModelFileError, match="exactly the keys layers"):
        from_json({**text, "pool": [0.1, 5, 0, 1, 1]}, network)


def test_heads_reach_as_far_as_any_object_needs(made: tuple[Path, Path, Any]) -> None:
    """Whatever calibration showed: no score up to 10 is cut off, nor the code of an object."""
    detection = NETWORKS["small"].detection
    assert detection is not None
    with open_model(made[1]) as model:
        arrays = model.weights()
    y, x, height, width = detection.box_coding
    for each in detection.maps:
        for name, due in (
            (each.boxes, [y / 2, x / 2, 0.7 * height, 0.7 * width]),
            (each.scores, [10.0] * detection.columns),
        ):
            scale, offset = arrays[f"{name}.values"].reshape(2, each.anchors, len(due))
            assert (offset <= -np.array(due) + scale).all()
            assert (offset + 255 * scale >= np.array(due) * (1 - 1e-5)).all()
            assert (scale == scale[0]).all()  # anchors share what they reach


def test_the_range_of_a_head() -> None:
    detection = detection_of([BoxMap("b", "s", 2)], 1)  # codes of 10, 10, 5, 5
    low = np.array([-9, -1, -1, -1, -2, -6, -1, -1], np.float64)
    high = np.array([1, 1, 8, 1, 2, 1, 1, 1], np.float64)
    other = ChannelRange(low, high)
    scores = ChannelRange(np.array([-20.0, -3, -4, -2]), np.array([1.0, 2, 3, 14]))
    found = widened(detection, {"b": ChannelRange(low, high), "s": scores, "x": other})
    assert found["x"] is other
    assert found["b"].low.tolist() == [-9, -6, -3.5, -3.5] * 2
    assert found["b"].high.tolist() == [5, 5, 8, 3.5] * 2
    assert found["s"].low.tolist() == [-20, -10] * 2
    assert found["s"].high.tolist() == [10, 14] * 2


@pytest.mark.parametrize(("count", "more"), [(1, 1), (7, 1), (8, 2), (24, 6)])
def test_mosaics_stand_behind_the_pictures(count: int, more: int) -> None:
    """Each of 2 x 2 and 3 x 3 pictures, of one colour each: which ones, and where."""
    height, width = 13, 12  # of odd thirds and halves
    pixels = np.empty((count, height, width, 3), np.uint8)
    pixels[:] = np.arange(1, count + 1)[:, None, None, None] * 9
    made = with_mosaics(pixels)
    assert np.array_equal(made, with_mosaics(pixels))  # no chance in it
    assert made.shape == (count + 2 * more, height, width, 3)
    assert made.dtype == np.uint8
    assert np.array_equal(made[:count], pixels)
    for across, mosaics in ((2, made[count : count + more]), (3, made[count + more :])):
        rows, columns = height // across, width // across
        used = []
        for mosaic in mosaics:
            for i in range(across):
                for j in range(across):
                    down = height if i == across - 1 else (i + 1) * rows
                    right = width if j == across - 1 else (j + 1) * columns
                    cell = mosaic[i * rows : down, j * columns : right]
                    assert (cell == cell[0, 0]).all()
                    used.append(int(cell[0, 0, 0]) // 9)
        seen = np.bincount(used, minlength=count + 1)[1:]  # all as often, or once more
        assert seen.sum() == more * across * across
        assert seen.max() - seen.min() <= 1


def test_a_pixel_of_a_mosaic_is_a_mean() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 8, 6, 3)).astype(np.uint8)
    two, three = with_mosaics(picture)[1:]
    means = picture[0].reshape(4, 2, 3, 2, 3).mean((1, 3))
    for i, j in np.ndindex(2, 2):
        assert np.abs(two[4 * i : 4 * i + 4, 3 * j : 3 * j + 3] - means).max() <= 0.5
    means = picture[0, :6].reshape(2, 3, 2, 3, 3).mean((1, 3))
    assert np.abs(three[4:6, 2:4] - means).max() <= 0.5
    assert np.array_equal(three[6], three[5])  # what is left repeats


# --- plans that lie ------------------------------------------------------------------------


def in_bands(plan: Any) -> Any:
    return next(plan.steps[i] for i in range(plan.step_count) if plan.steps[i].bands > 1)


LIES: list[tuple[str, Any, str]] = [
    ("bands", lambda p: setattr(in_bands(p), "bands", 1000), "bands are not|lines or columns"),
    ("bands below 0", lambda p: setattr(in_bands(p), "bands", -1), "bands are not"),
    ("bands of rows", lambda p: setattr(p.steps[0], "bands", 2), ""),
    ("lines", lambda p: setattr(in_bands(p), "lines", 2), "lines or columns"),
    ("values", lambda p: setattr(p.blocks[p.block_count - 1], "values", -4), "a head's scales"),
    ("one band", lambda p: setattr(in_bands(p), "bands", 1), "lines or columns|overlap|past"),
]


@pytest.mark.parametrize(("lie", "said"), [each[1:] for each in LIES], ids=[e[0] for e in LIES])
def test_a_plan_that_lies_is_refused(lie: Any, said: str) -> None:
    from mnv2_engine._core import ffi, lib

    network = NETWORKS["small"]
    model: Any = PackedInt8(network, *random_int8(network))
    executor = NativeExecutor(model, make_plan(network, 1, "int8"))
    why = ffi.new("const char **")
    built = executor._plan
    assert lib.mnv2_check_plan(executor._isa, built, why) == lib.MNV2_OK
    lie(built)
    refused = lib.mnv2_check_plan(executor._isa, built, why) == lib.MNV2_BAD_PLAN
    assert refused == bool(said)  # rows have no bands: what a plan says of them is not read
    assert re.search(said, ffi.string(why[0]).decode()), ffi.string(why[0])
