"""TFLite models in every form that exporters give them, found to be the network that they are.

The expected weights come from the writer in tflite_files.py, which quantises by itself; that its
files are what TFLite means by them is proven by LiteRT, where it is installed, and by the real
models in test_photographs.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights

from mnv2_engine.convert import Conversion, convert
from mnv2_engine.errors import CheckpointError, InputError, MissingExtraError, UnsupportedError
from mnv2_engine.model.input_spec import InputSpec
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import (
    BlockShape,
    efficientnet_lite,
    inverted_residuals,
    mobilenet_v2,
)
from mnv2_engine.network.layer import Network

pytest.importorskip("tflite", reason="needs the package tflite")

from tflite_files import Form, Graph, Written, model
from tflite_metadata import packed

NETWORK = mobilenet_v2(0.1, (40, 48), 7, "same", divisor=4)
WEIGHTS = make_weights(NETWORK)
SYMMETRIC = mobilenet_v2(0.1, (40, 48), 7, "symmetric", divisor=4)
PREPROCESSED = {"preprocess": "tf", "labels": "none"}


@pytest.fixture
def converted(tmp_path: Path) -> Any:
    """Writes a file, converts it, and checks the weights that came out."""

    def run(written: Written, **options: Any) -> Conversion:
        source, out = tmp_path / "source.tflite", tmp_path / "out.npz"
        source.write_bytes(written.content)
        made = convert(source, out, **options)
        with open_model(out) as opened:
            found = opened.weights()
            assert opened.network == made.network
        assert found.keys() == written.weights.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, written.weights[name], err_msg=name)
        return made

    return run


FORMS = {
    "mean": Form(),
    "average pool": Form(pool="AVERAGE_POOL_2D"),
    "mean, 1x1 convolution": Form(classifier="CONV_2D"),
    "average pool, 1x1 convolution": Form(pool="AVERAGE_POOL_2D", classifier="CONV_2D"),
    "explicit pads": Form(explicit_pads=True),
    "softmax": Form(ends=("SOFTMAX",)),
    "reshape, softmax": Form(classifier="CONV_2D", ends=("RESHAPE", "SOFTMAX")),
    "squeeze": Form(classifier="CONV_2D", ends=("SQUEEZE",)),
    "activations apart": Form(activation="apart"),
    "batch-norm apart": Form(batch_norm="apart"),
    "float16 weights": Form(types="float16"),
    "float16, 1x1 convolution": Form(types="float16", classifier="CONV_2D"),
}
QUANTISED_FORMS = {
    f"{types} {name}": form._replace(types=types)
    for types in ("uint8", "int8")
    for name, form in {
        "mean": Form(),
        "average pool, 1x1 convolution": Form(pool="AVERAGE_POOL_2D", classifier="CONV_2D"),
        "explicit pads": Form(explicit_pads=True),
        "quantize at both ends": Form(starts=("QUANTIZE",), ends=("SOFTMAX", "QUANTIZE")),
        "relu clamped by its range": Form(activation="relu"),
        "no activation but its range": Form(activation="none"),
        "biases without a scale": Form(bias_scales=False),
    }.items()
}


@pytest.mark.parametrize("name", FORMS)
def test_float_forms(name, converted):
    made = converted(model(NETWORK, WEIGHTS, FORMS[name]), **PREPROCESSED)
    assert made.network == NETWORK
    assert made.notes == ()


@pytest.mark.parametrize("name", QUANTISED_FORMS)
def test_quantised_forms(name, converted):
    form = QUANTISED_FORMS[name]
    if form.types == "int8":
        form = form._replace(input=(1 / 127.5, -1))
    made = converted(model(NETWORK, WEIGHTS, form), labels="none")
    assert made.network == NETWORK
    expected = (128.0, 128.0) if form.types == "uint8" else (127.0, 127.5)
    assert made.input_spec == InputSpec((expected[0],) * 3, (expected[1],) * 3, "bilinear", 0.875)
    assert any("bilinear" in note for note in made.notes)


@pytest.mark.parametrize("types", ["float32", "int8"])
def test_symmetric_padding_is_seen(types, converted):
    written = model(SYMMETRIC, WEIGHTS, Form(types=types, explicit_pads=True, input=(1 / 128, 0)))
    options = {"labels": "none"} if types == "int8" else PREPROCESSED
    assert converted(written, **options).network == SYMMETRIC
    assert converted(written, padding="symmetric", **options).network == SYMMETRIC
    with pytest.raises(InputError, match=r"padding 'same' contradicts .* padding is symmetric"):
        converted(written, padding="same", **options)


def test_either_padding_where_they_are_the_same(converted):
    """From 33 pixels on down, every stride finds an odd size: 33, 17, 9, 5, 3."""
    network = mobilenet_v2(0.1, 33, 7, "same", divisor=4)
    written = model(network, make_weights(network))
    assert converted(written, **PREPROCESSED).network == network
    made = converted(written, padding="symmetric", **PREPROCESSED)
    assert made.network.layers == network.layers


def _networks() -> dict[str, Network]:
    found = [mobilenet_v2(width, 32, 3) for width in (0.25, 0.35, 0.5, 1.3)]
    return {each.name: each for each in (*found, efficientnet_lite(0, 64, 11))}


@pytest.mark.parametrize("name", _networks())
def test_widths_and_families(name, converted):
    network = _networks()[name]
    assert converted(model(network, make_weights(network)), **PREPROCESSED).network == network


def test_resolution_is_the_sources_own(converted):
    written = model(NETWORK, WEIGHTS)
    assert converted(written, resolution=(40, 48), **PREPROCESSED).network == NETWORK
    for other in (224, (48, 40)):
        with pytest.raises(InputError, match=r"resolution .* contradicts .* 40x48 pixels"):
            converted(written, resolution=other, **PREPROCESSED)


def test_what_a_float_model_does_not_say_must_be_given(converted):
    written = model(NETWORK, WEIGHTS)
    with pytest.raises(InputError, match=r"options preprocess \(tf, .*\) and labels \(") as error:
        converted(written)
    assert "padding" not in str(error.value)


def test_quantised_input_states_the_normalisation(converted):
    written = model(NETWORK, WEIGHTS, Form(types="uint8", input=(1 / 128, 128)))
    spec = InputSpec((128.0,) * 3, (128.0,) * 3, "bicubic", 0.9)
    made = converted(written, labels="none", resample="bicubic", crop_fraction=0.9)
    assert (made.input_spec, made.notes) == (spec, ())
    assert converted(written, labels="none", preprocess=spec).input_spec == spec
    with pytest.raises(InputError, match=r"preprocess 'tf' contradicts .*zero point 128.*128"):
        converted(written, labels="none", preprocess="tf")


def test_int8_input_is_the_pixel_less_128(converted):
    written = model(NETWORK, WEIGHTS, Form(types="int8", input=(1 / 255, -128)))
    made = converted(written, labels="none")
    assert (made.input_spec.mean[0], made.input_spec.std[0]) == (0.0, 255.0)


def test_a_residual_joins_whatever_the_order_of_its_operands(converted):
    """As TensorFlow writes ADD(project, input) and PyTorch's exporters the reverse."""
    import tflite

    written = model(NETWORK, WEIGHTS)
    content = bytearray(written.content)
    graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
    swapped = 0
    for i in range(graph.OperatorsLength()):
        inputs = graph.Operators(i).InputsAsNumpy()
        if len(inputs) == 2 and graph.Tensors(inputs[1]).Buffer() == 0:
            inputs[:] = inputs[::-1].copy()
            swapped += 1
    assert swapped == sum(block.residual for block in match(NETWORK).blocks)
    assert converted(Written(bytes(content), written.weights), **PREPROCESSED).labels == 0


def test_an_input_scale_of_zero_states_nothing(converted):
    written = model(NETWORK, WEIGHTS, Form(types="uint8", input=(0.0, 128)))
    with pytest.raises(InputError, match="give the option preprocess"):
        converted(written, labels="none")


REFUSED = {
    "another operator": (Form(extra="TANH"), "TANH into"),
    "no activation": (
        Form(activation="none"),
        "operator 0, CONV_2D into .*: layer 'stem' is a stem without an activation",
    ),
    "log-softmax": (Form(ends=("LOG_SOFTMAX",)), "LOG_SOFTMAX into .*"),
    "a softmax of another temperature": (
        Form(ends=("SOFTMAX",), options=(("SOFTMAX", "Beta", 2.0),)),
        "a softmax of beta 2",
    ),
    "a dilated convolution": (
        Form(options=(("DEPTHWISE_CONV_2D", "DilationHFactor", 2),)),
        "DEPTHWISE_CONV_2D into .* dilated convolutions \\(2, 1\\) are not supported",
    ),
    "unequal strides": (
        Form(options=(("CONV_2D", "StrideW", 3),)),
        "strides 2 and 3 are not supported",
    ),
    "a depth multiplier": (
        Form(options=(("DEPTHWISE_CONV_2D", "DepthMultiplier", 2),)),
        "a depth multiplier other than 1 is not supported",
    ),
    "an activation behind a shortcut": (
        Form(options=(("ADD", "FusedActivationFunction", 1),)),
        "a shortcut with the activation relu: expected none",
    ),
    "an activation behind the classifier": (
        Form(options=(("FULLY_CONNECTED", "FusedActivationFunction", 1),)),
        "classifier: relu behind the last dense layer: expected linear",
    ),
    "weights in another order": (
        Form(options=(("FULLY_CONNECTED", "WeightsFormat", 1),)),
        "weights in another order are not supported",
    ),
    "a pool of a part": (
        Form(pool="AVERAGE_POOL_2D", options=(("AVERAGE_POOL_2D", "FilterHeight", 1),)),
        "it averages 1x2 pixels: expected all, 2x2",
    ),
    "any size of input": (Form(any_size=True), "input of any number of pixels: expected a fixed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_compute_something_else(name, converted):
    form, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=message):
        converted(model(NETWORK, WEIGHTS, form), **PREPROCESSED)


def _table(blocks: list[BlockShape], stem: int = 4, head: int | None = 40) -> Network:
    """A network that no paper has."""
    return inverted_residuals("odd", (40, 48), stem, blocks, head, [7])


ODD = {
    "a stride in the middle": [BlockShape(8, 8, 2), BlockShape(16, 8, 2), BlockShape(16, 12)],
    "a missing shortcut": [BlockShape(8, 8), BlockShape(16, 8, shortcut=False), BlockShape(16, 8)],
    "kernels of 5 and 7": [BlockShape(8, 8, 1, 5), BlockShape(24, 8, 2, 7), BlockShape(16, 20)],
    "no expansion": [BlockShape(4, 8, expands=False), BlockShape(8, 8, 1, 3, False)],
}


@pytest.mark.parametrize("name", ODD)
def test_a_table_of_its_own_is_the_network(name, converted):
    network = _table(ODD[name])
    made = converted(model(network, make_weights(network)), **PREPROCESSED)
    assert made.network.layers == network.layers
    assert made.name == "inverted_residuals_40x48"


def test_relu_is_another_network(converted):
    made = converted(model(NETWORK, WEIGHTS, Form(activation="relu")), **PREPROCESSED)
    assert {layer.activation for layer in made.network.weighted} == {"relu", "linear"}
    assert [layer._replace(activation="") for layer in made.network.layers] == [
        layer._replace(activation="") for layer in NETWORK.layers
    ]


@pytest.mark.parametrize(("clamp", "activation"), [(8.0, "relu"), (5.0, "relu6")])
def test_a_range_of_integers_is_an_activation(clamp, activation, converted):
    """Numbers below zero do not fit the tensor, so the layer is as good as one with a ReLU."""
    form = Form(types="int8", activation="none", clamp=clamp, input=(1 / 255, -128))
    made = converted(model(NETWORK, WEIGHTS, form), labels="none")
    assert made.network.layers[0].activation == activation


def test_a_graph_that_is_no_image_classifier(tmp_path):
    graph = Graph()
    entry, out = graph.tensor((1, 16), "FLOAT32"), graph.tensor((1, 16), "FLOAT32")
    graph.operator("RELU", [entry], [out])
    source = tmp_path / "relu.tflite"
    source.write_bytes(graph.file([entry], [out]))
    with pytest.raises(UnsupportedError, match=r"input of shape \(1, 16\): expected \(1, height,"):
        convert(source, tmp_path / "out.npz", **PREPROCESSED)


def test_without_the_package(tmp_path, monkeypatch):
    source = tmp_path / "source.tflite"
    source.write_bytes(model(NETWORK, WEIGHTS).content)
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MissingExtraError, match=r"mnv2-engine\[tflite\]"):
        convert(source, tmp_path / "out.npz", **PREPROCESSED)


@pytest.mark.parametrize("name", ["mean", "average pool, 1x1 convolution", "explicit pads"])
@pytest.mark.parametrize("network", [NETWORK, SYMMETRIC], ids=["same", "symmetric"])
def test_litert_agrees(name, network, tmp_path):
    """The writer's files mean what is taken from them, by TFLite's own runtime."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    from mnv2_engine.executors.reference import run

    form = FORMS[name]._replace(explicit_pads=network is SYMMETRIC or FORMS[name].explicit_pads)
    written = model(network, WEIGHTS, form)
    runner = interpreter.Interpreter(model_content=written.content)
    runner.allocate_tensors()
    x = np.random.default_rng(1).uniform(-1, 1, (1, *network.resolution, 3)).astype(np.float32)
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    theirs = runner.get_tensor(runner.get_output_details()[0]["index"]).reshape(1, -1)
    ours = run(network, written.weights, x.astype(np.float64), np.float64).logits
    assert len(network.weighted) == 53
    assert np.abs(theirs - ours).max() <= 1e-4 * np.abs(ours).max()


# Metadata, as TFLite Task and MediaPipe models carry them


NAMES = b"a\nb b\nc\nd\ne\nf\ng\n"
TF = ([127.5], [127.5])


def with_metadata(
    mean: list[float],
    std: list[float],
    files: list[tuple[str, str]] | None = None,
    content: bytes | None = NAMES,
    form: Form | None = None,
) -> Written:
    flatbuffer, archive = packed(mean, std, files or [("labels.txt", "")], content)
    written = model(NETWORK, WEIGHTS, form, flatbuffer)
    return Written(written.content + archive, written.weights)


def test_metadata_say_everything(converted, tmp_path):
    made = converted(with_metadata(*TF))
    assert made.input_spec == InputSpec((127.5,) * 3, (127.5,) * 3, "bilinear", 0.875)
    assert made.labels == 7
    with open_model(tmp_path / "out.npz") as opened:
        assert opened.labels == ("a", "b b", "c", "d", "e", "f", "g")


def test_metadata_for_each_channel(converted):
    made = converted(with_metadata([123.0, 116.0, 103.0], [58.0, 57.0, 56.0]))
    assert made.input_spec[:2] == ((123.0, 116.0, 103.0), (58.0, 57.0, 56.0))


def test_numbered_labels_and_several_languages(converted, tmp_path):
    files = [("etiketten.txt", "de"), ("labels.txt", "")]
    content = b"".join(b"%d  label %d\r\n" % (i, i) for i in range(7))
    converted(with_metadata(*TF, files, content))
    with open_model(tmp_path / "out.npz") as opened:
        assert opened.labels == tuple(f"label {i}" for i in range(7))


def test_options_that_contradict_the_metadata(converted, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_bytes(NAMES)
    written = with_metadata(*TF)
    assert converted(written, preprocess="tf", labels=labels).labels == 7
    assert converted(written, labels="none").labels == 0
    with pytest.raises(InputError, match="preprocess 'unit' contradicts its metadata"):
        converted(written, preprocess="unit")
    labels.write_bytes(NAMES.replace(b"c", b"x"))
    with pytest.raises(InputError, match="class 2 is 'x' and 'c'"):
        converted(written, labels=labels)


def test_labels_in_the_file_that_are_of_another_count(converted, tmp_path):
    written = with_metadata(*TF, content=NAMES + b"h\n")
    with pytest.raises(InputError, match=r"the 8 labels in it .* 7 classes; give the option"):
        converted(written)
    labels = tmp_path / "labels.txt"
    labels.write_bytes(NAMES)
    made = converted(written, labels=labels)
    assert any("8 labels" in note for note in made.notes)


def test_metadata_that_restate_the_integers(converted):
    """Pixels are quantised: what the metadata say for floats is what the scale says for them."""
    form = Form(types="uint8", input=(1 / 127.5, 127))
    made = converted(with_metadata(*TF, form=form))
    assert (made.input_spec.mean[0], made.input_spec.std[0]) == (127.0, 127.5)


DAMAGED_LABELS = {
    "no archive": (None, "which cannot be read"),
    "not UTF-8": (b"a\n\xff", "expected UTF-8 text"),
    "a blank line": (b"a\n\nc", "line 2 is blank"),
    "no labels": (b"\n\n", "found none"),
}


@pytest.mark.parametrize("name", DAMAGED_LABELS)
def test_a_damaged_label_file(name, converted):
    content, message = DAMAGED_LABELS[name]
    with pytest.raises(CheckpointError, match=message):
        converted(with_metadata(*TF, content=content))


def test_damaged_metadata(converted):
    with pytest.raises(CheckpointError, match="its metadata are damaged"):
        converted(model(NETWORK, WEIGHTS, None, b"\xff\xff\xff\x7fM001" + bytes(20)))
