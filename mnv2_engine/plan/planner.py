"""How a network runs: an architecture becomes steps with every byte of the arena placed.

Pure Python and plain data; every executor runs the same plan. The planner tries every cascade of
blocks (schedules.py). Within the least arena, and a little room beyond, it takes the schedules
that take the least time (cost.py), and then the least bytes. All counts of bytes are exact,
alignment included; the caller's image and the mapped weights are stated apart.
"""

from __future__ import annotations

from ..errors import UnsupportedError
from ..model.packing import packed_members
from ..network.architecture import IMAGE_CHANNELS, Architecture
from .arena import least_arena, moves, unused_bytes
from .cost import cycles_of
from .schedules import (
    FIRST_CACHE_BYTES,
    Schedule,
    classifier_schedule,
    head_schedule,
    schedules_from,
    scratch_of,
)
from .shapes import INT8, PRECISIONS, Shapes, elements
from .steps import Buffer, Plan, Step

# Longer strips and larger tiles are faster: the planner spends up to this share of the least
# arena on them.
ROOM = 1 / 16
LEAST_ROOM = 7 << 10  # bytes, where that is more: a few KiB are little to anyone
# In int8, where beginning a strip weighs more. What fits a first cache is as fast in less, and runs
# where every KiB counts.
ROOM_INT8, ROOM_INT8_CACHED = 1 / 7, 1 / 32


def make_plan(
    network: Architecture,
    threads: int = 1,
    precision: str = "float32",
    dtype: str | None = None,
) -> Plan:
    """The fastest plan whose arena is the least, or larger by a little room (ROOM of it), for
    `threads` threads, of which each needs scratch of its own. `precision` is what it is computed
    in, one of shapes.PRECISIONS, and `dtype` that of the model file's weights, by default the same.

    Raises UnsupportedError for a network that no schedule runs.
    """
    if any(block.expansion == 1 for block in network.blocks[1:]):
        raise UnsupportedError("a block without an expand layer can only follow the stem")
    if any(block.kernel not in (3, 5) for block in network.blocks):
        raise UnsupportedError("depthwise kernels of 3 and 5 are supported")
    shapes = Shapes(network, threads, PRECISIONS[precision], dtype)
    return plan_of(shapes, every_schedule(shapes))


def plan_of(shapes: Shapes, choices: list[list[Schedule]]) -> Plan:
    """The fastest of `choices` (see `every_schedule`) within the least arena and a little room."""
    least = least_arena(choices)
    return assemble(shapes, fastest(shapes, choices, least + _room(shapes, least)))


def every_schedule(shapes: Shapes) -> list[list[Schedule]]:
    """All ways to run the blocks from each block on; then those of the head, of the classifier."""
    choices = [schedules_from(shapes, index) for index in range(len(shapes.network.blocks))]
    return [*choices, [head_schedule(shapes)], [classifier_schedule(shapes)]]


def assemble(shapes: Shapes, chosen: list[tuple[Schedule, bool]]) -> Plan:
    """The plan of schedules that follow on each other, each with whether its output lies at the
    high end of the arena."""
    network = shapes.network
    arena = max(schedule.bytes for schedule, _ in chosen)
    steps = tuple(_place(shapes, schedule, high, arena) for schedule, high in chosen)
    weights = sum(member.size for member in packed_members(network, shapes.dtype).values())
    return Plan(
        network,
        shapes.precision.name,
        shapes.dtype,
        shapes.threads,
        steps,
        arena + unused_bytes(shapes),
        weights,
        elements((*network.resolution, IMAGE_CHANNELS)),
        max(step.unfused_bytes for step in steps),
    )


# --- choosing -----------------------------------------------------------------------------


def _room(shapes: Shapes, least: int) -> int:
    """Bytes beyond the least arena that may be spent on speed."""
    if shapes.precision is not INT8:
        return max(int(least * ROOM), LEAST_ROOM)
    return int(least * (ROOM_INT8_CACHED if least <= FIRST_CACHE_BYTES else ROOM_INT8))


def fastest(
    shapes: Shapes, choices: list[list[Schedule]], arena: int
) -> list[tuple[Schedule, bool]]:
    """Of the schedules from each block on (see `every_schedule`), those that take the least time
    within `arena` bytes, each with the end of its output."""
    Cost = tuple[int, int]  # cycles, bytes
    Path = tuple[Cost, list[tuple[Schedule, bool]]]
    reached: dict[tuple[int, bool], Path] = {(0, False): ((0, 0), [])}
    for at, schedules in enumerate(choices):
        before = [(high, *reached[at, high]) for high in (False, True) if (at, high) in reached]
        for schedule in schedules:
            if not before or schedule.bytes > arena:
                continue
            taken = cycles_of(shapes, schedule)
            for high, (cycles, total), path in before:
                cost = (cycles + taken, total + schedule.bytes)
                for end in moves(schedule, high):
                    key = at + max(1, len(schedule.blocks)), end
                    if key not in reached or cost < reached[key][0]:
                        reached[key] = (cost, [*path, (schedule, end)])
    ends = [path for (at, _), path in reached.items() if at == len(choices)]
    return min(ends, key=lambda path: path[0])[1]


# --- placing ------------------------------------------------------------------------------


def _place(shapes: Shapes, schedule: Schedule, output_high: bool, arena: int) -> Step:
    input_high = output_high if schedule.in_place else not output_high
    in_shape, out_shape = _ends(shapes, schedule)

    def tensor(name: str, shape: tuple[int, ...], size: int, high: bool) -> Buffer:
        return Buffer(name, arena - size if high else 0, size, shape)

    source = tensor("input", in_shape, schedule.input_bytes, input_high) if in_shape else None
    target = tensor("output", out_shape, schedule.output_bytes, output_high) if out_shape else None
    low = [b.bytes for b in (source, target) if b is not None and b.offset == 0 and b.bytes < arena]
    free = max(low, default=0)
    scratch = []
    thread_bytes = 0
    for array in scratch_of(shapes, schedule):
        copies = 1 if array.shared else shapes.threads
        scratch.append(Buffer(array.name, free, array.bytes, array.shape, copies))
        free += array.bytes
        thread_bytes += 0 if array.shared else array.bytes
    return Step(
        schedule.kind,
        _name(schedule),
        schedule.blocks,
        source,
        target,
        schedule.in_place,
        tuple(scratch),
        schedule.strip,
        schedule.tile,
        thread_bytes,
        schedule.bytes,
        _unfused_bytes(shapes, schedule),
    )


def _name(schedule: Schedule) -> str:
    if schedule.kind == "head":
        return "head + pool"
    if not schedule.blocks:
        return schedule.kind
    first, last = schedule.blocks[0], schedule.blocks[-1]
    name = f"block{first}-{last}" if last > first else f"block{first}"
    return f"stem, {name}" if first == 0 else name


def _ends(
    shapes: Shapes, schedule: Schedule
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Shapes of a step's input and output tensors; None where they are the caller's."""
    if schedule.kind == "head":
        head = shapes.layers["head"]
        return (*head.in_size, head.in_channels), (head.out_channels,)
    if schedule.kind == "classifier":
        return (shapes.network.head_channels,), None
    first, last = schedule.blocks[0], schedule.blocks[-1]
    return shapes.thin_input(first) if first else None, shapes.thin_output(last)


def _unfused_bytes(shapes: Shapes, schedule: Schedule) -> int:
    """The most bytes live when each layer of the step reads and writes whole tensors: its input,
    its output, and the input of the block while a shortcut waits for it."""
    item = shapes.precision.thin

    def layer_bytes(name: str) -> int:
        layer = shapes.layers[name]
        inputs = 0 if name == "stem" else elements((*layer.in_size, layer.in_channels))
        return (inputs + elements((*layer.out_size, layer.out_channels))) * item

    if not schedule.blocks:
        return layer_bytes(schedule.kind)
    most = 0
    for index in schedule.blocks:
        names = [f"block{index}.{part}" for part in ("expand", "depthwise", "project")]
        names = [name for name in names if name in shapes.layers]
        residual = shapes.network.blocks[index].residual
        waiting = elements(shapes.thin_input(index)) * item if residual else 0
        for name in ["stem", *names] if index == 0 else names:
            held = waiting if name not in ("stem", names[0]) else 0
            most = max(most, layer_bytes(name) + held)
    return most
