"""Every published kin with seeded weights against the float64 oracle: C, Numba and NumPy.

By default each table runs once, sizes and paddings in turn, on the best instruction set; with
--every, each at three sizes with both paddings, on all of them. test_native.py has the tables of
families.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import make_weights
from every_backend import HAS_NUMBA
from native_network import SUPPORTED_ISAS, NativeNetwork, image, oracle, relative_error

from mnv2_engine.executors.reference import run
from mnv2_engine.network.kin import FAMILIES, PUBLISHED, by_name
from mnv2_engine.network.layer import PADDINGS, Network

SIZES = (32, (40, 56), 65)
TOLERANCE = 1e-5


def tables() -> list[str]:
    """A name for each table: names may differ in padding and resolution alone."""
    found = {by_name(name, 64, 5, "same").layers: name for name in reversed(PUBLISHED)}
    return sorted(found.values(), key=[*PUBLISHED].index)


NAMES = [name for name in tables() if not name.startswith(("mobilenet_v2_", "efficientnet-lite"))]
COMBINATIONS = [(size, padding) for padding in PADDINGS for size in SIZES]


def cases(name: str, config: pytest.Config) -> list[Network]:
    """The networks of one table to run."""
    chosen = COMBINATIONS
    if not config.getoption("--every"):
        chosen = [COMBINATIONS[NAMES.index(name) % len(COMBINATIONS)]]
    return [by_name(name, size, 5, padding) for size, padding in chosen]


def answers(network: Network, isas: list[str], weights: dict[str, Any], x: Any) -> dict[str, Any]:
    """Logits and features of each backend."""
    outputs = run(network, weights, x[np.newaxis], np.float32)
    found: dict[str, Any] = {"numpy": (outputs.logits[0], outputs.features[0])}
    found |= {isa: NativeNetwork(network, weights, isa)(x) for isa in isas}
    if HAS_NUMBA:
        from jit_network import JitNetwork

        found["numba"] = JitNetwork(network, weights)(x)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_kin_agrees_with_the_oracle(name: str, request: pytest.FixtureRequest) -> None:
    networks = cases(name, request.config)
    weights = make_weights(networks[0], seed=1)
    isas = SUPPORTED_ISAS if request.config.getoption("--every") else SUPPORTED_ISAS[:1]
    for network in networks:
        x = image(network)
        truth = oracle(network, weights, x)
        assert np.abs(truth[0]).max() > 1e-3
        for backend, answer in answers(network, isas, weights, x).items():
            for found, true in zip(answer, truth, strict=True):
                assert relative_error(found, true) <= TOLERANCE, (backend, network.name)


def test_the_default_run_has_every_family_size_and_padding() -> None:
    assert len(NAMES) >= len(COMBINATIONS)
    families = {PUBLISHED[name].family for name in NAMES}
    assert families == set(FAMILIES) - {"efficientnet_lite"}
