"""The integers of quantised TFLite models in int8 model files: kept, and meaning the same.

What a file means is computed here again from what the writer put into it, operator by operator as
TFLite's specification of its quantised operators has it, in real factors and by another road than
the package's: windows and einsum instead of taps and matrix products.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights

from mnv2_engine import Engine
from mnv2_engine.convert import Conversion, convert
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors import integer
from mnv2_engine.model.modelfile import ModelFile, open_model
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.layer import Layer, Network

pytest.importorskip("tflite", reason="needs the package tflite")

from tflite_files import Constant, Form, Written, model

Array = np.ndarray[Any, Any]

NETWORK = mobilenet_v2(0.1, (40, 48), 7, "same", divisor=4)
WEIGHTS = make_weights(NETWORK)
INT8 = Form(types="int8", input=(1 / 127.5, -1), spread=True)
UINT8 = Form(types="uint8", input=(1 / 128, 128), spread=True)

FORMS = {
    "mean": Form(),
    "average pool, 1x1 convolution": Form(pool="AVERAGE_POOL_2D", classifier="CONV_2D"),
    "explicit pads": Form(explicit_pads=True),
    "quantize at both ends": Form(starts=("QUANTIZE",), ends=("SOFTMAX", "QUANTIZE")),
    "activations apart": Form(activation="apart"),
    "relu clamped by its range": Form(activation="relu"),
    "biases without a scale": Form(bias_scales=False),
}


def with_form(form: Form, base: Form) -> Form:
    return form._replace(types=base.types, input=base.input, spread=True)


class Imported:
    """A quantised file, converted."""

    def __init__(self, written: Written, folder: Path) -> None:
        source, out = folder / "source.tflite", folder / "out.npz"
        source.write_bytes(written.content)
        self.written = written
        self.made: Conversion = convert(source, out, weights="int8", labels="none")
        self.path = out
        with open_model(out) as opened:
            opened.verify()
            assert opened.dtype == "int8"
            self.model: ModelFile = opened
            self.weights = opened.weights()

    def run(self, pixels: Array, seen: dict[str, Any] | None = None) -> Any:
        model = self.model
        assert model.quantization is not None
        return integer.run(
            model.network, self.weights, model.quantization, model.input_spec, pixels, seen
        )


def canonical(layer: Layer, constant: Constant) -> tuple[Array, Array]:
    """w - zero point as OIHW, and a scale for each output channel."""
    assert constant.scales is not None
    assert constant.zero_points is not None
    shape = [-1 if i == constant.axis else 1 for i in range(constant.stored.ndim)]
    if constant.scales.size == 1:
        shape = [1] * constant.stored.ndim
    integers = constant.stored.astype(np.int64) - constant.zero_points.reshape(shape)
    if layer.operation != "dense":
        order = (3, 0, 1, 2) if layer.operation == "depthwise" else (0, 3, 1, 2)
        integers = integers.transpose(order)
    scales = np.broadcast_to(constant.scales.astype(np.float64), layer.out_channels)
    return integers.reshape(layer.weight_shape), scales


def taken(layer: Layer, constant: Constant) -> tuple[Array, Array]:
    """What the model file is to have of it: the integers where they fit, else 127 steps."""
    integers, scales = canonical(layer, constant)
    rows = integers.reshape(len(integers), -1)
    result, steps = rows.astype(np.float64), scales.copy()
    for n, row in enumerate(rows):
        if row.min() < -128 or row.max() > 127:
            largest = max(abs(row.min()), abs(row.max()))
            result[n], steps[n] = np.rint(row * 127 / largest), scales[n] * largest / 127
    return result.reshape(integers.shape), steps


def unsigned(quantisation: tuple[float, int], types: str) -> tuple[float, int]:
    scale, zero_point = quantisation
    return float(np.float32(scale)), zero_point + (128 if types == "int8" else 0)


def sums(layer: Layer, weight: Array, x: Array, zero_point: int) -> Array:
    """Sum of weight * (x - zero point) over each window of one image."""
    rows, columns = layer.pad_rows, layer.pad_columns
    framed = np.pad(x - zero_point, (rows, columns, (0, 0)))
    shape = (layer.kernel, layer.kernel)
    windows = np.lib.stride_tricks.sliding_window_view(framed, shape, (0, 1))
    windows = windows[:: layer.stride, :: layer.stride]
    terms = "hwckl,ckl->hwc" if layer.operation == "depthwise" else "hwckl,ockl->hwo"
    kernels = weight[:, 0] if layer.operation == "depthwise" else weight
    return np.einsum(terms, windows, kernels)


def nearest(x: Array) -> Array:
    return np.clip(np.floor(x + 0.5), 0, 255)


class Meaning:
    """What a written file computes, in the unsigned integers of its tensors."""

    def __init__(self, network: Network, written: Written, types: str) -> None:
        self.network, self.written = network, written
        self.layers = {layer.name: layer for layer in network.weighted}
        self.outputs = {k: unsigned(q, types) for k, q in written.outputs.items()}

    def convolution(self, name: str, x: Array, source: str) -> Array:
        layer = self.layers[name]
        weight, scales = taken(layer, self.written.stored[f"{name}.weight"])
        (scale, zero_point), (out, out_zero) = self.outputs[source], self.outputs[name]
        acc = sums(layer, weight, x, zero_point) * (scale * scales)
        bias = self.written.stored[f"{name}.bias"]
        _, stated = canonical(layer, self.written.stored[f"{name}.weight"])
        real = acc + bias.stored * (scale * stated)
        if layer.activation == "relu6":
            real = np.clip(real, 0, 6)
        return nearest(real / out + out_zero)

    def joined(self, block: int, thin: Array, source: str, projected: Array) -> Array:
        one, one_zero = self.outputs[source]
        two, two_zero = self.outputs[f"block{block}.project"]
        out, zero_point = self.outputs[f"block{block}"]
        real = one * (thin - one_zero) + two * (projected - two_zero)
        return nearest(real / out + zero_point)

    def logits(self, head: Array) -> Array:
        """From the head's output of one image, in reals."""
        scale, _ = self.outputs["head"]
        pool, zero_point = self.outputs["pool"]
        assert zero_point == 0
        features = nearest(head.mean((0, 1)) * scale / pool)
        layer = self.layers["classifier"]
        weight, scales = taken(layer, self.written.stored["classifier.weight"])
        _, stated = canonical(layer, self.written.stored["classifier.weight"])
        bias = self.written.stored["classifier.bias"].stored * (pool * stated)
        return weight @ features * (pool * scales) + bias


def pixels_of(network: Network, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (1, *network.resolution, 3), np.uint8)


@pytest.fixture
def imported(tmp_path: Path) -> Any:
    return lambda written: Imported(written, tmp_path)


@pytest.mark.parametrize("name", FORMS)
def test_int8_weights_are_kept_bit_for_bit(name, imported):
    written = model(NETWORK, WEIGHTS, with_form(FORMS[name], INT8))
    made = imported(written)
    for layer in NETWORK.weighted:
        stored = written.stored[f"{layer.name}.weight"].stored
        assert stored.dtype == np.int8
        order = {"depthwise": (3, 0, 1, 2), "dense": (0, 1)}.get(layer.operation, (0, 3, 1, 2))
        if stored.ndim == 2 or layer.operation != "dense":
            stored = stored.transpose(order)
        found = made.weights[f"{layer.name}.weight"]
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found, stored.reshape(found.shape), err_msg=layer.name)
    assert [note for note in made.made.notes if "bilinear" not in note] == []
    assert "its integers kept" in made.model.provenance["format"]
    assert made.model.input_spec.mean == (127.0,) * 3


@pytest.mark.parametrize("types", [INT8, UINT8], ids=lambda form: form.types)
@pytest.mark.parametrize("name", FORMS)
def test_every_layer_is_within_a_step_of_what_the_file_means(name, types, imported):
    """Each layer from the same integers, so that no difference hides behind another.

    Ours computes a sum's factor to 15 bits and rounds in two stages: a step at most, and seldom.
    A shortcut is added before the project layer's output is rounded, TFLite's behind it: half a
    step of that output more.
    """
    written = model(NETWORK, WEIGHTS, with_form(FORMS[name], types))
    made, meaning = imported(written), Meaning(NETWORK, written, types.types)
    pixels = pixels_of(NETWORK)
    seen: dict[str, Any] = {}
    logits = made.run(pixels, seen).logits[0]
    seen = {layer: each[0] for layer, each in seen.items()}
    entry, source = pixels[0].astype(np.int64), "image"
    thin, thin_source = entry, source
    exact = []
    for layer in NETWORK.weighted[:-1]:
        found = seen[layer.name]
        meant = meaning.convolution(layer.name, entry, source)
        entry, source = found, layer.name
        block = int(re.findall(r"\d+", layer.name)[0]) if layer.name[0] == "b" else -1
        bound = 1.0
        if layer.name.endswith(".project") and match(NETWORK).blocks[block].residual:
            bound += 0.5 * meaning.outputs[layer.name][0] / meaning.outputs[f"block{block}"][0]
            meant = meaning.joined(block, thin, thin_source, meant)
            source = f"block{block}"
        else:
            exact.append((found == meant).mean())
        assert np.abs(found - meant).max() <= bound, layer.name
        assert len(np.unique(found)) > 20, layer.name
        if layer.name == "stem" or layer.name.endswith(".project"):
            thin, thin_source = entry, source
    assert np.mean(exact) >= 0.97
    np.testing.assert_allclose(logits, meaning.logits(entry), rtol=0, atol=2e-4)


@pytest.mark.parametrize("form", [INT8, UINT8], ids=lambda form: form.types)
@pytest.mark.parametrize("size", [(40, 48), (32, 32)], ids=str)
def test_litert_agrees(form, size, imported):
    """With its reference kernels, end to end, to a few steps of its 8-bit logits."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    network = mobilenet_v2(0.1, size, 7, "same", divisor=4)
    written = model(network, make_weights(network), form)
    runner = litert.Interpreter(
        model_content=written.content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    runner.allocate_tensors()
    (source,), (target,) = runner.get_input_details(), runner.get_output_details()
    scale, zero_point = target["quantization"]
    made = imported(written)
    steps = []
    for seed in range(4):
        pixels = pixels_of(network, seed)
        offset = 128 if form.types == "int8" else 0
        runner.set_tensor(source["index"], (pixels.astype(int) - offset).astype(source["dtype"]))
        runner.invoke()
        theirs = runner.get_tensor(target["index"]).astype(np.float64)
        ours = np.rint(made.run(pixels).logits / scale) + zero_point
        held = np.iinfo(target["dtype"])
        steps.append(np.clip(ours, held.min, held.max) - theirs)
        assert theirs.std() > 20  # steps, so that a wrong network could not pass
    assert np.abs(steps).mean() <= 2
    assert np.abs(steps).max() <= 8


def test_uint8_weights_are_kept_where_they_fit(imported):
    """Of a tensor whose zero point is far from 128, some channels pass 127 and some do not."""
    weights = {name: array.copy() for name, array in WEIGHTS.items()}
    for channel, factor in ((0, 2.5), (3, 0.3)):
        weights["block4.expand.weight"][channel] = np.abs(weights["block4.expand.weight"][channel])
        weights["block4.expand.weight"][channel] *= factor
    written = model(NETWORK, weights, UINT8)
    made = imported(written)
    kept, channels, errors = 0, 0, []
    for layer in NETWORK.weighted:
        constant = written.stored[f"{layer.name}.weight"]
        integers, stated = canonical(layer, constant)
        expected, scales = taken(layer, constant)
        found = made.weights[f"{layer.name}.weight"]
        np.testing.assert_array_equal(found, expected, err_msg=layer.name)
        same = scales == stated
        kept, channels = kept + same.sum(), channels + same.size
        np.testing.assert_array_equal(found[same], integers[same])
        stretch = (scales / stated).reshape(-1, *[1] * (integers.ndim - 1))
        errors.append(np.abs(found * stretch - integers)[~same].ravel())
    error = np.concatenate(errors)
    assert 0 < kept < channels
    assert 0.3 < error.max() <= 1.01  # half of 255 / 127 steps
    (note,) = (note for note in made.made.notes if "bilinear" not in note)
    assert note == (
        f"{kept} of {channels} output channels keep the file's integers; the weights of the other "
        f"{channels - kept} do not fit 8 bits with a sign and were rounded to 127 steps of their "
        f"own, by {error.max():.2f} of the file's steps at most and {error.mean():.2f} on average"
    )


def with_channel(name: str, channel: int, factor: float, bias: float) -> dict[str, Any]:
    weights = {each: array.copy() for each, array in WEIGHTS.items()}
    weights[f"{name}.weight"][channel] *= factor
    weights[f"{name}.bias"][channel] = bias
    return weights


@pytest.mark.parametrize("name", ["stem", "block3.expand", "block4.depthwise", "head"])
def test_channels_of_the_least_scale_that_exporters_write_are_kept(name, imported):
    """TensorFlow's converter writes no scale below 1e-6: such a channel is all but dead."""
    largest = np.abs(WEIGHTS[f"{name}.weight"][2]).max()
    written = model(NETWORK, with_channel(name, 2, 127e-6 / largest, 1.5), INT8)
    constant = written.stored[f"{name}.weight"]
    assert constant.scales is not None
    assert constant.scales.min() == pytest.approx(1e-6)
    made = imported(written)
    assert not any("dead" in note for note in made.made.notes)
    layer = next(layer for layer in NETWORK.weighted if layer.name == name)
    expected, _ = taken(layer, constant)
    np.testing.assert_array_equal(made.weights[f"{name}.weight"], expected)
    seen: dict[str, Any] = {}
    made.run(pixels_of(NETWORK), seen)
    step = unsigned(written.outputs[name], "int8")[0]
    assert np.abs(seen[name][..., 2] * step - 1.5).max() <= 1.5 * step


def test_channels_that_cannot_matter_are_silenced_and_reported(imported):
    weights = with_channel("stem", 1, 1e-12, 0.0)
    weights["block4.expand.weight"][5:7] *= 1e-12
    weights["block4.expand.bias"][5:7] = 0.0
    made = imported(model(NETWORK, weights, INT8))
    assert not made.weights["stem.weight"][1].any()
    (note,) = (note for note in made.made.notes if "dead" in note)
    assert note.endswith("are zero now: stem 1, block4.expand 2")
    seen: dict[str, Any] = {}
    made.run(pixels_of(NETWORK), seen)
    assert not seen["stem"][..., 1].any()
    assert seen["stem"][..., 0].any()


def test_a_layer_of_zeros(imported):
    """Ranges of zero: the writer, as exporters do, gives them some scale."""
    weights = dict(WEIGHTS)
    for name in ("block2.project", "block6.depthwise"):
        weights[f"{name}.weight"] = np.zeros_like(WEIGHTS[f"{name}.weight"])
    for form in (INT8, UINT8):
        made = imported(model(NETWORK, weights, form))
        seen: dict[str, Any] = {}
        logits = made.run(pixels_of(NETWORK), seen).logits
        assert np.isfinite(logits).all()
        assert (np.ptp(seen["block6.depthwise"], axis=(1, 2)) == 0).all()


def test_an_outlier_costs_its_own_channel_alone(imported):
    written = model(NETWORK, with_channel("block5.project", 3, 40.0, 0.0), INT8)
    made, meaning = imported(written), Meaning(NETWORK, written, "int8")
    seen: dict[str, Any] = {}
    made.run(pixels_of(NETWORK), seen)
    x = seen["block5.depthwise"][0]
    meant = meaning.convolution("block5.project", x, "block5.depthwise")
    if match(NETWORK).blocks[5].residual:
        meant = meaning.joined(5, seen["block4.project"][0], "block4", meant)
    others = np.arange(meant.shape[-1]) != 3
    assert np.abs(seen["block5.project"][0] - meant)[..., others].max() <= 2


REFUSED: dict[str, tuple[Form, type[Exception], str]] = {
    "float32": (
        Form(),
        InputError,
        r"is not quantised as a whole: .* from its pixels .*mnv2 quantize",
    ),
    "float16": (Form(types="float16"), InputError, r"is not quantised as a whole: .*mnv2 quantize"),
    "a batch-norm apart": (
        INT8._replace(batch_norm="apart", spread=False),
        UnsupportedError,
        "a batch-norm apart from its layer",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_integers(name, imported):
    form, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        imported(model(NETWORK, WEIGHTS, form))


def test_a_factor_of_one_or_more(imported):
    """A depthwise layer that multiplies by 200 in steps of 1 / 127: its input gets finer steps."""
    weights = with_channel("block1.depthwise", 0, 1.0, 0.0)
    weights["block1.depthwise.weight"][0] *= (
        200 / np.abs(weights["block1.depthwise.weight"][0]).max()
    )
    made = imported(model(NETWORK, weights, INT8))
    (note,) = (each for each in made.made.notes if "requantised by 1 or more" in each)
    assert "the channel before each has finer steps, which end at" in note


def test_other_sources_have_no_integers(tmp_path):
    source, out = tmp_path / "source.npz", tmp_path / "out.npz"
    np.savez(source, **WEIGHTS)
    options = {"padding": "same", "preprocess": "tf", "labels": "none", "resolution": (40, 48)}
    with pytest.raises(InputError, match=r"source\.npz: weights 'int8' .*mnv2 quantize"):
        convert(source, out, weights="int8", **options)
    with pytest.raises(InputError, match=r"weights 'int4': expected float32"):
        convert(source, out, weights="int4", **options)
    assert not out.exists()


def test_the_normalisation_is_that_of_the_integers(tmp_path):
    source, out = tmp_path / "source.tflite", tmp_path / "out.npz"
    source.write_bytes(model(NETWORK, WEIGHTS, INT8).content)
    with pytest.raises(InputError, match=r"preprocess 'tf' contradicts its input's scale"):
        convert(source, out, weights="int8", labels="none", preprocess="tf")


def test_metadata_by_which_the_integers_are_no_pixels(tmp_path):
    from test_convert_tflite import packed

    flatbuffer, _ = packed([0.0], [1.0], [], None)
    source = tmp_path / "source.tflite"
    source.write_bytes(model(NETWORK, WEIGHTS, INT8, flatbuffer).content)
    with pytest.raises(UnsupportedError, match="its integers are not pixels"):
        convert(source, tmp_path / "out.npz", weights="int8", labels="none")


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_an_engine_runs_it(backend, imported):
    made = imported(model(NETWORK, WEIGHTS, INT8))
    pixels = pixels_of(NETWORK)
    outputs = made.run(pixels)
    with Engine.load(made.path, backend=backend) as engine:
        assert engine.info.dtype == "int8"
        assert engine.info.weight_bytes == made.model.weight_bytes
        np.testing.assert_array_equal(engine.logits(pixels), outputs.logits)
        np.testing.assert_array_equal(engine.embed(pixels[0]), outputs.features[0])
        best = engine.predict(pixels[0], top_k=1)[0]
        assert best.index == outputs.logits[0].argmax()


# Published models

PUBLISHED = {"tf2_mobilenet_v2_1.0_224_ptq": 127.0, "mobilenet_v2_1.0_224_quant": 128.0}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(name, shared, tmp_path):
    """Against LiteRT's own 8-bit logits of photographs: steps, and every answer that has a lead.
    A lead of ten steps may be rounding: by so much do LiteRT's own kernels differ in places."""
    out = tmp_path / "out.npz"
    made = convert(
        shared / "checkpoints" / f"{name}.tflite", out, weights="int8", labels="imagenet"
    )
    with np.load(shared / "images" / "references.npz") as file:
        key = f"litert_{name}_ref"
        pixels, theirs = file["pixels"], file[key]
        scale, zero_point = float(file[f"{key}_scale"]), int(file[f"{key}_zero_point"])
    assert made.input_spec.mean == (PUBLISHED[name],) * 3
    lost = [note for note in made.notes if "bilinear" not in note]
    assert len(lost) == (name == "mobilenet_v2_1.0_224_quant")
    with Engine.load(out) as engine:
        ours = engine.logits(pixels)
    held = np.iinfo(theirs.dtype)
    theirs = theirs.astype(np.float64)
    steps = np.clip(np.rint(ours / scale) + zero_point, held.min, held.max) - theirs
    assert np.abs(steps).mean() <= 1.3
    best = np.sort(theirs, axis=1)[:, -2:]
    leads = best[:, 1] - best[:, 0] > 10
    assert leads.sum() >= 17
    np.testing.assert_array_equal(ours.argmax(1)[leads], theirs.argmax(1)[leads])
