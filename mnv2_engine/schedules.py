"""The ways to run a block, each with its exact bytes; `plan` chooses among them.

In none of them does the expanded tensor exist (section 5.1 of the paper):

- **rows**: an input row is expanded strip by strip and scattered at once into the sums of the
  output rows that it lies under; weights stay, activations stream. Blocks stream into each other
  (a cascade) with a few thin rows in between; the first begins at the stem. The step runs in place
  where its output rows never reach an input row that is still needed.
- **tiles**: one tile of hidden channels at a time, F(x) = Σᵢ Bᵢ(N(Aᵢ x)); activations stay,
  weights stream.

Threads cut rows into bands of output rows, which do not run in place and make the few rows between
two bands twice; they share the channels, then the pixels, of a tile. Each has scratch of its own.
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
from .cost import depthwise_cycles, pointwise_cycles, reread_cycles
from .packing import PANEL

FLOAT_BYTES = 4
ALIGNMENT = 64  # bytes; a cache line, and one AVX-512 vector
STRIP_PANELS = 2  # panels that are expanded at a time: those of the widest register tile
STRIP_PIXELS = (14, 28)  # output pixels of a strip: multiples of the widest register tile's
TILE_CHANNELS = (32, 64)  # hidden channels of a thread's part of a tile
LEAST_TILES = 3  # that a block is cut into, where its tiles are not of the smallest size
# Weights that a cascade reads again for every row should stay in a core's own cache: half of 512
# KiB, the smallest second-level cache of today's servers.
CACHED_WEIGHT_BYTES = 256 << 10
STEM_TAPS = STEM_KERNEL * STEM_KERNEL * IMAGE_CHANNELS
LONGEST_CASCADE = 6  # blocks; the sums of a longer one outgrow the tensors that it saves


class Array(NamedTuple):
    """A float32 array of scratch."""

    name: str  # as in kernels/mnv2.h, those of a block after its number
    shape: tuple[int, ...]
    shared: bool = False  # by all threads; else each has one


Scratch = tuple[Array, ...]


class Schedule(NamedTuple):
    """A way to run some blocks, not yet placed. A planner holds hundreds of them, so they are
    numbers alone; `scratch_of` gives the arrays of one."""

    kind: str
    blocks: range
    in_place: bool
    input_bytes: int
    output_bytes: int
    strip: int  # rows: output pixels of a strip, at most
    tile: int  # tiles: hidden channels of a thread's part of one, at most
    cycles: int  # about; of the thread that has the most to do (cost.py)
    bytes: int


def _schedule(
    kind: str,
    blocks: range,
    input_bytes: int,
    output_bytes: int,
    threads: int = 1,
    scratch: Scratch = (),
    strip: int = 0,
    tile: int = 0,
    cycles: int = 0,
) -> Schedule:
    live = input_bytes + output_bytes
    for array in scratch:
        live += bytes_of(array.shape) * (1 if array.shared else threads)
    return Schedule(
        kind,
        blocks,
        False,
        input_bytes,
        output_bytes,
        strip,
        tile,
        cycles,
        live,
    )


def _in_place(schedule: Schedule) -> Schedule:
    """The same with the output over the input: only the larger of the two is live."""
    live = schedule.bytes - min(schedule.input_bytes, schedule.output_bytes)
    return schedule._replace(in_place=True, bytes=live)


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
    """The layers of a network by name, with the sizes that schedules for `threads` are made of."""

    def __init__(self, network: Architecture, threads: int) -> None:
        self.network = network
        self.threads = threads
        self.layers = {layer.name: layer for layer in layers(network)}
        self.block_cycles: dict[tuple[int, int, int, int], int] = {}  # many cascades ask for them

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
    may_be_in_place = first > 0 and shapes.threads == 1
    found = []
    for last in range(first, min(count, first + LONGEST_CASCADE)):
        blocks = range(first, last + 1)
        widest = max(shapes.depthwise(index).out_size[1] for index in blocks)
        in_place = may_be_in_place and _runs_in_place(shapes, blocks)
        for strip in STRIP_PIXELS:
            found.append(_rows(shapes, blocks, min(strip, widest)))
            if in_place:
                found.append(_in_place(found[-1]))
            if strip >= widest:
                break
    if first > 0:
        hidden = shapes.network.blocks[first].hidden
        for tile in TILE_CHANNELS:
            if tile == TILE_CHANNELS[0] or tile * shapes.threads * LEAST_TILES <= hidden:
                found.append(_tiles(shapes, first, min(tile, -(-hidden // shapes.threads))))
    return found


def _rows(shapes: Shapes, blocks: range, strip: int) -> Schedule:
    threads = range(shapes.threads)
    output = shapes.thin_output(blocks[-1])
    return _schedule(
        "rows",
        blocks,
        bytes_of(shapes.thin_input(blocks.start)) if blocks.start else 0,
        bytes_of(output),
        shapes.threads,
        _rows_scratch(shapes, blocks, strip),
        strip,
        cycles=max(_band_cycles(shapes, blocks, strip, thread) for thread in threads),
    )


def _band_cycles(shapes: Shapes, blocks: range, strip: int, thread: int) -> int:
    """About how long a thread takes for its band of output rows, with the rows that it needs."""
    height = shapes.depthwise(blocks[-1]).out_size[0]
    first, end = (height * t // shapes.threads for t in (thread, thread + 1))
    if first == end:
        return 0
    weights = sum(shapes.weight_bytes(index) for index in blocks)
    cycles = reread_cycles(weights, end - first - 1) if weights > CACHED_WEIGHT_BYTES else 0
    for index in reversed(blocks):
        depthwise = shapes.depthwise(index)
        rows_out = end - first
        end = (end - 1) * depthwise.stride - depthwise.pad_rows[0] + depthwise.kernel
        end = min(end, depthwise.in_size[0])
        first = max(first * depthwise.stride - depthwise.pad_rows[0], 0)
        key = index, strip, end - first, rows_out
        if key not in shapes.block_cycles:
            shapes.block_cycles[key] = _block_cycles(shapes, *key)
        cycles += shapes.block_cycles[key]
    return cycles


def _block_cycles(shapes: Shapes, index: int, strip: int, rows_in: int, rows_out: int) -> int:
    """About how long one block takes by rows."""
    block, depthwise = shapes.network.blocks[index], shapes.depthwise(index)
    in_width, out_width = depthwise.in_size[1], depthwise.out_size[1]
    panels = _panels(block.hidden)
    strips = -(-out_width // strip)
    depth = STEM_TAPS if index == 0 else block.in_channels
    made = strips * pointwise_cycles(-(-in_width // strips), depth, panels)
    pixels = -(-out_width // strips)
    projected = strips * pointwise_cycles(pixels, block.hidden, _panels(block.out_channels))
    filtered = depthwise_cycles(rows_out * out_width, block.kernel, panels, rows_in * strips)
    return rows_in * made + filtered + rows_out * projected


def _rows_scratch(shapes: Shapes, blocks: range, strip: int) -> Scratch:
    expanded, halo, filtered = 0, 0, 0
    kept: list[Array] = []
    for index in blocks:
        block, depthwise = shapes.network.blocks[index], shapes.depthwise(index)
        panels = _panels(block.hidden)
        in_width, out_width = depthwise.in_size[1], depthwise.out_size[1]
        columns = (min(strip, out_width) - 1) * block.stride + block.kernel
        expanded = max(expanded, columns)
        halo = max(halo, panels * (block.kernel - block.stride))
        filtered = max(filtered, panels)
        pending = (block.kernel - 1) // block.stride  # output rows in progress
        kept.append(Array(f"{index} partial", (pending, panels, out_width, PANEL)))
        # A shortcut waits for as many input rows as the kernel reaches below its middle.
        thin_rows = (block.kernel - 1) // 2 + 1 if block.residual else 1
        if index > blocks.start:
            kept.append(Array(f"{index} thin", (thin_rows, in_width, block.in_channels)))
        elif index == 0:
            image = (columns - 1) * STEM_STRIDE + STEM_KERNEL
            kept.append(Array("image", (STEM_KERNEL, image, IMAGE_CHANNELS)))
            if block.residual:
                kept.append(Array(f"{index} thin", (thin_rows, panels, in_width, PANEL)))
    return (
        Array("expanded", (STRIP_PANELS, expanded, PANEL)),
        Array("halo", (halo, PANEL)),
        Array("filtered", (filtered, strip, PANEL)),
        *kept,
    )


def _tiles(shapes: Shapes, index: int, tile: int) -> Schedule:
    block, depthwise, threads = (
        shapes.network.blocks[index],
        shapes.depthwise(index),
        shapes.threads,
    )
    panels = -(-_panels(block.hidden) // threads)  # a thread's
    tiles = -(-block.hidden // (threads * tile))
    pixels = elements(depthwise.out_size)
    made = pointwise_cycles(depthwise.in_size[1], block.in_channels, panels)
    out_panels = _panels(block.out_channels)
    projected = pointwise_cycles(
        -(-pixels // threads), min(threads * tile, block.hidden), out_panels
    )
    return _schedule(
        "tiles",
        range(index, index + 1),
        bytes_of(shapes.thin_input(index)),
        bytes_of(shapes.thin_output(index)),
        shapes.threads,
        _tiles_scratch(shapes, index, tile),
        tile=tile,
        cycles=depthwise.in_size[0] * made
        + depthwise_cycles(pixels, block.kernel, panels, 1)
        + tiles * projected,
    )


def _tiles_scratch(shapes: Shapes, index: int, tile: int) -> Scratch:
    depthwise, threads = shapes.depthwise(index), shapes.threads
    panels = _panels(tile)
    lines, columns = (
        max(before + size, (out - 1) * depthwise.stride + depthwise.kernel)
        for size, out, (before, _) in zip(
            depthwise.in_size,
            depthwise.out_size,
            (depthwise.pad_rows, depthwise.pad_columns),
            strict=True,
        )
    )
    # Threads project one tile while they filter the next.
    turns = 2 if threads > 1 else 1
    pixels = elements(depthwise.out_size)
    return (
        Array("filtered", (turns * threads * panels, pixels, PANEL), shared=True),
        Array("expanded", (panels, lines, columns, PANEL)),
    )


def scratch_of(shapes: Shapes, schedule: Schedule) -> Scratch:
    """The scratch arrays of a schedule, shared ones first; their bytes are in its sum."""
    if schedule.kind == "rows":
        return _rows_scratch(shapes, schedule.blocks, schedule.strip)
    if schedule.kind == "tiles":
        return _tiles_scratch(shapes, schedule.blocks.start, schedule.tile)
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
    return _schedule("head", range(0), thin, features)


def classifier_schedule(shapes: Shapes) -> Schedule:
    features = bytes_of((_panels(shapes.network.head_channels), PANEL))
    return _schedule("classifier", range(0), features, 0)
