"""The list of shapes that tests and benches share: complete, each once, counted right."""

from __future__ import annotations

import pytest
from native_network import SUPPORTED_ISAS
from test_threads import outputs_are_equal

from mnv2_engine.bench.ablations import plan_by_layers
from mnv2_engine.bench.kernel_shapes import (
    block_shapes,
    kernel_shapes,
    multiply_adds,
    networks,
)
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import multiply_adds as network_multiply_adds


def test_every_published_network_is_there_once():
    found = networks()
    assert len(set(found)) == len(found) == 6 * 5 + 1
    assert found[0] == mobilenet_v2(1.0, 224)
    assert efficientnet_lite(0) in found
    assert mobilenet_v2(0.35, 96) in found


def test_names_tell_shapes_apart():
    for shapes in (kernel_shapes(networks()), block_shapes(networks())):
        assert len({str(shape) for shape in shapes}) == len(shapes)


def test_names_say_what_a_kernel_sees():
    names = [str(shape) for shape in kernel_shapes([mobilenet_v2(1.0, 224)])]
    assert names[:5] == [
        "stem-224x224-3-32",
        "depthwise3s1-112x112-32",
        "project-112x112-32-16",
        "expand-112x112-16-96",
        "depthwise3s2-112x112-96",
    ]
    assert names[-2:] == ["head-7x7-320-1280", "classifier-1x1-1280-1000"]
    names = [str(shape) for shape in block_shapes([mobilenet_v2(1.0, 224)])]
    assert names[0] == "stem-block-224x224-3-32-16-3s1"
    assert "block-56x56-24-144-24-3s1+" in names
    assert "block-56x56-24-144-32-3s2" in names
    assert "depthwise5s2-56x56-144" in map(str, kernel_shapes([efficientnet_lite(0)]))


@pytest.mark.parametrize("network", networks(), ids=lambda network: network.name)
def test_the_shapes_of_one_network_are_all_its_work(network):
    """Layers of the same shape are equally many multiply-adds, so counting shapes counts work."""
    shapes = kernel_shapes([network])
    known = {tuple(shape): multiply_adds(shape, place) for shape, place in shapes.items()}
    total = 0
    for layer in network.weighted:
        kind = layer.name.rpartition(".")[2]
        sizes = layer.in_channels, layer.out_channels, layer.kernel, layer.stride
        total += known[(kind, layer.in_size, *sizes)]
    assert total == network_multiply_adds(network)
    blocks = block_shapes([network])
    assert set(shapes) >= {layer for shape in blocks for layer in shape.layers}
    for shape, place in blocks.items():
        block = match(network).blocks[place.block]
        assert (shape.residual, shape.layers[-1].out_channels) == (
            block.residual,
            block.out_channels,
        )


def test_a_block_is_the_sum_of_its_layers():
    shapes = block_shapes([mobilenet_v2(1.0, 224)])
    (found,) = [s for s in shapes if str(s) == "block-14x14-96-576-160-3s2"]
    expand, depthwise, project = 14 * 14 * 96 * 576, 7 * 7 * 9 * 576, 7 * 7 * 576 * 160
    assert multiply_adds(found, shapes[found]) == expand + depthwise + project
    first = next(iter(shapes))
    assert multiply_adds(first, shapes[first]) == 112 * 112 * 32 * (27 + 9 + 16)


@pytest.mark.parametrize("network", networks(), ids=lambda network: network.name)
def test_every_shape_gives_the_same_bits_fused_and_not(network):
    plans = [plan_by_layers(network), plan_by_layers(network, 3)]
    assert outputs_are_equal(network, 4, SUPPORTED_ISAS[0], plans)
