"""The report: docs/benchmarks.md and its drawings, generated and never edited by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import MnvError
from .charts import Point, latency_memory, steps_of_rate
from .comparison import ROUNDS, SECONDS, bench
from .entrants import DEFAULTS, OURS, Options
from .machine import Machine, versions
from .networks import EXAMPLE, model_file
from .results import (
    MEMORY_HEAD,
    NUMPY_NOTES,
    SIZE_HEAD,
    START_HEAD,
    Result,
    memory_cells,
    quietness_text,
    size_cells,
    start_cells,
    time_cells,
    time_head,
)
from .steps import StepTimes, step_times
from .turns import pinned

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile

NAME, FOLDER = "benchmarks.md", "benchmarks"  # of the page, and of its drawings beside it
SCATTER = "latency-memory.svg"
ABLATION_ROUNDS = 20
OPEN_QUESTION = (
    "Section 5.1 of the paper (arXiv 1801.04381) runs a block in splits of its hidden channels, "
    "two to five of them, so that the expanded tensor is never whole. It finds that several small "
    "matrix products in place of a large one cost time, by cache misses, and leaves open whether "
    "an implementation made for it would gain some. From the first row, which stores every "
    "tensor, to the last, the plan that the engine takes:"
)


class Part(NamedTuple):
    """A model's share of the report."""

    result: Result
    steps: StepTimes | None  # None: it did not run in C
    plan: str  # memory over the course of a prediction, SVG
    ablations: str  # a table in Markdown, or why there is none

    @property
    def slug(self) -> str:
        """A name for files."""
        return f"{self.result.network}-{self.result.dtype}"


def measured(
    models: Sequence[str],
    against: Sequence[str] | None = None,
    options: Options = DEFAULTS,
    *,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    advance: Callable[[int, int], object] | None = None,
) -> list[Part]:
    """Everything that is reported of `models`, each a model file or a network's name; of none,
    the usual network in float32 and in int8, with seeded weights. Arguments are those of `bench`.
    """
    import tempfile

    from ..model.modelfile import open_model

    given: list[tuple[str, str | None]] = [(model, None) for model in models]
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for model, weights in given or [(EXAMPLE, None), (EXAMPLE, "int8")]:
            path = model_file(model, folder, weights)
            result = bench(path, against, options, rounds=rounds, seconds=seconds, advance=advance)
            with open_model(path) as opened:
                parts.append(_part(opened, result, options))
    return parts


def _part(model: ModelFile, result: Result, options: Options) -> Part:
    from ..executors.backends import cpu_family
    from ..plan.planner import make_plan
    from ..plan.shown.picture import draw

    cpu = cpu_family(result.backend.split(",")[0])
    plan = make_plan(model.network, options.threads, result.precision, model.dtype, cpu=cpu)
    steps = None
    if result.backend.split(",")[0] == "c":
        steps = step_times(model, result.precision, isa=options.isa)
    return Part(result, steps, draw(plan), _ablations(model, options))


def _ablations(model: ModelFile, options: Options) -> str:
    """What each idea of the planner is worth, where this build can measure it."""
    from .ablations import ablations, table

    try:
        with pinned(options.threads):
            rows = ablations(
                model, options.threads, options.precision, options.isa, rounds=ABLATION_ROUNDS
            )
    except MnvError as error:
        return f"Not measured: {error}"
    return table(rows)


# --- writing ------------------------------------------------------------------------------


def write_report(folder: str, parts: Sequence[Part], command: str) -> list[str]:
    """Write the page and its drawings to `folder`, which is made if need be, over those of an
    earlier report, and return their paths. `command` is what generated it."""
    drawings = os.path.join(folder, FOLDER)
    try:
        os.makedirs(drawings, exist_ok=True)
    except OSError as error:
        raise MnvError(
            f"{folder}: cannot be made: {error.strerror or error}; choose another folder"
        ) from error
    contents = {os.path.join(folder, NAME): page(parts, command)}
    for name, drawing in _drawings(parts).items():
        contents[os.path.join(drawings, name)] = drawing
    for path, content in contents.items():
        _write(path, content.encode())
    return list(contents)


def _write(path: str, data: bytes) -> None:
    from ..model.whole_file import write_whole

    write_whole(path, "a report", len(data), lambda file: file.write(data))


def _drawings(parts: Sequence[Part]) -> dict[str, str]:
    found = {f"memory-{part.slug}.svg": part.plan for part in parts}
    for part in parts:
        if part.steps is not None and part.steps.is_sound and part.steps.rate:
            title = f"{part.result.network}, {part.result.dtype}, {part.steps.isa}"
            found[_steps_name(part)] = steps_of_rate(title, part.steps)
    if points := _points(parts):
        caption = (
            "circles: float; squares: int8; memory: peak resident set of a fresh process, with "
            "Python and NumPy unless said otherwise"
        )
        found[SCATTER] = latency_memory(_scatter_title(parts), caption, points)
    return found


def _scatter_title(parts: Sequence[Part]) -> str:
    networks = dict.fromkeys(part.result.network for part in parts)
    threads = {part.result.threads for part in parts}
    shared = "one thread" if threads == {1} else "threads: " + ", ".join(map(str, sorted(threads)))
    quiet = not any(part.result.quietness.complaints for part in parts)
    return f"{', '.join(networks)}, {shared}{'' if quiet else ' (the machine was not quiet)'}"


def _steps_name(part: Part) -> str:
    return f"steps-{part.slug}.svg"


def _points(parts: Sequence[Part]) -> list[Point]:
    several = len({part.result.network for part in parts}) > 1
    found = []
    for part in parts:
        result = part.result
        what = f"{result.network} {result.dtype}" if several else result.dtype
        for row in result.rows:
            for memory in row.memory:
                # Peers cannot do without NumPy; that this engine can is a point of its own.
                hollow = not memory.with_numpy
                name = f"{row.name} {NUMPY_NOTES[False]}" if hollow else row.name
                shape = "square" if result.dtype == "int8" else "circle"
                found.append(Point(row.name, f"{name}, {what}", memory.peak, row.ms, shape, hollow))
    return found


# --- the page -----------------------------------------------------------------------------


def page(parts: Sequence[Part], command: str) -> str:
    """The report in Markdown."""
    first = parts[0].result
    lines = [
        f"<!-- Generated by `{command}`; not to be edited by hand. -->",
        "# Benchmarks",
        "",
        f"Generated on {first.date} by `{command}`.",
        "",
        *_headlines(parts),
        "",
    ]
    if _points(parts):
        lines += [f"![Latency against memory of every engine]({FOLDER}/{SCATTER})", ""]
    lines += ["## How it was measured", "", *METHOD, "", *_machine(first.machine), ""]
    lines += ["| engine | version | settings |", "|---|---|---|", *_versions(parts), ""]
    lines += _missing(parts)
    for part in parts:
        lines += _section(part)
    return "\n".join(lines).rstrip() + "\n"


METHOD = (
    "Every engine has the same weights, exported from the model file; its logits are compared with "
    "ours first, and in float32 an engine that computes something else takes no part. Each runs in "
    "a process of its own, pinned to as many CPUs as it has threads, at its best settings, its "
    "input bound once, and is stopped while another one runs. They run in turn, round by round, "
    "every other round backwards; a turn is some runs after one that is not counted. This engine "
    "is given raw pixels, float peers normalised ones.",
    "",
    "*Our time / its time* is the median of the ratios of each round, with its 95 % confidence "
    "interval: below 1, this engine is faster. It is stated only where it is larger than the "
    "noise: the largest of that interval, of what the thirds of the run differ by, and of what "
    "this engine differs by from itself in another process. The *middle half* is from the first "
    "quartile to the third.",
    "",
    "Memory is that of a fresh process after ten predictions: *peak resident* is what `time -v` "
    "calls the maximum resident set, mapped files included; *anonymous* is memory that no file "
    "stands behind; *proportional* counts a page that n processes share as 1/n. The start is from "
    "the start of a process to its first prediction, less that of a Python that does nothing, or "
    "only imports NumPy. Sizes of packages are without what they depend on.",
)


def _headlines(parts: Sequence[Part]) -> list[str]:
    """A line for each network: against the fastest and the smallest peer."""
    found = []
    for part in parts:
        ours, *others = part.result.rows
        peers = [row for row in others if row.same_weights and row.ratio]
        if not peers:
            continue
        fastest = min(peers, key=lambda row: row.ms.median)
        words = f"- **{part.result.title}**: time against {fastest.name}, the fastest of the "
        words += f"others: {fastest.ratio}"
        small = [row for row in peers if row.memory]
        if ours.memory and small:
            least = min(small, key=lambda row: row.memory[0].peak)
            sizes = ", ".join(
                f"{each.peak:.1f} MiB {NUMPY_NOTES[each.with_numpy]}" for each in ours.memory
            )
            words += (
                f"; peak memory {sizes}, against {least.memory[0].peak:.1f} MiB of {least.name}, "
                "the smallest of the others"
            )
        found.append(f"{words}; arena {part.result.arena_bytes / 1024:,.1f} KiB.")
    return found


def _machine(machine: Machine) -> list[str]:
    rows = [
        ("CPU", machine.cpu),
        ("instruction sets", ", ".join(machine.flags) or "unknown"),
        ("CPUs for this process", str(machine.cpus)),
        ("caches of a core", machine.caches),
        ("clock governor", machine.governor),
        ("virtualisation", machine.virtualisation),
        ("system", machine.system),
        ("Python", machine.python),
        ("load when it began", machine.load),
    ]
    return ["| machine | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)]


def _versions(parts: Sequence[Part]) -> list[str]:
    settings: dict[str, list[str]] = {}
    for part in parts:
        for row in part.result.rows:
            said = settings.setdefault(row.name, [])
            words = f"{part.result.dtype}: {', '.join(row.settings)}"
            if words not in said:
                said.append(words)
    found = versions()
    names = dict.fromkeys([*found, *settings])
    rows = [(name, found.get(name, ""), "; ".join(settings.get(name, ()))) for name in names]
    return [_line(row) for row in rows]


def _missing(parts: Sequence[Part]) -> list[str]:
    """Who took no part, and why; nothing if all did."""
    rows = [
        f"- {absent.name} in {part.result.title}: {' '.join(absent.reason.split())}"
        for part in parts
        for absent in part.result.absent
    ]
    return ["Missing, with no stand-in:", "", *rows, ""] if rows else []


def _section(part: Part) -> list[str]:
    result = part.result
    lines = [f"## {result.title}", ""]
    took = f"{result.rounds} rounds in {result.seconds:.0f} s"
    lines += [f"{took}. {quietness_text(result.quietness)}.", ""]
    lines += _table(time_head(result), [time_cells(row) for row in result.rows])
    if any(row.memory for row in result.rows):
        lines += _table(MEMORY_HEAD, memory_cells(result))
    if any(row.cold_starts for row in result.rows):
        lines += _table(START_HEAD, start_cells(result))
    lines += _table(SIZE_HEAD, [size_cells(row) for row in result.rows])
    lines += ["### Memory over the course of one prediction", ""]
    drawing = f"{FOLDER}/memory-{part.slug}.svg"
    lines += [f"![Memory of {OURS}, unfused, block by block and as planned]({drawing})", ""]
    lines += ["### Share of the core's rate", "", *_steps(part), ""]
    lines += ["### What each idea is worth", "", OPEN_QUESTION, "", part.ablations, ""]
    return lines


def _steps(part: Part) -> list[str]:
    steps = part.steps
    if steps is None:
        return ["Not measured: only the C core runs a part of a plan."]
    if not steps.is_sound:
        return ["Not stated: the steps do not add up to the whole; the machine was not quiet."]
    if not steps.rate:
        lines = [f"The share is not known: {' '.join(steps.note.split())}", ""]
    else:
        alt = "Share of the core's rate, step by step"
        lines = [f"![{alt}]({FOLDER}/{_steps_name(part)})", ""]
    rows = [
        (
            step.name,
            f"{step.ms.median:.3f}",
            f"{step.multiply_adds / 1e6:.1f}",
            "" if step.share is None else f"{step.share:.0%}",
        )
        for step in steps.steps
    ]
    return lines + _table(("step", "ms", "million multiply-adds", "share of the rate"), rows)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [_line(head), "|---" * len(head) + "|", *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")
