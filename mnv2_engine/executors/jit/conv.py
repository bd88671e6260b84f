"""A convolution from a thin map to a thin map, without padding.

    y[p][n] = f(bias[n] + sum over ky, kx, c of x[p][ky][kx][c] * w[ky][kx][c][n])

It is a 1x1 convolution (pointwise.py) with a segment of k * channels values for each row of the
kernel.
"""

from __future__ import annotations

from typing import Any

from ...model.packed import PANEL
from .compiling import FLOATS, INT, WEIGHTS, entry
from .pointwise import NOWHERE, Input, pointwise, to_channels
from .strips import panels_of
from .tables import CONVS, STEPS


@entry("float32", FLOATS, WEIGHTS, CONVS, STEPS, INT)
def conv_step(arena: Any, weights: Any, convs: Any, steps: Any, number: int) -> None:
    step = steps[number]
    conv = convs[step.first]
    segment, line = conv.kernel * conv.in_channels, conv.in_width * conv.in_channels
    for r in range(conv.out_height):
        source = Input(
            step.input + r * conv.stride * line,
            conv.stride * conv.in_channels,
            line,
            segment,
            conv.kernel * segment,
            conv.weight,
            conv.kernel * segment * PANEL,
            conv.bias,
        )
        y = step.output + r * conv.out_width * conv.out_channels
        out = to_channels(y, conv.out_channels, conv.activation, True, NOWHERE, 0, 0)
        panels = panels_of(conv.out_channels)
        pointwise(arena, weights, arena, conv.out_width, panels, source, out)
