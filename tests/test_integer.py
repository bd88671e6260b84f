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
from networks import small_mixed

from mnv2_engine.errors import InputError
from mnv2_engine.executors import integer
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.layer import Layer, Network
from mnv2_engine.network.quantization import Quantization

NETWORKS = {
    "same": mobilenet_v2(0.1, (12, 9), 3, "same", divisor=1),
    "symmetric": mobilenet_v2(0.1, (11, 12), 3, "symmetric", divisor=1),
    **small_mixed(),
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
    network: Network,
    arrays: dict[str, Any],
    quantization: Quantization,
    spec: InputSpec,
    image: Map,
) -> tuple[dict[str, Map], list[int], list[int]]:
    """The output of every layer in front of the pool, a shortcut already in that of the project
    layer that it joins; the sums of the pool, and those of the first dense layer."""
    found: dict[str, Map] = {"image": image}
    # What stands for zero around a map. round() of Python is half to even.
    zeros = {"image": [clamp(round(mean), 0, 255) for mean in spec.mean]}
    joined = {}  # project layer -> what is added to its output
    for layer in network.layers:
        if layer.operation == "add":
            project = next(name for name in layer.inputs if name.endswith("project"))
            (joined[project],) = set(layer.inputs) - {project}
    acc: list[int] = []
    for layer in network.layers:
        source = layer.inputs[0]
        if layer.operation == "pool":
            x = found[source]
            sums = [sum(pixel[n] for row in x for pixel in row) for n in range(layer.in_channels)]
            continue
        if layer.operation == "dense":
            pool = quantization.pool
            features = [
                requantised(each + pool.bias, pool.shift, pool.multiplier, pool.fraction)
                for each in sums
            ]
            weight = arrays[f"{layer.name}.weight"].tolist()
            acc = [sum(f * w for f, w in zip(features, row, strict=True)) for row in weight]
            break
        if layer.operation == "add":
            project = next(name for name in layer.inputs if name in joined)
            found[layer.name], zeros[layer.name] = found[project], zeros[project]
            continue
        said = quantization.layers[layer.name]
        thin = found[joined[layer.name]] if layer.name in joined else None
        found[layer.name] = layer_of(layer, arrays, said, found[source], zeros[source], thin)
        zeros[layer.name] = [said.zero_point] * layer.out_channels
    del found["image"]
    return found, sums, acc


def floats_of(network: Network, arrays: dict[str, Any], acc: list[int]) -> list[Any]:
    """The logits of the sums of the first dense layer, the later ones in double precision."""
    dense = [layer for layer in network.layers if layer.operation == "dense"]
    values: list[Any] = []
    for layer in dense:
        bias = arrays[f"{layer.name}.bias"]
        if layer is dense[0]:
            scale = arrays[f"{layer.name}.scale"]
            values = [
                np.float32(np.float32(a) * s) + b for a, s, b in zip(acc, scale, bias, strict=True)
            ]
        else:
            weight = arrays[f"{layer.name}.weight"].tolist()
            values = [
                sum(float(v) * w for v, w in zip(values, row, strict=True)) + float(b)
                for row, b in zip(weight, bias, strict=True)
            ]
        if layer.activation != "linear":
            values = [max(value, np.float32(0)) for value in values]
        if layer.activation == "relu6":
            values = [min(value, np.float32(6)) for value in values]
    return values


@pytest.mark.parametrize("extreme", [False, True], ids=["usual", "extreme"])
@pytest.mark.parametrize("spec", [PRESETS["tf"], UNEVEN], ids=["tf", "uneven"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_equals_loops_of_integers(name, spec, extreme):
    network = NETWORKS[name]
    arrays, quantization = random_int8(network, 3, extreme)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (2, *network.resolution, 3), np.uint8)
    seen: dict[str, Any] = {}
    blocks = match(network).blocks
    taps = [block.output for block in blocks]
    outputs = integer.run(network, arrays, quantization, spec, pixels, seen, taps)
    pooled = match(network).pooled
    for i, image in enumerate(pixels.tolist()):
        found, sums, acc = naive(network, arrays, quantization, spec, image)
        assert list(seen) == list(found)
        for layer, expected in found.items():
            np.testing.assert_array_equal(seen[layer][i], expected, err_msg=layer)
            small = np.size(expected) < 100  # whose values may all be at one end
            assert extreme or small or 0 < np.mean(expected) < 255, layer
        logits = floats_of(network, arrays, acc)
        if len(network.small_dense):  # their sums round as NumPy likes
            np.testing.assert_allclose(outputs.logits[i], logits, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(outputs.logits[i], logits)
        height, width = pooled.out_size
        said = quantization.layers[pooled.name]
        share = np.float32(said.scale / (height * width))
        offset = np.float32(-said.zero_point * said.scale)
        np.testing.assert_array_equal(
            outputs.features[i], [np.float32(each) * share + offset for each in sums]
        )
        for block, tap in zip(blocks, outputs.maps, strict=True):
            scale, offset = arrays[f"{block.project.name}.values"]
            q = np.array(found[block.output], np.float32)
            np.testing.assert_array_equal(tap[i], np.float32(q * scale) + offset)


def test_the_padding_of_a_block_without_an_expand_layer_is_its_inputs_zero():
    network = NETWORKS["everything"]
    assert match(network).blocks[1].expand is None
    _, quantization = random_int8(network, 3)
    assert quantization.layers["block0.project"].zero_point == 120


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
