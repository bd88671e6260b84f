"""k x k depthwise convolution of one panel, batch-norm folded, and its activation f.

    y[q][c] = f(bias[c] + sum over ky, kx of x[ky][q * stride + kx][c] * w[ky][kx][c])

The same tile serves both schedules. Tiles gather: all k rows of the kernel, from the bias to the
activation. Rows scatter: one row of the kernel, which begins at the bias or where the rows before
left the sums, and is clipped when it is the last; below the map there is no row, only the clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...model.packed import PANEL
from .compiling import inlined, kernel
from .vector import clamp, load, spread, store, taps


class Filter(NamedTuple):
    """One output row of a panel. Places and steps in values; x, sums and y lie in the arena."""

    x: int  # [rows][columns][16], padding included
    line: int  # from one row of x to the next
    rows: int  # of the kernel that meet rows of x
    w: int  # [rows][k][16]
    bias: int  # [16]
    begins: int  # whether the sums begin at the bias, not at `sums`
    sums: int  # [pixels][16]; where they are left, unless the row is complete
    completes: int
    y: int  # [pixels][16]; where to, if the row is complete
    pixels: int
    least: float  # of the activation (activation.py)
    most: float


def _tile(pixels: int, size: int, stride: int) -> Any:
    """`pixels` of a row, kernels of size x size."""

    @kernel
    def tile(arena: Any, weights: Any, row: Filter, pixel: int) -> None:
        at = pixel * PANEL
        if row.begins:
            sums = spread(pixels, 1, weights, row.bias)
        else:
            sums = load(pixels, 1, arena, row.sums + at, PANEL, 0)
        x = row.x + at * stride
        for ky in range(row.rows):
            sums = taps(
                sums, size, stride, arena, x + ky * row.line, weights, row.w + ky * size * PANEL
            )
        if row.completes:
            store(clamp(sums, row.least, row.most), arena, row.y + at, PANEL, 0)
        else:
            store(sums, arena, row.sums + at, PANEL, 0)

    return tile


def kernels_of(tile: Callable[[int, int, int], Any], most: int) -> Any:
    """The filter of a row, for every size of kernel and every stride, from what makes its tiles:
    of `most` pixels, and of one."""

    def row_of(size: int, stride: int) -> Any:
        many, one = tile(most, size, stride), tile(1, size, stride)

        @inlined
        def every_pixel(arena: Any, weights: Any, row: Any) -> None:
            pixel = 0
            while row.pixels - pixel >= most:
                many(arena, weights, row, pixel)
                pixel += most
            while pixel < row.pixels:
                one(arena, weights, row, pixel)
                pixel += 1

        return every_pixel

    row_3_1, row_3_2 = row_of(3, 1), row_of(3, 2)
    row_5_1, row_5_2 = row_of(5, 1), row_of(5, 2)
    row_7_1, row_7_2 = row_of(7, 1), row_of(7, 2)

    @kernel
    def depthwise(arena: Any, weights: Any, size: int, stride: int, row: Any) -> None:
        if size == 3 and stride == 1:
            row_3_1(arena, weights, row)
        elif size == 3:
            row_3_2(arena, weights, row)
        elif size == 5 and stride == 1:
            row_5_1(arena, weights, row)
        elif size == 5:
            row_5_2(arena, weights, row)
        elif stride == 1:
            row_7_1(arena, weights, row)
        else:
            row_7_2(arena, weights, row)

    return depthwise


# depthwise(arena, weights, size, stride, row): filters a row with a kernel of size x size
depthwise = kernels_of(_tile, 7)
