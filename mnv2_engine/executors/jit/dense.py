"""A dense layer: a matrix times one vector of floats.

y[n] = f(bias[n] + sum over k of x[k] * w[k][n])           k ascending
"""

from __future__ import annotations

from typing import Any

from ...model.packed import PANEL
from .activation import LINEAR, least_of, most_of
from .compiling import FLOATS, INT, TILE_PANELS, WEIGHTS, entry, inlined, kernel
from .strips import panels_of
from .tables import DENSES, STEPS
from .vector import clamp, outer, spread, store_part


def _tile(panels: int) -> Any:
    """`panels` of y from panel `panel` on: one chain of multiply-adds for each."""

    @kernel
    def tile(arena: Any, weights: Any, dense: Any, x: int, panel: int, y: Any, to: int) -> None:
        depth = dense.inputs
        w = dense.weight + panel * depth * PANEL
        sums = spread(1, panels, weights, dense.bias + panel * PANEL)
        for k in range(depth):
            sums = outer(sums, arena, x + k, 0, weights, w + k * PANEL, depth * PANEL)
        if dense.activation != LINEAR:
            sums = clamp(sums, least_of(dense.activation), most_of(dense.activation))
        lanes = dense.outputs - panel * PANEL
        store_part(sums, y, to + panel * PANEL, 0, PANEL, lanes)

    return tile


def floats_of(most: int) -> Any:
    """The layer in tiles of `most` panels, and of one."""
    many, one = _tile(most), _tile(1)

    @inlined
    def floats(arena: Any, weights: Any, dense: Any, x: int, y: Any, to: int) -> None:
        panel, panels = 0, panels_of(dense.outputs)
        while panels - panel >= most:
            many(arena, weights, dense, x, panel, y, to)
            panel += most
        while panel < panels:
            one(arena, weights, dense, x, panel, y, to)
            panel += 1

    return floats


dense_floats = floats_of(TILE_PANELS)


@entry("float32", FLOATS, WEIGHTS, DENSES, STEPS, INT, FLOATS)
def dense_step(arena: Any, weights: Any, denses: Any, steps: Any, number: int, logits: Any) -> None:
    """The last layer writes the caller's logits, the others the step's output."""
    step = steps[number]
    dense = denses[step.first]
    if step.first == len(denses) - 1:
        dense_floats(arena, weights, dense, step.input, logits, 0)
    else:
        dense_floats(arena, weights, dense, step.input, arena, step.output)
