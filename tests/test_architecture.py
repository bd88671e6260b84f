"""The published tables: parameters, multiply-adds, shapes and padding."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import (
    efficientnet_lite,
    family_network,
    make_divisible,
    mobilenet_v2,
)
from mnv2_engine.network.layer import Network, multiply_adds, padding_of, parameters

WIDTHS = (1.0, 1.0, 1.1, 1.2, 1.4)  # of EfficientNet-Lite


@pytest.mark.parametrize(
    ("width", "size", "divisor", "millions_of_parameters", "millions_of_multiply_adds"),
    [
        (1.0, 224, 8, 3.505, 300.77),
        (0.75, 224, 8, 2.636, 209.07),
        (0.5, 224, 8, 1.969, 97.13),
        (0.35, 224, 8, 1.677, 59.29),
        (0.25, 224, 8, 1.519, 37.20),
        (0.1, 224, 4, 1.357, 12.92),
        (1.0, 192, 8, 3.505, 221.32),
        (1.0, 160, 8, 3.505, 154.08),
        (1.0, 128, 8, 3.505, 99.07),
        (1.0, 96, 8, 3.505, 56.29),
    ],
)
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_mobilenet_v2_counts_are_the_published_ones(
    width: float,
    size: int,
    divisor: int,
    millions_of_parameters: float,
    millions_of_multiply_adds: float,
    padding: str,
) -> None:
    network = mobilenet_v2(width, size, padding=padding, divisor=divisor)
    assert round(parameters(network) / 1e6, 3) == millions_of_parameters
    assert round(multiply_adds(network) / 1e6, 2) == millions_of_multiply_adds


@pytest.mark.parametrize(
    ("variant", "millions_of_parameters", "millions_of_multiply_adds", "size"),
    # The table of the EfficientNet-Lite release of the TensorFlow TPU models.
    [
        (0, 4.7, 407, 224),
        (1, 5.4, 631, 240),
        (2, 6.1, 899, 260),
        (3, 8.2, 1440, 280),
        (4, 13.0, 2640, 300),
    ],
)
def test_efficientnet_lite_counts_are_the_published_ones(
    variant: int, millions_of_parameters: float, millions_of_multiply_adds: float, size: int
) -> None:
    network = efficientnet_lite(variant)
    assert network.resolution == (size, size)
    assert round(parameters(network) / 1e6, 1) == pytest.approx(millions_of_parameters, abs=0.051)
    # The release counts some elementwise work as well: 3 to 6 % above the multiply-adds alone.
    assert 0.94 < multiply_adds(network) / 1e6 / millions_of_multiply_adds < 0.97


def test_table_2_of_the_paper() -> None:
    """Input of every row: 224² x 3 to 7² x 320, as the paper prints it."""
    table = mobilenet_v2().weighted
    entries = [layer for layer in table if layer.name.endswith((".expand", "block0.depthwise"))]
    first_of_row = [entries[i] for i in (0, 1, 3, 6, 10, 13, 16)]
    assert [(layer.in_size[0], layer.in_channels) for layer in first_of_row] == [
        (112, 32),
        (112, 16),
        (56, 24),
        (28, 32),
        (14, 64),
        (14, 96),
        (7, 160),
    ]
    assert [layer.out_channels for layer in table if layer.name in ("stem", "head")] == [32, 1280]
    assert table[-2].in_channels == 320
    assert [layer.activation == "relu6" for layer in table if "project" in layer.name] == [
        False
    ] * 17
    assert len(table) == 53


def test_shortcuts_join_equal_thin_ends_only() -> None:
    blocks = mobilenet_v2().blocks
    assert [i for i, block in enumerate(blocks) if block.residual] == [
        *(2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    ]


def test_width_0_1_has_channels_in_multiples_of_four() -> None:
    network = mobilenet_v2(0.1, 224, divisor=4)
    assert network.layers[0].out_channels == 4
    assert [block.out_channels for block in match(network).blocks[::4]] == [4, 4, 8, 12, 32]
    assert network.features == 1280


def test_the_head_grows_above_width_one_only() -> None:
    assert [mobilenet_v2(width).features for width in (0.35, 1.0, 1.4)] == [1280, 1280, 1792]


@pytest.mark.parametrize(
    ("channels", "divisor", "rounded"),
    [(32 * 0.35, 8, 16), (16 * 0.35, 8, 8), (24 * 0.75, 8, 24), (24 * 1.4, 8, 32), (1.6, 4, 4)],
)
def test_make_divisible(channels: float, divisor: int, rounded: int) -> None:
    assert make_divisible(channels, divisor) == rounded


@given(st.floats(0.01, 5000), st.integers(1, 64))
def test_make_divisible_never_loses_a_tenth(channels: float, divisor: int) -> None:
    rounded = make_divisible(channels, divisor)
    assert rounded % divisor == 0
    assert rounded >= max(divisor, 0.9 * channels)
    assert rounded <= max(divisor, channels + divisor)


AXES = st.tuples(st.integers(1, 600), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]))


@given(AXES)
def test_same_padding_is_tensorflows(axis: tuple[int, int, int]) -> None:
    """The two cases of TensorFlow's documentation ("Notes on padding" of tf.nn)."""
    size, kernel, stride = axis
    rest = size % stride
    total = max(kernel - stride, 0) if rest == 0 else max(kernel - rest, 0)
    expected = ((size + stride - 1) // stride, total // 2, total - total // 2)
    assert padding_of(size, kernel, stride, "same") == expected


@given(AXES)
def test_symmetric_padding_is_pytorchs(axis: tuple[int, int, int]) -> None:
    """Output i reads the k pixels from i * stride - (k - 1) / 2 on; there are as many outputs as
    fit between (k - 1) / 2 zeros on either side, and no pad that none of them reads."""
    size, kernel, stride = axis
    half = kernel // 2
    starts = [i for i in range(-half, size + half - kernel + 1) if (i + half) % stride == 0]
    out, before, after = padding_of(size, kernel, stride, "symmetric")
    assert out == len(starts)
    assert before == half
    assert after == max(starts[-1] + kernel - size, 0)


@pytest.mark.parametrize(
    ("padding", "size", "pads"),
    [
        ("same", 224, (0, 1)),
        ("same", 225, (1, 1)),
        ("symmetric", 224, (1, 0)),
        ("symmetric", 225, (1, 1)),
    ],
)
def test_the_paddings_differ_on_even_sizes_at_stride_two(
    padding: str, size: int, pads: tuple[int, int]
) -> None:
    stem = mobilenet_v2(resolution=size, padding=padding).layers[0]
    assert stem.pad_rows == stem.pad_columns == pads


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from(["same", "symmetric"]),
    st.sampled_from([0.1, 0.35, 1.0, 1.3]),
    st.sampled_from([4, 8]),
)
def test_layers_fit_together_at_any_size(
    size: tuple[int, int], padding: str, width: float, divisor: int
) -> None:
    network = mobilenet_v2(width, size, 7, padding, divisor)
    table = network.weighted
    assert table[0].in_size == size
    for before, after in pairwise(table[:-1]):
        assert after.in_size == before.out_size
        assert after.in_channels == before.out_channels
    for layer in table[:-1]:
        for axis, pads in enumerate((layer.pad_rows, layer.pad_columns)):
            reach = (layer.out_size[axis] - 1) * layer.stride + layer.kernel
            assert reach <= layer.in_size[axis] + sum(pads)
            assert max(pads) < layer.kernel
    assert table[-2].out_size == (-(-size[0] // 32), -(-size[1] // 32))
    assert table[-1].out_channels == 7


def test_names() -> None:
    assert mobilenet_v2().name == "mobilenet_v2_1.0_224"
    assert mobilenet_v2(0.35, (128, 160)).name == "mobilenet_v2_0.35_128x160"
    assert efficientnet_lite(0).name == "efficientnet_lite0_224"


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (mobilenet_v2(0.1, (97, 33), 3, "symmetric", 4), ("mobilenet_v2", 0.1, 4)),
        *((efficientnet_lite(n), (f"efficientnet_lite{n}", WIDTHS[n], 8)) for n in range(5)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_network_is_rebuilt_from_what_version_1_says(
    network: Network, said: tuple[str, float, int]
) -> None:
    again = family_network(*said, network.resolution, network.classes, network.padding)
    assert again == network


def test_an_unknown_family_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match=r"mobilenet_v9.*mobilenet_v2"):
        family_network("mobilenet_v9", 1.0, 8, (224, 224), 1000, "same")


def test_efficientnet_lite_has_one_width_each() -> None:
    with pytest.raises(InputError, match="width"):
        family_network("efficientnet_lite0", 0.5, 8, (224, 224), 1000, "same")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"width": 0.0}, "width"),
        ({"width": -1.0}, "width"),
        ({"width": float("nan")}, "width"),
        ({"width": float("inf")}, "width"),
        ({"width": 1e9}, "width"),
        ({"width": "1.0"}, "width"),
        ({"resolution": 0}, "resolution"),
        ({"resolution": (224,)}, "resolution"),
        ({"resolution": (224, -1)}, "resolution"),
        ({"resolution": (224, 1 << 40)}, "resolution"),
        ({"resolution": 224.0}, "resolution"),
        ({"resolution": True}, "resolution"),
        ({"resolution": None}, "resolution"),
        ({"classes": 0}, "class"),
        ({"classes": 1 << 40}, "class"),
        ({"classes": 10.0}, "class"),
        ({"padding": "valid"}, "padding"),
        ({"padding": None}, "padding"),
        ({"divisor": 0}, "divisor"),
        ({"divisor": 65}, "divisor"),
        ({"divisor": 8.0}, "divisor"),
    ],
    ids=str,
)
def test_arguments_out_of_range(arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(InputError, match=rf"{names}.*: expected"):
        mobilenet_v2(**arguments)


@pytest.mark.parametrize("variant", [-1, 5, 0.5, "0", None])
def test_variants_out_of_range(variant: Any) -> None:
    with pytest.raises(InputError, match="variant"):
        efficientnet_lite(variant)


def test_efficientnet_lite_refuses_size_zero() -> None:
    with pytest.raises(InputError, match="resolution"):
        efficientnet_lite(0, 0)
