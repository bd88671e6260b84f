"""What measures a family of CPUs: it finds the costs of made-up times, and writes both tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2_engine.bench.cost import TABLES, fitted, rewritten, with_threads
from mnv2_engine.bench.samples import Quartiles
from mnv2_engine.bench.schedule_times import ScheduleTime
from mnv2_engine.errors import MnvError
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.plan.cost import time_of
from mnv2_engine.plan.cpu_costs import CPU_COSTS, CpuCosts
from mnv2_engine.plan.planner import every_schedule
from mnv2_engine.plan.shapes import FLOAT32, Shapes

ROOT = Path(__file__).parents[1]
TRUE = CpuCosts(9000, 300, 200, 5000, 100, 700, 512 << 10, 900000, 32 << 10, 1500)


def timed(threads: int):
    """Every schedule, with the time that a CPU of those costs takes."""
    network = mobilenet_v2(1.0, 224)
    shapes = Shapes(network, threads)
    shapes.costs = TRUE
    found = []
    for schedule in (each for some in every_schedule(shapes)[:-2] for each in some):
        if not schedule.in_place:
            ms = time_of(shapes, schedule) / 1e9
            found.append(ScheduleTime(schedule, Quartiles(ms, ms, ms)))
    return [(network, found)]


def test_the_costs_that_times_were_made_of_are_found():
    costs, off = fitted(timed(1), FLOAT32.name)
    assert off < 0.005
    assert (costs.cached, costs.first) == (TRUE.cached, TRUE.first)
    for name in ("tile", "term", "tap", "call", "moved", "reread"):
        assert getattr(costs, name) == pytest.approx(getattr(TRUE, name), rel=0.1), name
    exact = TRUE._replace(phase=0, shared=0)
    assert with_threads(exact, timed(2), FLOAT32.name) == TRUE


@pytest.mark.parametrize("path", TABLES)
def test_both_tables_are_rewritten_where_they_stand(path):
    text = (ROOT / path).read_text()
    old = CPU_COSTS["amx", "int8"]
    assert rewritten(text, "amx", "int8", old) == text
    new = rewritten(text, "amx", "int8", TRUE)
    assert new != text
    assert rewritten(new, "amx", "int8", old) == text
    with pytest.raises(MnvError, match="no line for z80 int8"):
        rewritten(text, "z80", "int8", TRUE)
