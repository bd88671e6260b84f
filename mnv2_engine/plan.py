"""How a network runs: an architecture becomes steps with every byte of the arena placed.

Pure Python and plain data; every executor runs the same plan. A block runs by one of two
schedules, and the expanded tensor exists in neither (section 5.1 of the paper):

- **rows**: an input row is expanded strip by strip and scattered at once into the sums of the
  output rows that it lies under; weights stay, activations stream. Blocks stream into each other
  (a cascade) with a few thin rows in between; the first begins at the stem. The step runs in place
  where its output rows never reach an input row that is still needed.
- **tiles**: one tile of hidden channels at a time, F(x) = Σᵢ Bᵢ(N(Aᵢ x)); activations stay,
  weights stream.

The planner tries every cascade. Within the least arena, and a little room for longer strips, it
takes the schedules that expand in the fewest pieces, and then those of the least bytes. All counts
are exact, alignment included; the caller's image and the mapped weights are stated apart.
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
from .errors import UnsupportedError
from .packing import PANEL, packed_shapes

FLOAT_BYTES = 4
ALIGNMENT = 64  # bytes; a cache line, and one AVX-512 vector
STRIP_PANELS = 2  # panels that are expanded at a time: those of the widest register tile
# Output pixels of a strip: multiples of the widest register tile's. Longer strips are faster, so
# the planner spends up to 1 / ROOM of the least arena on them.
STRIP_PIXELS = (14, 28)
ROOM = 16
TILE_CHANNELS = STRIP_PANELS * PANEL  # hidden channels of a tile
LONGEST_CASCADE = 6  # blocks; the sums of a longer one outgrow the tensors that it saves


class Buffer(NamedTuple):
    """A float32 array in the arena."""

    name: str
    offset: int  # bytes from the arena's start, a multiple of ALIGNMENT
    bytes: int  # rounded up to ALIGNMENT
    shape: tuple[int, ...]


class Step(NamedTuple):
    """One step: reads the tensor at `input`, leaves one at `output`, uses scratch in between."""

    kind: str  # "rows", "tiles", "head" (last 1×1 convolution and pool) or "classifier"
    name: str  # "stem to block3", "block4", "head + pool", "classifier"
    blocks: range  # those that stream into each other, or the one; empty for the ends
    input: Buffer | None  # None: the caller's image
    output: Buffer | None  # None: the caller's logits
    in_place: bool
    scratch: tuple[Buffer, ...]  # named as in kernels/mnv2.h, those of a block after its number
    strip: int  # rows: output pixels of a strip, at most
    bytes: int  # of the arena that are live during the step
    unfused_bytes: int  # what the same layers need when each writes its whole output


class Plan(NamedTuple):
    """A network's whole schedule. `str()` is a table for people."""

    architecture: Architecture
    steps: tuple[Step, ...]
    arena_bytes: int  # exactly what a prediction needs, its scratch included
    weight_bytes: int  # packed float32 weights, mapped from the model file
    image_bytes: int  # the caller's uint8 image
    unfused_bytes: int  # the largest sum of live tensors when every layer runs by itself

    def __str__(self) -> str:
        return describe(self)


class _Schedule(NamedTuple):
    """A way to run some blocks, not yet placed. Sizes in bytes, names with shapes."""

    kind: str
    blocks: range
    in_place: bool
    input_bytes: int
    output_bytes: int
    scratch: tuple[tuple[str, tuple[int, ...]], ...]
    strip: int
    pieces: int  # calls of the expand kernel: what a shorter strip pays for
    bytes: int


def _schedule(
    kind: str,
    blocks: range,
    in_place: bool,
    input_bytes: int,
    output_bytes: int,
    scratch: tuple[tuple[str, tuple[int, ...]], ...] = (),
    strip: int = 0,
    pieces: int = 0,
) -> _Schedule:
    ends = max(input_bytes, output_bytes) if in_place else input_bytes + output_bytes
    live = ends + sum(_bytes_of(shape) for _, shape in scratch)
    return _Schedule(
        kind, blocks, in_place, input_bytes, output_bytes, scratch, strip, pieces, live
    )


def make_plan(network: Architecture) -> Plan:
    """The plan with the least arena. UnsupportedError for a network that no schedule runs."""
    if any(block.expansion == 1 for block in network.blocks[1:]):
        raise UnsupportedError("a block without an expand layer can only follow the stem")
    if any(block.kernel not in (3, 5) for block in network.blocks):
        raise UnsupportedError("depthwise kernels of 3 and 5 are supported")
    shapes = _Shapes(network)
    count = len(network.blocks)
    choices = [_schedules(shapes, index) for index in range(count)]
    choices.append([_head(shapes)])
    choices.append([_classifier(shapes)])
    least = _least_arena(choices)
    chosen = _fewest_pieces(choices, least + least // ROOM)
    arena = max(schedule.bytes for schedule, _ in chosen)
    steps = tuple(_place(shapes, schedule, high, arena) for schedule, high in chosen)
    weights = sum(_elements(shape) for shape in packed_shapes(network).values()) * FLOAT_BYTES
    return Plan(
        network,
        steps,
        arena,
        weights,
        _elements((*network.resolution, IMAGE_CHANNELS)),
        max(step.unfused_bytes for step in steps),
    )


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _bytes_of(shape: tuple[int, ...]) -> int:
    """Bytes of a float32 array in the arena, rounded up to ALIGNMENT."""
    return -(-_elements(shape) * FLOAT_BYTES // ALIGNMENT) * ALIGNMENT


def _panels(channels: int) -> int:
    return -(-channels // PANEL)


class _Shapes:
    """The layers of a network by name, with the sizes that schedules are made of."""

    def __init__(self, network: Architecture) -> None:
        self.network = network
        self.layers = {layer.name: layer for layer in layers(network)}

    def depthwise(self, index: int) -> Layer:
        return self.layers[f"block{index}.depthwise"]

    def thin_input(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise(index).in_size, self.network.blocks[index].in_channels)

    def thin_output(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise(index).out_size, self.network.blocks[index].out_channels)


# --- the ways to run blocks ---------------------------------------------------------------


def _schedules(shapes: _Shapes, first: int) -> list[_Schedule]:
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


def _rows(shapes: _Shapes, blocks: range, strip: int, in_place: bool) -> _Schedule:
    expanded, halo, filtered, pieces = 0, 0, 0, 0
    kept: list[tuple[str, tuple[int, ...]]] = []
    for index in blocks:
        block, depthwise = shapes.network.blocks[index], shapes.depthwise(index)
        panels = _panels(block.hidden)
        rows, in_width = depthwise.in_size
        out_width = depthwise.out_size[1]
        columns = (min(strip, out_width) - 1) * block.stride + block.kernel
        expanded = max(expanded, columns)
        halo = max(halo, panels * (block.kernel - block.stride))
        filtered = max(filtered, panels)
        pieces += rows * -(-out_width // strip) * -(-panels // STRIP_PANELS)
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
    return _schedule(
        "rows",
        blocks,
        in_place,
        _bytes_of(shapes.thin_input(blocks.start)) if blocks.start else 0,
        _bytes_of(shapes.thin_output(blocks[-1])),
        (
            ("expanded", (STRIP_PANELS, expanded, PANEL)),
            ("halo", (halo, PANEL)),
            ("filtered", (filtered, strip, PANEL)),
            *kept,
        ),
        strip,
        pieces,
    )


def _tiles(shapes: _Shapes, index: int) -> _Schedule:
    depthwise = shapes.depthwise(index)
    panels = _panels(min(TILE_CHANNELS, shapes.network.blocks[index].hidden))
    lines, columns = (
        max(before + size, (out - 1) * depthwise.stride + depthwise.kernel)
        for size, out, (before, _) in zip(
            depthwise.in_size,
            depthwise.out_size,
            (depthwise.pad_rows, depthwise.pad_columns),
            strict=True,
        )
    )
    return _schedule(
        "tiles",
        range(index, index + 1),
        False,
        _bytes_of(shapes.thin_input(index)),
        _bytes_of(shapes.thin_output(index)),
        (
            ("expanded", (panels, lines, columns, PANEL)),
            ("filtered", (panels, _elements(depthwise.out_size), PANEL)),
        ),
        pieces=depthwise.in_size[0] * -(-_panels(depthwise.in_channels) // panels),
    )


def _runs_in_place(shapes: _Shapes, blocks: range) -> bool:
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


def _head(shapes: _Shapes) -> _Schedule:
    head = shapes.layers["head"]
    thin = _bytes_of((*head.in_size, head.in_channels))
    features = _bytes_of((_panels(head.out_channels), PANEL))
    return _schedule("head", range(0), False, thin, features)


def _classifier(shapes: _Shapes) -> _Schedule:
    features = _bytes_of((_panels(shapes.network.head_channels), PANEL))
    return _schedule("classifier", range(0), False, features, 0)


# --- choosing -----------------------------------------------------------------------------
#
# A tensor lies at the low end of the arena or at the high end, and a step moves it to the other
# end unless it runs in place. So a step needs exactly its own bytes, and the arena is the largest
# step. In place, a tensor at the low end may change its size; one at the high end may not.


def _moves(schedule: _Schedule, high: bool) -> list[bool]:
    """The ends at which the output may lie when the input lies at the `high` end or not."""
    if not schedule.in_place:
        return [False, True] if schedule.input_bytes == 0 else [not high]
    return [high] if not high or schedule.input_bytes == schedule.output_bytes else []


def _least_arena(choices: list[list[_Schedule]]) -> int:
    """The least peak over every sequence of schedules: (choice, end of the tensor) -> peak."""
    reached: dict[tuple[int, bool], int] = {(0, False): 0}
    for at, schedules in enumerate(choices):
        for high in (False, True):
            if (at, high) not in reached:
                continue
            for schedule in schedules:
                needed = max(reached[at, high], schedule.bytes)
                for end in _moves(schedule, high):
                    key = at + max(1, len(schedule.blocks)), end
                    reached[key] = min(needed, reached.get(key, needed))
    return min(peak for (at, _), peak in reached.items() if at == len(choices))


def _fewest_pieces(choices: list[list[_Schedule]], arena: int) -> list[tuple[_Schedule, bool]]:
    """The schedules within `arena` of the fewest pieces, then of the least sum of bytes, each with
    the end of its output."""
    Path = tuple[tuple[int, int], list[tuple[_Schedule, bool]]]
    reached: dict[tuple[int, bool], Path] = {(0, False): ((0, 0), [])}
    for at, schedules in enumerate(choices):
        for high in (False, True):
            if (at, high) not in reached:
                continue
            (pieces, total), path = reached[at, high]
            for schedule in schedules:
                if schedule.bytes > arena:
                    continue
                cost = pieces + schedule.pieces, total + schedule.bytes
                for end in _moves(schedule, high):
                    key = at + max(1, len(schedule.blocks)), end
                    if key not in reached or cost < reached[key][0]:
                        reached[key] = (cost, [*path, (schedule, end)])
    ends = [path for (at, _), path in reached.items() if at == len(choices)]
    return min(ends, key=lambda path: path[0])[1]


# --- placing ------------------------------------------------------------------------------


def _place(shapes: _Shapes, schedule: _Schedule, output_high: bool, arena: int) -> Step:
    input_high = output_high if schedule.in_place else not output_high
    in_shape, out_shape = _ends(shapes, schedule)

    def tensor(name: str, shape: tuple[int, ...], size: int, high: bool) -> Buffer:
        return Buffer(name, arena - size if high else 0, size, shape)

    source = tensor("input", in_shape, schedule.input_bytes, input_high) if in_shape else None
    target = tensor("output", out_shape, schedule.output_bytes, output_high) if out_shape else None
    low = [b.bytes for b in (source, target) if b is not None and b.offset == 0 and b.bytes < arena]
    free = max(low, default=0)
    scratch = []
    for name, shape in schedule.scratch:
        scratch.append(Buffer(name, free, _bytes_of(shape), shape))
        free += scratch[-1].bytes
    return Step(
        schedule.kind,
        _name(schedule),
        schedule.blocks,
        source,
        target,
        schedule.in_place,
        tuple(scratch),
        schedule.strip,
        schedule.bytes,
        _unfused_bytes(shapes, schedule),
    )


def _name(schedule: _Schedule) -> str:
    if schedule.kind == "head":
        return "head + pool"
    if not schedule.blocks:
        return schedule.kind
    first, last = schedule.blocks[0], schedule.blocks[-1]
    if first == 0:
        return f"stem to block{last}"
    return f"block{first} to block{last}" if last > first else f"block{first}"


def _ends(
    shapes: _Shapes, schedule: _Schedule
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Shapes of a step's input and output tensors; None where they are the caller's."""
    if schedule.kind == "head":
        head = shapes.layers["head"]
        return (*head.in_size, head.in_channels), (head.out_channels,)
    if schedule.kind == "classifier":
        return (shapes.network.head_channels,), None
    first, last = schedule.blocks[0], schedule.blocks[-1]
    return shapes.thin_input(first) if first else None, shapes.thin_output(last)


def _unfused_bytes(shapes: _Shapes, schedule: _Schedule) -> int:
    """The most bytes live when each layer of the step reads and writes whole tensors: its input,
    its output, and the input of the block while a shortcut waits for it."""

    def layer_bytes(name: str) -> int:
        layer = shapes.layers[name]
        inputs = 0 if name == "stem" else _elements((*layer.in_size, layer.in_channels))
        return (inputs + _elements((*layer.out_size, layer.out_channels))) * FLOAT_BYTES

    if not schedule.blocks:
        return layer_bytes(schedule.kind)
    most = 0
    for index in schedule.blocks:
        names = [f"block{index}.{part}" for part in ("expand", "depthwise", "project")]
        names = [name for name in names if name in shapes.layers]
        residual = shapes.network.blocks[index].residual
        waiting = _elements(shapes.thin_input(index)) * FLOAT_BYTES if residual else 0
        for name in ["stem", *names] if index == 0 else names:
            held = waiting if name not in ("stem", names[0]) else 0
            most = max(most, layer_bytes(name) + held)
    return most


# --- showing ------------------------------------------------------------------------------


def kib(count: int) -> str:
    """Bytes as KiB, one decimal."""
    return f"{_kib(count)} KiB"


def _kib(count: int) -> str:
    return f"{count / 1024:,.1f}"


def describe(plan: Plan) -> str:
    """The plan as a table: a line a step, then the sums."""
    header = ("step", "schedule", "input", "output", "scratch", "live KiB", "unfused")
    rows = [header]
    for step in plan.steps:
        rows.append(
            (
                step.name,
                step.kind + (" in place" if step.in_place else ""),
                _shape_text(step.input.shape) if step.input else "image",
                _shape_text(step.output.shape) if step.output else "logits",
                _kib(sum(buffer.bytes for buffer in step.scratch)) if step.scratch else "-",
                _kib(step.bytes),
                _kib(step.unfused_bytes),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    left = 4  # columns of text; the others are numbers
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    peak = max(plan.steps, key=lambda step: step.bytes)
    lines += [
        "",
        f"arena    {kib(plan.arena_bytes):>14}   all that a prediction needs; peak at {peak.name}",
        f"unfused  {kib(plan.unfused_bytes):>14}   when every layer writes its whole output",
        f"weights  {kib(plan.weight_bytes):>14}   mapped from the model file, read only",
        f"image    {kib(plan.image_bytes):>14}   the caller's, uint8",
    ]
    return "\n".join(lines)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(str(extent) for extent in shape)
