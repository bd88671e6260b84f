"""The last 1x1 convolution with global average pool in 8 bits, or the pool alone.

    sums[n] = sum over pixels of the 8-bit output n, or of input n

The map of [pixels][features] never exists: a tile is summed as it is made.
"""

from __future__ import annotations

from typing import Any

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ..compiling import BYTES, INT, MEMORY, entry, inlined
from ..strips import panels_of
from ..tables import ABSENT, HEADS, STEPS
from ..vector import add, clear, store
from .pointwise import PANEL_SUMS, Input, groups_of, pointwise, to_pool
from .vector import load_bytes, load_sums


@inlined
def _pool_input(arena: Any, head: Any, x: int, sums: int) -> None:
    """Sums over all pixels of the thin map at x. Lanes past the last channel hold what lies behind
    it; no weight of the layer behind the pool meets them."""
    for panel in range(panels_of(head.features)):
        to = sums + panel * PANEL_SUMS
        for p in range(head.pixels):
            more = load_bytes(1, 1, arena, x + p * head.channels + panel * PANEL, 0, 0)
            store(add(load_sums(1, 1, arena, to, 0, 0), more), arena, to, 0, 0)


@entry("int8", MEMORY, BYTES, HEADS, STEPS, INT)
def head_step(arena: Any, weights: Any, heads: Any, steps: Any, number: int) -> None:
    head, step = heads[0], steps[number]
    panels, groups = panels_of(head.features), groups_of(head.channels)
    clear(arena, step.output, panels * PANEL_SUMS)
    if head.head_weight == ABSENT:
        _pool_input(arena, head, step.input, step.output)
        return
    source = Input(
        step.input,
        head.channels,
        0,
        groups,
        groups,
        head.head_weight,
        groups * PANEL * GROUP,
        head.head_bias,
        head.fraction,
    )
    pointwise(arena, weights, arena, head.pixels, panels, source, to_pool(step.output))
