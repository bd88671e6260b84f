"""The two-ended arena: where the tensors between steps may lie, and the least that it takes.

A tensor lies at the low end of the arena or at the high end, and a step moves it to the other
end unless it runs in place. So a step needs exactly its own bytes, and the arena is the largest
step. In place, a tensor at the low end may change its size; one at the high end may not.
"""

from __future__ import annotations

from .schedules import Schedule
from .shapes import INT8, OVERREAD_BYTES, Shapes


def unused_bytes(shapes: Shapes) -> int:
    """What an arena has beyond its largest step."""
    return OVERREAD_BYTES if shapes.precision is INT8 else 0


def moves(schedule: Schedule, high: bool) -> list[bool]:
    """The ends at which the output may lie when the input lies at the `high` end or not."""
    if not schedule.in_place:
        return [False, True] if schedule.input_bytes == 0 else [not high]
    moved = schedule.input_bytes != schedule.output_bytes or len(set(schedule.above)) > 1
    return [high] if not (high and moved) else []


def least_arena(choices: list[list[Schedule]]) -> int:
    """The least peak over every sequence of schedules: (choice, end of the tensor) -> peak."""
    reached: dict[tuple[int, bool], int] = {(0, False): 0}
    for at, schedules in enumerate(choices):
        for high in (False, True):
            if (at, high) not in reached:
                continue
            for schedule in schedules:
                needed = max(reached[at, high], schedule.bytes)
                for end in moves(schedule, high):
                    key = at + max(1, len(schedule.blocks)), end
                    reached[key] = min(needed, reached.get(key, needed))
    return min(peak for (at, _), peak in reached.items() if at == len(choices))
