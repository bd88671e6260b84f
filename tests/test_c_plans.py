"""The planner of examples/c and the package's make the same plans: every field of every step."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import patch

import pytest
from c_plans import (
    Asked,
    CPlans,
    Record,
    build_plans,
    records_of,
    records_of_struct,
    without_weights,
)
from conftest import networks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnv2_engine import _core
from mnv2_engine.executors import native
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.meta import encode
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.network.quantization import LayerQuantization, PoolQuantization, Quantization
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.steps import Plan

pytestmark = pytest.mark.skip("the C program does not read version 2 of the model file yet")
THREADS = range(1, 9)
COMPUTED = (("float32", "float32"), ("bfloat16", "bfloat16"), ("int8", "int8"))
ODD = (("float32", "float16"), ("float32", "bfloat16"))
SPEC = PRESETS["imagenet"]


@pytest.fixture(scope="module")
def c_plans(tmp_path_factory: pytest.TempPathFactory) -> CPlans:
    return build_plans(tmp_path_factory.mktemp("c_plans"))


def some_quantization(network: Network) -> Quantization:
    joined = {block.project.name for block in match(network).blocks if block.residual}
    said = {
        layer.name: LayerQuantization(0.02, 0, i % 6, 1 + i if layer.name in joined else 0)
        for i, layer in enumerate(network.weighted[:-1])
    }
    return Quantization(said, PoolQuantization(0.02, 5, 4, 3, 2))


def asked(network: Network, threads: int, precision: str, dtype: str) -> Asked:
    quantization = some_quantization(network) if dtype == "int8" else None
    meta = encode(network, SPEC, None, {}, dtype, quantization)
    computed = _core.lib.MNV2_BFLOAT16 if precision == "bfloat16" else 0
    return Asked(meta, threads, computed)


def records_of_plan(plan: Plan) -> list[Record]:
    """As the C core gets it, without weights."""
    quantization = some_quantization(plan.network) if plan.dtype == "int8" else None
    model = SimpleNamespace(
        buffer=bytearray(64), tensors={}, input_spec=SPEC, quantization=quantization
    )
    with patch.object(native, "_choose_isa"):  # the CPU is no matter
        executor = native.NativeExecutor(model, plan)  # type: ignore[arg-type]
    return without_weights(records_of_struct(executor._plan))


def compare(c_plans: CPlans, network: Network, ways: list[tuple[int, str, str]]) -> None:
    answers = c_plans(asked(network, *way) for way in ways)
    for (threads, precision, dtype), answer in zip(ways, answers, strict=True):
        plan = make_plan(network, threads, precision, dtype)
        found = without_weights(records_of(answer))
        assert found == records_of_plan(plan), (network.name, threads, precision, dtype)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    networks,
    st.lists(
        st.tuples(st.sampled_from(THREADS), st.sampled_from([*COMPUTED, *ODD])),
        min_size=4,
        max_size=4,
        unique=True,
    ),
)
def test_whole_plans_are_equal(
    c_plans: CPlans, network: Network, ways: list[tuple[int, tuple[str, str]]]
) -> None:
    compare(c_plans, network, [(threads, *kinds) for threads, kinds in ways])


@pytest.mark.parametrize(
    "network",
    [mobilenet_v2(), mobilenet_v2(0.35, 96), efficientnet_lite(4)],
    ids=lambda network: network.name,
)
def test_plans_of_published_networks_are_equal(c_plans: CPlans, network: Network) -> None:
    compare(c_plans, network, [(n, *kinds) for n in THREADS for kinds in COMPUTED])
