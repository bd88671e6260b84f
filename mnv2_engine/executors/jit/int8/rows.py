"""Inverted residuals by rows in 8 bits: the paper's section 5.1 with the map cut into rows, so that
the weights stay and the activations stream. For early blocks: large maps, few weights.

Output row r needs k rows of the expanded map, of which the row before has left k - s, all hidden
channels of them, in a ring:

    ring      [kernel - stride][hidden/16][columns][16]      columns include the padding

The `stride` new ones are expanded strip by strip, two panels at a time, filtered at once with those
in the ring, and then take the places of the rows that no output needs any more. (Sums, as in
../rows.py, would be four times the bytes: 32 bits against 8.) A place is free but for the columns
that the next strip still reads, so those follow with that strip.

Blocks chain (a cascade): a block takes input rows when an output row needs them, from the tensor in
the arena, from the block before, or strip by strip from the stem; nothing but rings and a few thin
rows exists in between, and nothing is computed twice. Before its first output row a block takes the
rows that the ring begins with, padding among them, one at a time.

In place, output row r is written while the new input rows are read, so a block whose output rows
never reach those runs in place; its shortcut reads the thin row r just before the same bytes are
written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ....model.packed import PANEL
from ..block import EXPANDED_PANELS
from ..compiling import BOOL, BYTES, COUNTS, INT, MEMORY, NORMALISATION, entry, inlined
from ..pointwise import NOWHERE
from ..strips import (
    MADE,
    NEXT,
    Strip,
    behind_stem,
    panels_of,
    strip_of,
    strips_of,
    thin_row,
)
from ..tables import BLOCKS, STEMS, STEPS
from .block import expand, filter_row, projected
from .depthwise import Rows
from .pointwise import pointwise, to_channels
from .stem import stem_load, stem_panels, stem_thin
from .vector import copy, fill


class NewRows(NamedTuple):
    """Input rows on their way through a block, and the expanded strips of two panels of them."""

    first: int
    taken: int  # one, or the stride; those outside the map are padding
    row_step: int  # expanded: [2][stride][columns][16]
    panel_step: int


@inlined
def _columns_of(block: Any) -> Any:
    return (block.out_width - 1) * block.stride + block.kernel


@inlined
def _ring_row(block: Any, j: int) -> Any:
    """Row j of the ring, padding above the map included: [hidden/16][columns][16]."""
    row = panels_of(block.hidden) * _columns_of(block) * PANEL
    return block.ring + j % (block.kernel - block.stride) * row


@inlined
def _frame_strip(
    arena: Any, block: Any, at: Strip, panels: int, y: int, panel_step: int, halo: int, step: int
) -> None:
    """Puts around the new columns of an expanded strip what else lies in it: padding at the borders
    of the map, and the columns that it shares with the strip before. `halo` holds those,
    [panels][kernel - stride][16], panels `step` bytes apart."""
    columns, overlap = at.end - at.start, (block.kernel - block.stride) * PANEL
    after = min(at.end - at.past - block.pad_left, columns)  # padding on the right
    for n in range(panels):
        to, kept = y + n * panel_step, halo + n * step
        if at.first:
            copy(arena, kept, arena, to, overlap)
        else:
            fill(arena, to, block.pad_left * PANEL, block.pad)
        if after > 0:
            fill(arena, to + (columns - after) * PANEL, after * PANEL, block.pad)
        if at.last < block.out_width:
            copy(arena, to + columns * PANEL - overlap, arena, kept, overlap)


@inlined
def _fill_strip(
    arena: Any,
    weights: Any,
    image: Any,
    is_float: bool,
    levels: Any,
    stem: Any,
    blocks: Any,
    step: Any,
    index: int,
    j: int,
    at: Strip,
    panel: int,
    panels: int,
    y: int,
    panel_step: int,
    is_loaded: bool,
) -> None:
    """The new columns of an expanded strip of input row j, for panels [panel, panel + panels).
    `is_loaded`: the stem's pixels under it are still there from the panels before."""
    block, new = blocks[index], at.past - at.fresh
    fresh = y + (at.fresh + block.pad_left - at.start) * PANEL
    pixels = step.filtered + panels_of(block.hidden) * step.strip * PANEL  # behind the strip
    is_stem = behind_stem(blocks, index)
    if index == 0 and not is_loaded and (is_stem or panel == 0):
        stem_load(arena, image, is_float, levels, stem, j, at.fresh, new, pixels)
    if not is_stem:
        if index == 0 and panel == 0:
            thin = thin_row(blocks, step, 0, j) + at.fresh * block.in_channels
            stem_thin(arena, weights, stem, pixels, new, thin)
        thin = thin_row(blocks, step, index, j) + at.fresh * block.in_channels
        expand(arena, weights, block, panel, panels, thin, new, fresh, panel_step)
        return
    stem_panels(arena, weights, stem, pixels, new, panel, panels, fresh, panel_step)
    if block.residual:  # in narrow networks
        kept = thin_row(blocks, step, 0, j) + at.fresh * PANEL
        for n in range(panels):
            to = kept + (panel + n) * block.in_width * PANEL
            copy(arena, fresh + n * panel_step, arena, to, new * PANEL)


@inlined
def _row_under(block: Any, rows: NewRows, ky: int, kept: int, x: int) -> Any:
    """Where row ky of those lies that an output row needs: in the ring, `kept` bytes into a row of
    it, or among the new ones at x."""
    old = block.kernel - block.stride
    if ky < old:
        return _ring_row(block, rows.first - old + ky) + kept
    return x + (ky - old) * rows.row_step


@inlined
def _filter_strip(
    arena: Any, weights: Any, block: Any, step: Any, rows: NewRows, at: Strip, panel: int, x: int
) -> None:
    """Filters the strip of one panel: x is [stride][columns][16], the new rows."""
    kept = (panel * _columns_of(block) + at.start) * PANEL
    under = Rows(
        _row_under(block, rows, 0, kept, x),
        _row_under(block, rows, 1, kept, x),
        _row_under(block, rows, 2, kept, x),
        _row_under(block, rows, 3, kept, x),
        _row_under(block, rows, 4, kept, x),
        _row_under(block, rows, 5, kept, x),
        _row_under(block, rows, 6, kept, x),
    )
    y = step.filtered + panel * step.strip * PANEL
    filter_row(arena, weights, block, panel, under, y, at.last - at.first)


@inlined
def _keep_rows(arena: Any, block: Any, rows: NewRows, at: Strip, panel: int, x: int) -> None:
    """The new rows that later outputs need take their places in the ring: the columns of the strip
    that no strip of this row needs any more."""
    overlap, columns = block.kernel - block.stride, at.end - at.start
    done = columns - overlap if at.last < block.out_width else columns
    to = (panel * _columns_of(block) + at.start) * PANEL
    for i in range(max(rows.taken - overlap, 0), rows.taken):
        place = _ring_row(block, rows.first + i) + to
        copy(arena, x + i * rows.row_step, arena, place, done * PANEL)


@inlined
def _project_strip(
    arena: Any, weights: Any, blocks: Any, step: Any, index: int, at: Strip, r: int
) -> None:
    """Projects the filtered strip to output row r, [out_width][out_channels]."""
    block = blocks[index]
    if index == step.last:
        y = step.output + r * block.out_width * block.out_channels
    else:
        y = thin_row(blocks, step, index + 1, r)
    pixel_step, panel_step = block.in_channels, PANEL
    if behind_stem(blocks, index):
        pixel_step, panel_step = PANEL, block.in_width * PANEL
    shortcut = NOWHERE
    if block.residual:
        shortcut = thin_row(blocks, step, index, r) + at.first * pixel_step
    channels = block.out_channels
    to = y + at.first * channels
    out = to_channels(to, channels, shortcut, pixel_step, panel_step, block.residual)
    hidden = panels_of(block.hidden)
    source = projected(block, 0, hidden, step.filtered, step.strip * PANEL)
    pointwise(arena, weights, arena, at.last - at.first, panels_of(channels), source, out)


@inlined
def _take_rows(
    arena: Any,
    weights: Any,
    image: Any,
    is_float: bool,
    levels: Any,
    stem: Any,
    blocks: Any,
    step: Any,
    index: int,
    first_row: int,
    count: int,
    r: int,
) -> None:
    """Takes the next `count` input rows of a block, which complete output row r, or -1: none."""
    block = blocks[index]
    panels, overlap = panels_of(block.hidden), block.kernel - block.stride
    halo_step = block.stride * overlap * PANEL
    first = 0
    for left in range(strips_of(block, step), 0, -1):
        at = strip_of(block, first, left)
        row_step = (at.end - at.start) * PANEL
        rows = NewRows(first_row, count, row_step, row_step * block.stride)
        for panel in range(0, panels, EXPANDED_PANELS):
            some = min(EXPANDED_PANELS, panels - panel)
            for i in range(count):
                j, y = first_row + i, step.expanded + i * row_step
                if j < 0 or j >= block.in_height:  # padding
                    for n in range(some):
                        fill(arena, y + n * rows.panel_step, row_step, block.pad)
                    continue
                if at.past > at.fresh:
                    _fill_strip(
                        arena,
                        weights,
                        image,
                        is_float,
                        levels,
                        stem,
                        blocks,
                        step,
                        index,
                        j,
                        at,
                        panel,
                        some,
                        y,
                        rows.panel_step,
                        panel > 0 and count == 1,
                    )
                halo = step.halo + panel * halo_step + i * overlap * PANEL
                _frame_strip(arena, block, at, some, y, rows.panel_step, halo, halo_step)
            for n in range(some):
                x = step.expanded + n * rows.panel_step
                if r >= 0:
                    _filter_strip(arena, weights, block, step, rows, at, panel + n, x)
                _keep_rows(arena, block, rows, at, panel + n, x)
        if r >= 0:
            _project_strip(arena, weights, blocks, step, index, at, r)
        first = at.last


@entry("int8", MEMORY, BYTES, BYTES, BOOL, NORMALISATION, STEMS, BLOCKS, STEPS, INT, COUNTS)
def rows_step(
    arena: Any,
    weights: Any,
    image: Any,
    is_float: bool,
    levels: Any,
    stems: Any,
    blocks: Any,
    steps: Any,
    number: int,
    counters: Any,
) -> None:
    step = steps[number]
    for index in range(step.first, step.last + 1):
        counters[NEXT, index] = -blocks[index].pad_top
        counters[MADE, index] = 0

    final = step.last
    while counters[MADE, final] < blocks[final].out_height:
        # Down to the first block whose next input rows are there: in a tensor, the image or
        # padding.
        index = final
        while True:
            block = blocks[index]
            first, r = counters[NEXT, index], counters[MADE, index]
            fresh = r * block.stride - block.pad_top + block.kernel - block.stride
            count = block.stride if first == fresh else 1  # else the ring begins with it
            last = min(first + count, block.in_height) - 1
            if index == step.first or last < counters[MADE, index - 1]:
                break
            index -= 1
        completes = r if first == fresh else -1
        _take_rows(
            arena,
            weights,
            image,
            is_float,
            levels,
            stems[0],
            blocks,
            step,
            index,
            first,
            count,
            completes,
        )
        counters[NEXT, index] += count
        if completes >= 0:
            counters[MADE, index] = r + 1
