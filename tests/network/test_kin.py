"""The tables of the published kin: counts, shapes, names, and what is refused by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.kin import (
    ALIASES,
    FAMILIES,
    MCUNET,
    PUBLISHED,
    REFUSED,
    by_name,
)
from mnv2_engine.network.layer import multiply_adds, parameters


@pytest.mark.parametrize(
    ("name", "published"),
    [
        # torchvision's "num_params" of its weights.
        ("mnasnet0_5", 2218512),
        ("mnasnet0_75", 3170208),
        ("mnasnet1_0", 4383312),
        ("mnasnet1_3", 6282256),
        ("mobilenet_v2", 3504872),
        # Of timm 1.0.31's modules.
        ("mnasnet_140", 7115728),
        ("mobilenetv1_100", 4231976),
        ("mobilenetv1_100h", 5282600),
        ("mobilenetv1_125", 6270840),
        ("mobilenetv2_110d", 4516520),
        ("mobilenetv2_120d", 5831144),
        ("mobilenetv2_140", 6108776),
        ("fbnetc_100", 5572200),
        ("spnasnet_100", 4421616),
        ("tf_efficientnet_lite4", 13006568),
        ("tf_mobilenetv3_large_minimal_100", 3924288),
        ("tf_mobilenetv3_small_minimal_100", 2044736),
        # Of pytorchcv 0.0.74's models.
        ("mobilenet_v1_0.75", 2585560),
        ("mobilenet_v1_0.5", 1331592),
        ("mobilenet_v1_0.25", 470072),
        ("proxyless_cpu", 4361648),
        ("proxyless_gpu", 7119848),
        ("proxyless_mobile", 4080512),
        ("proxyless_mobile_14", 6857568),
    ],
)
def test_parameters_are_those_of_other_implementations(name: str, published: int) -> None:
    assert parameters(by_name(name)) == published


@pytest.mark.parametrize(
    ("name", "millions_of_parameters", "millions_of_multiply_adds"),
    [
        # The model list of the MCUNet zoo.
        ("mcunet-in0", 0.75, 6.4),
        ("mcunet-in1", 0.64, 12.8),
        ("mcunet-in2", 0.73, 67.3),
        ("mcunet-in3", 0.74, 81.8),
        ("mcunet-in4", 1.73, 125.9),
        ("mcunet-vww0", 0.37, 6.0),
        ("mcunet-vww1", 0.43, 11.6),
        ("mcunet-vww2", 0.64, 55.8),
        ("mbv2-w0.35", 0.75, 23.5),
        ("mbv2-w0.3", 0.63, 7.3),
        ("proxyless-w0.3", 0.75, 38.3),
        ("proxyless-w0.25", 0.57, 10.7),
    ],
)
def test_counts_of_the_mcunet_zoo(
    name: str, millions_of_parameters: float, millions_of_multiply_adds: float
) -> None:
    network = by_name(name)
    assert round(parameters(network) / 1e6, 2) == millions_of_parameters
    assert round(multiply_adds(network) / 1e6, 1) == millions_of_multiply_adds


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # The papers: MobileNetV1 Table 6, MnasNet Table 1, ProxylessNAS, the MobileNetV3 paper.
        ("mobilenet_v1_1.0", 569),
        ("mobilenet_v1_0.75", 325),
        ("mobilenet_v1_0.5", 149),
        ("mobilenet_v1_0.25", 41),
        ("mobilenet_v1_0.5_160", 76),
        ("mnasnet_100", 315),
        ("proxyless_mobile", 320),
        ("tf_mobilenetv3_large_minimal_100", 209),
    ],
)
def test_multiply_adds_are_those_of_the_papers(name: str, millions: int) -> None:
    assert multiply_adds(by_name(name)) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_table_is_one_that_the_kernels_run(name: str, padding: str) -> None:
    network = by_name(name, (40, 64), 5, padding)
    parts = match(network)
    assert sum(layer.operation == "depthwise" for layer in network.layers) == len(parts.blocks)
    assert network.padding == padding
    assert parts.dense[-1].out_channels == network.classes == 5
    assert network.resolution == (40, 64)
    assert network.name.endswith("_40x64")


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_not_given_is_as_in_the_published_weights(name: str) -> None:
    network, published = by_name(name), PUBLISHED[name]
    assert network.resolution == (published.resolution, published.resolution)
    assert network.classes == published.classes
    assert network.padding == published.padding
    assert published.family in FAMILIES


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_name_the_same_network(alias: str) -> None:
    assert by_name(alias, 96, 3) == by_name(ALIASES[alias], 96, 3)
    assert alias not in PUBLISHED


def test_the_families_own_names() -> None:
    assert by_name("mobilenet_v2_0.35") == mobilenet_v2(0.35)
    assert by_name("mobilenetv2_140") == mobilenet_v2(1.4, padding="symmetric")
    assert by_name("efficientnet-lite3") == efficientnet_lite(3)
    assert by_name("mobilenet_v2_0.35_96", classes=2) == mobilenet_v2(0.35, 96, 2)
    assert by_name("mobilenet_v2_0.35_96", 64).resolution == (64, 64)


def test_mobilenet_v1_is_depthwise_and_pointwise_layers_alone() -> None:
    network = by_name("mobilenet_v1_1.0")
    parts = match(network)
    assert [block.out_channels for block in parts.blocks] == [
        *(64, 128, 128, 256, 256),
        *((512,) * 6),
        *(1024, 1024),
    ]
    assert [i for i, block in enumerate(parts.blocks) if block.stride == 2] == [1, 3, 5, 11]
    assert all(block.expand is None and not block.residual for block in parts.blocks)
    assert {layer.activation for layer in network.weighted[:-1]} == {"relu6"}
    assert parts.head is None
    with_head = match(by_name("mobilenetv1_100h"))
    assert with_head.head is not None
    assert with_head.head.out_channels == 1024


def test_every_block_of_fbnet_c_expands() -> None:
    blocks = match(by_name("fbnetc_100")).blocks
    assert all(block.expand is not None for block in blocks)
    assert [i for i, block in enumerate(blocks) if block.hidden == block.in_channels] == [0, 2, 3]
    assert blocks[0].expand is not None
    assert blocks[0].expand.inputs == ("stem",)
    # 16 -> 16 and 24 -> 24 channels: a shortcut joins there too.
    assert [block.residual for block in blocks[:4]] == [True, False, True, True]


@pytest.mark.parametrize(
    ("name", "absent"),
    [("proxyless-w0.25", [0, 11]), ("mnasnet_050", []), ("proxyless_mobile", [])],
)
def test_shortcuts_are_absent_where_a_family_has_none(name: str, absent: list[int]) -> None:
    """At narrow widths a block that changes its channels elsewhere has equal ends by rounding."""
    blocks = match(by_name(name)).blocks
    equal = [b.stride == 1 and b.in_channels == b.out_channels for b in blocks]
    assert [i for i, b in enumerate(blocks) if equal[i] and not b.residual] == absent


def test_kernels_of_seven() -> None:
    sizes = {name: {b.kernel for b in match(by_name(name)).blocks} for name in MCUNET}
    assert all(7 in kernels for kernels in sizes.values())
    assert {b.kernel for b in match(by_name("proxyless_gpu")).blocks} == {3, 5, 7}
    assert {b.kernel for b in match(by_name("proxyless_cpu")).blocks} == {3, 5}


def test_mobilenet_v3_minimalistic_has_a_dense_layer_in_front_of_the_classifier() -> None:
    parts = match(by_name("tf_mobilenetv3_small_minimal_100", classes=7))
    assert [(layer.out_channels, layer.activation) for layer in parts.dense] == [
        (1024, "relu"),
        (7, "linear"),
    ]
    assert parts.blocks[0].stride == 2
    assert parts.blocks[0].expand is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mnasnet_small", "squeeze-excite"),
        ("semnasnet_100", "squeeze-excite"),
        ("mnasnet_a1", "squeeze-excite"),
        ("mobilenetv3_large_100", "hard-swish"),
        ("tf_mobilenetv3_small_075", "squeeze-excite"),
        ("efficientnet_b0", "swish"),
        ("tf_efficientnet_b0", "squeeze-excite"),
        ("fbnetv3_b", "squeeze-excite"),
        ("mobilenetv4_conv_small", "in front of the expand"),
        ("shufflenet_v2_x1_0", "shuffles"),
    ],
)
def test_networks_that_do_not_run_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"'{name}' .*{reason}.* nearest that runs"):
        by_name(name)


def test_what_runs_instead_runs() -> None:
    for prefixes, why, instead in REFUSED:
        assert instead in PUBLISHED
        assert why
        # A refusal that hides a network which runs would be a lie, unless the exact name is found.
        for prefix in prefixes:
            with pytest.raises(UnsupportedError):
                by_name(prefix)


@pytest.mark.parametrize("name", ["fbnetc_10", "mnasnet", "", "a\nb", "x" * 10_000, "_224"])
def test_unknown_names_are_escaped_and_short(name: str) -> None:
    with pytest.raises(InputError, match="no network named") as caught:
        by_name(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_name_that_is_nearly_right_is_told() -> None:
    with pytest.raises(InputError, match=r"perhaps .*fbnetc_100"):
        by_name("fbnetc_10")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"resolution": 0}, "resolution"),
        ({"resolution": (1, 2, 3)}, "resolution"),
        ({"resolution": "224"}, "resolution"),
        ({"classes": 0}, "class"),
        ({"classes": True}, "class"),
        ({"padding": "valid"}, "padding"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["fbnetc_100", "mobilenetv2_100"])
def test_arguments_out_of_range(name: str, arguments: dict[str, Any], names: str) -> None:
    with pytest.raises(InputError, match=rf"{names}.*: expected"):
        by_name(name, **arguments)


def test_a_size_in_the_name_may_be_out_of_range() -> None:
    with pytest.raises(InputError, match=r"resolution 99999\d*: expected"):
        by_name("mobilenet_v1_1.0_" + "9" * 30)


def test_the_tables_of_the_kin_are_loaded_only_when_asked_for() -> None:
    code = (
        "import sys, mnv2_engine, mnv2_engine.engine, mnv2_engine.network.families;"
        "print('mnv2_engine.network.kin' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
