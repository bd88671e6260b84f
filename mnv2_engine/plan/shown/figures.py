"""What the drawings of a plan are made from: what is live in each step, what it is for, and what
the same network needs without streaming.

Nothing here is asked when a plan is made, so that loading an engine does not pay for drawings.
"""

from __future__ import annotations

from ...untyped import TYPE_CHECKING, Any, NamedTuple
from ..arena import least_arena, unused_bytes
from ..schedules import schedules_from, tail_schedules
from ..shapes import PRECISIONS, Shapes

if TYPE_CHECKING:
    from ..steps import Buffer, Plan, Step

TENSOR = "tensors in and out"
SUMS = "partial sums"
RING = "last rows"
STRIP = "strips and tiles"
ROLES = (TENSOR, SUMS, RING, STRIP)
COPIES = ("tap", "boxes")  # kinds of steps that compute nothing

# The axes of every buffer, by its name, without a block's number, and its rank.
_AXES = {
    ("input", 3): ("rows", "pixels", "channels"),
    ("input", 1): ("features",),
    ("output", 3): ("rows", "pixels", "channels"),
    ("output", 1): ("features",),
    ("expanded", 3): ("panels", "pixels", "channels"),
    ("expanded", 4): ("panels", "rows", "pixels", "channels"),
    ("filtered", 3): ("panels", "pixels", "channels"),
    ("sums", 3): ("rows", "pixels", "channels"),
    ("halo", 2): ("columns", "channels"),
    ("partial", 4): ("rows", "panels", "pixels", "channels"),
    ("ring", 4): ("rows", "panels", "pixels", "channels"),
    ("sums", 4): ("panels", "rows", "pixels", "channels"),
    ("filtered", 2): ("panels", "channels"),
    ("thin", 3): ("rows", "pixels", "channels"),
    ("pixels", 2): ("rows", "values"),
    ("thin", 4): ("rows", "panels", "pixels", "channels"),
    ("outputs", 1): ("bytes",),
}


class Live(NamedTuple):
    """A buffer that is live during a step."""

    buffer: Buffer
    role: str  # one of ROLES
    block: int | None  # whose it is alone; None: the step's
    thread: int | None = None  # whose it is alone; None: all threads'

    @property
    def name(self) -> str:
        """The buffer's name without the block's number."""
        return self.buffer.name.rpartition(" ")[2]

    @property
    def axes(self) -> str:
        """The shape with its axes named: "2 rows × 9 panels × 56 pixels × 16 channels"."""
        shape = self.buffer.shape
        return " × ".join(
            f"{extent} {axis if extent != 1 else axis[:-1]}"
            for extent, axis in zip(shape, _AXES[self.name, len(shape)], strict=True)
        )


def live_buffers(step: Step) -> list[Live]:
    """Every buffer of the arena that is live during the step, once: where it runs in place, input
    and output are one, the larger. Their bytes add up to `step.bytes`."""
    ends = [buffer for buffer in (step.input, step.output) if buffer is not None]
    if step.in_place:
        ends = [max(ends, key=lambda buffer: buffer.bytes)]
    if step.room is not None:
        ends.append(step.room)
    found = [Live(buffer, TENSOR, None) for buffer in ends]
    for buffer in step.scratch:
        number, _, name = buffer.name.rpartition(" ")
        role = {"partial": SUMS, "sums": SUMS, "thin": RING, "ring": RING}.get(name, STRIP)
        block = int(number) if number else None
        if buffer.copies == 1:
            found.append(Live(buffer, role, block))
        for thread in range(buffer.copies if buffer.copies > 1 else 0):
            copy = buffer._replace(offset=buffer.offset + thread * step.thread_bytes)
            found.append(Live(copy, role, block, thread))
    return found


def peak(plan: Plan) -> Step:
    """The first of the steps that need the whole arena."""
    return max(plan.steps, key=lambda step: step.bytes)


class PerBlock(NamedTuple):
    """What the same planner needs, in bytes, when no block streams into another."""

    steps: tuple[int, ...]  # for each step of the plan, the most that one of its blocks needs
    arena_bytes: int


def per_block(plan: Plan) -> PerBlock:
    """The least that the network needs, with as many threads, when every block is fused by itself,
    by rows or by tiles; block 0 still takes the stem with it."""
    shapes = Shapes(plan.network, plan.threads, PRECISIONS[plan.precision], plan.dtype)
    alone = [[s for s in schedules_from(shapes, i) if len(s.blocks) == 1] for i in shapes.order]
    tail = tail_schedules(shapes)
    ends = {(schedule.kind, schedule.number): schedule.bytes for schedule in tail}
    least = {each[0].blocks[0]: min(schedule.bytes for schedule in each) for each in alone}

    def bytes_of(step: Step) -> int:
        if step.kind in COPIES:
            return step.bytes
        if step.blocks:
            return max(least[i] for i in step.blocks)
        return ends[step.kind, step.number]

    arena = least_arena([*alone, *([schedule] for schedule in tail)])
    return PerBlock(tuple(map(bytes_of, plan.steps)), arena + unused_bytes(shapes))


def multiply_adds(plan: Plan) -> list[int]:
    """Multiply-adds of each step, for one image."""
    shapes = Shapes(plan.network, plan.threads)
    return [
        0
        if step.kind in COPIES
        else sum(
            layer.multiply_adds for layer in shapes.layers_of(step.kind, step.blocks, step.number)
        )
        for step in plan.steps
    ]


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as objects and lists, each `per_block_bytes` before its `unfused_bytes`."""
    without = per_block(plan)
    steps = [
        _before_unfused(step, least) for step, least in zip(plan.steps, without.steps, strict=True)
    ]
    named = {"network": plan.network.name}
    return {**_before_unfused(plan, without.arena_bytes), **named, "steps": steps}


def _before_unfused(found: Plan | Step, per_block_bytes: int) -> dict[str, Any]:
    fields = found._asdict()
    unfused = fields.pop("unfused_bytes")
    return {**fields, "per_block_bytes": per_block_bytes, "unfused_bytes": unfused}
