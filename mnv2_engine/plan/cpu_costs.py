"""What the planner takes for granted of each family of CPUs: kernels/cpu_costs.def, which the C
planner reads and which says what the columns are. Measured, and written into both files, by

    python -m mnv2_engine.bench.cost --write
"""

from __future__ import annotations

from ..untyped import NamedTuple

ANY = "any"  # the family of CPUs that no other one has; and of plans that are made for no CPU


class CpuCosts(NamedTuple):
    """Picoseconds of one core; `cached` and `first` are bytes."""

    tile: int
    term: int
    tap: int
    call: int
    moved: int
    reread: int
    cached: int
    phase: int
    first: int
    shared: int


CPU_COSTS = {
    ("any", "float32"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000, 0, 0),
    ("any", "bfloat16"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000, 0, 0),
    ("any", "int8"): CpuCosts(8400, 240, 240, 7200, 240, 240, 262144, 240000, 0, 0),
    ("amx", "float32"): CpuCosts(25235, 363, 656, 39343, 237, 81, 1048576, 1453220, 16384, 5493),
    ("amx", "bfloat16"): CpuCosts(52778, 35, 788, 23503, 562, 99, 262144, 1322950, 65536, 1),
    ("amx", "int8"): CpuCosts(48625, 108, 371, 26249, 380, 72, 262144, 2836497, 16384, 1),
}
