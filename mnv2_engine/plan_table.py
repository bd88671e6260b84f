"""A plan as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .plan import Plan


def kib(count: int) -> str:
    """Bytes as KiB, one decimal."""
    return f"{_kib(count)} KiB"


def _kib(count: int) -> str:
    return f"{count / 1024:,.1f}"


def describe(plan: Plan) -> str:
    """The plan as a table: a line a step, then the sums."""
    header = ("step (KiB)", "schedule", "input", "output", "scratch", "live", "unfused")
    rows = [header]
    for step in plan.steps:
        scratch = sum(buffer.bytes * buffer.copies for buffer in step.scratch)
        rows.append(
            (
                step.name,
                step.kind + (" in place" if step.in_place else ""),
                _shape_text(step.input.shape) if step.input else "image",
                _shape_text(step.output.shape) if step.output else "logits",
                _kib(scratch) if scratch else "-",
                _kib(step.bytes),
                _kib(step.unfused_bytes),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    left = 4  # columns of text; the others are numbers
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    peak = max(plan.steps, key=lambda step: step.bytes)
    lines += [
        "",
        f"arena    {kib(plan.arena_bytes):>14}   all that a prediction needs; peak at {peak.name}",
        f"unfused  {kib(plan.unfused_bytes):>14}   when every layer writes its whole output",
        f"weights  {kib(plan.weight_bytes):>14}   mapped from the model file, read only",
        f"image    {kib(plan.image_bytes):>14}   the caller's, uint8",
    ]
    return "\n".join(lines)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(str(extent) for extent in shape)
