"""What the planner takes for granted of each family of CPUs: kernels/cpu_costs.def, which the C
planner reads and which says what the columns are. Measured, and written into both files, by

    python -m mnv2_engine.bench.cost --write
"""

from __future__ import annotations

from ..untyped import NamedTuple

ANY = "any"  # the family of CPUs that no other one has; and of plans that are made for no CPU


class CpuCosts(NamedTuple):
    """Picoseconds of one core; `cached` is bytes."""

    tile: int
    term: int
    tap: int
    call: int
    moved: int
    reread: int
    cached: int
    phase: int


CPU_COSTS = {
    ("any", "float32"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000),
    ("any", "bfloat16"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000),
    ("any", "int8"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000),
    ("amx", "float32"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000),
    ("amx", "bfloat16"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000),
    ("amx", "int8"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000),
}
