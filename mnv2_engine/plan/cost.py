"""How long a schedule takes, by a simple model, for the planner to compare schedules with.

It counts the multiply-adds of panels (16 channels), and what differs between schedules: register
tiles that start and end, tiles of too few pixels to hide the multiply-add's latency, calls of the
depthwise kernel, bytes that are live, weights that come from beyond the core's cache again and
again, rows that two threads both make, phases at whose end threads wait for each other, and what
one of them filters and another projects. What each of them takes on a family of CPUs was measured
(cpu_costs.py); so plans are the same on every CPU of a family, and for a family on every machine.
benches/schedule_order.py holds the model's order of schedules against the measured one.
"""

from __future__ import annotations

from ..model.packed import PANEL
from ..network.layer import IMAGE_CHANNELS
from ..network.supported import STEM_KERNEL
from .cpu_costs import CpuCosts
from .schedules import Schedule, band_lines
from .shapes import Shapes, panels_of

TILE_PIXELS = 14  # of the widest register tile, which has two panels
# A multiply-add takes as long as eight start in: no register tile takes less for one of its inputs
# than this many pixels of two panels.
LEAST_AT_ONCE = 4
MOVED_BYTES, REREAD_BYTES = 32, 16  # that CpuCosts counts at once
STEM_TAPS = STEM_KERNEL * STEM_KERNEL * IMAGE_CHANNELS


def time_of(shapes: Shapes, schedule: Schedule) -> int:
    """About how long the thread takes that has the most to do, in picoseconds."""
    costs = shapes.costs
    moved = schedule.bytes // MOVED_BYTES * costs.moved
    if shapes.threads > 1:
        moved += _phases(shapes, schedule) * costs.phase
    if schedule.kind == "tiles":
        return moved + _tiles_time(shapes, schedule)
    if schedule.kind == "rows":
        return moved + max(
            _band_time(shapes, schedule.blocks, schedule.strip, thread)
            for thread in range(shapes.threads)
        )
    return moved  # there is one way to run it


def _phases(shapes: Shapes, schedule: Schedule) -> int:
    """How often threads wait for each other: after a step of rows, or of bands apart; else after
    each tile, and once more for the projection of the last."""
    if schedule.kind != "tiles" or schedule.apart:
        return 1
    hidden = shapes.blocks[schedule.blocks.start].hidden
    tiles = -(-hidden // min(shapes.threads * schedule.tile, hidden))
    return (tiles + 1) * schedule.bands


def pointwise_time(costs: CpuCosts, pixels: int, depth: int, panels: int, terms: int = 1) -> int:
    """Of a 1×1 convolution from `depth` channels to `panels` panels, of which a multiply-add takes
    `terms` at once."""
    depth = -(-depth // terms)
    tiles = -(-pixels // TILE_PIXELS) * -(-panels // 2)
    pairs = max(pixels * panels // 2, tiles * LEAST_AT_ONCE)
    return tiles * costs.tile + depth * pairs * costs.term


def depthwise_time(costs: CpuCosts, pixels: int, kernel: int, panels: int, calls: int) -> int:
    """Of a depthwise convolution, in so many calls for each panel."""
    return panels * (pixels * kernel * kernel // 2 * costs.tap + calls * costs.call)


def reread_time(costs: CpuCosts, weight_bytes: int, times: int) -> int:
    """Of reading weights again, so many times."""
    return weight_bytes * times // REREAD_BYTES * costs.reread


def _tiles_time(shapes: Shapes, schedule: Schedule) -> int:
    """Bands that are apart end with the slowest thread; others add up, and read the weights
    again."""
    index, bands, costs = schedule.blocks.start, schedule.bands, shapes.costs
    times = [_tiled_time(shapes, schedule, band) for band in range(bands)]
    if schedule.apart:
        return max(times)
    weights = sum(shapes.weight_bytes(branch) for branch in shapes.branches(index))
    return sum(times) + (weights > costs.cached) * reread_time(costs, weights, bands - 1)


def _tiled_time(shapes: Shapes, schedule: Schedule, band: int) -> int:
    """Of all tiles for one band."""
    index, bands, costs = schedule.blocks.start, schedule.bands, shapes.costs
    block, height = shapes.blocks[index], shapes.blocks[index].depthwise.in_size[0]
    threads = 1 if schedule.apart else shapes.threads  # that share a tile's channels, then pixels
    group = min(threads * schedule.tile, block.hidden)
    panels = -(-panels_of(block.hidden) // threads)  # a thread's
    terms = shapes.precision.terms
    depth = block.in_channels if block.expand else 0
    made = pointwise_time(costs, block.depthwise.in_size[1], depth, panels, terms)
    lines = range(height)
    if bands > 1:
        under = band_lines(shapes, index, bands, band)
        lines = range(max(under.start, 0), min(under.stop, height))
    time = len(lines) * made
    for branch in shapes.branches(index):
        inner = shapes.blocks[branch]
        rows, columns = inner.depthwise.out_size
        pixels = (rows * (band + 1) // bands - rows * band // bands) * columns
        own, out = -(-pixels // threads), panels_of(inner.out_channels)
        # What other threads have filtered comes from their caches.
        others = own * block.hidden * shapes.precision.filtered * (threads - 1) // threads
        time += depthwise_time(costs, pixels, inner.kernel, panels, 1)
        time += _projected_time(shapes, own, block.hidden, group, out)
        time += others // MOVED_BYTES * costs.shared
    return time


def _projected_time(shapes: Shapes, pixels: int, hidden: int, group: int, panels: int) -> int:
    """Of the projections of all tiles, `group` hidden channels each: a thread's pixels."""
    costs, terms = shapes.costs, shapes.precision.terms
    tiles, last = -(-hidden // group), (hidden - 1) % group + 1
    if costs.first == 0:
        return tiles * pointwise_time(costs, pixels, group, panels, terms)
    time = (tiles - 1) * pointwise_time(costs, pixels, group, panels, terms)
    time += pointwise_time(costs, pixels, last, panels, terms)
    # Two panels of outputs after two read what is filtered, from beyond the first cache.
    beyond = max(0, pixels * group * shapes.precision.filtered - costs.first)
    time += tiles * -(-panels // 2) * (beyond // MOVED_BYTES) * costs.moved
    if shapes.threads == 1:
        return time
    # Of several threads' sums it was measured that they go there and back between two tiles.
    sums = pixels * panels * PANEL * shapes.precision.sums
    return time + (tiles - 1) * 2 * (sums // MOVED_BYTES) * costs.moved


def _band_time(shapes: Shapes, blocks: range, strip: int, thread: int) -> int:
    """About how long a thread takes for its band of output rows, with the rows that it needs."""
    height = shapes.blocks[blocks[-1]].depthwise.out_size[0]
    first, end = (height * t // shapes.threads for t in (thread, thread + 1))
    if first == end:
        return 0
    weights = sum(shapes.weight_bytes(index) for index in blocks)
    time = 0
    if weights > shapes.costs.cached:
        time = reread_time(shapes.costs, weights, end - first - 1)
    for index in reversed(blocks):
        depthwise = shapes.blocks[index].depthwise
        rows_out = end - first
        end = (end - 1) * depthwise.stride - depthwise.pad_rows[0] + depthwise.kernel
        end = min(end, depthwise.in_size[0])
        first = max(first * depthwise.stride - depthwise.pad_rows[0], 0)
        key = "time", index, strip, end - first, rows_out
        if key not in shapes.known:
            shapes.known[key] = _block_time(shapes, *key[1:])
        time += shapes.known[key]
    return time


def _block_time(shapes: Shapes, index: int, strip: int, rows_in: int, rows_out: int) -> int:
    """About how long one block takes by rows."""
    block, depthwise = shapes.blocks[index], shapes.blocks[index].depthwise
    costs = shapes.costs
    in_width, out_width = depthwise.in_size[1], depthwise.out_size[1]
    panels = panels_of(block.hidden)
    strips = -(-out_width // strip)
    terms = shapes.precision.terms
    columns = -(-in_width // strips)
    # Without an expand layer the stem makes the hidden channels, or they are copied.
    depth = block.in_channels if block.expand else STEM_TAPS if index == 0 else 0
    made = strips * pointwise_time(costs, columns, depth, panels, terms)
    if index == 0 and block.expand:
        stem = panels_of(block.in_channels)
        made += strips * pointwise_time(costs, columns, STEM_TAPS, stem, terms)
    pixels, thin = -(-out_width // strips), panels_of(block.out_channels)
    projected = strips * pointwise_time(costs, pixels, block.hidden, thin, terms)
    filtered = depthwise_time(costs, rows_out * out_width, block.kernel, panels, rows_in * strips)
    return rows_in * made + filtered + rows_out * projected
