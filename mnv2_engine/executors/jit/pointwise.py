"""1x1 convolution of a run of pixels: the expand and project layers and the head; and, with a
segment for each row of the kernel, the stem and other convolutions. As kernels/pointwise.h.

    y[p][n] = f(bias[n] + sum over k of x[p][k] * w[k][n])     k ascending; f: the activation

x is read as segments: channels [0, segment) at x, the next ones at x + segment_step, and so on;
within a segment a pixel is `pixel_step` values from the next.

    a thin NHWC row      segment = depth,  pixel_step = channels
    hidden panels        segment = 16,     pixel_step = 16,     segment_step = a panel's row
    k rows of pixels     segment = k * channels, pixel_step = stride * channels

w is panels of 16 outputs, each [depth][16]. A register tile has some pixels of one or two panels:
weights are loaded once a k for all pixels, activations are broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...model.packed import PANEL
from .activation import LINEAR, least_of, most_of
from .compiling import TILE_PANELS, inlined, kernel
from .vector import add, clamp, load, load_part, outer, spread, store, store_part, sum_pixels

NOWHERE = -1  # the place of an array that there is not


class Input(NamedTuple):
    """What is convolved. Places and steps in values, in the arena and in the weights."""

    x: int
    pixel_step: int
    segment_step: int
    segment: int  # channels
    depth: int  # channels
    w: int  # [panels][depth][16]
    panel_step: int  # from one panel of w to the next
    bias: int  # [panels][16]


# How a tile is finished.
TO_PANELS = 0  # y: [panel][pixel][16]; the expanded tensor, whole panels
TO_CHANNELS = 1  # y: [pixel][channels]; the thin tensor, only real channels
TO_POOL = 2  # y: [panel][16]; summed over pixels, ascending


class Output(NamedTuple):
    """Where a convolution leaves what it makes, and what that begins at."""

    finish: int
    y: int
    panel_step: int  # TO_PANELS: between panels
    channels: int  # TO_CHANNELS
    begins: int  # whether the sums begin at the bias; else, TO_CHANNELS alone, at y
    residual: int  # TO_CHANNELS: added last, or NOWHERE; it may be y, or panels
    residual_pixel_step: int
    residual_panel_step: int
    is_clipped: int  # TO_CHANNELS: whether there is an activation; the others clip always
    least: float
    most: float


@inlined
def to_panels(y: int, panel_step: int, activation: int) -> Output:
    least, most = least_of(activation), most_of(activation)
    return Output(TO_PANELS, y, panel_step, 0, True, NOWHERE, 0, 0, True, least, most)


@inlined
def to_channels(
    y: int,
    channels: int,
    activation: int,
    begins: int,
    residual: int,
    residual_pixel_step: int,
    residual_panel_step: int,
) -> Output:
    return Output(
        TO_CHANNELS,
        y,
        0,
        channels,
        begins,
        residual,
        residual_pixel_step,
        residual_panel_step,
        activation != LINEAR,
        least_of(activation),
        most_of(activation),
    )


@inlined
def to_pool(y: int, activation: int) -> Output:
    least, most = least_of(activation), most_of(activation)
    return Output(TO_POOL, y, 0, 0, True, NOWHERE, 0, 0, True, least, most)


def _tile(pixels: int, panels: int) -> Any:
    """The register tile of `pixels` x `panels`."""

    @kernel
    def tile(
        arena: Any, weights: Any, y: Any, pixel: int, panel: int, source: Input, out: Output
    ) -> None:
        bias = source.bias + panel * PANEL
        channel = panel * PANEL
        at = out.y + pixel * out.channels + channel  # TO_CHANNELS
        lanes = out.channels - channel
        if out.begins:
            sums = spread(pixels, panels, weights, bias)
        else:
            sums = load_part(pixels, panels, y, at, out.channels, PANEL, lanes)

        x = source.x + pixel * source.pixel_step
        w = source.w + panel * source.panel_step
        left = source.depth
        while left > 0:
            segment = min(left, source.segment)
            for k in range(segment):
                sums = outer(
                    sums, arena, x + k, source.pixel_step, weights, w + k * PANEL, source.panel_step
                )
            x += source.segment_step
            w += segment * PANEL
            left -= segment

        if out.finish == TO_PANELS:
            to = out.y + panel * out.panel_step + pixel * PANEL
            store(clamp(sums, out.least, out.most), y, to, PANEL, out.panel_step)
        elif out.finish == TO_CHANNELS:
            if out.residual != NOWHERE:
                shortcut = out.residual + pixel * out.residual_pixel_step
                shortcut += panel * out.residual_panel_step
                sums = add(
                    sums,
                    load_part(
                        pixels,
                        panels,
                        arena,
                        shortcut,
                        out.residual_pixel_step,
                        out.residual_panel_step,
                        lanes,
                    ),
                )
            if out.is_clipped:
                sums = clamp(sums, out.least, out.most)
            store_part(sums, y, at, out.channels, PANEL, lanes)
        else:
            to = out.y + panel * PANEL
            pooled = load(1, panels, y, to, 0, PANEL)
            made = clamp(sums, out.least, out.most)
            store(add(pooled, sum_pixels(made)), y, to, 0, PANEL)

    return tile


def convolution_of(tile: Callable[[int, int], Any], most: int, some: int) -> Any:
    """The convolution of all `pixels` x `panels`, from what makes its register tiles: of `most`
    pixels, of `some`, and of one; of TILE_PANELS, and of one."""

    def pixels_of(panels: int) -> Any:
        big, small, one = (tile(pixels, panels) for pixels in (most, some, 1))

        @inlined
        def every_pixel(
            arena: Any, weights: Any, y: Any, pixels: int, panel: int, source: Any, out: Any
        ) -> None:
            pixel = 0
            while pixels - pixel >= most:
                big(arena, weights, y, pixel, panel, source, out)
                pixel += most
            while pixels - pixel >= some:
                small(arena, weights, y, pixel, panel, source, out)
                pixel += some
            while pixels > pixel:
                one(arena, weights, y, pixel, panel, source, out)
                pixel += 1

        return every_pixel

    one_panel = pixels_of(1)
    some_panels = pixels_of(TILE_PANELS) if TILE_PANELS > 1 else one_panel

    @kernel
    def pointwise(
        arena: Any, weights: Any, y: Any, pixels: int, panels: int, source: Any, out: Any
    ) -> None:
        panel = 0
        while panels - panel >= TILE_PANELS:  # the weights stay in the cache while the pixels pass
            some_panels(arena, weights, y, pixels, panel, source, out)
            panel += TILE_PANELS
        if panel < panels:
            one_panel(arena, weights, y, pixels, panel, source, out)

    return pointwise


# pointwise(arena, weights, y, pixels, panels, source, out): all `pixels` x `panels` outputs; x lies
# in the arena, y there or in an array of its own
pointwise = convolution_of(_tile, 7, 3)
