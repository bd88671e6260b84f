"""Inverted residuals by channel tiles: the paper's own form (section 5.1),

    F(x) = sum over tiles i of B_i(N(A_i x))

so that the activations stay and the weights stream, each read once. For late blocks: small maps,
megabytes of weights. Scratch is two expanded panels, [2][lines][columns][16], zero padding
included, and one tile of hidden channels, filtered [tile/16][out_height * out_width][16]. The sum
over i is held in the thin output itself; the shortcut is added with the last tile.
"""

from __future__ import annotations

from typing import Any

from ...model.packed import PANEL
from .activation import least_of, most_of
from .block import EXPANDED_PANELS, expand, project
from .compiling import FLOATS, INT, WEIGHTS, entry, inlined
from .depthwise import Filter, depthwise
from .pointwise import NOWHERE
from .strips import panels_of
from .tables import BLOCKS, STEPS
from .vector import clear


@inlined
def _filter_channels(
    arena: Any, weights: Any, block: Any, step: Any, first: int, count: int
) -> None:
    """Hidden channels [first, first + count) of the whole input, expanded and filtered."""
    line = step.columns * PANEL
    panel_step = step.lines * line
    size = block.kernel
    least, most = least_of(block.depthwise_activation), most_of(block.depthwise_activation)
    for i in range(panels_of(count)):
        panel = first // PANEL + i
        turn = i % EXPANDED_PANELS
        if turn == 0:
            panels = min(EXPANDED_PANELS, panels_of(count) - i)
            inside = step.expanded + block.pad_top * line + block.pad_left * PANEL
            for j in range(block.in_height):
                x = step.input + j * block.in_width * block.in_channels
                y = inside + j * line
                expand(arena, weights, block, panel, panels, x, block.in_width, y, panel_step)
        w = block.depthwise_weight + panel * size * size * PANEL
        bias = block.depthwise_bias + panel * PANEL
        x = step.expanded + turn * panel_step
        y = step.filtered + i * block.out_height * block.out_width * PANEL
        for r in range(block.out_height):
            top = x + r * block.stride * line
            to = y + r * block.out_width * PANEL
            row = Filter(top, line, size, w, bias, True, 0, True, to, block.out_width, least, most)
            depthwise(arena, weights, size, block.stride, row)


@entry("float32", FLOATS, WEIGHTS, BLOCKS, STEPS, INT)
def tiles_step(arena: Any, weights: Any, blocks: Any, steps: Any, number: int) -> None:
    step = steps[number]
    block = blocks[step.first]
    pixels = block.out_height * block.out_width
    panels = min(EXPANDED_PANELS, panels_of(step.tile))
    clear(arena, step.expanded, panels * step.lines * step.columns * PANEL)  # for the zero padding
    for first in range(0, block.hidden, step.tile):
        count = min(step.tile, block.hidden - first)
        _filter_channels(arena, weights, block, step, first, count)
        is_last = first + count == block.hidden
        shortcut = step.input if block.residual and is_last else NOWHERE
        project(
            arena,
            weights,
            block,
            first,
            count,
            step.filtered,
            pixels * PANEL,
            pixels,
            step.output,
            shortcut,
            block.in_channels,
            PANEL,
        )
