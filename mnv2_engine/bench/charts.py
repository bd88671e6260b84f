"""The report's drawings: latency against memory, and the share of the core's rate step by step.

SVG that follows the reader's light or dark scheme, readable at the width of a page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..plan.shown.svg import LABEL, document, element, line, rect, text, text_width, titled
from .samples import Quartiles
from .steps import StepTimes

WIDTH = 900
LEFT, RIGHT = 62, 880
SCATTER_TOP, SCATTER_BOTTOM, SCATTER_HEIGHT = 70, 440, 500
STEPS_TOP, STEPS_BOTTOM, STEPS_HEIGHT = 60, 270, 370
MARK = 6  # half a mark's width
LABEL_SIZE = 12
SERIES = 6  # colours, of which the first is this engine's

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; }
.heading { font-weight: 600; }
.quiet { fill: #57606a; }
.label { font-size: 10px; }
.right { text-anchor: end; }
.middle { text-anchor: middle; }
.page { fill: #ffffff; }
.grid { stroke: #d8dee4; }
.mark { stroke: #ffffff; stroke-width: 1; }
.tie { stroke-width: 1.5; opacity: 0.4; }
.whisker { stroke-width: 1.5; }
.done { fill: #0a5cc0; stroke: #ffffff; stroke-width: 0.75; }
.lost { fill: #eef1f4; stroke: #ffffff; stroke-width: 0.75; }
.s0 { fill: #0a5cc0; stroke: #0a5cc0; } .s1 { fill: #b35900; stroke: #b35900; }
.s2 { fill: #7a5ab5; stroke: #7a5ab5; } .s3 { fill: #1f7a4d; stroke: #1f7a4d; }
.s4 { fill: #b3305e; stroke: #b3305e; } .s5 { fill: #57606a; stroke: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .quiet { fill: #9da7b3; }
  .page { fill: #14181d; }
  .grid { stroke: #30363d; }
  .done { fill: #6cb0ff; stroke: #14181d; }
  .lost { fill: #20262d; stroke: #14181d; }
  .s0 { fill: #6cb0ff; stroke: #6cb0ff; } .s1 { fill: #e0952f; stroke: #e0952f; }
  .s2 { fill: #b49ae6; stroke: #b49ae6; } .s3 { fill: #5fc48f; stroke: #5fc48f; }
  .s4 { fill: #f083a8; stroke: #f083a8; } .s5 { fill: #9da7b3; stroke: #9da7b3; }
}
"""


class Point(NamedTuple):
    """An engine with a network."""

    engine: str  # points of the same engine have a colour, and filled or hollow are tied
    label: str
    mib: float
    ms: Quartiles
    shape: str  # "circle", "square"
    hollow: bool = False


Box = tuple[float, float, float, float]  # left, top, right, bottom


def latency_memory(title: str, caption: str, points: Sequence[Point]) -> str:
    """Points on logarithmic axes: memory to the right, milliseconds upwards; better is lower
    left. A whisker is the middle half of the times."""
    x_of, x_ticks = _logarithmic([p.mib for p in points], LEFT, RIGHT)
    times = [bound for p in points for bound in (p.ms.low, p.ms.high)]
    y_of, y_ticks = _logarithmic(times, SCATTER_BOTTOM, SCATTER_TOP)
    parts = [
        text("title", LEFT, 26, title),
        text(
            "quiet",
            LEFT,
            50,
            "ms an image, log scale, median and middle half; lower left is better",
        ),
        text("quiet right", RIGHT, SCATTER_BOTTOM + 36, "MiB of memory, log scale"),
        text("quiet", LEFT, SCATTER_HEIGHT - 8, caption),
    ]
    for tick in x_ticks:
        parts.append(line("grid", x_of(tick), SCATTER_TOP, x_of(tick), SCATTER_BOTTOM))
        parts.append(text("quiet middle", x_of(tick), SCATTER_BOTTOM + 18, f"{tick:,g}"))
    for tick in y_ticks:
        parts.append(line("grid", LEFT, y_of(tick), RIGHT, y_of(tick)))
        parts.append(text("quiet right", LEFT - 8, y_of(tick) + 4, f"{tick:g}"))
    engines = list(dict.fromkeys(point.engine for point in points))
    places = [(x_of(point.mib), y_of(point.ms.median)) for point in points]
    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in places]
    kinds = dict.fromkeys((point.engine, point.hollow) for point in points)
    for kind in kinds:
        ends = [
            place
            for point, place in zip(points, places, strict=True)
            if (point.engine, point.hollow) == kind
        ]
        for (x1, y1), (x2, y2) in pairwise(ends):
            parts.append(line(f"tie s{engines.index(kind[0]) % SERIES}", x1, y1, x2, y2))
    for point, (x, y) in zip(points, places, strict=True):
        series = f"s{engines.index(point.engine) % SERIES}"
        low, high = y_of(point.ms.low), y_of(point.ms.high)
        parts.append(line(f"whisker {series}", x, low, x, high))
        words = f"{point.label}: {point.ms.median:.2f} ms, {point.mib:.1f} MiB"
        parts.append(_mark(point, series, x, y, words))
    for point, (x, y) in zip(points, places, strict=True):
        parts.append(_label(point.label, x, y, taken))
    described = "; ".join(f"{p.label}: {p.ms.median:.2f} ms, {p.mib:.1f} MiB" for p in points)
    return document(title, described, STYLE, (WIDTH, SCATTER_HEIGHT), parts)


def _mark(point: Point, series: str, x: float, y: float, words: str) -> str:
    class_ = f"mark {series}"
    inner = MARK - 2.5  # of a hollow mark, which has the page's colour in any scheme
    if point.shape == "circle":
        made = element("circle", titled(words), class_=class_, cx=x, cy=y, r=MARK)
        hole = element("circle", class_="page", cx=x, cy=y, r=inner)
    else:
        made = rect(class_, x - MARK, y - MARK, 2 * MARK, 2 * MARK, titled(words))
        hole = rect("page", x - inner, y - inner, 2 * inner, 2 * inner)
    return made + hole if point.hollow else made


def _label(words: str, x: float, y: float, taken: list[Box]) -> str:
    """Beside, below or above the mark, where nothing else is; to the right where there is no such
    place. It is added to `taken`."""
    width, gap = text_width(words, LABEL_SIZE) * 0.9, MARK + 5
    choices = [
        (x + gap, y + 4),
        (x - gap - width, y + 4),
        (x - width / 2, y + gap + 10),
        (x - width / 2, y - gap),
        (x + gap, y + gap + 8),
        (x + gap, y - gap),
        (x - gap - width, y + gap + 8),
        (x - gap - width, y - gap),
    ]

    def box(at: tuple[float, float]) -> Box:
        return at[0], at[1] - LABEL_SIZE + 1, at[0] + width, at[1] + 3

    def is_free(at: tuple[float, float]) -> bool:
        left, top, right, bottom = box(at)
        inside = left >= LEFT and right <= WIDTH and top >= SCATTER_TOP - 12
        return inside and not any(
            left < b[2] and b[0] < right and top < b[3] and b[1] < bottom for b in taken
        )

    at = next(filter(is_free, choices), choices[0])
    taken.append(box(at))
    return text("", *at, words)


def _logarithmic(
    values: Sequence[float], start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """A scale with some room around the values, and round numbers on it."""
    low, high = math.log(min(values) / 1.25), math.log(max(values) * 1.35)
    ticks = [
        digit * 10.0**power
        for power in range(math.floor(low / math.log(10)), math.ceil(high / math.log(10)) + 1)
        for digit in (1, 2, 3, 5, 7)
        if low <= math.log(digit * 10.0**power) <= high
    ]
    return lambda value: start + (math.log(value) - low) / (high - low) * (end - start), ticks


def steps_of_rate(title: str, times: StepTimes) -> str:
    """A column for each step, as wide as its time and as high as its share of the core's rate: the
    filled area is the work that is done, what is left above it the work that could have been."""
    whole = sum(max(step.ms.median, 0.0) for step in times.steps)
    scale = (RIGHT - LEFT) / whole
    highest = max(1.0, *(step.share or 0.0 for step in times.steps))

    def y_of(share: float) -> float:
        return STEPS_BOTTOM - share / highest * (STEPS_BOTTOM - STEPS_TOP)

    all_of_it = "" if times.share is None else f"; all steps: {times.share:.0%}"
    rate = "" if times.rate is None else f" of {times.rate:,.0f}·10⁹ multiply-adds a second"
    parts = [
        text("title", LEFT, 26, title),
        text("quiet", LEFT, 48, f"share{rate}, the most that the core does{all_of_it}"),
    ]
    x = float(LEFT)
    for step in times.steps:
        width, share = max(step.ms.median, 0.0) * scale, step.share or 0.0
        words = f"{step.name}: {step.ms.median:.3f} ms, {share:.0%}"
        parts.append(rect("lost", x, STEPS_TOP, width, STEPS_BOTTOM - STEPS_TOP))
        height = STEPS_BOTTOM - y_of(share)
        parts.append(rect("done", x, y_of(share), width, height, titled(words)))
        middle = x + width / 2
        percent = f"{share:.0%}"
        if width > text_width(percent, LABEL):
            parts.append(text("label middle", middle, y_of(share) - 4, percent))
        if width > text_width(step.name, LABEL):
            parts.append(text("label middle", middle, STEPS_BOTTOM + 15, step.name))
        elif width > LABEL:
            parts.append(text("label right", middle + 4, STEPS_BOTTOM + 6, step.name, True))
        x += width
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(text("quiet right", LEFT - 8, y_of(part) + 4, f"{part:.0%}"))
    caption = f"a step is as wide as its time, of {whole:.2f} ms on one thread"
    parts.append(text("quiet", LEFT, STEPS_HEIGHT - 10, caption))
    described = "; ".join(
        f"{step.name}: {step.ms.median:.3f} ms, {step.share or 0:.0%}" for step in times.steps
    )
    return document(title, described, STYLE, (WIDTH, STEPS_HEIGHT), parts)
