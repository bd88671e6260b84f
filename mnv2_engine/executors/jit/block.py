"""The layers of an inverted residual, as both schedules (rows.py, tiles.py) use them: expand (the
paper's A), depthwise (N), project (B); F(x) = B(N(A x)). Each takes a range of hidden channels,
which the schedules cut as they like: the sums keep their order. Where t = 1, A is the identity."""

from __future__ import annotations

from typing import Any

from ...model.packed import PANEL
from .activation import LINEAR
from .compiling import inlined
from .pointwise import Input, pointwise, to_channels, to_panels
from .strips import panels_of
from .tables import ABSENT
from .vector import load, load_part, store

EXPANDED_PANELS = 2  # that are expanded at a time


@inlined
def _unchanged(
    arena: Any, block: Any, panel: int, panels: int, x: int, pixels: int, y: int, panel_step: int
) -> None:
    """Panels [panel, panel + panels) of `pixels` thin pixels; lanes past the last channel are 0."""
    for n in range(panels):
        first = (panel + n) * PANEL
        lanes = block.in_channels - first
        for p in range(pixels):
            at, to = x + p * block.in_channels + first, y + n * panel_step + p * PANEL
            if lanes >= PANEL:
                store(load(1, 1, arena, at, 0, 0), arena, to, 0, 0)
            else:
                store(load_part(1, 1, arena, at, 0, 0, lanes), arena, to, 0, 0)


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
    depth = block.in_channels
    w = block.expand_weight + panel * PANEL * depth
    bias = block.expand_bias + panel * PANEL
    source = Input(x, depth, 0, depth, depth, w, depth * PANEL, bias)
    out = to_panels(y, panel_step, block.expand_activation)
    pointwise(arena, weights, arena, pixels, panels, source, out)


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
    """Adds hidden channels [first, first + count) to `pixels` pixels of the thin output at y, which
    is complete with the last ones; x is panels of [pixels][16], x_step values apart."""
    w = block.project_weight + first * PANEL
    depth, channels = block.hidden, block.out_channels
    source = Input(x, PANEL, x_step, PANEL, count, w, depth * PANEL, block.project_bias)
    activation = block.project_activation if first + count == depth else LINEAR
    out = to_channels(
        y, channels, activation, first == 0, residual, residual_pixel_step, residual_panel_step
    )
    pointwise(arena, weights, arena, pixels, panels_of(channels), source, out)
