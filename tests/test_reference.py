"""The oracle itself: by hand, by scalar loops, and by onnxruntime's logits of real weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights
from hypothesis import given
from hypothesis import strategies as st
from networks import small_mixed

from mnv2_engine.errors import InputError
from mnv2_engine.executors.reference import (
    ReferenceExecutor,
    activated,
    convolution,
    dense,
    depthwise,
    normalise,
    pointwise,
    run,
)
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Layer, padding_of


def make_layer(
    kind: str, channels: tuple[int, int], kernel: int, stride: int, size: tuple[int, int], pad: str
) -> Layer:
    rows, top, bottom = padding_of(size[0], kernel, stride, pad)
    columns, left, right = padding_of(size[1], kernel, stride, pad)
    out = (rows, columns)
    return Layer(
        name="x",
        operation=kind,
        inputs=("image",),
        in_channels=channels[0],
        out_channels=channels[1],
        kernel=kernel,
        stride=stride,
        dilation=1,
        in_size=size,
        out_size=out,
        pad_rows=(top, bottom),
        pad_columns=(left, right),
        activation="linear",
    )


def naive(layer: Layer, weight: Any, x: Any) -> Any:
    """One output value after another, reading zero outside the image."""
    height, width = layer.in_size
    y = np.zeros((len(x), *layer.out_size, layer.out_channels))
    for n, oy, ox, o in np.ndindex(*y.shape):
        channels = [o] if layer.operation == "depthwise" else range(layer.in_channels)
        for ky, kx in np.ndindex(layer.kernel, layer.kernel):
            iy = oy * layer.stride + ky - layer.pad_rows[0]
            ix = ox * layer.stride + kx - layer.pad_columns[0]
            if 0 <= iy < height and 0 <= ix < width:
                for i, c in enumerate(channels):
                    y[n, oy, ox, o] += float(weight[o, i, ky, kx]) * float(x[n, iy, ix, c])
    return y


@given(
    kind=st.sampled_from(["conv", "depthwise", "pointwise"]),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    padding=st.sampled_from(["same", "symmetric"]),
    seed=st.integers(0, 1 << 16),
)
def test_every_layer_kind_equals_scalar_loops(
    kind: str,
    channels: tuple[int, int],
    kernel: int,
    stride: int,
    size: tuple[int, int],
    padding: str,
    seed: int,
) -> None:
    operation = {"conv": convolution, "depthwise": depthwise, "pointwise": pointwise}[kind]
    if kind == "pointwise":
        kernel = stride = 1
    if kind == "depthwise":
        channels = (channels[0], channels[0])
    layer = make_layer(kind, channels, kernel, stride, size, padding)
    random = np.random.default_rng(seed)
    weight = random.normal(size=layer.weight_shape)
    x = random.normal(size=(2, *size, layer.in_channels))
    np.testing.assert_allclose(operation(layer, weight, x), naive(layer, weight, x), atol=1e-12)


@pytest.mark.parametrize("name", small_mixed())
def test_every_operation_of_a_table_equals_scalar_loops(name: str) -> None:
    network = small_mixed()[name]
    weights = make_weights(network, seed=3)
    x = np.random.default_rng(4).uniform(-1, 1, (2, *network.resolution, 3))
    values: dict[str, Any] = {"image": x}
    for layer in network.layers:
        first, *rest = (values[source] for source in layer.inputs)
        y = np.zeros((2, *layer.out_size, layer.out_channels))
        if layer.operation == "add":
            y[:] = first + rest[0]
        elif layer.operation == "pool":
            for n, c in np.ndindex(2, layer.out_channels):
                pixels = [first[n, i, j, c] for i, j in np.ndindex(*layer.in_size)]
                y[n, 0, 0, c] = sum(pixels) / len(pixels)
        else:
            weight = weights[f"{layer.name}.weight"].reshape(
                layer.out_channels, -1, layer.kernel, layer.kernel
            )
            y = naive(layer, weight, first)
            for place in np.ndindex(*y.shape):
                y[place] += float(weights[f"{layer.name}.bias"][place[-1]])
                if layer.activation != "linear":
                    y[place] = max(y[place], 0.0)
                if layer.activation == "relu6":
                    y[place] = min(y[place], 6.0)
        values[layer.name] = y
    outputs = run(network, weights, x, np.float64, taps=(network.layers[4].name, "stem"))
    found = [outputs.features, outputs.maps[0], outputs.maps[1]]
    expected = [values["pool"][:, 0, 0], values[network.layers[4].name], values["stem"]]
    if network.classes:
        found.append(outputs.logits)
        expected.append(values[network.outputs[0]][:, 0, 0])
    assert outputs.logits.shape == (2, network.classes)
    for answer, true in zip(found, expected, strict=True):
        if true.ndim == 4 and answer.ndim == 2:
            true = true[:, 0, 0]
        np.testing.assert_allclose(answer, true, atol=1e-12)


def test_padding_by_hand() -> None:
    """A 4x4 image of ones under a 3x3 kernel of ones at stride 2 counts the pixels it covers."""
    x, weight = np.ones((1, 4, 4, 1)), np.ones((1, 1, 3, 3))
    same = make_layer("conv", (1, 1), 3, 2, (4, 4), "same")  # 0 before, 1 after
    assert convolution(same, weight, x)[0, :, :, 0].tolist() == [[9, 6], [6, 4]]
    symmetric = make_layer("conv", (1, 1), 3, 2, (4, 4), "symmetric")  # 1 before
    assert convolution(symmetric, weight, x)[0, :, :, 0].tolist() == [[4, 6], [6, 9]]


def test_taps_are_correlated_not_flipped() -> None:
    x = np.zeros((1, 3, 3, 2))
    x[0, 0, 1] = [1, 10]
    weight = np.arange(18.0).reshape(2, 1, 3, 3)
    layer = make_layer("depthwise", (2, 2), 3, 1, (3, 3), "same")
    y = depthwise(layer, weight, x)
    assert y[0, :, :, 0].tolist() == [[5, 4, 3], [2, 1, 0], [0, 0, 0]]
    assert y[0, :, :, 1].tolist() == [[140, 130, 120], [110, 100, 90], [0, 0, 0]]


def test_pointwise_and_dense_by_hand() -> None:
    weight = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    layer = make_layer("pointwise", (2, 3), 1, 1, (1, 1), "same")
    x = np.array([10.0, 1.0])
    assert pointwise(layer, weight[:, :, None, None], x[None, None, None]).tolist() == [
        [[[12, 34, 56]]]
    ]
    assert dense(layer, weight, x[None]).tolist() == [[12, 34, 56]]


def test_relu6() -> None:
    clipped = activated("relu6", np.array([-np.inf, -1, -0.0, 3, 6, 7, np.inf, np.nan]))
    np.testing.assert_array_equal(clipped, [0, 0, 0, 3, 6, 6, 6, np.nan])


def test_normalise() -> None:
    pixels = np.array([[[0, 128, 255]]], np.uint8)
    assert normalise(PRESETS["lite"], pixels).tolist() == [[[-127 / 128, 1 / 128, 1.0]]]
    imagenet = normalise(PRESETS["imagenet"], pixels, np.float64)[0, 0]
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(imagenet, expected, rtol=1e-12)
    assert normalise(PRESETS["tf"], pixels).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("checkpoint", "padding", "preset", "classes"),
    [("tfslim", "same", "tf", 1001), ("symmetric_padding", "symmetric", "imagenet", 1000)],
)
def test_logits_of_real_checkpoints_are_onnxruntimes(
    checkpoint: str, padding: str, preset: str, classes: int, dtype: Any, shared: Path
) -> None:
    with np.load(shared / "checkpoints" / f"mobilenet_v2_1.0_224_{checkpoint}_fp32.npz") as file:
        weights = dict(file)
    with np.load(shared / "images" / "references.npz") as file:
        some = slice(0, 24, 6)
        pixels, expected = file["pixels"][some], file[f"{checkpoint}_fp32"][some]
    network = mobilenet_v2(classes=classes, padding=padding)
    outputs = run(network, weights, normalise(PRESETS[preset], pixels, dtype), dtype)
    assert outputs.logits.dtype == dtype
    assert outputs.logits.shape == expected.shape
    assert np.abs(outputs.logits - expected).max() <= 1e-4
    # The bar tells the paddings apart: the wrong one is off by far more.
    other = mobilenet_v2(classes=classes, padding="symmetric" if padding == "same" else "same")
    wrong = run(other, weights, normalise(PRESETS[preset], pixels[:1], dtype), dtype)
    assert np.abs(wrong.logits - expected[:1]).max() > 1e-2


@pytest.mark.parametrize(
    "network",
    [
        mobilenet_v2(0.1, (33, 40), 3, "symmetric", divisor=4),
        mobilenet_v2(0.35, (32, 45), 7),
        efficientnet_lite(0, (37, 32), 4),
    ],
    ids=lambda network: network.name,
)
def test_single_precision_stays_near_double(
    network: Any, random_weights: Callable[..., Any]
) -> None:
    weights = random_weights(network, seed=7)
    x = np.random.default_rng(7).uniform(-1, 1, (2, *network.resolution, 3))
    double = run(network, weights, x, np.float64)
    single = run(network, weights, x.astype(np.float32))
    for exact, rounded in zip(double[:2], single[:2], strict=True):
        assert rounded.dtype == np.float32
        assert np.abs(rounded - exact).max() <= 1e-5 * np.abs(exact).max()
    # The features of image 0 and the classifier alone give its logits.
    by_hand = weights["classifier.weight"] @ double.features[0] + weights["classifier.bias"]
    np.testing.assert_allclose(double.logits[0], by_hand, rtol=1e-9)
    assert (double.features >= 0).all()
    assert (double.features <= 6).all()
    assert np.ptp(double.logits, axis=0).max() > 1e-3


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 32, 32, 4)),
        np.zeros((1, 32, 31, 3)),
        np.zeros((32, 32, 3)),
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((1, 3, 32, 32)),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_wrong_input(x: Any, random_weights: Callable[..., Any]) -> None:
    network = mobilenet_v2(0.1, 32, 3, divisor=4)
    with pytest.raises(InputError, match=r"expected floating point of shape \(N, 32, 32, 3\)"):
        run(network, random_weights(network), x)


def test_wrong_dtype(random_weights: Callable[..., Any]) -> None:
    network = mobilenet_v2(0.1, 32, 3, divisor=4)
    with pytest.raises(InputError, match="float16"):
        run(network, random_weights(network), np.zeros((1, 32, 32, 3)), np.float16)


def test_the_executor_answers_pixels_and_floats(
    small_model: Callable[..., Path], random_weights: Callable[..., Any]
) -> None:
    with open_model(small_model(seed=5, input_spec=PRESETS["imagenet"])) as model:
        executor = ReferenceExecutor(model)
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (3, 32, 32, 3), np.uint8)
        outputs = executor.outputs(pixels)
        floats = normalise(PRESETS["imagenet"], pixels)
        expected = run(model.network, random_weights(model.network, seed=5), floats)
        twice = executor.outputs(floats)
        for found, due, again in zip(outputs[:2], expected[:2], twice[:2], strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, due, rtol=1e-5, atol=1e-5)
            assert np.array_equal(found, again)
        assert np.array_equal(executor.outputs(pixels[1:2]).logits[0], outputs.logits[1])
        assert executor.outputs(pixels[:0]).logits.shape == (0, 5)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 32, 32, 4), np.uint8),
        np.zeros((1, 31, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.int16),
        np.zeros((1, 32, 32), np.uint8),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}",
)
def test_the_executor_refuses_other_arrays(x: Any, small_model: Callable[..., Path]) -> None:
    with open_model(small_model()) as model, pytest.raises(InputError, match="expected"):
        ReferenceExecutor(model).outputs(x)
