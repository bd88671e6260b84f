"""The last 1x1 convolution with global average pool, or the pool alone.

    features[n] = mean over pixels of f(bias[n] + sum over k of x[p][k] * w[k][n]), or of x[p][n]

The map of [pixels][features] never exists: a tile is summed as it is made, pixels ascending.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...model.packed import PANEL
from .compiling import FLOATS, INT, WEIGHTS, entry, inlined
from .pointwise import Input, pointwise, to_pool
from .strips import panels_of
from .tables import ABSENT, HEADS, STEPS
from .vector import add, clear, load, load_part, scale, store


@inlined
def _pool_input(arena: Any, head: Any, x: int, y: int) -> None:
    """Sums over all pixels of the thin map at x: y is panels; lanes past the last channel are 0."""
    for panel in range(panels_of(head.features)):
        first = panel * PANEL
        for p in range(head.pixels):
            at = x + p * head.channels + first
            more = load_part(1, 1, arena, at, 0, 0, head.channels - first)
            store(add(load(1, 1, arena, y + first, 0, 0), more), arena, y + first, 0, 0)


@entry("float32", FLOATS, WEIGHTS, HEADS, STEPS, INT)
def head_step(arena: Any, weights: Any, heads: Any, steps: Any, number: int) -> None:
    head, step = heads[0], steps[number]
    panels, depth = panels_of(head.features), head.channels
    clear(arena, step.output, panels * PANEL)
    if head.head_weight == ABSENT:
        _pool_input(arena, head, step.input, step.output)
    else:
        source = Input(
            step.input, depth, 0, depth, depth, head.head_weight, depth * PANEL, head.head_bias
        )
        out = to_pool(step.output, head.activation)
        pointwise(arena, weights, arena, head.pixels, panels, source, out)
    share = np.float32(1.0) / np.float32(head.pixels)
    for panel in range(panels):
        at = step.output + panel * PANEL
        store(scale(load(1, 1, arena, at, 0, 0), share), arena, at, 0, 0)
