"""How a network runs: an architecture becomes steps with every byte of the arena placed.

Pure Python and plain data; every executor runs the same plan. A block runs by one of two
schedules, and the expanded tensor exists in neither (section 5.1 of the paper):

- **rows**: the last k expanded rows in a ring, one filtered row; weights stay, activations stream.
  Runs in place where the output rows never overtake the input rows that are still needed. A step
  of rows may hold several blocks that stream into each other; the first begins at the stem.
- **tiles**: one tile of hidden channels at a time, F(x) = Σᵢ Bᵢ(N(Aᵢ x)); activations stay,
  weights stream.

The planner chooses the schedules and the places that give the least arena, and among those the
least bytes in each step. All counts are exact, alignment included; the caller's image and the
mapped weights are stated apart.
"""

from __future__ import annotations

from typing import NamedTuple

from .architecture import IMAGE_CHANNELS, STEM_KERNEL, Architecture, Block, Layer, layers
from .errors import UnsupportedError
from .packing import PANEL, packed_shapes

FLOAT_BYTES = 4
ALIGNMENT = 64  # bytes; a cache line, and one AVX-512 vector
TILE_CHANNELS = 2 * PANEL  # hidden channels of a tile: the widest register tile's two panels


class Buffer(NamedTuple):
    """A float32 array in the arena."""

    name: str
    offset: int  # bytes from the arena's start, a multiple of ALIGNMENT
    bytes: int  # rounded up to ALIGNMENT
    shape: tuple[int, ...]


class Stage(NamedTuple):
    """One block as a step runs it: where its scratch lies and how it is padded."""

    block: int
    expanded: Buffer  # rows: (hidden / 16, k, columns, 16); tiles: (tile / 16, lines, columns, 16)
    filtered: Buffer  # rows: (hidden / 16, out width, 16); tiles: (tile / 16, out pixels, 16)
    lines: int  # rows of an expanded tile, its padding included; 0 for a ring
    tile: int  # hidden channels of a tile; all of them by rows


class Step(NamedTuple):
    """One step: reads the tensor at `input`, leaves one at `output`, uses scratch in between."""

    kind: str  # "rows", "tiles", "head" (last 1×1 convolution and pool) or "classifier"
    name: str  # "stem + block0", "block3", "head + pool", "classifier"
    stages: tuple[Stage, ...]  # the blocks that stream into each other; empty for the ends
    input: Buffer | None  # None: the caller's image
    output: Buffer | None  # None: the caller's logits
    in_place: bool
    scratch: tuple[Buffer, ...]
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
    lines: int
    tile: int

    @property
    def bytes(self) -> int:
        ends = (
            max(self.input_bytes, self.output_bytes)
            if self.in_place
            else self.input_bytes + self.output_bytes
        )
        return ends + sum(_bytes_of(shape) for _, shape in self.scratch)


def make_plan(network: Architecture) -> Plan:
    """The plan with the least arena. UnsupportedError for a network that no schedule runs."""
    if any(block.expansion == 1 for block in network.blocks[1:]):
        raise UnsupportedError("a block without an expand layer can only follow the stem")
    if any(block.kernel not in (3, 5) for block in network.blocks):
        raise UnsupportedError("depthwise kernels of 3 and 5 are supported")
    by_name = {layer.name: layer for layer in layers(network)}
    choices = [_schedules(network, by_name, index) for index in range(len(network.blocks))]
    choices.append([_head(network, by_name["head"])])
    choices.append([_classifier(network)])
    arena = _least_arena(choices)
    steps = tuple(
        _place(network, by_name, schedule, high, arena)
        for schedule, high in _least_bytes(choices, arena)
    )
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


def columns_of(depthwise: Layer) -> int:
    """Pixels of one expanded row as it is stored, zero padding included."""
    return _padded(depthwise.in_size[1], depthwise.out_size[1], depthwise.pad_columns[0], depthwise)


def _padded(size: int, out: int, before: int, layer: Layer) -> int:
    return max(before + size, (out - 1) * layer.stride + layer.kernel)


# --- the ways to run a block --------------------------------------------------------------


def _schedules(network: Architecture, by_name: dict[str, Layer], index: int) -> list[_Schedule]:
    block = network.blocks[index]
    depthwise = by_name[f"block{index}.depthwise"]
    output = _bytes_of((*depthwise.out_size, block.out_channels))
    if index == 0:
        return [_rows(network, by_name, index, 0, output, in_place=False)]
    thin = _bytes_of((*depthwise.in_size, block.in_channels))
    found = [
        _rows(network, by_name, index, thin, output, in_place=False),
        _tiles(block, depthwise, index, thin, output),
    ]
    if _runs_in_place(block, depthwise):
        found.append(_rows(network, by_name, index, thin, output, in_place=True))
    return found


def _rows(
    network: Architecture,
    by_name: dict[str, Layer],
    index: int,
    input_bytes: int,
    output_bytes: int,
    in_place: bool,
) -> _Schedule:
    block = network.blocks[index]
    depthwise = by_name[f"block{index}.depthwise"]
    panels = _panels(block.hidden)
    scratch = [
        ("ring", (panels, block.kernel, columns_of(depthwise), PANEL)),
        ("filtered row", (panels, depthwise.out_size[1], PANEL)),
    ]
    if index == 0:
        scratch.append(("image rows", (STEM_KERNEL, columns_of(by_name["stem"]), IMAGE_CHANNELS)))
    return _Schedule(
        "rows",
        range(index, index + 1),
        in_place,
        input_bytes,
        output_bytes,
        tuple(scratch),
        0,
        block.hidden,
    )


def _tiles(
    block: Block, depthwise: Layer, index: int, input_bytes: int, output_bytes: int
) -> _Schedule:
    tile = min(TILE_CHANNELS, block.hidden)
    lines = _padded(depthwise.in_size[0], depthwise.out_size[0], depthwise.pad_rows[0], depthwise)
    return _Schedule(
        "tiles",
        range(index, index + 1),
        False,
        input_bytes,
        output_bytes,
        (
            ("expanded tile", (_panels(tile), lines, columns_of(depthwise), PANEL)),
            ("filtered tile", (_panels(tile), _elements(depthwise.out_size), PANEL)),
        ),
        lines,
        tile,
    )


def _runs_in_place(block: Block, depthwise: Layer) -> bool:
    """Whether output row r never reaches an input row that is not yet in the ring."""
    (in_h, in_w), (out_h, out_w) = depthwise.in_size, depthwise.out_size
    for r in range(out_h):
        expanded = min(in_h, r * block.stride - depthwise.pad_rows[0] + block.kernel)
        if (r + 1) * out_w * block.out_channels > expanded * in_w * block.in_channels:
            return False
    return True


def _head(network: Architecture, head: Layer) -> _Schedule:
    thin = _bytes_of((*head.in_size, head.in_channels))
    features = _bytes_of((_panels(head.out_channels), PANEL))
    return _Schedule("head", range(0), False, thin, features, (), 0, 0)


def _classifier(network: Architecture) -> _Schedule:
    features = _bytes_of((_panels(network.head_channels), PANEL))
    return _Schedule("classifier", range(0), False, features, 0, (), 0, 0)


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
    ends = {False: 0, True: 0}  # end of the tensor -> least arena so far
    for schedules in choices:
        reached: dict[bool, int] = {}
        for high, arena in ends.items():
            for schedule in schedules:
                for end in _moves(schedule, high):
                    needed = max(arena, schedule.bytes)
                    reached[end] = min(needed, reached.get(end, needed))
        ends = reached
    return min(ends.values())


def _least_bytes(choices: list[list[_Schedule]], arena: int) -> list[tuple[_Schedule, bool]]:
    """The schedules within `arena` whose bytes sum to least, each with the end of its output."""
    Path = tuple[int, list[tuple[_Schedule, bool]]]
    ends: dict[bool, Path] = {False: (0, [])}
    for schedules in choices:
        reached: dict[bool, Path] = {}
        for high, (total, path) in ends.items():
            for schedule in schedules:
                if schedule.bytes > arena:
                    continue
                for end in _moves(schedule, high):
                    candidate = (total + schedule.bytes, [*path, (schedule, end)])
                    if end not in reached or candidate[0] < reached[end][0]:
                        reached[end] = candidate
        ends = reached
    return min(ends.values(), key=lambda path: path[0])[1]


# --- placing ------------------------------------------------------------------------------


def _place(
    network: Architecture,
    by_name: dict[str, Layer],
    schedule: _Schedule,
    output_high: bool,
    arena: int,
) -> Step:
    input_high = output_high if schedule.in_place else not output_high
    in_shape, out_shape = _shapes(network, by_name, schedule)

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
    stages = tuple(
        Stage(index, scratch[0], scratch[1], schedule.lines, schedule.tile)
        for index in schedule.blocks
    )
    return Step(
        schedule.kind,
        _name(schedule),
        stages,
        source,
        target,
        schedule.in_place,
        tuple(scratch),
        schedule.bytes,
        _unfused_bytes(network, by_name, schedule),
    )


def _name(schedule: _Schedule) -> str:
    if schedule.kind == "head":
        return "head + pool"
    if not schedule.blocks:
        return schedule.kind
    blocks = [f"block{index}" for index in schedule.blocks]
    return " + ".join(["stem", *blocks] if schedule.blocks.start == 0 else blocks)


def _shapes(
    network: Architecture, by_name: dict[str, Layer], schedule: _Schedule
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Shapes of a step's input and output tensors; None where they are the caller's."""
    if schedule.kind == "head":
        head = by_name["head"]
        return (*head.in_size, head.in_channels), (head.out_channels,)
    if schedule.kind == "classifier":
        return (network.head_channels,), None
    first, last = schedule.blocks[0], schedule.blocks[-1]
    into = by_name[f"block{first}.depthwise"].in_size
    out = by_name[f"block{last}.depthwise"].out_size
    return (
        (*into, network.blocks[first].in_channels) if first else None,
        (*out, network.blocks[last].out_channels),
    )


def _unfused_bytes(network: Architecture, by_name: dict[str, Layer], schedule: _Schedule) -> int:
    """The most bytes live when each layer of the step reads and writes whole tensors: its input,
    its output, and the input of the block while a shortcut waits for it."""

    def tensor(size: tuple[int, int], channels: int) -> int:
        return _elements((*size, channels)) * FLOAT_BYTES

    def layer_bytes(name: str) -> int:
        layer = by_name[name]
        out = tensor(layer.out_size, layer.out_channels)
        inputs = 0 if name == "stem" else tensor(layer.in_size, layer.in_channels)
        return inputs + out

    if not schedule.blocks:
        return layer_bytes(schedule.kind)
    most = 0
    for index in schedule.blocks:
        block = network.blocks[index]
        names = [f"block{index}.{part}" for part in ("expand", "depthwise", "project")]
        names = [name for name in names if name in by_name]
        waiting = tensor(by_name[names[0]].in_size, block.in_channels) if block.residual else 0
        for name in ["stem", *names] if index == 0 else names:
            held = waiting if name not in ("stem", names[0]) else 0
            most = max(most, layer_bytes(name) + held)
    return most


# --- showing ------------------------------------------------------------------------------


def kib(count: int) -> str:
    """Bytes as KiB, one decimal."""
    return f"{count / 1024:,.1f} KiB"


def describe(plan: Plan) -> str:
    """The plan as a table: a line a step, then the sums."""
    header = ("step", "schedule", "input", "output", "scratch", "live", "unfused")
    rows = [header]
    for step in plan.steps:
        rows.append(
            (
                step.name,
                step.kind + (" in place" if step.in_place else ""),
                _shape_text(step.input.shape) if step.input else "image",
                _shape_text(step.output.shape) if step.output else "logits",
                kib(sum(buffer.bytes for buffer in step.scratch)) if step.scratch else "-",
                kib(step.bytes),
                kib(step.unfused_bytes),
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
