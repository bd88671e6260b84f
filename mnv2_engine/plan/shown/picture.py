"""A plan as an SVG drawing: memory over the course of one prediction.

Above, what each step needs: unfused, with no block streaming into another, and by this plan.
Below, the arena: a rectangle for each live buffer, as high as its bytes, at its offset. A step is
as wide as its share of the multiply-adds, so that the course resembles time. What decodes a
photograph first is a column before them (decoding.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...untyped import TYPE_CHECKING, NamedTuple
from .decoding import DECODING_STYLE, Decoding, DecodingColumn
from .figures import (
    RING,
    ROLES,
    STRIP,
    SUMS,
    TENSOR,
    Live,
    live_buffers,
    multiply_adds,
    peak,
    per_block,
)
from .svg import LABEL, document, element, label, line, rect, text, text_width, titled
from .table import kib, kib_number, shape_text

if TYPE_CHECKING:
    from ..steps import Plan, Step

WIDTH, HEIGHT = 900, 660
LEFT, RIGHT = 58, 886  # of both panels
NEEDS_TOP, NEEDS_BOTTOM = 68, 186
ARENA_TOP, ARENA_BOTTOM = 244, 572
HIGHEST = 560  # pixels of the arena's panel, where decoding lies above the arena
DECODING, GAP = 120, 12  # pixels of the column of decoding, and behind it
NARROWEST = 32  # pixels of a step; half its equal share where there are too many of them

COLOURS = {TENSOR: "tensor", SUMS: "sums", RING: "ring", STRIP: "strip"}  # classes of STYLE
STYLE = """
text { font: 11px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
.title { font-size: 14px; font-weight: 600; }
.heading { font-weight: 600; }
.quiet { fill: #57606a; }
.label { font-size: 10px; pointer-events: none; }
.right { text-anchor: end; }
.middle { text-anchor: middle; }
.page { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.limit { stroke: #24292f; stroke-dasharray: 5 3; }
.step { fill: none; pointer-events: all; }
.peak { fill: #eef1f4; }
.buffer { stroke: #ffffff; stroke-width: 0.75; }
.tensor { fill: #a9c8ea; }
.sums { fill: #f3c07f; }
.ring { fill: #e0776f; }
.strip { fill: #cdc8de; }
.need { fill: none; stroke-width: 2; }
.unfused { stroke: #8c959f; }
.alone { stroke: #b35900; stroke-dasharray: 6 3; }
.plan { stroke: #0a5cc0; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9da7b3; }
  .page { fill: #14181d; }
  .grid { stroke: #30363d; }
  .limit { stroke: #e6edf3; }
  .peak { fill: #20262d; }
  .buffer { stroke: #14181d; }
  .tensor { fill: #2c5687; }
  .sums { fill: #85561a; }
  .ring { fill: #94403d; }
  .strip { fill: #544b78; }
  .unfused { stroke: #8b949e; }
  .alone { stroke: #e0952f; }
  .plan { stroke: #6cb0ff; }
}
"""


class Column(NamedTuple):
    """A step and its place on the axis."""

    step: Step
    x: float
    width: float
    is_peak: bool


class Need(NamedTuple):
    """Bytes of each step, in a way to run the network."""

    name: str
    class_: str
    whole: int  # bytes that a prediction needs
    steps: tuple[int, ...]


class Panel(NamedTuple):
    """The arena's place: bytes from `bottom` upwards."""

    bottom: float
    scale: float  # pixels a byte
    decoding: DecodingColumn | None

    def y_of(self, offset: float) -> float:
        """Where a byte of the arena lies."""
        return self.bottom - offset * self.scale


def draw(plan: Plan, decoding: Decoding | None = None) -> str:
    """The drawing, a standalone SVG document that follows the reader's light or dark scheme. With
    `decoding`, what a photograph takes before the network runs comes first."""
    without = per_block(plan)
    needs = (
        Need("unfused", "unfused", plan.unfused_bytes, tuple(s.unfused_bytes for s in plan.steps)),
        Need("each block by itself", "alone", without.arena_bytes, without.steps),
        Need("this plan", "plan", plan.arena_bytes, tuple(s.bytes for s in plan.steps)),
    )
    adds = multiply_adds(plan)
    first = None if decoding is None else DecodingColumn(decoding, LEFT, DECODING, plan.arena_bytes)
    columns = _columns(plan, adds, LEFT if first is None else LEFT + DECODING + GAP)
    highest = plan.arena_bytes if first is None else max(first.end, plan.arena_bytes)
    height = min((ARENA_BOTTOM - ARENA_TOP) * highest / plan.arena_bytes, HIGHEST)
    height = max(height, ARENA_BOTTOM - ARENA_TOP)
    panel = Panel(ARENA_TOP + height, height / highest, first)
    title = f"Memory over one prediction: {plan.network.name}"
    sums = "; ".join(f"{need.name}: {kib(need.whole)}" for need in reversed(needs))
    caption = (
        "blocks, from the image to the logits; a step is as wide as its share of "
        f"{sum(adds) / 1e6:,.1f} million multiply-adds, but no narrower than is legible"
    )
    whole = round(HEIGHT - ARENA_BOTTOM + panel.bottom)
    captions = [caption] if first is None else [first.caption, caption]
    whole += 18 * (len(captions) - 1)
    sums = sums if first is None else f"{first.caption}; {sums}"
    parts = [
        text("title", LEFT, 26, title),
        *_needs_panel(needs, columns, first),
        *_arena_panel(plan.arena_bytes, columns, panel),
        *_axis(columns, panel),
        *(text("quiet", LEFT, whole - 12 - 18 * i, each) for i, each in enumerate(captions[::-1])),
    ]
    style = STYLE if first is None else STYLE + DECODING_STYLE
    return document(title, sums, style, (WIDTH, whole), parts)


def _columns(plan: Plan, adds: list[int], left: int) -> list[Column]:
    """The steps side by side from `left` to RIGHT: as wide as their share of the multiply-adds, but
    none narrower than NARROWEST."""
    room = float(RIGHT - left)
    narrowest = min(float(NARROWEST), room / len(adds) / 2)
    narrow: set[int] = set()
    while True:  # what the narrow ones take, the others lack, which may make one of them narrow
        share = (room - narrowest * len(narrow)) / max(
            1, sum(count for i, count in enumerate(adds) if i not in narrow)
        )
        more = {i for i, count in enumerate(adds) if count * share < narrowest} - narrow
        if not more:
            break
        narrow |= more
    columns, x, highest = [], float(left), peak(plan)
    for i, (step, count) in enumerate(zip(plan.steps, adds, strict=True)):
        width = narrowest if i in narrow else count * share
        columns.append(Column(step, x, width, step is highest))
        x += width
    return columns


# --- what each step needs -----------------------------------------------------------------


def _needs_panel(
    needs: tuple[Need, ...], columns: list[Column], first: DecodingColumn | None
) -> list[str]:
    # A step that hands over a detector's boxes needs nothing where nothing is fused.
    counts = [count for need in needs for count in need.steps if count]
    counts += [] if first is None else [first.bytes]
    low, high = math.log(min(counts) / 1.3), math.log(max(counts) * 1.3)

    def y_of(count: float) -> float:
        return NEEDS_BOTTOM - (max(math.log(max(count, 1)), low) - low) / (high - low) * (
            NEEDS_BOTTOM - NEEDS_TOP
        )

    parts = [text("heading", LEFT, 56, "KiB that each step needs")]
    x = float(RIGHT)
    for need in reversed(needs):
        words = f"{need.name}: {kib_number(need.whole)}"
        x -= text_width(words, 11)
        parts.append(text("", x, 56, words))
        parts.append(line(f"need {need.class_}", x - 30, 52, x - 6, 52))
        x -= 36
    for i, column in enumerate(columns):
        name, x, width, is_peak = column.step.name, column.x, column.width, column.is_peak
        words = ", ".join(f"{need.name} {kib(need.steps[i])}" for need in reversed(needs))
        class_ = "step peak" if is_peak else "step"
        height = NEEDS_BOTTOM - NEEDS_TOP
        parts.append(rect(class_, x, NEEDS_TOP, width, height, titled(f"{name}: {words}")))
    ticks = [10.0**power for power in range(-2, 8)]
    inside = [tick for tick in ticks if low <= math.log(tick * 1024) <= high]
    parts += _grid(inside, lambda tick: y_of(tick * 1024))
    parts.append(line("grid", LEFT, NEEDS_BOTTOM, RIGHT, NEEDS_BOTTOM))
    for need in needs:
        path = " ".join(
            f"{'L' if i else 'M'}{column.x:.2f} {y_of(count):.2f} H{column.x + column.width:.2f}"
            for i, (column, count) in enumerate(zip(columns, need.steps, strict=True))
        )
        words = f"{need.name}: {kib(need.whole)}"
        parts.append(element("path", titled(words), class_=f"need {need.class_}", d=path))
    return parts if first is None else parts + first.need(NEEDS_TOP, NEEDS_BOTTOM, y_of)


def _grid(ticks: list[float], y_of: Callable[[float], float]) -> list[str]:
    parts = []
    for tick in ticks:
        parts.append(line("grid", LEFT, y_of(tick), RIGHT, y_of(tick)))
        parts.append(text("quiet right", LEFT - 8, y_of(tick) + 4, f"{tick:,g}"))
    return parts


# --- the arena ----------------------------------------------------------------------------


def _arena_panel(arena: int, columns: list[Column], panel: Panel) -> list[str]:
    y_of, scale, top_of_arena = panel.y_of, panel.scale, panel.y_of(arena)
    beside = "" if top_of_arena == ARENA_TOP else ", and above it"
    parts = [text("heading", LEFT, 226, f"What lies where in the arena of {kib(arena)}{beside}")]
    x = float(RIGHT)
    for role in reversed(ROLES):
        x -= text_width(role, 11)
        parts.append(text("", x, 226, role))
        parts.append(rect(COLOURS[role], x - 16, 217, 11, 11))
        x -= 22
    parts += [
        rect("peak", column.x, top_of_arena, column.width, panel.bottom - top_of_arena)
        for column in columns
        if column.is_peak
    ]
    parts += _grid(_ticks(arena / 1024, 16 / scale / 1024), lambda tick: y_of(tick * 1024))
    for column in columns:
        for live in live_buffers(column.step):
            buffer = live.buffer
            top, height = y_of(buffer.offset + buffer.bytes), buffer.bytes * scale
            class_, title = f"buffer {COLOURS[live.role]}", titled(_described(column.step, live))
            parts.append(rect(class_, column.x, top, column.width, height, title))
            parts += label(_labels(column.step, live), column.x, top, column.width, height)
    if panel.decoding is not None:
        parts += panel.decoding.pieces(y_of)
        if beside:
            end = panel.decoding.end
            parts.append(text("heading right", LEFT - 8, y_of(end) + 4, kib_number(end)))
    parts.append(line("limit", LEFT, top_of_arena, RIGHT, top_of_arena))
    parts.append(text("heading right", LEFT - 8, top_of_arena + 4, kib_number(arena)))
    parts += [
        text("label heading middle", column.x + column.width / 2, top_of_arena - 4, "peak")
        for column in columns
        if column.is_peak
    ]
    return parts


def _ticks(highest: float, clear: float) -> list[float]:
    """Four to ten round numbers from 0, none nearer to the highest than `clear`."""
    unit = 10.0 ** math.floor(math.log10(highest))
    step = next(unit * part for part in (0.1, 0.2, 0.5, 1) if highest / (unit * part) <= 10)
    return [i * step for i in range(int(highest / step) + 1) if highest - i * step >= clear]


def _described(step: Step, live: Live) -> str:
    size, offset = kib(live.buffer.bytes), kib(live.buffer.offset)
    name = "input and output in place" if live.role == TENSOR and step.in_place else _name(live)
    return f"{step.name}: {name}, {live.axes}, {size} at {offset}"


def _name(live: Live) -> str:
    return live.name if live.block is None else f"block{live.block} {live.name}"


def _labels(step: Step, live: Live) -> list[list[str]]:
    """What to write on a buffer, in lines: as much as there may be room for comes first."""
    size, size_alone = kib(live.buffer.bytes), kib_number(live.buffer.bytes)
    if live.role != TENSOR:
        name, short = _name(live), live.buffer.name  # short: with the block's number alone
        return [[f"{name}, {size}"], [name, size], [short, size], [short], [size_alone]]
    shape = shape_text(live.buffer.shape)
    if step.in_place and step.output and step.output.shape != live.buffer.shape:
        after = shape_text(step.output.shape)
        both = [f"{shape} → {after}, {size}"], [f"{shape} →", after, size], [f"{shape} →", after]
        return [*both, [shape], [size_alone]]
    return [[f"{shape}, {size}"], [shape, size], [shape], [size_alone]]


def _axis(columns: list[Column], panel: Panel) -> list[str]:
    parts = [] if panel.decoding is None else panel.decoding.foot(panel.bottom + 15)
    for column in columns:
        name = column.step.name.replace("block", "")
        middle = column.x + column.width / 2
        if text_width(name, LABEL) <= column.width:
            parts.append(text("label middle", middle, panel.bottom + 15, name))
        else:
            turned = text("label right", middle + 4, panel.bottom + 6, name, upwards=True)
            parts.append(turned)
    return parts
