"""The model of time that the planner compares schedules with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from c_plans import FAMILIES
from hypothesis import given
from hypothesis import strategies as st

from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.plan.cost import pointwise_time, reread_time, time_of
from mnv2_engine.plan.cpu_costs import CPU_COSTS, CpuCosts
from mnv2_engine.plan.planner import every_schedule, make_plan
from mnv2_engine.plan.shapes import PRECISIONS, Shapes

sizes = st.integers(1, 300)


every_cpu = pytest.mark.parametrize("costs", CPU_COSTS.values(), ids=map("-".join, CPU_COSTS))


@every_cpu
@given(pixels=sizes, depth=sizes, panels=st.integers(1, 80))
def test_no_convolution_beats_the_rate_of_its_multiply_adds(costs, pixels, depth, panels):
    time = pointwise_time(costs, pixels, depth, panels)
    assert time > pixels * panels // 2 * depth * costs.term
    assert time <= pointwise_time(costs, pixels + 1, depth, panels)
    assert time <= pointwise_time(costs, pixels, depth, panels + 1)


@every_cpu
def test_weights_that_are_read_once_are_not_read_again(costs):
    assert reread_time(costs, 1 << 20, 0) == 0 <= reread_time(costs, 1 << 20, 1)


def test_c_and_python_have_one_table():
    path = Path(__file__).parents[1] / "kernels" / "plan" / "cpu_costs.def"
    lines = re.findall(r"^CPU_COSTS\((\w+), (\w+), ([\d, ]+)\)$", path.read_text(), re.MULTILINE)
    found = {
        (cpu, precision): CpuCosts(*map(int, costs.split(","))) for cpu, precision, costs in lines
    }
    assert found == CPU_COSTS
    assert {cpu for cpu, _ in CPU_COSTS} == set(FAMILIES)
    assert cpu_family() in FAMILIES


def test_no_family_of_cpus_has_larger_arenas():
    for network in (mobilenet_v2(1.0, 224), mobilenet_v2(0.35, 96), mobilenet_v2(0.5, 160)):
        for precision in PRECISIONS:
            for threads in (1, 2):
                least = make_plan(network, threads, precision).arena_bytes
                for cpu in FAMILIES:
                    plan = make_plan(network, threads, precision, cpu=cpu)
                    assert plan.arena_bytes <= least, (network.name, precision, threads, cpu)


def test_no_family_of_cpus_moves_the_arenas_that_are_promised():
    """By one table for all they were chosen; families have chosen otherwise within them since."""
    network = mobilenet_v2(1.0, 224)
    for cpu in FAMILIES:
        assert make_plan(network, cpu=cpu).arena_bytes == int(272.5 * 1024)
        assert make_plan(network, 1, "int8", cpu=cpu).arena_bytes == 93.875 * 1024


@pytest.mark.parametrize("cpu", FAMILIES)
def test_the_model_knows_what_was_measured(cpu):
    """What benches/schedules.py finds faster, it finds faster."""
    shapes = Shapes(mobilenet_v2(1.0, 224), 1, cpu=cpu)
    choices = every_schedule(shapes)

    def time(block: int, kind: str, **sizes: int) -> int:
        return min(
            time_of(shapes, s)
            for s in choices[block]
            if s.kind == kind
            and len(s.blocks) == 1
            and all(getattr(s, name) == size for name, size in sizes.items())
        )

    assert time(2, "rows", strip=28) < time(2, "rows", strip=14)
    assert time(15, "tiles", tile=64) < time(15, "tiles", tile=32)
    # Weights of hundreds of kilobytes are not read for every row, which costs less where the
    # second cache is larger.
    assert time(14, "tiles") < {"any": 0.6, "amx": 0.9}[cpu] * time(14, "rows")


def test_threads_share_the_work_of_every_block():
    network = mobilenet_v2(1.0, 224)
    one, two = (
        sum(
            min(time_of(shapes, s) / len(s.blocks) for s in each)
            for each in every_schedule(shapes)[:-2]
        )
        for shapes in (Shapes(network, 1), Shapes(network, 2))
    )
    assert one / 2 < two < 0.6 * one
    assert make_plan(network, 2).arena_bytes < 2 * make_plan(network).arena_bytes
