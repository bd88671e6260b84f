"""The planner of kernels/plan/ and Python's make the same plans: every field of every step."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest
from c_plans import FAMILIES, Asked, CPlans, Record, records_of, records_of_struct, without_weights
from conftest import networks
from detector_network import small_detector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_tables import random_detector, random_table, some_quantization

from mnv2_engine import _core
from mnv2_engine.executors import Order
from mnv2_engine.executors.core_plan import core_plan, core_planned
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.members import packed_members
from mnv2_engine.model.meta import encode
from mnv2_engine.model.reading import Tensor
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.kin import by_name
from mnv2_engine.network.layer import Network
from mnv2_engine.network.ssdlite import ssdlite
from mnv2_engine.plan.cpu_costs import ANY
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.steps import Plan

THREADS = range(1, 9)
COMPUTED = (("float32", "float32"), ("bfloat16", "bfloat16"), ("int8", "int8"))
ODD = (("float32", "float16"), ("float32", "bfloat16"))
SPEC = PRESETS["imagenet"]

Way = tuple[int, str, str, str]  # threads, precision, dtype of the weights, family of CPUs


def asked(network: Network, threads: int, precision: str, dtype: str, cpu: str = ANY) -> Asked:
    quantization = some_quantization(network) if dtype == "int8" else None
    meta = encode(network, SPEC, None, {}, dtype, quantization)
    computed = _core.lib.MNV2_BFLOAT16 if precision == "bfloat16" else 0
    return Asked(meta, threads, computed, cpu)


def records_of_plan(plan: Plan) -> list[Record]:
    """As the C core gets it, without weights."""
    quantization = some_quantization(plan.network) if plan.dtype == "int8" else None
    tensors = dict.fromkeys(packed_members(plan.network, plan.dtype), Tensor(64, ()))
    model = SimpleNamespace(
        buffer=bytearray(64), tensors=tensors, input_spec=SPEC, quantization=quantization
    )
    built = core_plan(_core.ffi, _core.lib, model, plan)  # type: ignore[arg-type]
    return without_weights(records_of_struct(built.struct))


def test_the_core_plans_for_itself_what_python_plans() -> None:
    for network in (mobilenet_v2(0.35, 96), efficientnet_lite(0)):
        for precision, dtype in COMPUTED:
            quantization = some_quantization(network) if dtype == "int8" else None
            tensors = dict.fromkeys(packed_members(network, dtype), Tensor(64, ()))
            model: Any = SimpleNamespace(
                buffer=bytearray(64), tensors=tensors, input_spec=SPEC, quantization=quantization
            )
            order = Order(2, precision, dtype, ANY)
            built = core_planned(_core.ffi, _core.lib, model, network, order)
            plan = order.plan(network)
            assert without_weights(records_of_struct(built.struct)) == records_of_plan(plan)


def in_the_core(network: Network, way: Way) -> list[Record]:
    dtype = way[2]
    tensors = dict.fromkeys(packed_members(network, dtype), Tensor(64, ()))
    model: Any = SimpleNamespace(
        buffer=bytearray(64), tensors=tensors, input_spec=SPEC, quantization=None
    )
    built = core_planned(_core.ffi, _core.lib, model, network, Order(*way))
    return without_weights(records_of_struct(built.struct))


def in_python(network: Network, way: Way) -> list[Record]:
    model: Any = SimpleNamespace(
        buffer=bytearray(64), tensors={}, input_spec=SPEC, quantization=None
    )
    plan = Order(*way).plan(network)
    built = core_plan(_core.ffi, _core.lib, model, plan)
    return without_weights(records_of_struct(built.struct))


@pytest.mark.parametrize(
    "network", [ssdlite(classes=1), ssdlite(0.35, (160, 203)), small_detector()]
)
def test_detectors_are_planned_alike(network: Network) -> None:
    for threads in (1, 2, 3, 8):
        for kinds in (*COMPUTED, *ODD):
            for cpu in FAMILIES:
                way = (threads, *kinds, cpu)
                assert in_the_core(network, way) == in_python(network, way), way


@pytest.mark.parametrize("seed", range(4))
def test_the_c_program_plans_detectors(c_plans: CPlans, seed: int) -> None:
    """From what a model file says of them."""
    choose = random.Random(seed)
    cases: list[tuple[Network, Way]] = [(ssdlite(0.35, (160, 203), 3), (2, *COMPUTED[0], ANY))]
    for _ in range(60):
        kinds = choose.choice([*COMPUTED, *ODD])
        way = choose.choice(THREADS), *kinds, choose.choice(FAMILIES)
        cases.append((random_detector(choose), way))
    compare(c_plans, cases)


@pytest.mark.parametrize("seed", range(4))
def test_random_detectors_are_planned_alike(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(50):
        network = random_detector(choose)
        threads = choose.choice((1, 1, 2, 3, 8))
        way = threads, *choose.choice([*COMPUTED, *ODD]), choose.choice(FAMILIES)
        assert in_the_core(network, way) == in_python(network, way), (network, way)


def compare(c_plans: CPlans, cases: list[tuple[Network, Way]]) -> None:
    answers = c_plans(asked(network, *way) for network, way in cases)
    for (network, way), answer in zip(cases, answers, strict=True):
        found = without_weights(records_of(answer))
        threads, precision, dtype, cpu = way
        plan = make_plan(network, threads, precision, dtype, cpu=cpu)
        assert found == records_of_plan(plan), (network, way)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    networks,
    st.lists(
        st.tuples(
            st.sampled_from(THREADS),
            st.sampled_from([*COMPUTED, *ODD]),
            st.sampled_from(FAMILIES),
        ),
        min_size=4,
        max_size=4,
        unique=True,
    ),
)
def test_whole_plans_are_equal(
    c_plans: CPlans, network: Network, ways: list[tuple[int, tuple[str, str], str]]
) -> None:
    compare(c_plans, [(network, (threads, *kinds, cpu)) for threads, kinds, cpu in ways])


@pytest.mark.parametrize(
    "network",
    [mobilenet_v2(), mobilenet_v2(0.35, 96), efficientnet_lite(4), by_name("proxyless_mobile")],
    ids=lambda network: network.name,
)
def test_plans_of_published_networks_are_equal(c_plans: CPlans, network: Network) -> None:
    ways = [(n, *kinds, cpu) for n in THREADS for kinds in COMPUTED for cpu in FAMILIES]
    compare(c_plans, [(network, way) for way in ways])


@pytest.mark.parametrize("seed", range(4))
def test_plans_of_random_tables_are_equal(c_plans: CPlans, seed: int) -> None:
    choose = random.Random(seed)
    cases: list[tuple[Network, Way]] = []
    for _ in range(100):
        network = random_table(choose)
        way = choose.choice(THREADS), *choose.choice([*COMPUTED, *ODD]), choose.choice(FAMILIES)
        cases.append((network, way))
    compare(c_plans, cases)


def test_a_family_of_version_1_is_planned_like_its_table(c_plans: CPlans) -> None:
    for family, network in (
        ({"family": "mobilenet_v2", "width": 0.75, "divisor": 8}, mobilenet_v2(0.75, (90, 61), 7)),
        (
            {"family": "efficientnet_lite2", "width": 1.1, "divisor": 8},
            efficientnet_lite(2, (90, 61), 7),
        ),
    ):
        newest = asked(network, 3, "int8", "int8")
        document = json.loads(newest.meta)
        del document["network"]
        size = {"resolution": [90, 61], "classes": 7, "padding": "same"}
        document.update(version=1, architecture={**family, **size})
        oldest = newest._replace(meta=json.dumps(document).encode())
        first, second = c_plans([newest, oldest])
        assert first == second
        assert first.startswith("plan ")
