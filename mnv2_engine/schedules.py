"""The ways to run a block, each with its exact bytes; `plan` chooses among them.

In none of them does the expanded tensor exist (section 5.1 of the paper):

- **rows**: an input row is expanded strip by strip and scattered at once into the sums of the
  output rows that it lies under; weights stay, activations stream. Blocks stream into each other
  (a cascade) with a few thin rows in between; the first begins at the stem. The step runs in place
  where its output rows never reach an input row that is still needed.
- **tiles**: one tile of hidden channels at a time, F(x) = Σᵢ Bᵢ(N(Aᵢ x)); activations stay,
  weights stream.
"""

from __future__ import annotations

from typing import NamedTuple

from .architecture import (
    IMAGE_CHANNELS,
    STEM_KERNEL,
    STEM_STRIDE,
    Architecture,
    Layer,
    layers,
)
from .packing import PANEL

FLOAT_BYTES = 4
ALIGNMENT = 64  # bytes; a cache line, and one AVX-512 vector
STRIP_PANELS = 2  # panels that are expanded at a time: those of the widest register tile
STRIP_PIXELS = (14, 28)  # output pixels of a strip: multiples of the widest register tile's
TILE_CHANNELS = STRIP_PANELS * PANEL  # hidden channels of a tile
# Weights that a cascade reads again for every row should stay in a core's own cache: half of 512
# KiB, the smallest second-level cache of today's servers.
CACHED_WEIGHT_BYTES = 256 << 10
LONGEST_CASCADE = 6  # blocks; the sums of a longer one outgrow the tensors that it saves


Scratch = tuple[tuple[str, tuple[int, ...]], ...]  # names, as in kernels/mnv2.h, with shapes


class Schedule(NamedTuple):
    """A way to run some blocks, not yet placed. A planner holds hundreds of them, so they are
    numbers alone; `scratch_of` gives the arrays of one."""

    kind: str
    blocks: range
    in_place: bool
    input_bytes: int
    output_bytes: int
    strip: int
    reread_bytes: int  # weights that come from beyond the core's cache more than once
    pieces: int  # calls of the expand kernel: what a shorter strip pays for
    bytes: int


def _schedule(
    kind: str,
    blocks: range,
    in_place: bool,
    input_bytes: int,
    output_bytes: int,
    scratch: Scratch = (),
    strip: int = 0,
    reread_bytes: int = 0,
    pieces: int = 0,
) -> Schedule:
    ends = max(input_bytes, output_bytes) if in_place else input_bytes + output_bytes
    live = ends + sum(bytes_of(shape) for _, shape in scratch)
    return Schedule(
        kind,
        blocks,
        in_place,
        input_bytes,
        output_bytes,
        strip,
        reread_bytes,
        pieces,
        live,
    )


def elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def bytes_of(shape: tuple[int, ...]) -> int:
    """Bytes of a float32 array in the arena, rounded up to ALIGNMENT."""
    return -(-elements(shape) * FLOAT_BYTES // ALIGNMENT) * ALIGNMENT


def _panels(channels: int) -> int:
    return -(-channels // PANEL)


class Shapes:
    """The layers of a network by name, with the sizes that schedules are made of."""

    def __init__(self, network: Architecture) -> None:
        self.network = network
        self.layers = {layer.name: layer for layer in layers(network)}

    def depthwise(self, index: int) -> Layer:
        return self.layers[f"block{index}.depthwise"]

    def weight_bytes(self, index: int) -> int:
        block = self.network.blocks[index]
        inputs = block.in_channels if block.expansion != 1 else 0
        per_hidden = inputs + block.kernel * block.kernel + block.out_channels
        return block.hidden * per_hidden * FLOAT_BYTES

    def thin_input(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise(index).in_size, self.network.blocks[index].in_channels)

    def thin_output(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise(index).out_size, self.network.blocks[index].out_channels)


def schedules_from(shapes: Shapes, first: int) -> list[Schedule]:
    """Every way to run the blocks from `first` on, one or a cascade of several."""
    count = len(shapes.network.blocks)
    found = []
    for last in range(first, min(count, first + LONGEST_CASCADE)):
        blocks = range(first, last + 1)
        widest = max(shapes.depthwise(index).out_size[1] for index in blocks)
        ways = (False, True) if first > 0 and _runs_in_place(shapes, blocks) else (False,)
        for strip in STRIP_PIXELS:
            found += [_rows(shapes, blocks, min(strip, widest), in_place) for in_place in ways]
            if strip >= widest:
                break
    if first > 0:
        found.append(_tiles(shapes, first))
    return found


def _rows(shapes: Shapes, blocks: range, strip: int, in_place: bool) -> Schedule:
    pieces, weights = 0, 0
    for index in blocks:
        depthwise = shapes.depthwise(index)
        strips = -(-depthwise.out_size[1] // strip)
        pieces += depthwise.in_size[0] * strips * -(-_panels(depthwise.in_channels) // STRIP_PANELS)
        weights += shapes.weight_bytes(index)
    output = shapes.thin_output(blocks[-1])
    return _schedule(
        "rows",
        blocks,
        in_place,
        bytes_of(shapes.thin_input(blocks.start)) if blocks.start else 0,
        bytes_of(output),
        _rows_scratch(shapes, blocks, strip),
        strip,
        reread_bytes=(output[0] - 1) * weights if weights > CACHED_WEIGHT_BYTES else 0,
        pieces=pieces,
    )


def _rows_scratch(shapes: Shapes, blocks: range, strip: int) -> Scratch:
    expanded, halo, filtered = 0, 0, 0
    kept: list[tuple[str, tuple[int, ...]]] = []
    for index in blocks:
        block, depthwise = shapes.network.blocks[index], shapes.depthwise(index)
        panels = _panels(block.hidden)
        in_width, out_width = depthwise.in_size[1], depthwise.out_size[1]
        columns = (min(strip, out_width) - 1) * block.stride + block.kernel
        expanded = max(expanded, columns)
        halo = max(halo, panels * (block.kernel - block.stride))
        filtered = max(filtered, panels)
        pending = (block.kernel - 1) // block.stride  # output rows in progress
        kept.append((f"{index} partial", (pending, panels, out_width, PANEL)))
        # A shortcut waits for as many input rows as the kernel reaches below its middle.
        thin_rows = (block.kernel - 1) // 2 + 1 if block.residual else 1
        if index > blocks.start:
            kept.append((f"{index} thin", (thin_rows, in_width, block.in_channels)))
        elif index == 0:
            image = (columns - 1) * STEM_STRIDE + STEM_KERNEL
            kept.append(("image", (STEM_KERNEL, image, IMAGE_CHANNELS)))
            if block.residual:
                kept.append((f"{index} thin", (thin_rows, panels, in_width, PANEL)))
    return (
        ("expanded", (STRIP_PANELS, expanded, PANEL)),
        ("halo", (halo, PANEL)),
        ("filtered", (filtered, strip, PANEL)),
        *kept,
    )


def _tiles(shapes: Shapes, index: int) -> Schedule:
    depthwise = shapes.depthwise(index)
    tiles = -(-depthwise.in_channels // TILE_CHANNELS)
    return _schedule(
        "tiles",
        range(index, index + 1),
        False,
        bytes_of(shapes.thin_input(index)),
        bytes_of(shapes.thin_output(index)),
        _tiles_scratch(shapes, index),
        pieces=depthwise.in_size[0] * tiles,
    )


def _tiles_scratch(shapes: Shapes, index: int) -> Scratch:
    depthwise = shapes.depthwise(index)
    panels = _panels(min(TILE_CHANNELS, depthwise.in_channels))
    lines, columns = (
        max(before + size, (out - 1) * depthwise.stride + depthwise.kernel)
        for size, out, (before, _) in zip(
            depthwise.in_size,
            depthwise.out_size,
            (depthwise.pad_rows, depthwise.pad_columns),
            strict=True,
        )
    )
    return (
        ("expanded", (panels, lines, columns, PANEL)),
        ("filtered", (panels, elements(depthwise.out_size), PANEL)),
    )


def scratch_of(shapes: Shapes, schedule: Schedule) -> Scratch:
    """The scratch arrays of a schedule; their bytes are in its sum."""
    if schedule.kind == "rows":
        return _rows_scratch(shapes, schedule.blocks, schedule.strip)
    if schedule.kind == "tiles":
        return _tiles_scratch(shapes, schedule.blocks.start)
    return ()


def _runs_in_place(shapes: Shapes, blocks: range) -> bool:
    """Whether an output row never reaches the input row that is read while it is written."""
    rows_in, columns_in, channels_in = shapes.thin_input(blocks.start)
    rows_out, columns_out, channels_out = shapes.thin_output(blocks[-1])
    # How far reading is ahead of writing is a concave function of the row, so the ends decide.
    for r in (0, rows_out - 1):
        reading = r
        for index in reversed(blocks):
            depthwise = shapes.depthwise(index)
            reading = reading * depthwise.stride - depthwise.pad_rows[0] + depthwise.kernel - 1
            reading = min(reading, depthwise.in_size[0])
        written = (r + 1) * columns_out * channels_out
        if written > min(reading, rows_in) * columns_in * channels_in:
            return False
    return True


def head_schedule(shapes: Shapes) -> Schedule:
    head = shapes.layers["head"]
    thin = bytes_of((*head.in_size, head.in_channels))
    features = bytes_of((_panels(head.out_channels), PANEL))
    return _schedule("head", range(0), False, thin, features)


def classifier_schedule(shapes: Shapes) -> Schedule:
    features = bytes_of((_panels(shapes.network.head_channels), PANEL))
    return _schedule("classifier", range(0), False, features, 0)
