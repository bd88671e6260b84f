"""Measures what the planner takes for granted of this CPU's family, and writes it into the sources.

    python -m mnv2_engine.bench.cost            # prints the lines
    python -m mnv2_engine.bench.cost --write    # from a checkout: both tables, C's and Python's

Every schedule of two networks is timed (schedule_times.py). The costs are those with which the
planner's model (plan/cost.py) comes nearest to the times, each as a share of itself, none of them
negative; for a phase, which only threads have, what two threads take beyond the model.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from typing import TYPE_CHECKING

from ..errors import MnvError
from ..executors.backends import cpu_family
from ..plan.cost import time_of
from ..plan.cpu_costs import CPU_COSTS, CpuCosts
from ..plan.shapes import PRECISIONS, Shapes, natural_precision
from .networks import model_file
from .schedule_times import ScheduleTime, schedule_times
from .turns import pin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

    from ..network.layer import Network

NETWORKS = ("mobilenet_v2_1.0_224", "mobilenet_v2_0.35_96")
FITTED = ("tile", "term", "tap", "call", "moved", "reread")
CACHES = tuple(kib << 10 for kib in (256, 512, 1024, 2048))  # of which one fits the times best
PICOSECONDS = 1e9  # of a millisecond
TABLES = ("kernels/plan/cpu_costs.def", "mnv2_engine/plan/cpu_costs.py")

Timed = list[tuple["Network", list[ScheduleTime]]]  # of networks, their schedules


def counts(network: Network, precision: str, timed: list[ScheduleTime], cached: int) -> Floats:
    """How often each of FITTED is counted for each schedule."""
    import numpy as np

    nothing = CpuCosts(0, 0, 0, 0, 0, 0, cached, 0)
    columns = []
    for name in FITTED:
        shapes = Shapes(network, 1, PRECISIONS[precision])
        shapes.costs = nothing._replace(**{name: 1})
        columns.append([time_of(shapes, each.schedule) for each in timed])
    made: Floats = np.array(columns, np.float64).T
    return made


def fitted(timed: Timed, precision: str) -> tuple[CpuCosts, float]:
    """The costs that come nearest to what one thread took; and how far, the median share."""
    import numpy as np

    took = np.array([each.best for _, some in timed for each in some]) * PICOSECONDS
    found = []
    for cached in CACHES:
        counted = np.concatenate([counts(net, precision, some, cached) for net, some in timed])
        costs = least_squares(counted / took[:, None], np.ones_like(took))
        off = np.abs(counted @ costs / took - 1)
        found.append((float(np.mean(off)), float(np.median(off)), cached, costs))
    _, typical, cached, costs = min(found, key=lambda each: each[0])
    values = dict(zip(FITTED, (round(cost) for cost in costs), strict=True))
    return CpuCosts(**values, cached=cached, phase=0), typical


def least_squares(matrix: Floats, wanted: Floats, rounds: int = 2000) -> Floats:
    """The x ≥ 0 with the least sum of squares of matrix · x - wanted, coordinate by coordinate."""
    import numpy as np

    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1
    matrix = matrix / scale
    gram, target = matrix.T @ matrix, matrix.T @ wanted
    x: Floats = np.zeros(len(target))
    for _ in range(rounds):
        for i in range(len(x)):
            if gram[i, i]:
                x[i] = max(0.0, x[i] + (target[i] - gram[i] @ x) / gram[i, i])
    found: Floats = x / scale
    return found


def with_phase(costs: CpuCosts, timed: Timed, precision: str) -> CpuCosts:
    """The same, and what a phase takes where two threads share the work."""
    import numpy as np

    beyond = []
    for network, some in timed:
        work = Shapes(network, 2, PRECISIONS[precision])
        work.costs = costs
        phases = Shapes(network, 2, PRECISIONS[precision])
        phases.costs = CpuCosts(0, 0, 0, 0, 0, 0, costs.cached, 1)
        beyond += [
            (each.best * PICOSECONDS - time_of(work, each.schedule))
            / time_of(phases, each.schedule)
            for each in some
            if each.schedule.kind == "tiles"
        ]
    return costs._replace(phase=max(0, round(float(np.median(beyond)))))


def measured(dtype: str, threads: int) -> Timed:
    """The schedules of NETWORKS with weights of `dtype`, timed."""
    from ..model.modelfile import open_model

    pin(threads)
    found = []
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            model = open_model(model_file(name, folder, dtype))
        found.append((model.network, schedule_times(model, precision_of(dtype), threads)))
    return found


def precision_of(dtype: str) -> str:
    """What weights of `dtype` are computed in here."""
    return dtype if dtype == "bfloat16" else natural_precision(dtype)


def rewritten(text: str, cpu: str, precision: str, costs: CpuCosts) -> str:
    """A table, C's or Python's, with other costs for a family and a precision. Raises MnvError
    where it has no such line."""
    numbers = ", ".join(map(str, costs))
    for pattern in (
        rf"(?<=CPU_COSTS\({cpu}, {precision}, )[\d, ]+(?=\))",
        rf'(?<=\("{cpu}", "{precision}"\): CpuCosts\()[\d, ]+(?=\))',
    ):
        text, count = re.subn(pattern, numbers, text)
        if count == 1:
            return text
    raise MnvError(f"no line for {cpu} {precision}: add one with any numbers, and measure again")


def main() -> None:
    """Measure every precision; print the lines or write them."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--write", action="store_true", help="into the tables below this folder")
    made.add_argument("--only", choices=PRECISIONS, help="one precision")
    options = made.parse_args()
    cpu = cpu_family()
    cpus = sorted(os.sched_getaffinity(0))
    for precision in PRECISIONS:
        if options.only not in (None, precision):
            continue
        os.sched_setaffinity(0, cpus)
        costs, off = fitted(measured(precision, 1), precision)
        costs = costs._replace(phase=CPU_COSTS[cpu, precision].phase)
        if len(cpus) > 1:
            os.sched_setaffinity(0, cpus)
            costs = with_phase(costs, measured(precision, 2), precision)
        print(f"{cpu}, {precision}: {costs}; half of the schedules within {off:.0%}")
        if options.write:
            for path in TABLES:
                with open(path, encoding="utf-8") as file:
                    text = rewritten(file.read(), cpu, precision, costs)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)


if __name__ == "__main__":
    main()
