"""How long a schedule takes, by a simple model, for the planner to compare schedules with.

It counts cycles of one core at a multiply-add of a panel (16 channels) each half cycle, and adds
what differs between schedules: register tiles that start and end, tiles of too few pixels to hide
the multiply-add's latency, calls of the depthwise kernel, weights that come from beyond the core's
cache again and again, and rows that two threads both make. The constants were measured on one
machine with AVX-512 (Zen 5); on others the order of schedules is much the same.
"""

from __future__ import annotations

TILE_PIXELS = 14  # of the widest register tile, which has two panels
TILE_CYCLES = 35  # to load a register tile's sums, or biases, and to store them
LATENCY_CYCLES = 4  # of a multiply-add: no tile takes less for one of its input channels
DEPTHWISE_CALL_CYCLES = 30
REREAD_BYTES_A_CYCLE = 16  # from the cache that cores share


def pointwise_cycles(pixels: int, depth: int, panels: int) -> int:
    """Of a 1×1 convolution from `depth` channels to `panels` panels."""
    tiles = -(-pixels // TILE_PIXELS) * -(-panels // 2)
    return tiles * TILE_CYCLES + depth * max(pixels * panels // 2, tiles * LATENCY_CYCLES)


def depthwise_cycles(pixels: int, kernel: int, panels: int, calls: int) -> int:
    """Of a depthwise convolution, in so many calls for each panel."""
    return panels * (pixels * kernel * kernel // 2 + calls * DEPTHWISE_CALL_CYCLES)


def reread_cycles(weight_bytes: int, times: int) -> int:
    """Of reading weights again, so many times."""
    return weight_bytes * times // REREAD_BYTES_A_CYCLE
