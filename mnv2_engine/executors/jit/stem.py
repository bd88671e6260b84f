"""The stem: 3x3 stride-2 convolution of the image, batch-norm folded, its activation, a strip of a
row at a time.

The pixels under the strip are normalised as they are loaded, into [3][columns][3] with their
padding (which is zero after normalisation), so the float image never exists. Then it is a 1x1
convolution of depth 27 in three segments of nine taps.
"""

from __future__ import annotations

from typing import Any

from ...model.packed import PANEL
from ...network.layer import IMAGE_CHANNELS
from ...network.supported import STEM_KERNEL, STEM_STRIDE
from .compiling import inlined
from .pointwise import NOWHERE, Input, pointwise, to_channels, to_panels
from .strips import panels_of
from .vector import float_at

SEGMENT = STEM_KERNEL * IMAGE_CHANNELS  # taps of one row of the kernel


@inlined
def stem_columns(pixels: int) -> int:
    """Image columns under `pixels` outputs."""
    return (pixels - 1) * STEM_STRIDE + STEM_KERNEL


@inlined
def stem_load(
    arena: Any,
    image: Any,
    is_float: bool,
    normalisation: Any,
    stem: Any,
    r: int,
    first: int,
    pixels: int,
    y: int,
) -> None:
    """Loads what lies under outputs [first, first + pixels) of output row r: y is
    [3][columns][3]."""
    columns = stem_columns(pixels)
    left = first * STEM_STRIDE - stem.pad_left  # negative where there is padding
    begin, end = max(left, 0), min(left + columns, stem.in_width)
    for ky in range(STEM_KERNEL):
        to = y + ky * columns * IMAGE_CHANNELS
        row = r * STEM_STRIDE - stem.pad_top + ky
        if row < 0 or row >= stem.in_height:
            for i in range(columns * IMAGE_CHANNELS):
                arena[to + i] = 0
            continue
        for i in range((begin - left) * IMAGE_CHANNELS):
            arena[to + i] = 0
        for i in range((end - left) * IMAGE_CHANNELS, columns * IMAGE_CHANNELS):
            arena[to + i] = 0
        to += (begin - left) * IMAGE_CHANNELS
        at = (row * stem.in_width + begin) * IMAGE_CHANNELS
        if is_float:
            for i in range((end - begin) * IMAGE_CHANNELS):
                arena[to + i] = float_at(image, at + i)
        else:
            for i in range(end - begin):
                for c in range(IMAGE_CHANNELS):
                    place = i * IMAGE_CHANNELS + c
                    pixel = image[at + place] * normalisation[0, c]
                    arena[to + place] = pixel + normalisation[1, c]


@inlined
def _under(stem: Any, x: int, pixels: int, panel: int) -> Input:
    """What stem_load left at x under `pixels` outputs, for channels from a panel on."""
    depth = STEM_KERNEL * SEGMENT
    line = stem_columns(pixels) * IMAGE_CHANNELS
    w = stem.weight + panel * depth * PANEL
    bias = stem.bias + panel * PANEL
    step = STEM_STRIDE * IMAGE_CHANNELS
    return Input(x, step, line, SEGMENT, depth, w, depth * PANEL, bias)


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
    panel_step values apart, of [pixels][16]."""
    source = _under(stem, x, pixels, panel)
    out = to_panels(y, panel_step, stem.activation)
    pointwise(arena, weights, arena, pixels, panels, source, out)


@inlined
def stem_thin(arena: Any, weights: Any, stem: Any, x: int, pixels: int, y: int) -> None:
    """All channels of what stem_load left at x, where the first block expands them: y is
    [pixels][channels]."""
    source = _under(stem, x, pixels, 0)
    out = to_channels(y, stem.channels, stem.activation, True, NOWHERE, 0, 0)
    pointwise(arena, weights, arena, pixels, panels_of(stem.channels), source, out)
