"""How long a schedule takes, by a simple model, for the planner to compare schedules with.

It counts cycles of one core at a multiply-add of a panel (16 channels) each half cycle, and adds
what differs between schedules: register tiles that start and end, tiles of too few pixels to hide
the multiply-add's latency, calls of the depthwise kernel, bytes that are live, weights that come
from beyond the core's cache again and again, rows that two threads both make, and phases at whose
end threads wait for each other. The constants were measured on one machine with AVX-512 (Zen 5); on
others the order of schedules is much the same.
"""

from __future__ import annotations

from ..network.layer import IMAGE_CHANNELS
from ..network.supported import STEM_KERNEL
from .schedules import Schedule
from .shapes import Shapes, elements, panels_of

TILE_PIXELS = 14  # of the widest register tile, which has two panels
TILE_CYCLES = 35  # to load a register tile's sums, or biases, and to store them
LATENCY_CYCLES = 4  # of a multiply-add: no tile takes less for one of its input channels
DEPTHWISE_CALL_CYCLES = 30
REREAD_BYTES_A_CYCLE = 16  # from the cache that cores share
MOVED_BYTES_A_CYCLE = 32  # of what is live, once a step, from the second cache to the first
# Weights that a cascade reads again for every row should stay in a core's own cache: half of 512
# KiB, the smallest second-level cache of today's servers.
CACHED_WEIGHT_BYTES = 256 << 10
PHASE_CYCLES = 1000  # for threads to wait for each other
STEM_TAPS = STEM_KERNEL * STEM_KERNEL * IMAGE_CHANNELS


def cycles_of(shapes: Shapes, schedule: Schedule) -> int:
    """About how long the thread takes that has the most to do."""
    moved = schedule.bytes // MOVED_BYTES_A_CYCLE
    if shapes.threads > 1:
        moved += _phases(shapes, schedule) * PHASE_CYCLES
    if schedule.kind == "tiles":
        return moved + _tiles_cycles(shapes, schedule.blocks.start, schedule.tile)
    if schedule.kind == "rows":
        return moved + max(
            _band_cycles(shapes, schedule.blocks, schedule.strip, thread)
            for thread in range(shapes.threads)
        )
    return moved  # there is one way to run it


def _phases(shapes: Shapes, schedule: Schedule) -> int:
    """How often threads wait for each other: after a step of rows, after each tile, and once more
    for the projection of the last."""
    if schedule.kind != "tiles":
        return 1
    hidden = shapes.blocks[schedule.blocks.start].hidden
    return -(-hidden // min(shapes.threads * schedule.tile, hidden)) + 1


def pointwise_cycles(pixels: int, depth: int, panels: int, terms: int = 1) -> int:
    """Of a 1×1 convolution from `depth` channels to `panels` panels, of which a multiply-add takes
    `terms` at once."""
    depth = -(-depth // terms)
    tiles = -(-pixels // TILE_PIXELS) * -(-panels // 2)
    return tiles * TILE_CYCLES + depth * max(pixels * panels // 2, tiles * LATENCY_CYCLES)


def depthwise_cycles(pixels: int, kernel: int, panels: int, calls: int) -> int:
    """Of a depthwise convolution, in so many calls for each panel."""
    return panels * (pixels * kernel * kernel // 2 + calls * DEPTHWISE_CALL_CYCLES)


def reread_cycles(weight_bytes: int, times: int) -> int:
    """Of reading weights again, so many times."""
    return weight_bytes * times // REREAD_BYTES_A_CYCLE


def _tiles_cycles(shapes: Shapes, index: int, tile: int) -> int:
    block, depthwise, threads = (
        shapes.blocks[index],
        shapes.blocks[index].depthwise,
        shapes.threads,
    )
    panels = -(-panels_of(block.hidden) // threads)  # a thread's
    group = min(threads * tile, block.hidden)
    pixels = elements(depthwise.out_size)
    terms = shapes.precision.terms
    depth = block.in_channels if block.expand else 0
    made = pointwise_cycles(depthwise.in_size[1], depth, panels, terms)
    projected = pointwise_cycles(-(-pixels // threads), group, panels_of(block.out_channels), terms)
    filtered = depthwise_cycles(pixels, block.kernel, panels, 1)
    cycles = depthwise.in_size[0] * made + filtered + -(-block.hidden // group) * projected
    for head in shapes.heads_within(index):
        inner = shapes.blocks[head]
        pixels = elements(inner.depthwise.out_size)
        out = panels_of(inner.out_channels)
        projected = pointwise_cycles(-(-pixels // threads), group, out, terms)
        cycles += depthwise_cycles(pixels, inner.kernel, panels, 1)
        cycles += -(-block.hidden // group) * projected
    return cycles


def _band_cycles(shapes: Shapes, blocks: range, strip: int, thread: int) -> int:
    """About how long a thread takes for its band of output rows, with the rows that it needs."""
    height = shapes.blocks[blocks[-1]].depthwise.out_size[0]
    first, end = (height * t // shapes.threads for t in (thread, thread + 1))
    if first == end:
        return 0
    weights = sum(shapes.weight_bytes(index) for index in blocks)
    cycles = reread_cycles(weights, end - first - 1) if weights > CACHED_WEIGHT_BYTES else 0
    for index in reversed(blocks):
        depthwise = shapes.blocks[index].depthwise
        rows_out = end - first
        end = (end - 1) * depthwise.stride - depthwise.pad_rows[0] + depthwise.kernel
        end = min(end, depthwise.in_size[0])
        first = max(first * depthwise.stride - depthwise.pad_rows[0], 0)
        key = "cycles", index, strip, end - first, rows_out
        if key not in shapes.known:
            shapes.known[key] = _block_cycles(shapes, *key[1:])
        cycles += shapes.known[key]
    return cycles


def _block_cycles(shapes: Shapes, index: int, strip: int, rows_in: int, rows_out: int) -> int:
    """About how long one block takes by rows."""
    block, depthwise = shapes.blocks[index], shapes.blocks[index].depthwise
    in_width, out_width = depthwise.in_size[1], depthwise.out_size[1]
    panels = panels_of(block.hidden)
    strips = -(-out_width // strip)
    terms = shapes.precision.terms
    columns = -(-in_width // strips)
    # Without an expand layer the stem makes the hidden channels, or they are copied.
    depth = block.in_channels if block.expand else STEM_TAPS if index == 0 else 0
    made = strips * pointwise_cycles(columns, depth, panels, terms)
    if index == 0 and block.expand:
        made += strips * pointwise_cycles(columns, STEM_TAPS, panels_of(block.in_channels), terms)
    pixels, thin = -(-out_width // strips), panels_of(block.out_channels)
    projected = strips * pointwise_cycles(pixels, block.hidden, thin, terms)
    filtered = depthwise_cycles(rows_out * out_width, block.kernel, panels, rows_in * strips)
    return rows_in * made + filtered + rows_out * projected
