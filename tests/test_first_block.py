"""A first block with an expand layer, as FBNet-C has: the stem's rows are its thin input."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_weights
from int8_network import INT8_ISAS, PackedInt8, random_int8, run_int8, run_oracle
from native_network import NativeNetwork, image, oracle

from mnv2_engine.errors import UnsupportedError
from mnv2_engine.executors.native import isas
from mnv2_engine.network.families import BlockShape, inverted_residuals
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.schedules import layers_schedule
from mnv2_engine.plan.shapes import Shapes

SUPPORTED = [name for name, there in isas().items() if there]
NETWORKS = {
    "a shortcut": (
        16,
        [BlockShape(16, 16), BlockShape(48, 24, 2), BlockShape(24, 24, 1, 3, False)],
    ),
    "a stride": (20, [BlockShape(56, 20, 2, 5), BlockShape(40, 24, 2, 7)]),
    "odd channels": (13, [BlockShape(33, 17, 1, 7), BlockShape(17, 9, 1, 5, False)]),
    "alone": (24, [BlockShape(40, 24)]),
}
networks = pytest.mark.parametrize("name", NETWORKS)


def network_of(name):
    stem, blocks = NETWORKS[name]
    return inverted_residuals("first", (61, 75), stem, blocks, 40, [7], "symmetric", "relu")


@networks
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("isa", SUPPORTED)
def test_floats_agree_with_the_oracle(name, threads, isa):
    network = network_of(name)
    weights, x = make_weights(network, 1), image(network)
    found = NativeNetwork(network, weights, isa, make_plan(network, threads))(x)
    for made, true in zip(found, oracle(network, weights, x), strict=True):
        assert np.abs(made - true).max() <= 1e-5 * max(1.0, np.abs(true).max())


@networks
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("isa", INT8_ISAS)
def test_integers_equal_the_oracle(name, threads, isa):
    network = network_of(name)
    arrays, quantization = random_int8(network, 4)
    model = PackedInt8(network, arrays, quantization)
    x = np.random.default_rng(2).integers(0, 256, (*network.resolution, 3), np.uint8)
    found = run_int8(model, x, isa, make_plan(network, threads, "int8"))
    expected = run_oracle(model, arrays, x)
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-6, atol=1e-6)


def test_only_rows_keep_the_stems_output():
    with pytest.raises(UnsupportedError, match="first block that expands"):
        layers_schedule(Shapes(network_of("alone"), 1), 0)
