"""k x k depthwise convolution of one panel, 8 bits.

    acc[q][c] = bias[c] + sum over ky, kx of x[ky][q * stride + kx][c] * w[ky][kx][c]
    y[q][c]   = acc as 8 bits                                  docs/int8.md

The same tile serves both schedules: each tells where the k rows of x lie.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ....model.packed import PANEL
from ..compiling import kernel
from ..depthwise import kernels_of
from ..vector import taps
from .pointwise import PANEL_SUMS, TILE_PIXELS
from .vector import eight_bits, scale, spread, store_bytes


class Rows(NamedTuple):
    """Where the rows of x lie that one output row needs: [columns][16] each, padding included.
    A kernel of three has three of them."""

    first: int
    second: int
    third: int
    fourth: int
    fifth: int
    sixth: int
    seventh: int


class Filter(NamedTuple):
    """One output row of a panel. Places in bytes; x and y lie in the arena."""

    x: Rows
    w: int  # [k][k][16]
    table: int  # [2][16]
    fraction: int
    y: int  # [pixels][16]
    pixels: int


def _tile(pixels: int, size: int, stride: int) -> Any:
    """`pixels` of a row, kernels of size x size."""

    @kernel
    def tile(arena: Any, weights: Any, row: Filter, pixel: int) -> None:
        at, line = pixel * PANEL * stride, size * PANEL
        sums = spread(pixels, 1, weights, row.table, 0)
        sums = taps(sums, size, stride, arena, row.x.first + at, weights, row.w)
        sums = taps(sums, size, stride, arena, row.x.second + at, weights, row.w + line)
        sums = taps(sums, size, stride, arena, row.x.third + at, weights, row.w + 2 * line)
        if size >= 5:
            sums = taps(sums, size, stride, arena, row.x.fourth + at, weights, row.w + 3 * line)
            sums = taps(sums, size, stride, arena, row.x.fifth + at, weights, row.w + 4 * line)
        if size == 7:
            sums = taps(sums, size, stride, arena, row.x.sixth + at, weights, row.w + 5 * line)
            sums = taps(sums, size, stride, arena, row.x.seventh + at, weights, row.w + 6 * line)
        made = eight_bits(scale(sums, weights, row.table + PANEL_SUMS, 0), row.fraction)
        store_bytes(made, arena, row.y + pixel * PANEL, PANEL, 0)

    return tile


# depthwise(arena, weights, size, stride, row): filters a row with a kernel of size x size
depthwise = kernels_of(_tile, TILE_PIXELS)
