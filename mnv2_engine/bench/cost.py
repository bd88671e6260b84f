"""Measures what the planner takes for granted of this CPU's family, and writes it into the sources.

    python -m mnv2_engine.bench.cost            # prints the lines
    python -P -m mnv2_engine.bench.cost --write # from a checkout: both tables, C's and Python's

Every schedule of two networks is timed (schedule_times.py). The costs are those with which the
planner's model (plan/cost.py) comes nearest to the times, each as a share of itself, none of them
negative; the differences between schedules of the same blocks count OF_DIFFERENCES times as much,
for by those the planner chooses. Two things that all schedules share are fitted too, and left out:
weights that are read for the first time, and a call. For a phase, which only threads have, it is
what a smaller tile takes more than a larger one, for each phase more; and for what they share of a
tile, what tiles take more than bands apart.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import tempfile
from typing import TYPE_CHECKING

from ..errors import MnvError
from ..executors import natural_precision
from ..executors.backends import cpu_family
from ..plan.cost import time_of
from ..plan.cpu_costs import CPU_COSTS, CpuCosts
from ..plan.shapes import PRECISIONS, Shapes
from .networks import model_file
from .schedule_times import ScheduleTime, schedule_times
from .turns import pin

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

    from ..network.layer import Network
    from ..plan.schedules import Schedule

NETWORKS = ("mobilenet_v2_1.0_224", "mobilenet_v2_0.35_96")
FITTED = ("tile", "term", "tap", "call", "moved", "reread")
# Of which those fit the times best: bytes of the second cache, and of the first.
CACHES = tuple(kib << 10 for kib in (256, 512, 1024, 2048))
FIRST_CACHES = tuple(kib << 10 for kib in (16, 24, 32, 40, 48, 64))
OF_DIFFERENCES = 5
NOTHING = CpuCosts(*(0 for _ in CpuCosts._fields))
PICOSECONDS = 1e9  # of a millisecond
TABLES = ("kernels/plan/cpu_costs.def", "mnv2_engine/plan/cpu_costs.py")

Timed = list[tuple["Network", list[ScheduleTime]]]  # of networks, their schedules


def counts(network: Network, precision: str, timed: list[ScheduleTime], caches: CpuCosts) -> Floats:
    """How often each of FITTED is counted for each schedule; then what all schedules share."""
    import numpy as np

    columns = []
    for name in FITTED:
        shapes = Shapes(network, 1, PRECISIONS[precision])
        shapes.costs = caches._replace(**{name: 1})
        columns.append([time_of(shapes, each.schedule) for each in timed])
    weights = [sum(map(shapes.weight_bytes, each.schedule.blocks)) for each in timed]
    made: Floats = np.array([*columns, weights, [PICOSECONDS] * len(timed)], np.float64).T
    return made


def differences(rows: Floats, groups: list[object]) -> Floats:
    """Of the rows that belong to the same group, what each is beyond their mean."""
    import numpy as np

    beyond: Floats = rows.copy()
    for group in set(groups):
        where = [i for i, each in enumerate(groups) if each == group]
        beyond[where] -= np.mean(rows[where], axis=0)
    return beyond


def fitted(timed: Timed, precision: str) -> tuple[CpuCosts, float]:
    """The costs that come nearest to what one thread took; and how far, the median share."""
    import numpy as np

    took = np.array([each.ms.median for _, some in timed for each in some]) * PICOSECONDS
    groups: list[object] = [
        (net.name, each.schedule.blocks) for net, some in timed for each in some
    ]
    found = []
    for cached, first in itertools.product(CACHES, FIRST_CACHES):
        caches = NOTHING._replace(cached=cached, first=first)
        counted = np.concatenate([counts(net, precision, some, caches) for net, some in timed])
        rows = np.column_stack([counted, took]) / took[:, None]
        rows = np.concatenate([rows, OF_DIFFERENCES * differences(rows, groups)])
        costs = least_squares(rows[:, :-1], rows[:, -1])
        error = float(np.sum((rows[:, :-1] @ costs - rows[:, -1]) ** 2))
        typical = float(np.median(np.abs(counted @ costs / took - 1)))
        found.append((error, typical, caches, costs))
    _, typical, caches, costs = min(found, key=lambda each: each[0])
    values = dict(zip(FITTED, (round(cost) for cost in costs), strict=False))
    return caches._replace(**values), typical


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


def with_threads(costs: CpuCosts, timed: Timed, precision: str) -> CpuCosts:
    """The same, and what a phase takes where two threads share the work, and what they share."""
    made = costs._replace(phase=0, shared=0)
    phase = beyond(made, "phase", timed, precision, lambda a, b: a.apart or b.apart)
    made = made._replace(phase=phase)
    shared = beyond(made, "shared", timed, precision, lambda a, b: a.apart == b.apart)
    return made._replace(shared=shared)


def beyond(
    costs: CpuCosts,
    name: str,
    timed: Timed,
    precision: str,
    leave_out: Callable[[Schedule, Schedule], bool],
) -> int:
    """What a schedule of tiles takes more than another of the same block, beyond what `costs`
    explain, for each that is counted more of the cost `name`: the median of all pairs, and 1 where
    that is nothing; 0 where there are no pairs, and it is not known."""
    import numpy as np

    found = []
    for network, some in timed:
        work, counted = (Shapes(network, 2, PRECISIONS[precision]) for _ in range(2))
        work.costs, counted.costs = costs, NOTHING._replace(**{name: 1})
        tiles = [each for each in some if each.schedule.kind == "tiles"]
        for a, b in itertools.combinations(tiles, 2):
            more = time_of(counted, a.schedule) - time_of(counted, b.schedule)
            if a.schedule.blocks != b.schedule.blocks or not more:
                continue
            if leave_out(a.schedule, b.schedule):
                continue
            longer = (a.ms.median - b.ms.median) * PICOSECONDS
            longer -= time_of(work, a.schedule) - time_of(work, b.schedule)
            found.append(longer / more)
    return max(1, round(float(np.median(found)))) if found else 0


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
        before = CPU_COSTS[cpu, precision]
        costs = costs._replace(phase=before.phase, shared=before.shared)
        if len(cpus) > 1:
            os.sched_setaffinity(0, cpus)
            costs = with_threads(costs, measured(precision, 2), precision)
        print(f"{cpu}, {precision}: {costs}; half of the schedules within {off:.0%}")
        if options.write:
            for path in TABLES:
                with open(path, encoding="utf-8") as file:
                    text = rewritten(file.read(), cpu, precision, costs)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)


if __name__ == "__main__":
    main()
