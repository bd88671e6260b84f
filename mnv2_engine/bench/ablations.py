"""What each idea of the planner is worth: the same network from layer by layer to the plan that the
engine takes, one idea at a time.

Section 5.1 of the paper never materialises the expanded tensor as a whole, but in t splits, and
says of t between 2 and 5 that it saves memory while it keeps most of the speed of unfused layers.
Whether an implementation made for the purpose would lose or gain speed, it leaves open. All plans
here run the same micro-kernels and give the same bits, so their times answer that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..executors import natural_precision
from ..executors.backends import cpu_family
from ..model.modelfile import ModelFile
from ..network.layer import Network
from ..plan.planner import assemble, every_schedule, fastest, make_plan, plan_of
from ..plan.schedules import (
    TILE_CHANNELS,
    Schedule,
    layers_schedule,
    schedules_from,
    tiles_schedule,
)
from ..plan.shapes import PRECISIONS, Shapes
from ..plan.steps import Plan
from .plan_race import PlanRace
from .samples import SPREAD, Quartiles, interval, pairwise, quartiles

SPLITS = (2, 3, 5, 10)  # section 5.1 suggests 2 to 5
UNLIMITED = 1 << 62  # bytes

UNFUSED = "layer by layer"
FUSED_STEM = "the stem and block 0 by rows, the others layer by layer"
PLANNED = "the planner's, all of that in the least memory"


class Row(NamedTuple):
    """A plan and its times."""

    name: str
    is_fused: bool  # no block runs layer by layer, whole or in splits
    arena_bytes: int
    unfused_bytes: int  # what the least arena for layer by layer is
    ms: Quartiles
    ratio: Quartiles  # of its time to the first row's, turn by turn
    interval: tuple[float, float]  # of the ratio's median, 95 % confidence


def plans(
    network: Network,
    threads: int = 1,
    precision: str = "float32",
    dtype: str | None = None,
) -> dict[str, Plan]:
    """The plans by what is in them, each with one idea more than those before. Arguments are those
    of make_plan. A plan that is the same as one before is left out."""
    cpu = cpu_family()
    shapes = Shapes(network, threads, PRECISIONS[precision], dtype, cpu=cpu)
    *blocks, head, classifier = every_schedule(shapes)

    def only(keep: Callable[[Schedule], bool]) -> list[list[Schedule]]:
        return [*([s for s in ways if keep(s)] for ways in blocks), head, classifier]

    def fast(choices: list[list[Schedule]]) -> Plan:
        return assemble(shapes, fastest(shapes, choices, UNLIMITED))

    def behind_stem(ways: Callable[[int], list[Schedule]]) -> Plan:
        later = [ways(index) for index in range(1, len(blocks))]
        return fast([alone(shapes, 0, "rows"), *later, head, classifier])

    def split(count: int) -> Plan:
        return behind_stem(lambda index: [layers_schedule(shapes, index, count)])

    made = {UNFUSED: plan_by_layers(network, 1, threads, precision, dtype), FUSED_STEM: split(1)}
    for count in SPLITS:
        made[f"{count} splits of the hidden channels"] = split(count)
    made["tiles, two panels expanded at a time"] = behind_stem(
        lambda index: alone(shapes, index, "tiles")
    )
    made["rows, a strip expanded at a time"] = behind_stem(
        lambda index: alone(shapes, index, "rows")
    )
    made["rows or tiles, a block at a time"] = fast(
        only(lambda s: len(s.blocks) == 1 and not s.in_place)
    )
    made["the same, in place"] = fast(only(lambda s: len(s.blocks) == 1))
    made["cascades, not in place"] = fast(only(lambda s: not s.in_place))
    made["cascades and in place"] = fast(only(lambda s: True))
    made["cascades, not in place, in the least memory"] = plan_of(
        shapes, only(lambda s: not s.in_place)
    )
    planned = make_plan(network, threads, precision, dtype, cpu=cpu)
    found: dict[str, Plan] = {}
    for name, plan in made.items():
        if plan not in (planned, *found.values()):
            found[name] = plan
    return {**found, PLANNED: planned}


def plan_by_layers(
    network: Network,
    splits: int = 1,
    threads: int = 1,
    precision: str = "float32",
    dtype: str | None = None,
) -> Plan:
    """Every block layer by layer, in so many splits of its hidden channels, the first one with the
    stem; but a first one with a shortcut by rows."""
    shapes = Shapes(network, threads, PRECISIONS[precision], dtype)
    choices = every_schedule(shapes)
    for index, block in enumerate(shapes.blocks):
        if index == 0 and (block.residual or block.expand is not None):
            choices[index] = alone(shapes, index, "rows")
        else:
            choices[index] = [layers_schedule(shapes, index, splits)]
    return assemble(shapes, fastest(shapes, choices, UNLIMITED))


def alone(shapes: Shapes, index: int, kind: str) -> list[Schedule]:
    """Every way to run a block by itself, not in place, by "layers", "rows" or "tiles"; tiles of
    every size, where the planner would rather cascade, too."""
    if kind == "layers":
        return [layers_schedule(shapes, index)]
    if kind == "tiles":
        most = -(-shapes.blocks[index].hidden // shapes.threads)
        return [tiles_schedule(shapes, index, min(tile, most)) for tile in TILE_CHANNELS]
    found = schedules_from(shapes, index)
    return [s for s in found if s.kind == kind and len(s.blocks) == 1 and not s.in_place]


def ablations(
    model: ModelFile,
    threads: int = 1,
    precision: str | None = None,
    isa: str | None = None,
    rounds: int = 30,
    inner: int = 5,
) -> list[Row]:
    """Runs the plans of a model file in turn, `rounds` times, each turn the mean of `inner` runs.
    `precision` is natural_precision by default; `isa` is as for NativeExecutor.

    Raises MnvError where the plans do not all give the same bits.
    """
    precision = precision or natural_precision(model.dtype)
    made = plans(model.network, threads, precision, model.dtype)
    times = PlanRace(model, made, isa).times(rounds, inner)
    return rows_of(made, times)


def rows_of(made: dict[str, Plan], times: list[list[float]]) -> list[Row]:
    """The plans with the milliseconds that each took, round by round."""
    found = []
    for (name, plan), samples in zip(made.items(), times, strict=True):
        ratios = pairwise(samples, times[0])
        found.append(
            Row(
                name,
                all(step.kind != "layers" for step in plan.steps),
                plan.arena_bytes,
                plan.unfused_bytes,
                quartiles(samples),
                quartiles(ratios),
                interval(ratios),
            )
        )
    return found


def table(rows: list[Row]) -> str:
    """The rows in Markdown, with what they say on the paper's question. A ratio whose middle half
    spans more than SPREAD is called noisy."""
    lines = [
        "| schedule | arena, KiB | ms (quartiles) | time to the first's |",
        "|---|--:|--:|--:|",
    ]
    for row in rows:
        low, middle, high = row.ms
        lines.append(
            f"| {row.name} | {row.arena_bytes / 1024:,.0f} | {middle:.3f} ({low:.3f} to {high:.3f})"
            f" | {row.ratio.median:.3f}{_noisy(row)} |"
        )
    return "\n".join([*lines, "", answer(rows)])


def answer(rows: list[Row]) -> str:
    """What fusing does to speed, and what the least memory then costs, in a few sentences."""
    first, last = rows[0], rows[-1]
    fastest_fused = min((row for row in rows if row.is_fused), key=lambda row: row.ratio.median)
    low, high = fastest_fused.interval
    if low <= 1 <= high:
        verdict = "Fusing neither loses nor gains speed beyond what this run can tell"
    else:
        verdict = "Fusing gains speed" if high < 1 else "Fusing loses speed"
    return (
        f"{verdict}: the fastest fused plan, {fastest_fused.name!r}, takes "
        f"{_share(fastest_fused)} of the time of {first.name!r}. {last.name.capitalize()}, takes "
        f"{_share(last)} of it, in 1/{first.arena_bytes / last.arena_bytes:.1f} of its memory. The "
        "least for layer by layer, every tensor freed after its last use, is "
        f"{last.unfused_bytes / 1024:,.0f} KiB."
    )


def _share(row: Row) -> str:
    low, high = row.interval
    return f"{row.ratio.median:.3f} (95 % confidence {low:.3f} to {high:.3f}{_noisy(row)})"


def _noisy(row: Row) -> str:
    return ", noisy" if row.ratio.spread > SPREAD else ""
