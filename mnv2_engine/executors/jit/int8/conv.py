"""A convolution from a thin map to a thin map in 8 bits, without padding: as ../conv.py. Where a
row of the kernel does not fill its last group of four, what lies behind it is read and multiplied
by zero."""

from __future__ import annotations

from typing import Any

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ..compiling import BYTES, INT, MEMORY, entry
from ..pointwise import NOWHERE
from ..strips import panels_of
from ..tables import CONVS, STEPS
from .pointwise import Input, groups_of, pointwise, to_channels


@entry("int8", MEMORY, BYTES, CONVS, STEPS, INT)
def conv_step(arena: Any, weights: Any, convs: Any, steps: Any, number: int) -> None:
    step = steps[number]
    conv = convs[step.first]
    line = conv.in_width * conv.in_channels
    segment = groups_of(conv.kernel * conv.in_channels)
    for r in range(conv.out_height):
        source = Input(
            step.input + r * conv.stride * line,
            conv.stride * conv.in_channels,
            line,
            segment,
            conv.kernel * segment,
            conv.weight,
            conv.kernel * segment * PANEL * GROUP,
            conv.bias,
            conv.fraction,
        )
        y = step.output + r * conv.out_width * conv.out_channels
        out = to_channels(y, conv.out_channels, NOWHERE, 0, 0, 0)
        panels = panels_of(conv.out_channels)
        pointwise(arena, weights, arena, conv.out_width, panels, source, out)
