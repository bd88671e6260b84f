"""A plan as text for people: a line a step and the sums; `plan_drawing` has the steps in full."""

from __future__ import annotations

from ...untyped import TYPE_CHECKING

if TYPE_CHECKING:
    from ..steps import Plan

PEAK = "◂"


def kib(count: int) -> str:
    """Bytes as KiB, one decimal."""
    return f"{kib_number(count)} KiB"


def kib_number(count: int) -> str:
    """Bytes as KiB, one decimal, without the unit."""
    return f"{count / 1024:,.1f}"


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it: "28×28×32"."""
    return "×".join(str(extent) for extent in shape)


def describe(plan: Plan) -> str:
    """The plan as text: the table and the drawing of its steps."""
    from .drawing import drawing

    return f"{table(plan)}\n\n{drawing(plan)}"


def table(plan: Plan) -> str:
    """The plan as a table: a line a step, then the sums."""
    from .figures import peak, per_block

    without, highest = per_block(plan), peak(plan)
    header = ("step (KiB)", "schedule", "input", "output", "live  ", "per block", "unfused")
    rows = [header]
    for step, least in zip(plan.steps, without.steps, strict=True):
        rows.append(
            (
                step.name,
                step.kind + (" in place" if step.in_place else ""),
                shape_text(step.input.shape) if step.input else "image",
                shape_text(step.output.shape) if step.output else "logits",
                f"{kib_number(step.bytes)} {PEAK if step is highest else ' '}",
                kib_number(least),
                kib_number(step.unfused_bytes),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    left = 4  # columns of text; the others are numbers
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    sums = (
        ("arena", plan.arena_bytes, f"all that a prediction needs; peak {PEAK} at {highest.name}"),
        *_batch(plan),
        ("per block", without.arena_bytes, "the least when no block streams into another"),
        ("unfused", plan.unfused_bytes, "when every layer writes its whole output"),
        ("weights", plan.weight_bytes, "mapped from the model file, read only"),
        ("image", plan.image_bytes, "the caller's, uint8"),
    )
    return "\n".join(
        [*lines, "", *(f"{name:9}{kib(size):>14}   {note}" for name, size, note in sums)]
    )


def _batch(plan: Plan) -> list[tuple[str, int, str]]:
    if plan.batch == 1:
        return []
    return [("batch", plan.run_bytes, f"all that a call needs: {plan.batch} arenas")]
