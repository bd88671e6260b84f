"""Inverted residuals by rows: the paper's section 5.1 with the map cut into rows, so that the
weights stay and the activations stream. For early blocks: large maps, few weights.

An input row is expanded once, strip by strip, two panels at a time, and at once scattered: each
row of the kernel adds its taps to the output row that it belongs to. So no expanded row is ever
stored, only the sums of the (k - 1) / stride output rows that are not complete,

    partial   [(k - 1) / stride][hidden/16][out_width][16]

The strip that an input row completes is projected to the thin output while it is in the first
cache. Blocks chain (a cascade): a block takes an input row when an output row needs it, from the
tensor in the arena, from the block before, or strip by strip from the stem; nothing but partial
sums and a few thin rows exists in between, and nothing is computed twice.

Output row r is written while input row j = r * stride - pad + k - 1 is read, so a block whose
output rows never reach row j runs in place; its shortcut reads the thin row r just before the same
bytes are written.
"""

from __future__ import annotations

from typing import Any

from ...model.packed import PANEL
from .activation import least_of, most_of
from .block import EXPANDED_PANELS, expand, project
from .compiling import BOOL, BYTES, COUNTS, FLOATS, INT, NORMALISATION, WEIGHTS, entry, inlined
from .depthwise import Filter, depthwise
from .pointwise import NOWHERE
from .stem import stem_load, stem_panels, stem_thin
from .strips import (
    MADE,
    NEEDED,
    NEXT,
    Strip,
    behind_stem,
    panels_of,
    strip_of,
    strips_of,
    thin_row,
)
from .tables import BLOCKS, STEMS, STEPS
from .vector import clear, load, store


@inlined
def _copy(arena: Any, x: int, y: int, vectors: int) -> None:
    for i in range(vectors):
        store(load(1, 1, arena, x + i * PANEL, 0, 0), arena, y + i * PANEL, 0, 0)


@inlined
def _fill_strip(arena: Any, block: Any, step: Any, at: Strip, panel: int, panels: int) -> None:
    """Puts around the new columns of an expanded strip what else lies in it: zeros at the borders
    of the map, and the columns that it shares with the strip before."""
    columns, overlap = at.end - at.start, block.kernel - block.stride
    after = min(at.end - at.past - block.pad_left, columns)  # zero columns on the right
    for i in range(panels):
        y = step.expanded + i * columns * PANEL
        halo = step.halo + (panel + i) * overlap * PANEL
        if at.first:
            _copy(arena, halo, y, overlap)
        else:
            clear(arena, y, block.pad_left * PANEL)
        if after > 0:
            clear(arena, y + (columns - after) * PANEL, after * PANEL)
        if at.last < block.out_width:
            _copy(arena, y + (columns - overlap) * PANEL, halo, overlap)


@inlined
def _scatter_strip(
    arena: Any,
    weights: Any,
    block: Any,
    step: Any,
    j: int,
    rows: int,
    completes: int,
    at: Strip,
    panel: int,
    x: int,
) -> None:
    """Adds the taps of input row j to the sums of every output row that it lies under, those below
    `rows`: x is the expanded strip of one panel. A row of padding has no taps, but completes."""
    k, s, real = block.kernel, block.stride, j < block.in_height
    pending = (k - 1) // s
    panels = panels_of(block.hidden)
    done = step.filtered + panel * step.strip * PANEL
    bias = block.depthwise_bias + panel * PANEL
    above = j + block.pad_top - k + 1  # top of the kernel that ends at j
    first = (max(above, 0) + s - 1) // s
    last = min((j + block.pad_top) // s, rows - 1) if real else completes
    # Ascending: the row that becomes complete frees the place that the newest one takes.
    for r in range(first, last + 1):
        top = r * s - block.pad_top
        w = block.depthwise_weight + (panel * k + j - top) * k * PANEL
        sums = block.partial + (r % pending * panels + panel) * block.out_width * PANEL
        sums += at.first * PANEL
        begins = j == max(top, 0)
        taps = 1 if real else 0
        depthwise(
            arena,
            weights,
            k,
            s,
            Filter(
                x,
                0,
                taps,
                w,
                bias,
                begins,
                sums,
                r == completes,
                done,
                at.last - at.first,
                least_of(block.depthwise_activation),
                most_of(block.depthwise_activation),
            ),
        )


@inlined
def _project_strip(
    arena: Any, weights: Any, blocks: Any, step: Any, index: int, at: Strip, r: int, y: int
) -> None:
    """Projects the filtered strip to output row r at y, [out_width][out_channels]."""
    block = blocks[index]
    pixel_step, panel_step = block.in_channels, PANEL
    if behind_stem(blocks, index):
        pixel_step, panel_step = PANEL, block.in_width * PANEL
    shortcut = NOWHERE
    if block.residual:
        shortcut = thin_row(blocks, step, index, r) + at.first * pixel_step
    project(
        arena,
        weights,
        block,
        0,
        block.hidden,
        step.filtered,
        step.strip * PANEL,
        at.last - at.first,
        y + at.first * block.out_channels,
        shortcut,
        pixel_step,
        panel_step,
    )


@inlined
def _take_row(
    arena: Any,
    weights: Any,
    image: Any,
    is_float: bool,
    normalisation: Any,
    stem: Any,
    blocks: Any,
    step: Any,
    index: int,
    j: int,
    needed: int,
) -> int:
    """Takes input row j into the sums of a block, of whose output rows `needed` are. Rows at or
    past in_height are padding. Returns the output row that it completes, or -1."""
    block = blocks[index]
    above = j + block.pad_top - block.kernel + 1
    completes = above // block.stride if above >= 0 and above % block.stride == 0 else -1
    if completes >= needed:
        completes = -1
    real, is_stem = j < block.in_height, behind_stem(blocks, index)
    panels = panels_of(block.hidden)
    pixels_at = step.filtered + panels * step.strip * PANEL  # of the image, behind the strip
    first = 0
    for left in range(strips_of(block, step), 0, -1):
        at = strip_of(block, first, left)
        columns, new = at.end - at.start, at.past - at.fresh
        fresh = step.expanded + (at.fresh + block.pad_left - at.start) * PANEL
        step_panel = columns * PANEL
        if real and index == 0 and new > 0:
            stem_load(arena, image, is_float, normalisation, stem, j, at.fresh, new, pixels_at)
            if not is_stem:
                thin = thin_row(blocks, step, 0, j) + at.fresh * block.in_channels
                stem_thin(arena, weights, stem, pixels_at, new, thin)
        for panel in range(0, panels, EXPANDED_PANELS):
            count = min(EXPANDED_PANELS, panels - panel)
            if real:
                if new > 0 and is_stem:
                    stem_panels(
                        arena, weights, stem, pixels_at, new, panel, count, fresh, step_panel
                    )
                elif new > 0:
                    thin = thin_row(blocks, step, index, j) + at.fresh * block.in_channels
                    expand(arena, weights, block, panel, count, thin, new, fresh, step_panel)
                _fill_strip(arena, block, step, at, panel, count)
            if real and is_stem and block.residual and new > 0:  # in narrow networks
                kept = thin_row(blocks, step, 0, j) + at.fresh * PANEL
                for n in range(count):
                    to = kept + (panel + n) * block.in_width * PANEL
                    _copy(arena, fresh + n * step_panel, to, new)
            for n in range(count):
                x = step.expanded + n * step_panel
                _scatter_strip(arena, weights, block, step, j, needed, completes, at, panel + n, x)
        if completes >= 0:
            if index == step.last:
                y = step.output + completes * block.out_width * block.out_channels
            else:
                y = thin_row(blocks, step, index + 1, completes)
            _project_strip(arena, weights, blocks, step, index, at, completes, y)
        first = at.last
    return completes


@entry("float32", FLOATS, WEIGHTS, BYTES, BOOL, NORMALISATION, STEMS, BLOCKS, STEPS, INT, COUNTS)
def rows_step(
    arena: Any,
    weights: Any,
    image: Any,
    is_float: bool,
    normalisation: Any,
    stems: Any,
    blocks: Any,
    steps: Any,
    number: int,
    counters: Any,
) -> None:
    step = steps[number]
    needed = blocks[step.last].out_height
    for index in range(step.last, step.first - 1, -1):
        block = blocks[index]
        counters[NEXT, index] = counters[MADE, index] = 0
        counters[NEEDED, index] = needed
        end = (needed - 1) * block.stride - block.pad_top + block.kernel
        needed = min(end, block.in_height)

    while counters[MADE, step.last] < counters[NEEDED, step.last]:
        index = step.last
        # Down to the first block whose next input row is there: in a tensor, the image or padding.
        while index > step.first:
            j = counters[NEXT, index]
            if j >= blocks[index].in_height or j < counters[MADE, index - 1]:
                break
            index -= 1
        j = counters[NEXT, index]
        counters[NEXT, index] += 1
        completes = _take_row(
            arena,
            weights,
            image,
            is_float,
            normalisation,
            stems[0],
            blocks,
            step,
            index,
            j,
            counters[NEEDED, index],
        )
        if completes >= 0:
            counters[MADE, index] = completes + 1
