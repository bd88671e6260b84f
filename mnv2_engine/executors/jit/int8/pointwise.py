"""1x1 convolution of a run of pixels in 8 bits: the expand and project layers and the head; and,
with a segment for each row of the kernel, the stem and other convolutions. As
kernels/int8/pointwise.h.

    acc[p][n] = bias[n] + sum over k of x[p][k] * w[n][k]      int32, exact
    y[p][n]   = acc as 8 bits                                  docs/int8.md

x is read in groups of four channels, as segments: groups [0, segment) at x, the next ones at x +
segment_step, and so on; within a segment a pixel is `pixel_step` bytes from the next.

    a thin NHWC row      segment = all groups,  pixel_step = channels
    hidden panels        segment = 4,           pixel_step = 16,     segment_step = a panel's row
    k rows of pixels     segment = those of k * channels, pixel_step = stride * channels

w is panels of 16 outputs, each [groups][16][4].
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ..compiling import TILE_PANELS, inlined, kernel
from ..pointwise import NOWHERE, convolution_of
from ..vector import add, store, sum_pixels
from .vector import (
    add_shortcut,
    dot,
    eight_bits,
    load_sums,
    scale,
    spread,
    store_bytes,
    store_bytes_part,
)

SUM_BYTES = 4
PANEL_SUMS = PANEL * SUM_BYTES
TABLE = 2 * PANEL_SUMS  # of a panel: biases, then multipliers and shifts
# Pixels of a register tile. Weights as words take more registers than floats do: a tile of seven
# fills the 32 of AVX-512, one of four the 16 of AVX2.
TILE_PIXELS, SOME_PIXELS = (7, 3) if TILE_PANELS > 1 else (4, 2)


@inlined
def groups_of(channels: int) -> int:
    return (channels + GROUP - 1) // GROUP


class Input(NamedTuple):
    """What is convolved. Places and steps in bytes, in the arena and in the weights."""

    x: int
    pixel_step: int
    segment_step: int
    segment: int  # groups
    groups: int
    w: int  # [panels][groups][16][4]
    panel_step: int  # from one panel of w to the next
    table: int  # [panels][2][16]
    fraction: int


# How a tile is finished.
TO_PANELS = 0  # y: [panel][pixel][16]; the expanded tensor, whole panels
TO_CHANNELS = 1  # y: [pixel][channels]; the thin tensor, only real channels
TO_SUMS = 2  # sums: [panel][pixel][16] int32; not yet 8 bits
TO_POOL = 3  # sums: [panel][16] int32; 8 bits, added over pixels


class Output(NamedTuple):
    """Where a convolution leaves what it makes, and what that begins at."""

    finish: int
    y: int
    sums: int
    panel_step: int  # TO_PANELS: of y, else of sums
    channels: int  # TO_CHANNELS: of y
    begins: int  # whether the sums begin at the bias, not at `sums`
    shortcut: int  # TO_CHANNELS: added before 8 bits are made, or NOWHERE; it may be y, or panels
    shortcut_pixel_step: int
    shortcut_panel_step: int
    shortcut_multiplier: int


@inlined
def to_panels(y: int, panel_step: int) -> Output:
    return Output(TO_PANELS, y, 0, panel_step, 0, True, NOWHERE, 0, 0, 0)


@inlined
def to_channels(
    y: int,
    channels: int,
    shortcut: int,
    shortcut_pixel_step: int,
    shortcut_panel_step: int,
    shortcut_multiplier: int,
) -> Output:
    return Output(
        TO_CHANNELS,
        y,
        0,
        0,
        channels,
        True,
        shortcut,
        shortcut_pixel_step,
        shortcut_panel_step,
        shortcut_multiplier,
    )


@inlined
def to_pool(sums: int) -> Output:
    return Output(TO_POOL, 0, sums, PANEL_SUMS, 0, True, NOWHERE, 0, 0, 0)


def _tile(pixels: int, panels: int) -> Any:
    """The register tile of `pixels` x `panels`."""

    @kernel
    def tile(
        arena: Any, weights: Any, y: Any, pixel: int, panel: int, source: Input, out: Output
    ) -> None:
        table = source.table + panel * TABLE
        kept = out.sums + panel * out.panel_step  # TO_SUMS, or where those go on
        if out.finish != TO_POOL:
            kept += pixel * PANEL_SUMS
        if out.begins:
            sums = spread(pixels, panels, weights, table, TABLE)
        else:
            sums = load_sums(pixels, panels, y, kept, PANEL_SUMS, out.panel_step)

        x = source.x + pixel * source.pixel_step
        w = source.w + panel * source.panel_step
        left = source.groups
        while left > 0:
            segment = min(left, source.segment)
            for k in range(segment):
                at = w + k * PANEL * GROUP
                sums = dot(
                    sums,
                    arena,
                    x + k * GROUP,
                    source.pixel_step,
                    weights,
                    at,
                    source.panel_step,
                )
            x += source.segment_step
            w += segment * PANEL * GROUP
            left -= segment

        if out.finish == TO_SUMS:
            store(sums, y, kept, PANEL_SUMS, out.panel_step)
            return
        v = scale(sums, weights, table + PANEL_SUMS, TABLE)
        if out.shortcut != NOWHERE:
            shortcut = out.shortcut + pixel * out.shortcut_pixel_step
            v = add_shortcut(
                v,
                arena,
                shortcut + panel * out.shortcut_panel_step,
                out.shortcut_pixel_step,
                out.shortcut_panel_step,
                out.shortcut_multiplier,
            )
        made = eight_bits(v, source.fraction)
        if out.finish == TO_PANELS:
            to = out.y + panel * out.panel_step + pixel * PANEL
            store_bytes(made, y, to, PANEL, out.panel_step)
        elif out.finish == TO_CHANNELS:
            to = out.y + pixel * out.channels + panel * PANEL
            lanes = out.channels - panel * PANEL
            if lanes >= panels * PANEL:
                store_bytes(made, y, to, out.channels, PANEL)
            else:
                store_bytes_part(made, y, to, out.channels, PANEL, lanes)
        else:
            pooled = load_sums(1, panels, y, kept, 0, out.panel_step)
            store(add(pooled, sum_pixels(made)), y, kept, 0, out.panel_step)

    return tile


# pointwise(arena, weights, arena, pixels, panels, source, out): all `pixels` x `panels` outputs
pointwise = convolution_of(_tile, TILE_PIXELS, SOME_PIXELS)
