"""Inverted residuals by channel tiles in 8 bits: the paper's own form (section 5.1),

    F(x) = sum over tiles i of B_i(N(A_i x))

so that the activations stay and the weights stream, each read once. For late blocks: small maps,
hundreds of kilobytes of weights. Scratch is two expanded panels, [2][lines][columns][16],
padding included, one tile of hidden channels, filtered [tile/16][out_height * out_width][16], and
the sums over i, which are 32 bits until the last tile, [out_channels/16][out_height * out_width]
[16].
"""

from __future__ import annotations

from typing import Any

from ....model.packed import PANEL
from ..block import EXPANDED_PANELS
from ..compiling import BYTES, INT, MEMORY, entry, inlined
from ..pointwise import NOWHERE
from ..strips import panels_of
from ..tables import BLOCKS, STEPS
from .block import expand, filter_row, projected
from .depthwise import Rows
from .pointwise import PANEL_SUMS, TO_CHANNELS, TO_SUMS, Output, pointwise
from .vector import fill


@inlined
def _filter_panels(arena: Any, weights: Any, block: Any, step: Any, panel: int, end: int) -> None:
    """Hidden panels [panel, end) of the whole input, expanded and filtered."""
    line = step.columns * PANEL
    panel_step = step.lines * line
    inside = step.expanded + block.pad_top * line + block.pad_left * PANEL
    y = step.filtered
    for i in range(end - panel):
        turn = i % EXPANDED_PANELS
        if turn == 0:
            panels = min(EXPANDED_PANELS, end - panel - i)
            for j in range(block.in_height):
                x = step.input + j * block.in_width * block.in_channels
                to = inside + j * line
                expand(arena, weights, block, panel + i, panels, x, block.in_width, to, panel_step)
        for r in range(block.out_height):
            top = step.expanded + turn * panel_step + r * block.stride * line
            rows = Rows(
                top,
                top + line,
                top + 2 * line,
                top + 3 * line,
                top + 4 * line,
                top + 5 * line,
                top + 6 * line,
            )
            filter_row(arena, weights, block, panel + i, rows, y, block.out_width)
            y += block.out_width * PANEL


@entry("int8", MEMORY, BYTES, BLOCKS, STEPS, INT)
def tiles_step(arena: Any, weights: Any, blocks: Any, steps: Any, number: int) -> None:
    step = steps[number]
    block = blocks[step.first]
    pixels = block.out_height * block.out_width
    hidden, tile = panels_of(block.hidden), panels_of(step.tile)
    expanded = min(EXPANDED_PANELS, tile) * step.lines * step.columns
    fill(arena, step.expanded, expanded * PANEL, block.pad)
    for panel in range(0, hidden, tile):
        end = min(panel + tile, hidden)
        _filter_panels(arena, weights, block, step, panel, end)
        out = Output(
            TO_CHANNELS if end == hidden else TO_SUMS,
            step.output,
            step.sums,
            pixels * PANEL_SUMS,
            block.out_channels,
            panel == 0,
            step.input if block.residual and end == hidden else NOWHERE,
            block.in_channels,
            PANEL,
            block.residual,
        )
        source = projected(block, panel, end - panel, step.filtered, pixels * PANEL)
        pointwise(arena, weights, arena, pixels, panels_of(block.out_channels), source, out)
