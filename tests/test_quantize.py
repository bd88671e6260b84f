"""`quantize` and `mnv2 quantize`: whole networks, odd weights, odd images, the bars."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from conftest import make_weights, small_network

from mnv2_engine import Engine, ModelFileError
from mnv2_engine.cli import main
from mnv2_engine.convert import convert
from mnv2_engine.errors import InputError
from mnv2_engine.executors import integer, reference
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.quantize import quantize
from mnv2_engine.quantize.stepwise import Stepwise

Image = pytest.importorskip("PIL.Image")

FEW = ("calibrated with 4 images only: some dozens make the ranges surer",)


def smooth_frames(network, count=4, seed=0):
    """Pixels that vary from frame to frame and from place to place, as photographs do."""
    random = np.random.default_rng(seed)
    height, width = network.resolution
    coarse = random.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3))
    fine = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return np.clip(fine + random.integers(-30, 31, fine.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def model(small_model):
    return small_model(labels=list("abcde"))


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, frame in enumerate(smooth_frames(mobilenet_v2(0.1, 64, divisor=4), 6)):
        Image.fromarray(frame).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def run(capsys):
    def call(*arguments):
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        return code, *capsys.readouterr()

    return call


# The network that is made


@pytest.mark.parametrize(
    ("network", "preset", "method"),
    [
        (small_network(), "tf", "minmax"),
        (small_network(), "tf", "percentile"),
        (small_network(), "tf", "mse"),
        (small_network(padding="symmetric"), "imagenet", "minmax"),
        (mobilenet_v2(0.1, (33, 47), 7), "unit", "minmax"),
        (efficientnet_lite(0, 32, 5), "lite", "minmax"),
    ],
    ids=lambda each: getattr(each, "name", each),
)
def test_a_quantised_network_answers_much_as_it_did(network, preset, method, tmp_path, small_model):
    source = small_model(network, seed=3, input_spec=PRESETS[preset])
    out = tmp_path / "int8.npz"
    frames = smooth_frames(network)
    report = quantize(source, out, frames, method=method)
    with Engine.load(source) as engine:
        truth = engine.logits(frames)
    with open_model(out) as model:
        model.verify()
        assert model.dtype == "int8"
        spec = model.input_spec
        made = integer.run(network, model.weights(), model.quantization, spec, frames).logits
    error = np.abs(made - truth)
    assert error.mean() < 0.03 * truth.std()
    # The report is of the file that was written, image for image.
    assert report.agreement.images == len(frames)
    assert report.agreement.logit_error == pytest.approx(error.mean(), rel=1e-3)
    assert report.agreement.argmax == (made.argmax(1) == truth.argmax(1)).mean()
    names = [layer.name for layer in network.weighted[:-1]]
    assert [layer.name for layer in report.layers] == names
    assert report.method == method
    assert report.notes == FEW


def test_the_report_is_of_the_tensors(model, tmp_path):
    network = small_network()
    frames = smooth_frames(network)
    report = quantize(model, tmp_path / "int8.npz", frames)
    real: dict[str, np.ndarray] = {}
    levels: dict[str, np.ndarray] = {}
    weights = make_weights(network)
    normalised = reference.normalise(PRESETS["tf"], frames)
    reference.run(network, weights, normalised, seen=real)
    with open_model(tmp_path / "int8.npz") as made:
        spec, quantization = made.input_spec, made.quantization
        integer.run(network, made.weights(), quantization, spec, frames, levels)
    thin = {block.project.name: block.output for block in match(network).blocks}
    for layer in report.layers:
        truth = real[thin.get(layer.name, layer.name)]
        assert layer.low == pytest.approx(truth.min(), rel=1e-3, abs=1e-3)
        assert layer.high == pytest.approx(truth.max(), rel=1e-3, abs=1e-3)
        assert layer.scale == quantization.layers[layer.name].scale
        if layer.zero_point:  # a thin tensor, whose channels have scales of their own
            continue
        error = levels[layer.name] * layer.scale - truth
        noise = np.square(error).sum()
        signal = np.square(truth - truth.mean((0, 1, 2))).sum()
        assert layer.snr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.05)
        cut = (truth > 255.5 * layer.scale).mean()
        assert layer.clipped == pytest.approx(cut, abs=1e-4)


def test_equal_arguments_make_equal_bytes(model, photos, tmp_path):
    for name in ("a.npz", "b.npz"):
        quantize(model, tmp_path / name, photos)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_where_it_came_from_is_kept(model, photos, tmp_path):
    quantize(model, tmp_path / "int8.npz", [photos / "1.png", photos / "2.png"], method="mse")
    with open_model(tmp_path / "int8.npz") as made, open_model(model) as source:
        assert made.labels == source.labels == tuple("abcde")
        assert made.input_spec == source.input_spec
        provenance = made.provenance
    assert provenance["source"] == "small.npz"
    assert provenance["sha256"] == sha256(model.read_bytes()).hexdigest()
    assert provenance["quantisation"] == "mse, 2 calibration images"
    assert provenance["origin"] == "seeded random weights"
    assert provenance["converter"].startswith("mnv2_engine ")


def test_biases_make_the_means_agree(model, tmp_path, monkeypatch):
    frames = smooth_frames(small_network(), 8)

    def errors():
        report = quantize(model, tmp_path / "int8.npz", frames)
        return [10 ** (-layer.snr_db / 20) for layer in report.layers]

    corrected = errors()
    monkeypatch.setattr(Stepwise, "_correction", lambda *_: 0.0)
    assert np.mean(corrected) < np.mean(errors())


def test_progress_adds_up(model, tmp_path):
    done = []
    frames = smooth_frames(small_network())
    quantize(model, tmp_path / "int8.npz", frames, advance=lambda *each: done.append(each))
    totals = {total for _, total in done}
    assert totals == {sum(count for count, _ in done)}


# Odd weights


def _zero(weights, start):
    for name, weight in weights.items():
        if name.startswith(start):
            weight[...] = 0


def _some_dead(weights, factor):
    for weight in weights.values():
        if weight.ndim > 1:
            weight[::3] *= factor


def _outlier(weights, ending, factor):
    for name, weight in weights.items():
        if name.endswith(ending):
            weight.reshape(-1)[0] *= factor


def _bias(weights, name, value):
    weights[f"{name}.bias"][::2] = value


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        (_zero, ("",)),
        (_zero, ("stem",)),
        (_zero, ("block3.expand",)),
        (_zero, ("block3.project",)),
        (_zero, ("head",)),
        (_some_dead, (0,)),
        (_some_dead, (1e-20,)),
        (_outlier, ("expand.weight", 1e3)),
        (_outlier, ("depthwise.weight", 1e6)),
        (_outlier, ("project.weight", 30)),
        (_outlier, ("classifier.weight", 1e3)),
        (_outlier, ("depthwise.bias", 1e6)),
        (_bias, ("block3.expand", -1e6)),
        (_bias, ("block3.depthwise", 1e6)),
        (_bias, ("block3.project", 50.0)),
    ],
)
def test_odd_weights_are_borne(change, arguments, tmp_path):
    network = small_network()
    weights = make_weights(network, 1)
    change(weights, *arguments)
    write_model(tmp_path / "odd.npz", network, weights, PRESETS["tf"], None, {})
    frames = smooth_frames(network)
    quantize(tmp_path / "odd.npz", tmp_path / "int8.npz", frames)
    with Engine.load(tmp_path / "odd.npz") as engine:
        truth = engine.logits(frames)
    with Engine.load(tmp_path / "int8.npz") as engine:
        made = engine.logits(frames)
    assert np.abs(made - truth).mean() <= 0.06 * truth.std() + 1e-5 * np.abs(truth).max()


def test_channels_too_small_for_8_bits_are_told(tmp_path):
    weights = make_weights(small_network(), 1)
    weights["block2.expand.weight"][:2] *= np.float32(1e-20)
    write_model(tmp_path / "odd.npz", small_network(), weights, PRESETS["tf"], None, {})
    report = quantize(tmp_path / "odd.npz", tmp_path / "q.npz", smooth_frames(small_network()))
    assert report.notes[-1].endswith("became constant: 2, 2 of block2.expand")
    assert {layer.name: layer.silent for layer in report.layers}["block2.expand"] >= 2


# Odd images and arguments


def test_no_image_is_an_error(model, tmp_path, run):
    out = tmp_path / "int8.npz"
    for nothing in (None, [], np.empty((0, 32, 32, 3), np.uint8)):
        with pytest.raises(InputError, match=r"no image to calibrate with.* give a folder"):
            quantize(model, out, nothing)
    code, printed, told = run("quantize", model, out)
    assert (code, printed) == (2, "")
    assert "give a folder of photographs" in told
    assert not out.exists()


def test_an_empty_folder_is_an_error(model, tmp_path, run):
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, told = run("quantize", model, tmp_path / "q.npz", "--calibrate", empty)
    assert code == 2
    assert f"no image to calibrate with ({empty}: holds no image" in told


def test_images_that_cannot_serve_are_skipped(model, photos, tmp_path, run):
    (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:200])
    Image.new("RGB", (50, 40), "green").save(photos / "green.png")
    code, printed, told = run("quantize", model, tmp_path / "q.npz", "--calibrate", photos)
    assert code == 0
    first, second, third = told.splitlines()
    assert first.startswith(f"mnv2: note: {photos / 'broken.png'}: cannot be decoded")
    assert second.startswith(f"mnv2: note: {photos / 'green.png'}: is of one colour")
    assert third.endswith("calibrated with 6 images only: some dozens make the ranges surer")
    assert "on the 6 calibration images" in printed


def test_only_images_of_one_colour_are_an_error(model, photos, tmp_path):
    for photo in photos.iterdir():
        Image.new("RGB", (40, 40), "grey").save(photo)
    with pytest.raises(InputError, match="is of one colour, which says nothing"):
        quantize(model, tmp_path / "q.npz", photos)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"method": "best"}, "method 'best': expected one of minmax, percentile, mse"),
        ({"limit": 0}, "limit 0: expected a number of images"),
        ({"calibrate": 3}, "calibration images: got int"),
        ({"calibrate": [3]}, "calibration images: got list"),
        ({"calibrate": np.zeros((2, 8, 8, 3), np.uint8)}, "expected uint8 pixels"),
        ({"calibrate": np.zeros((2, 32, 32, 3), np.float32)}, "expected uint8 pixels"),
        ({"calibrate": "absent.jpg"}, "absent.jpg: cannot be read"),
        ({"out": 7}, "output 7: expected the path"),
        ({"out": "no/such/folder.npz"}, "no/such: there is no such folder"),
    ],
)
def test_arguments_that_do_not_fit_are_named(model, photos, tmp_path, arguments, problem):
    given = {"out": tmp_path / "q.npz", "calibrate": photos, **arguments}
    with pytest.raises(InputError) as caught:
        quantize(model, **given)
    assert problem in str(caught.value)
    assert not (tmp_path / "q.npz").exists()


def test_the_source_must_be_a_float_model_and_stays(model, photos, tmp_path):
    before = model.read_bytes()
    with pytest.raises(InputError, match="the output is the model itself"):
        quantize(model, model, photos)
    assert model.read_bytes() == before
    out = tmp_path / "int8.npz"
    quantize(model, out, photos)
    with pytest.raises(InputError, match="is quantised already"):
        quantize(out, tmp_path / "again.npz", photos)
    with pytest.raises(ModelFileError):
        quantize(photos / "0.png", tmp_path / "again.npz", photos)


def test_more_images_than_the_limit_are_thinned_out_evenly(model, photos, tmp_path):
    limited = quantize(model, tmp_path / "a.npz", photos, limit=3)
    chosen = [photos / f"{i}.png" for i in (0, 2, 4)]
    quantize(model, tmp_path / "b.npz", chosen)
    assert limited.agreement.images == 3
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


# The command


def test_the_table_has_a_line_for_each_layer(model, photos, tmp_path, run):
    out = tmp_path / "int8.npz"
    code, printed, _ = run("quantize", model, out, "--calibrate", photos)
    assert code == 0
    lines = printed.splitlines()
    assert lines[0].split() == ["layer", "range", "scale", "zero", "clipped", "SNR", "silent"]
    names = [layer.name for layer in small_network().weighted[:-1]]
    assert [line.split()[0] for line in lines[1 : 1 + len(names)]] == names
    size = os.path.getsize(out)
    assert lines[-1] == f"{out}: mobilenet_v2_0.1_32, int8, {size:,} bytes"


def test_json(model, photos, tmp_path, run):
    out = tmp_path / "int8.npz"
    arguments = ("--calibrate", photos, "--json", "--method", "mse", "--limit", 2)
    code, printed, _ = run("quantize", model, out, *arguments)
    assert code == 0
    answer = json.loads(printed)
    assert answer["method"] == "mse"
    assert answer["agreement"]["images"] == 2
    assert answer["file_bytes"] == os.path.getsize(out)
    assert answer["layers"][0]["name"] == "stem"
    assert set(answer["layers"][0]) >= {"low", "high", "scale", "zero_point", "clipped", "snr_db"}


def test_a_file_is_replaced_only_by_force(model, photos, tmp_path, run):
    out = tmp_path / "int8.npz"
    out.write_text("mine")
    code, _, told = run("quantize", model, out, "--calibrate", photos)
    assert (code, out.read_text()) == (2, "mine")
    assert "give --force to replace it" in told
    code, _, told = run("quantize", model, model, "--calibrate", photos, "--force")
    assert code == 2
    assert "is the model file itself" in told
    assert run("quantize", model, out, "--calibrate", photos, "--force")[0] == 0
    with open_model(out) as made:
        assert made.dtype == "int8"


# The bars, on a real network and photographs that it was not calibrated with


def test_a_real_network_keeps_its_answers(shared, tmp_path):
    checkpoint = shared / "checkpoints" / "mobilenet_v2_1.0_224_tfslim_fp32.npz"
    source, out = tmp_path / "float32.npz", tmp_path / "int8.npz"
    convert(checkpoint, source, padding="same", preprocess="tf", labels="imagenet")
    references = np.load(shared / "images" / "references.npz")
    pixels, truth = references["pixels"], references["tfslim_fp32"]
    report = quantize(source, out, pixels[0::2][:6])
    assert (
        report.file_bytes <= 3_712_000
    )  # 16 KB of them for `values`, 8 KB for the table of layers
    with Engine.load(out) as engine:
        made = engine.logits(pixels[1::2])
    assert (made.argmax(1) == truth[1::2].argmax(1)).mean() >= 0.97
    assert np.abs(made - truth[1::2]).mean() <= 0.12


# What the agreement is measured on


def test_images_are_held_out_where_there_are_enough(model, tmp_path):
    with open_model(model) as source:
        network = source.network
    frames = np.concatenate([smooth_frames(network, seed=seed) for seed in range(5)])
    assert len(frames) == 20
    report = quantize(model, tmp_path / "held.npz", frames)
    held = np.arange(20) % 5 == 2
    assert (report.agreement.images, report.agreement.held_out) == (4, True)
    assert "on 4 images that were held out: the same first answer" in str(report)
    with open_model(tmp_path / "held.npz") as made:
        assert made.provenance["quantisation"] == "minmax, 16 calibration images"
    with Engine.load(tmp_path / "held.npz") as integers, Engine.load(model) as floats:
        error = np.abs(integers.logits(frames[held]) - floats.logits(frames[held])).mean()
    assert report.agreement.logit_error == pytest.approx(error, rel=1e-3)
    quantize(model, tmp_path / "alone.npz", frames[~held])  # the others were calibrated with
    with open_model(tmp_path / "held.npz") as a, open_model(tmp_path / "alone.npz") as b:
        assert all(np.array_equal(a.array(name), b.array(name)) for name in a.tensors)


def test_copies_are_noticed_and_too_few_images_said(model, tmp_path):
    with open_model(model) as source:
        frame = smooth_frames(source.network)[:1]
    report = quantize(model, tmp_path / "q.npz", np.repeat(frame, 24, axis=0))
    assert report.notes[0] == "23 of 24 images are copies of others, and were left out"
    assert "calibrated with 1 images only" in report.notes[1]
    assert (report.agreement.images, report.agreement.held_out) == (1, False)
    assert "on the 1 calibration images, which the network was corrected on" in str(report)
