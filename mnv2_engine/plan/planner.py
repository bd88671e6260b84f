"""How a network runs: an architecture becomes steps with every byte of the arena placed.

Pure Python and plain data; every executor runs the same plan. The planner tries every cascade of
blocks (schedules.py). Within the least arena, and a little room beyond, it takes the schedules
that take the least time (cost.py), and then the least bytes. All counts of bytes are exact,
alignment included; the caller's image and the mapped weights are stated apart.
"""

from __future__ import annotations

from ..errors import InputError, UnsupportedError
from ..model.members import packed_members
from ..network.layer import IMAGE_CHANNELS, Layer, Network
from .arena import least_arena, moves, unused_bytes
from .cost import time_of
from .cpu_costs import ANY
from .schedules import (
    FIRST_CACHE_BYTES,
    Schedule,
    map_shapes,
    schedules_from,
    scratch_of,
    tail_schedules,
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
    network: Network,
    threads: int = 1,
    precision: str = "float32",
    dtype: str | None = None,
    taps: tuple[int, ...] = (),
    expanded: tuple[int, ...] = (),
    cpu: str = ANY,
) -> Plan:
    """The fastest plan whose arena is the least, or larger by a little room (ROOM of it), for
    `threads` threads, of which each needs scratch of its own. `precision` is what it is computed
    in, one of shapes.PRECISIONS, and `dtype` that of the model file's weights, by default the same.
    `taps` are the blocks whose thin outputs the caller wants, ascending, and `expanded` those whose
    expanded tensors are wanted. `cpu` is the family of CPUs (cpu_costs.py) that it is to be fast
    on; it runs on every other one, too.

    Raises UnsupportedError for a network that no kernel runs.
    """
    shapes = Shapes(network, threads, PRECISIONS[precision], dtype, taps, expanded, cpu)
    if list(taps) != sorted(set(taps) & set(range(shapes.chain))):
        raise InputError(f"taps {taps!r:.80}: expected blocks of the network, ascending")
    expanding = [i for i in range(1, shapes.chain) if shapes.blocks[i].expand is not None]
    if list(expanded) != sorted(set(expanded) & set(expanding)):
        raise InputError(f"expanded {expanded!r:.80}: expected blocks that expand, ascending")
    if expanded and precision == "int8":
        raise UnsupportedError("an expanded tensor in int8: this version gives those of floats")
    return plan_of(shapes, every_schedule(shapes))


def plan_of(shapes: Shapes, choices: list[list[Schedule]]) -> Plan:
    """The fastest of `choices` (see `every_schedule`) within the least arena and a little room; and
    within the arena of the plan for any CPU, so that a network takes the same bytes on all."""
    anywhere = [[each for each in some if not each.apart] for some in choices]
    arena = least_arena(anywhere)
    arena += _room(shapes, arena)
    if shapes.cpu != ANY:
        arena = max(each.bytes for each, _ in fastest(shapes.of_any_cpu(), anywhere, arena))
    return assemble(shapes, fastest(shapes, choices, arena))


def every_schedule(shapes: Shapes) -> list[list[Schedule]]:
    """All ways to run the blocks from each block on, a detector's heads behind theirs; then the one
    way of each step behind them."""
    choices = [schedules_from(shapes, index) for index in shapes.order]
    return [*choices, *([schedule] for schedule in tail_schedules(shapes))]


def assemble(shapes: Shapes, chosen: list[tuple[Schedule, bool]]) -> Plan:
    """The plan of schedules that follow on each other, each with whether its output lies at the
    high end of the arena."""
    network = shapes.network
    arena = max(schedule.bytes for schedule, _ in chosen)
    steps: list[Step] = []
    for schedule, high in chosen:
        placed = _place(shapes, schedule, high, arena)
        steps.append(placed)
        if schedule.blocks and schedule.blocks[-1] in shapes.taps:
            steps.append(_tap(shapes, placed))
        if schedule.blocks and shapes.parts.heads:
            steps += _hand_over(shapes, placed)
    weights = sum(member.size for member in packed_members(network, shapes.dtype).values())
    return Plan(
        network=network,
        precision=shapes.precision.name,
        dtype=shapes.dtype,
        threads=shapes.threads,
        steps=tuple(steps),
        arena_bytes=arena + unused_bytes(shapes),
        weight_bytes=weights,
        image_bytes=elements((*network.resolution, IMAGE_CHANNELS)),
        unfused_bytes=max(step.unfused_bytes for step in steps),
        taps=shapes.taps,
        expanded=shapes.expanded,
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
    Cost = tuple[int, int]  # picoseconds, bytes
    Path = tuple[Cost, list[tuple[Schedule, bool]]]
    reached: dict[tuple[int, bool], Path] = {(0, False): ((0, 0), [])}
    for at, schedules in enumerate(choices):
        before = [(high, *reached[at, high]) for high in (False, True) if (at, high) in reached]
        for schedule in schedules:
            if not before or schedule.bytes > arena:
                continue
            taken = time_of(shapes, schedule)
            for high, (time, total), path in before:
                cost = (time + taken, total + schedule.bytes)
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
    (above_in, above_out), (in_bytes, out_bytes) = schedule.above, schedule[2:4]

    def tensor(name: str, shape: tuple[int, ...], size: int, high: bool, above: int) -> Buffer:
        return Buffer(name, arena - above - size if high else 0, size, shape)

    source = tensor("input", in_shape, in_bytes, input_high, above_in) if in_shape else None
    target = tensor("output", out_shape, out_bytes, output_high, above_out) if out_shape else None
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
        kind=schedule.kind,
        name=_name(shapes, schedule),
        blocks=schedule.blocks,
        input=source,
        output=target,
        in_place=schedule.in_place,
        scratch=tuple(scratch),
        strip=schedule.strip,
        tile=schedule.tile,
        thread_bytes=thread_bytes,
        bytes=schedule.bytes,
        unfused_bytes=_unfused_bytes(shapes, schedule),
        number=schedule.number,
        bands=schedule.bands,
        apart=schedule.apart,
        outputs=tuple(_output(shapes, head, arena) for head in _heads_of(shapes, schedule.blocks)),
        room=_room_of_outputs(shapes, arena) if any(schedule.above) else None,
    )


def _heads_of(shapes: Shapes, blocks: range) -> range:
    """The heads, as blocks, whose outputs a step makes."""
    if len(blocks) != 1:
        return range(0)
    return blocks if blocks[0] >= shapes.chain else shapes.heads_within(blocks[0])


def _room_of_outputs(shapes: Shapes, arena: int) -> Buffer:
    size = shapes.outputs.bytes
    return Buffer("outputs", arena - size, size, (size,))


def _output(shapes: Shapes, head: int, arena: int) -> Buffer:
    shape, block = shapes.thin_output(head), shapes.blocks[head]
    offset = arena - shapes.outputs.below[head]
    return Buffer(block.project.name, offset, shapes.thin_bytes(shape), shape)


def _hand_over(shapes: Shapes, before: Step) -> list[Step]:
    """The steps that give a detector's outputs to the caller: of the maps that are complete with
    the step `before`."""
    heads = _heads_of(shapes, before.blocks)
    numbers = shapes.outputs.maps.get(heads[-1], ()) if heads else ()
    step = _copying(before)
    return [
        step._replace(
            kind="boxes",
            name=f"boxes of map {number}",
            bytes=step.bytes + shapes.outputs.bytes,
            number=number,
            room=before.room,
        )
        for number in numbers
    ]


def _tap(shapes: Shapes, before: Step) -> Step:
    """The step that copies the output of the step `before` to the caller, and leaves it."""
    block = before.blocks[-1]
    return _copying(before)._replace(
        kind="tap", name=f"tap of block{block}", number=shapes.taps.index(block)
    )


def _copying(before: Step) -> Step:
    """A step that computes nothing, and leaves the output of the step `before` where it is."""
    return before._replace(
        blocks=range(0),
        input=before.output,
        in_place=True,
        scratch=(),
        strip=0,
        tile=0,
        thread_bytes=0,
        bytes=before.output.bytes if before.output else 0,
        unfused_bytes=0,
        outputs=(),
        room=None,
        bands=1,
        apart=False,
    )


def _name(shapes: Shapes, schedule: Schedule) -> str:
    if schedule.kind == "head":
        return "head + pool" if shapes.parts.head else "pool"
    if schedule.kind == "conv":
        return shapes.parts.convs[schedule.number].name
    if schedule.kind == "dense":
        return shapes.parts.dense[schedule.number].name
    first, last = schedule.blocks[0], schedule.blocks[-1]
    if first >= shapes.chain:
        return shapes.blocks[first].project.name
    name = f"block{first}-{last}" if last > first else f"block{first}"
    return f"stem, {name}" if first == 0 else name


def _ends(
    shapes: Shapes, schedule: Schedule
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Shapes of a step's input and output tensors; None where they are the caller's."""
    parts = shapes.parts
    if schedule.kind == "head":
        return map_shapes(parts.head or parts.pool)[0], (parts.pool.out_channels,)
    if schedule.kind == "conv":
        return map_shapes(parts.convs[schedule.number])
    if schedule.kind == "dense":
        layer = parts.dense[schedule.number]
        return (layer.in_channels,), (layer.out_channels,) if schedule.output_bytes else None
    first, last = schedule.blocks[0], schedule.blocks[-1]
    source = shapes.thin_input(first) if first else None
    return source, source if first >= shapes.chain else shapes.thin_output(last)


def _unfused_bytes(shapes: Shapes, schedule: Schedule) -> int:
    """The most bytes live when each layer of the step reads and writes whole tensors: its input,
    its output, and the input of the block while a shortcut waits for it."""
    item, parts = shapes.precision.thin, shapes.parts
    shortcut: dict[str, int] = {}  # bytes that wait while a layer runs
    for index in schedule.blocks:
        block = shapes.blocks[index]
        if block.residual:
            waiting = elements(shapes.thin_input(index)) * item
            inner = (block.depthwise, block.project) if block.expand else (block.project,)
            shortcut.update((layer.name, waiting) for layer in inner)

    def layer_bytes(layer: Layer) -> int:
        source, target = map_shapes(layer)
        inputs = 0 if layer is parts.stem else elements(source)
        return (inputs + elements(target)) * item + shortcut.get(layer.name, 0)

    layers = shapes.layers_of(schedule.kind, schedule.blocks, schedule.number)
    return max(layer_bytes(layer) for layer in layers)
