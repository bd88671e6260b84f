"""Decoding a photograph, as the column before a plan's steps in its drawing.

Decoding ends before the network runs, so it lies in the arena's memory where it fits, and else
above an arena that waits.
"""

from __future__ import annotations

from collections.abc import Callable

from ...untyped import NamedTuple
from .svg import element, label, rect, text, titled
from .table import kib

# Classes of the drawing's style, and of the one below.
COLOURS = {"taps": "strip", "lines": "ring", "sums": "sums", "window": "window"}
LIBRARY = "library"
DECODING_STYLE = """
.library { fill: #b5d8bd; }
.window { fill: #8ccfc9; }
.waits { fill: none; stroke: #8c959f; stroke-dasharray: 2 3; }
@media (prefers-color-scheme: dark) {
  .library { fill: #2f5e3c; }
  .window { fill: #22635e; }
}
"""


class Decoding(NamedTuple):
    """What decoding a photograph takes, as plain numbers."""

    photograph: str  # what it is
    parts: tuple[tuple[str, int], ...]  # names and bytes, as they lie in memory, from the lowest
    bytes: int  # of all of them, with what aligns them
    frame_bytes: int  # the network's pixels, which are made
    picture_bytes: int  # what the whole picture would take as RGB


class DecodingColumn:
    """The column's place: from pixel `x` on, `width` wide."""

    def __init__(self, decoding: Decoding, x: float, width: float, arena_bytes: int) -> None:
        self._decoding, self._x, self._width = decoding, x, width
        self.bytes = decoding.bytes
        self._is_inside = decoding.bytes <= arena_bytes
        self._start = 0 if self._is_inside else arena_bytes

    @property
    def end(self) -> int:
        """The highest byte, counted from the arena's first."""
        return self._start + self.bytes

    @property
    def caption(self) -> str:
        """What the column shows, in words."""
        made = self._decoding
        place = "in the arena's memory" if self._is_inside else "beside the arena, then given back"
        return (
            f"{made.photograph}: decoding takes {kib(made.bytes)}, {place}, and makes a frame of "
            f"{kib(made.frame_bytes)}"
        )

    def need(self, top: float, bottom: float, y_of: Callable[[float], float]) -> list[str]:
        """In the panel of what each step needs."""
        x, y, whole = self._x, y_of(self.bytes), kib(self._decoding.picture_bytes)
        words = f"decoding: this plan {kib(self.bytes)}, the whole picture {whole}"
        path = f"M{x:.2f} {y:.2f} H{x + self._width:.2f}"
        return [
            rect("step", x, top, self._width, bottom - top, titled(words)),
            element("path", titled(words), class_="need plan", d=path),
        ]

    def pieces(self, y_of: Callable[[float], float]) -> list[str]:
        """In the arena's panel: what lies where."""
        x, width, parts = self._x, self._width, []
        if not self._is_inside:
            top, height = y_of(self._start), y_of(0) - y_of(self._start)
            words = f"the arena, {kib(self._start)}, waits"
            parts.append(rect("waits", x, top, width, height, titled(words)))
            parts += label([["the arena waits"]], x, top, width, height)
        at = self._start
        for name, size in self._decoding.parts:
            if size == 0:
                continue
            top, height = y_of(at + size), y_of(at) - y_of(at + size)
            title = titled(f"decoding: {name}, {kib(size)}")
            class_ = f"buffer {COLOURS.get(name, LIBRARY)}"
            parts.append(rect(class_, x, top, width, height, title))
            parts += label([[f"{name}, {kib(size)}"], [name]], x, top, width, height)
            at += size
        return parts

    def foot(self, y: float) -> list[str]:
        """Its name on the axis."""
        return [text("label middle", self._x + self._width / 2, y, "decoding")]
