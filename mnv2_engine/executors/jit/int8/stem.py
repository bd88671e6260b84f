"""The stem in 8 bits: 3x3 stride-2 convolution of the image's own pixels, a strip of a row at a
time. Normalisation is in its weights and bias.

The pixels under the strip are copied, with their padding, into [3][row bytes], so that groups of
four bytes may be read past the end; then it is a 1x1 convolution of nine groups in three segments,
each of nine taps and three bytes whose weights are zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ....network.layer import IMAGE_CHANNELS
from ....network.supported import STEM_KERNEL, STEM_STRIDE
from ..compiling import inlined
from ..pointwise import NOWHERE
from ..stem import stem_columns
from ..strips import panels_of
from ..vector import float_at
from .pointwise import TABLE, Input, pointwise, to_channels, to_panels
from .vector import copy

STEM_ROW_GROUPS = -(-STEM_KERNEL * IMAGE_CHANNELS // GROUP)
# Rows of the (3, 3) float32 numbers of each channel that an image is read with.
DEVIATION, MEAN, PAD = 0, 1, 2  # PAD: the pixel around the image


@inlined
def _row_bytes(pixels: int) -> int:
    """Of one kernel row under `pixels` outputs, the last group's included."""
    return (pixels - 1) * STEM_STRIDE * IMAGE_CHANNELS + STEM_ROW_GROUPS * GROUP


@inlined
def _pad(arena: Any, levels: Any, y: int, pixels: int) -> None:
    for i in range(pixels):
        for c in range(IMAGE_CHANNELS):
            arena[y + i * IMAGE_CHANNELS + c] = np.uint8(levels[PAD, c])


@inlined
def stem_load(
    arena: Any,
    image: Any,
    is_float: bool,
    levels: Any,
    stem: Any,
    r: int,
    first: int,
    pixels: int,
    y: int,
) -> None:
    """Loads what lies under outputs [first, first + pixels) of output row r: y is
    [3][row bytes]."""
    columns = stem_columns(pixels)
    left = first * STEM_STRIDE - stem.pad_left  # negative where there is padding
    begin, end = max(left, 0), min(left + columns, stem.in_width)
    for ky in range(STEM_KERNEL):
        to = y + ky * _row_bytes(pixels)
        row = r * STEM_STRIDE - stem.pad_top + ky
        if row < 0 or row >= stem.in_height or end <= begin:
            _pad(arena, levels, to, columns)
            continue
        real = to + (begin - left) * IMAGE_CHANNELS
        at = (row * stem.in_width + begin) * IMAGE_CHANNELS
        count = (end - begin) * IMAGE_CHANNELS
        _pad(arena, levels, to, begin - left)
        if is_float:
            for i in range(count):  # the pixel whose normalised value is nearest
                c = i % IMAGE_CHANNELS
                scaled = float_at(image, at + i) * levels[DEVIATION, c]
                level = np.rint(scaled + levels[MEAN, c])
                arena[real + i] = np.uint8(min(max(level, np.float32(0)), np.float32(255)))
        else:
            copy(image, at, arena, real, count)
        _pad(arena, levels, real + count, left + columns - end)


@inlined
def _under(stem: Any, x: int, pixels: int, panel: int) -> Input:
    """What stem_load left at x under `pixels` outputs, for channels from a panel on."""
    groups = STEM_KERNEL * STEM_ROW_GROUPS
    weight_step = groups * PANEL * GROUP
    return Input(
        x,
        STEM_STRIDE * IMAGE_CHANNELS,
        _row_bytes(pixels),
        STEM_ROW_GROUPS,
        groups,
        stem.weight + panel * weight_step,
        weight_step,
        stem.bias + panel * TABLE,
        stem.fraction,
    )


@inlined
def stem_panels(
    arena: Any,
    weights: Any,
    stem: Any,
    x: int,
    pixels: int,
    panel: int,
    panels: int,
    y: int,
    panel_step: int,
) -> None:
    """Channels of panels [panel, panel + panels) from what stem_load left at x: y is panels,
    panel_step bytes apart, of [pixels][16]."""
    source = _under(stem, x, pixels, panel)
    pointwise(arena, weights, arena, pixels, panels, source, to_panels(y, panel_step))


@inlined
def stem_thin(arena: Any, weights: Any, stem: Any, x: int, pixels: int, y: int) -> None:
    """All channels of what stem_load left at x, where the first block expands them: y is
    [pixels][channels]."""
    source = _under(stem, x, pixels, 0)
    out = to_channels(y, stem.channels, NOWHERE, 0, 0, 0)
    pointwise(arena, weights, arena, pixels, panels_of(stem.channels), source, out)
