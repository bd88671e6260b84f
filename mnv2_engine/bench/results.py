"""What a bench found, as plain data, and as text for people."""

from __future__ import annotations

from typing import NamedTuple

from .contest import Difference
from .entrants import OURS, Absent
from .fresh import ColdStart, Memory
from .machine import Machine
from .samples import EQUAL, SOUND, Quartiles, Quietness, Ratio

NUMPY_NOTES = {True: "with numpy", False: "without numpy"}


class Row(NamedTuple):
    """An engine."""

    name: str
    version: str
    settings: tuple[str, ...]
    same_weights: bool
    ms: Quartiles  # of one image
    ratio: Ratio | None  # our time over its time; None: it is us
    difference: Difference | None  # None: it is us, or its output cannot be compared
    memory: tuple[Memory, ...]  # none where it was not measured
    cold_starts: tuple[ColdStart, ...]
    package_bytes: int  # on the disk, without what the package depends on
    file_bytes: int  # of its model


class Result(NamedTuple):
    """A whole bench. `str()` is for people."""

    network: str
    dtype: str  # of the weights
    precision: str  # what this engine computed in
    backend: str  # and the instruction set
    threads: int
    rounds: int
    seconds: float  # that they took
    quietness: Quietness
    rows: tuple[Row, ...]  # this engine first
    absent: tuple[Absent, ...]
    python_memory: tuple[Memory, ...]  # of Python alone, and with numpy
    arena_bytes: int
    multiply_adds: int
    machine: Machine
    date: str  # UTC
    answer: str = "logits"  # what is computed and compared

    @property
    def title(self) -> str:
        """The network and how it was run, in a line."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        weights = f"{self.dtype} weights"
        if self.precision != self.dtype:
            weights += f" computed in {self.precision}"
        return f"{self.network}, {weights}, {threads}"

    @property
    def complete(self) -> bool:
        """Whether everyone who was asked for took part, and every ratio is what it seems."""
        ratios = [row.ratio for row in self.rows if row.ratio]
        sound = all(ratio.verdict in (SOUND, EQUAL) for ratio in ratios)
        missing = any(each.asked_for for each in self.absent)
        return sound and not self.quietness.complaints and not missing

    def __str__(self) -> str:
        parts = [
            f"{self.title}; this engine: {self.backend}",
            f"{self.machine.cpu}; {self.rounds} rounds in {self.seconds:.0f} s",
            "",
            table(time_head(self), [time_cells(row) for row in self.rows]),
            "",
            quietness_text(self.quietness),
        ]
        if any(row.memory for row in self.rows):
            parts += ["", table(MEMORY_HEAD, memory_cells(self))]
        if any(row.cold_starts for row in self.rows):
            parts += ["", table(START_HEAD, start_cells(self))]
        parts += ["", table(SIZE_HEAD, [size_cells(row) for row in self.rows])]
        parts += [f"\nmissing: {absent.name}: {absent.reason}" for absent in self.absent]
        return "\n".join(parts)


# --- tables, whose rows the report shares -------------------------------------------------

MEMORY_HEAD = ("memory of a process, MiB", "peak resident", "anonymous", "proportional")
START_HEAD = ("start to first prediction, ms", "beyond Python", "beyond Python with numpy")
SIZE_HEAD = ("on the disk, MB", "package", "model")


def time_head(result: Result) -> tuple[str, ...]:
    """The head of the table of times."""
    return ("one image, ms", "median", "middle half", "our time / its time", result.answer)


def time_cells(row: Row) -> tuple[str, ...]:
    """An engine's row of the table of times."""
    ms = row.ms
    difference = str(row.difference) if row.difference else ""
    if row.difference is None and row.ratio is not None and not row.same_weights:
        difference = "not compared: its own file"
    middle = f"{ms.low:.3f} to {ms.high:.3f}"
    ratio = str(row.ratio) if row.ratio else ""
    return (row.name, f"{ms.median:.3f}", middle, ratio, difference)


def memory_cells(result: Result) -> list[tuple[str, ...]]:
    """Python alone first, which the others contain."""
    named = [("Python", each) for each in result.python_memory]
    named += [(row.name, each) for row in result.rows for each in row.memory]
    return [
        (
            f"{name}, {NUMPY_NOTES[each.with_numpy]}",
            *(f"{mib:.1f}" for mib in (each.peak, each.anonymous, each.proportional)),
        )
        for name, each in named
    ]


def start_cells(result: Result) -> list[tuple[str, ...]]:
    """The rows of the table of starts."""
    return [
        (
            f"{row.name}, {NUMPY_NOTES[each.with_numpy]}",
            milliseconds_text(each.beyond_python),
            milliseconds_text(each.beyond_numpy),
        )
        for row in result.rows
        for each in row.cold_starts
    ]


def size_cells(row: Row) -> tuple[str, ...]:
    """An engine's row of the table of sizes."""
    return (row.name, f"{row.package_bytes / 1e6:.1f}", f"{row.file_bytes / 1e6:.1f}")


def milliseconds_text(found: Quartiles | None) -> str:
    """A median with its middle half, or nothing."""
    return f"{found.median:.0f} ({found.low:.0f} to {found.high:.0f})" if found else ""


def quietness_text(quietness: Quietness) -> str:
    """The control, and whether the machine was quiet."""
    words = f"{OURS} against itself: {quietness.control:.3f}, noise {quietness.noise:.1%}; "
    if not quietness.complaints:
        return words + "the machine was quiet"
    return words + "NOT QUIET: " + "; ".join(quietness.complaints) + ": measure again"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns, the first to the left and the others, too, as wide as their widest cell."""
    whole = [head, *rows]
    widths = [max(len(row[i]) for row in whole) for i in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in whole
    )
    return "\n".join(line.rstrip() for line in lines)
