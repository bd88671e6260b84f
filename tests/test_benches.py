"""What the benches rest on: quartiles that warn, and other plans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from native_network import SUPPORTED_ISAS, NativeNetwork, image

from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.plan import planner, schedules
from mnv2_engine.plan.planner import make_plan

BENCHES = Path(__file__).resolve().parents[1] / "benches"


@pytest.fixture(autouse=True)
def benches_importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHES)


def test_a_spread_ratio_is_called_noisy():
    from measure import ratio

    assert "NOISY" not in ratio([0.70, 0.71, 0.72, 0.73])
    assert "NOISY" in ratio([0.5, 0.6, 0.7, 0.8])


def test_other_plans_give_the_same_bits_and_leave_the_planner_as_it_was(random_weights):
    from schedules import plans  # of benches/, not of the package

    network = mobilenet_v2(0.35, 96, 10)
    before = planner.ROOM, dict(schedules.STRIP_PIXELS), schedules.LONGEST_CASCADE
    made = plans(network)
    assert before == (planner.ROOM, schedules.STRIP_PIXELS, schedules.LONGEST_CASCADE)
    assert made["default"] == make_plan(network, cpu=cpu_family())
    assert len({other.arena_bytes for other in made.values()}) > 3
    weights, x = random_weights(network), image(network)
    logits = [NativeNetwork(network, weights, SUPPORTED_ISAS[0], p)(x)[0] for p in made.values()]
    for row in logits[1:]:
        np.testing.assert_array_equal(row, logits[0])


def test_int8_weights_have_other_plans_too():
    from schedules import plans  # of benches/, not of the package

    network = mobilenet_v2(0.35, 96, 10)
    made = plans(network, "int8")
    assert made["default"] == make_plan(network, 1, "int8")
    assert {other.precision for other in made.values()} == {"int8"}
    assert len({other.arena_bytes for other in made.values()}) > 3


def test_a_constant_that_the_planner_lost_is_named():
    from schedules import constants

    with (
        pytest.raises(SystemExit, match=r"the planner has no planner\.GONE any more"),
        constants({"planner.ROOM": 1, "planner.GONE": 1}),
    ):
        pass
    assert planner.ROOM < 1
