"""The oracle of int8 networks, against the sentences of docs/int8.md in loops of Python integers.

Nothing of NumPy's arithmetic is left here but the last two roundings to float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from int8_network import random_int8

from mnv2_engine.errors import InputError
from mnv2_engine.executors import integer
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.layer import Layer, Network

NETWORKS = {
    "same": mobilenet_v2(0.1, (12, 9), 3, "same", divisor=1),
    "symmetric": mobilenet_v2(0.1, (11, 12), 3, "symmetric", divisor=1),
}
UNEVEN = InputSpec((127.5, 116.28, 300.0), (58.0, 57.0, 2.5), "bilinear", 0.875)


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def requantised(
    acc: int, shift: int, multiplier: int, fraction: int, shortcut: tuple[int, int] = (0, 0)
) -> int:
    """The three lines under "A convolution"; `shortcut` is s and what multiplies it."""
    t = clamp(acc >> shift, -32768, 32767)
    v = (t * multiplier + 2**14) >> 15
    s, factor = shortcut
    if factor:
        v = clamp(v + ((64 * s * factor + 2**14) >> 15), -32768, 32767)
    return clamp(v >> fraction, 0, 255)


Map = list[list[list[int]]]  # rows, columns, channels


def layer_of(
    layer: Layer, arrays: dict[str, Any], said: Any, x: Map, pad: list[int], thin: Map | None
) -> Map:
    weight = arrays[f"{layer.name}.weight"].tolist()
    bias, multiplier, shift = (
        arrays[f"{layer.name}.{part}"].tolist() for part in ("bias", "multiplier", "shift")
    )
    height, width = layer.in_size
    out: Map = []
    for oy in range(layer.out_size[0]):
        out.append([])
        for ox in range(layer.out_size[1]):
            pixel = []
            for n in range(layer.out_channels):
                acc = bias[n]
                for ky in range(layer.kernel):
                    for kx in range(layer.kernel):
                        iy = oy * layer.stride + ky - layer.pad_rows[0]
                        ix = ox * layer.stride + kx - layer.pad_columns[0]
                        inside = 0 <= iy < height and 0 <= ix < width
                        source = x[iy][ix] if inside else pad
                        if layer.operation == "depthwise":
                            acc += source[n] * weight[n][0][ky][kx]
                        else:
                            acc += sum(
                                source[c] * weight[n][c][ky][kx] for c in range(layer.in_channels)
                            )
                s = (0, 0) if thin is None else (thin[oy][ox][n], said.shortcut)
                pixel.append(requantised(acc, shift[n], multiplier[n], said.fraction, s))
            out[-1].append(pixel)
    return out


def naive(
    network: Network, arrays: dict[str, Any], quantization: Any, spec: InputSpec, image: Map
) -> tuple[dict[str, Map], list[int], list[int]]:
    """Every layer's output, the sums of the pool, and those of the classifier."""
    found: dict[str, Map] = {}
    x, thin = image, image
    # round() of Python is half to even.
    pad = [clamp(round(mean), 0, 255) for mean in spec.mean]
    convolutions = network.weighted[:-1]
    for layer in convolutions:
        block, _, part = layer.name.partition(".")
        joins = part == "project" and match(network).blocks[int(block[5:])].residual
        said = quantization.layers[layer.name]
        x = layer_of(layer, arrays, said, x, pad, thin if joins else None)
        found[layer.name] = x
        pad = [0] * layer.out_channels
        if layer.name == "stem" or part == "project":
            thin = x
    pool = quantization.pool
    sums = [sum(pixel[n] for row in x for pixel in row) for n in range(network.features)]
    features = [
        requantised(each + pool.bias, pool.shift, pool.multiplier, pool.fraction) for each in sums
    ]
    weight = arrays["classifier.weight"].tolist()
    acc = [sum(f * w for f, w in zip(features, row, strict=True)) for row in weight]
    return found, sums, acc


@pytest.mark.parametrize("extreme", [False, True], ids=["usual", "extreme"])
@pytest.mark.parametrize("spec", [PRESETS["tf"], UNEVEN], ids=["tf", "uneven"])
@pytest.mark.parametrize("padding", NETWORKS)
def test_every_layer_equals_loops_of_integers(padding, spec, extreme):
    network = NETWORKS[padding]
    arrays, quantization = random_int8(network, 5, extreme)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2, *network.resolution, 3), np.uint8)
    seen: dict[str, Any] = {}
    outputs = integer.run(network, arrays, quantization, spec, pixels, seen)
    for i, image in enumerate(pixels.tolist()):
        found, sums, acc = naive(network, arrays, quantization, spec, image)
        assert [name for name in seen if not name.endswith(".add")] == list(found)
        for name, expected in found.items():
            np.testing.assert_array_equal(seen[name][i], expected, err_msg=name)
            assert extreme or 0 < np.mean(expected) < 255, name
        scale, bias = arrays["classifier.scale"], arrays["classifier.bias"]
        logits = [
            np.float32(np.float32(a) * s) + b for a, s, b in zip(acc, scale, bias, strict=True)
        ]
        np.testing.assert_array_equal(outputs.logits[i], logits)
        height, width = network.weighted[-2].out_size
        share = np.float32(quantization.layers["head"].scale / (height * width))
        np.testing.assert_array_equal(
            outputs.features[i], [np.float32(each) * share for each in sums]
        )


int32 = st.integers(-(2**31) + 1, 2**31 - 1)


@given(
    int32,
    st.integers(0, 31),
    st.integers(0, 32767),
    st.integers(0, 6),
    st.tuples(st.integers(0, 255), st.integers(0, 32767)),
)
def test_requantisation_of_any_integers(acc, shift, multiplier, fraction, shortcut):
    s, factor = shortcut
    found = integer.requantise(
        np.array([acc]), np.array([shift]), np.array([multiplier]), fraction, np.array([s]), factor
    )
    assert found.tolist() == [requantised(acc, shift, multiplier, fraction, shortcut)]


def test_normalised_floats_become_the_pixels_that_they_were():
    spec = PRESETS["imagenet"]
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    x = (pixels - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_array_equal(integer.pixels_of(spec, x.astype(np.float32)), pixels)
    far = np.array([-1e30, 1e30, 0], np.float32).reshape(1, 1, 1, 3)
    assert integer.pixels_of(spec, far).ravel().tolist() == [0, 255, 104]


def test_the_pad_is_the_pixel_nearest_to_zero():
    assert integer.pad_pixel(PRESETS["tf"]).tolist() == [128, 128, 128]  # of 127.5, half to even
    assert integer.pad_pixel(UNEVEN).tolist() == [128, 116, 255]
    assert integer.pad_pixel(PRESETS["unit"]).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 12, 9, 4), np.uint8),
        np.zeros((12, 9, 3), np.uint8),
        np.zeros((1, 12, 9, 3), np.int64),
        np.zeros((1, 12, 9, 3), np.float64),
    ],
    ids=["channels", "axes", "int64", "float64"],
)
def test_what_is_no_image(x):
    network = NETWORKS["same"]
    arrays, quantization = random_int8(network)
    with pytest.raises(InputError, match="expected"):
        integer.run(network, arrays, quantization, PRESETS["tf"], x)
