"""The layers of an inverted residual in 8 bits, as both schedules (rows.py, tiles.py) use them:
expand (the paper's A), depthwise (N), project (B); F(x) = B(N(A x)). Where t = 1, A is the
identity."""

from __future__ import annotations

from typing import Any

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ..compiling import inlined
from ..tables import ABSENT
from .depthwise import Filter, Rows, depthwise
from .pointwise import TABLE, Input, groups_of, pointwise, to_panels
from .vector import copy

PANEL_GROUPS = PANEL // GROUP


@inlined
def _unchanged(
    arena: Any, block: Any, panel: int, panels: int, x: int, pixels: int, y: int, panel_step: int
) -> None:
    """Panels [panel, panel + panels) of `pixels` thin pixels. Lanes past the last channel, whose
    weights are 0, hold what lies behind it."""
    for n in range(panels):
        at = x + (panel + n) * PANEL
        for p in range(pixels):
            to = y + n * panel_step + p * PANEL
            copy(arena, at + p * block.in_channels, arena, to, PANEL)


@inlined
def expand(
    arena: Any,
    weights: Any,
    block: Any,
    panel: int,
    panels: int,
    x: int,
    pixels: int,
    y: int,
    panel_step: int,
) -> None:
    """Hidden panels [panel, panel + panels) of `pixels` thin pixels at x, to y."""
    if block.expand_weight == ABSENT:
        _unchanged(arena, block, panel, panels, x, pixels, y, panel_step)
        return
    channels = block.in_channels
    groups = groups_of(channels)
    weight_step = groups * PANEL * GROUP
    source = Input(
        x,
        channels,
        0,
        groups,
        groups,
        block.expand_weight + panel * weight_step,
        weight_step,
        block.expand_bias + panel * TABLE,
        block.expand_fraction,
    )
    pointwise(arena, weights, arena, pixels, panels, source, to_panels(y, panel_step))


@inlined
def filter_row(
    arena: Any, weights: Any, block: Any, panel: int, x: Rows, y: int, pixels: int
) -> None:
    """One output row of the depthwise layer of a hidden panel."""
    size = block.kernel
    w = block.depthwise_weight + panel * size * size * PANEL
    table = block.depthwise_bias + panel * TABLE
    row = Filter(x, w, table, block.depthwise_fraction, y, pixels)
    depthwise(arena, weights, size, block.stride, row)


@inlined
def projected(block: Any, panel: int, panels: int, x: int, panel_step: int) -> Input:
    """Hidden panels [panel, panel + panels), filtered at x, panels panel_step bytes apart, of
    [pixels][16]; for the whole thin output of those pixels."""
    hidden, first = groups_of(block.hidden), panel * PANEL_GROUPS
    return Input(
        x,
        PANEL,
        panel_step,
        PANEL_GROUPS,
        min(panels * PANEL_GROUPS, hidden - first),
        block.project_weight + first * PANEL * GROUP,
        hidden * PANEL * GROUP,
        block.project_bias,
        block.project_fraction,
    )
