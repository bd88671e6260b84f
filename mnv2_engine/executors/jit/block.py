"""The layers of an inverted residual, as both schedules (rows.py, tiles.py) use them: expand (the
paper's A), depthwise (N), project (B); F(x) = B(N(A x)). Each takes a range of hidden channels,
which the schedules cut as they like: the sums keep their order."""

from __future__ import annotations

from typing import Any

from ...model.packed import PANEL
from .compiling import inlined
from .pointwise import LINEAR_TO_CHANNELS, Input, Output, pointwise, to_panels
from .strips import panels_of

EXPANDED_PANELS = 2  # that are expanded at a time


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
    depth = block.in_channels
    w = block.expand_weight + panel * PANEL * depth
    bias = block.expand_bias + panel * PANEL
    source = Input(x, depth, 0, depth, depth, w, depth * PANEL, bias)
    pointwise(arena, weights, arena, pixels, panels, source, to_panels(y, panel_step))


@inlined
def project(
    arena: Any,
    weights: Any,
    block: Any,
    first: int,
    count: int,
    x: int,
    x_step: int,
    pixels: int,
    y: int,
    residual: int,
    residual_pixel_step: int,
    residual_panel_step: int,
) -> None:
    """Adds hidden channels [first, first + count) to `pixels` pixels of the thin output at y; x is
    panels of [pixels][16], x_step values apart."""
    w = block.project_weight + first * PANEL
    depth, channels = block.hidden, block.out_channels
    source = Input(x, PANEL, x_step, PANEL, count, w, depth * PANEL, block.project_bias)
    out = Output(
        LINEAR_TO_CHANNELS,
        y,
        0,
        channels,
        first == 0,
        residual,
        residual_pixel_step,
        residual_panel_step,
    )
    pointwise(arena, weights, arena, pixels, panels_of(channels), source, out)
