"""Whether the planner's order of schedules is the measured order.

    pip install ".[bench]"
    python benches/schedule_order.py MODEL [--precision bfloat16] [--threads 2]

MODEL is a model file or the name of a network with seeded weights. Every schedule of every block
and cascade is timed (mnv2_engine/bench/schedule_times.py). Of schedules that run the same blocks,
pairs whose times differ by more than their noise are compared with what plan/cost.py says, with the
costs of this CPU's family and with those of any. A pair that it turns around costs the planner the
difference of its times: the last column is the most that any one of them costs.
"""

from __future__ import annotations

import itertools
import tempfile
from typing import Any

from measure import add_model, parser

from mnv2_engine.bench.networks import model_file
from mnv2_engine.bench.schedule_times import ScheduleTime, schedule_times
from mnv2_engine.bench.turns import pin
from mnv2_engine.executors import natural_precision
from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.cost import time_of
from mnv2_engine.plan.cpu_costs import ANY
from mnv2_engine.plan.shapes import PRECISIONS, Shapes

Pair = tuple[ScheduleTime, ScheduleTime]


def pairs_that_differ(timed: list[ScheduleTime]) -> list[Pair]:
    """Schedules of the same blocks, the faster one first, whose middle halves lie apart."""
    found = []
    for a, b in itertools.combinations(timed, 2):
        fast, slow = sorted((a, b), key=lambda each: each.ms.median)
        if a.schedule.blocks == b.schedule.blocks and fast.ms.high < slow.ms.low:
            found.append((fast, slow))
    return found


def turned_around(
    pairs: list[Pair], network: Network, precision: str, threads: int, cpu: str
) -> list[Pair]:
    """Those whose slower one the planner takes for the faster."""
    shapes = Shapes(network, threads, PRECISIONS[precision], cpu=cpu)
    return [
        (fast, slow)
        for fast, slow in pairs
        if time_of(shapes, fast.schedule) > time_of(shapes, slow.schedule)
    ]


def main() -> None:
    made = parser(__doc__)
    add_model(made)
    made.add_argument("--precision", choices=PRECISIONS)
    made.add_argument("--threads", type=int, default=1)
    options: Any = made.parse_args()
    pin(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = open_model(model_file(options.model, folder, options.weights))
    precision = options.precision or natural_precision(model.dtype)
    timed = schedule_times(model, precision, options.threads, rounds=options.pairs)
    pairs = pairs_that_differ(timed)
    print(f"{model.network.name}, {precision}, {options.threads} thread(s), CPU: {cpu_family()}")
    print(f"{len(timed)} schedules, {len(pairs)} pairs of the same blocks whose times differ")
    for cpu in dict.fromkeys((cpu_family(), ANY)):
        wrong = turned_around(pairs, model.network, precision, options.threads, cpu)
        right = 1 - len(wrong) / max(1, len(pairs))
        print(f"costs of {cpu}: {right:.1%} in the measured order", end="")
        if wrong:
            fast, slow = max(wrong, key=lambda pair: pair[1].ms.median - pair[0].ms.median)
            lost = (slow.ms.median - fast.ms.median) * 1e3
            print(f"; at most {lost:.1f} us lost ({slow.name} for {fast.name})", end="")
        print()


if __name__ == "__main__":
    main()
