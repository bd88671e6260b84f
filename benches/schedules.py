"""The plan that the engine takes, against plans of the same network with other schedules.

    pip install ".[bench]"
    python benches/schedules.py MODEL

MODEL is a model file or the name of a network with seeded weights. Each plan is
made by the planner with some of its constants set to other values: more room for longer strips,
strips of other lengths, shorter and longer cascades, larger tiles. Plans that are the same are run
once. All run in one process, in turn, and have to give the same bits.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from measure import add_model, parser, quartiles, ratio

from mnv2_engine.bench.networks import model_file
from mnv2_engine.bench.plan_race import PlanRace
from mnv2_engine.bench.samples import BUSY, pairwise
from mnv2_engine.bench.turns import busy_with_others, pin
from mnv2_engine.executors import natural_precision
from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.cpu_costs import CPU_COSTS
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.shapes import PRECISIONS
from mnv2_engine.plan.steps import Plan

DEFAULT = "default"
Values = dict[str, Any]  # "module.CONSTANT": another value


def room(share: float) -> Values:
    """A plan may be larger than the least by `share`, whatever it is computed in."""
    return {"planner.ROOM": share, "planner.ROOM_INT8": share}


def costs(**values: int) -> Values:
    """What the planner takes for granted of this CPU, some of it at other values."""
    of = {key: each._replace(**values) for key, each in CPU_COSTS.items()}
    return {"shapes.CPU_COSTS": of}


def strips(*pixels: int) -> Values:
    return {"schedules.STRIP_PIXELS": dict.fromkeys(PRECISIONS, pixels)}


# Strips are multiples of the widest register tile's pixels, tiles of a pair of panels.
OTHERS: dict[str, Values] = {
    "no room": {**room(0), "planner.LEAST_ROOM": 0},
    "room 1/4": room(1 / 4),
    "room 1": room(1),
    "room 8": room(8),
    "strips of 14": strips(14),
    "strips of 28": {**strips(28), **room(1)},
    "strips of 56": {**strips(56), **room(1)},
    "strips of 112": {**strips(112), **room(1)},
    "no cascades": {"schedules.LONGEST_CASCADE": 1, **room(1)},
    "cascades of 2": {"schedules.LONGEST_CASCADE": 2, **room(1)},
    "cascades of any length": {"schedules.LONGEST_CASCADE": 64, **room(1)},
    "no cascades, all room": {
        "schedules.LONGEST_CASCADE": 1,
        **strips(14, 28, 56, 112),
        **room(1000),
    },
    "tiles of 32": {"schedules.TILE_CHANNELS": (32,)},
    "tiles of 64": {"schedules.TILE_CHANNELS": (32, 64)},
    "weights always cached": costs(cached=1 << 40),
    "weights never cached": {**costs(cached=0), **room(1)},
}


@contextmanager
def constants(values: Values) -> Iterator[None]:
    """The planner's constants at other `values`, for a while."""
    before = []
    try:
        for name, value in values.items():
            module_name, constant = name.split(".")
            module = import_module(f"mnv2_engine.plan.{module_name}")
            if not hasattr(module, constant):
                raise SystemExit(f"the planner has no {name} any more: bring OTHERS up to date")
            before.append((module, constant, getattr(module, constant)))
            setattr(module, constant, value)
        yield
    finally:
        for module, constant, value in before:
            setattr(module, constant, value)


def plans(network: Network, dtype: str = "float32") -> dict[str, Plan]:
    """The default plan for weights of `dtype` and every other one, by the name of the first that
    gives it."""
    make = partial(make_plan, network, 1, natural_precision(dtype), dtype, cpu=cpu_family("c"))
    found = {DEFAULT: make()}
    for name, values in OTHERS.items():
        with constants(values):
            plan = make()
        if plan not in found.values():
            found[name] = plan
    return found


def main() -> None:
    made = parser(__doc__)
    add_model(made)
    made.add_argument("--isa", help="by name, as MNV2_ISA")
    made.add_argument("--inner", type=int, default=5, help="runs in a turn")
    options = made.parse_args()
    pin()
    with tempfile.TemporaryDirectory() as folder:
        model = open_model(model_file(options.model, folder, options.weights))
    made_plans = plans(model.network, model.dtype)
    race = PlanRace(model, made_plans, options.isa)
    found = race.times(options.pairs, options.inner)
    if (busy := busy_with_others()) > BUSY:
        print(f"NOISY: others take {busy:.0%} of a CPU that this ran on, measure again")

    what = f"{model.network.name}, {model.dtype} weights, 1 thread, {race.isa}"
    print(f"{what}: median (quartiles)")
    print(f"{'':<24}{'arena, KiB':>10}{'ms':>10}{'default against it':>46}")
    default = found[0]
    for (name, plan), times in zip(made_plans.items(), found, strict=True):
        against = "" if name == DEFAULT else ratio(pairwise(default, times))
        print(f"{name:<24}{plan.arena_bytes / 1024:>10.1f} {quartiles(times)} {against}")
    name, times = min(
        zip(made_plans, found, strict=True), key=lambda pair: statistics.median(pair[1])
    )
    print(f"default against the fastest, {name}: {ratio(pairwise(default, times))}")
    print(f"the logits of all {len(made_plans)} are the same bits")


if __name__ == "__main__":
    main()
