"""The Numba executor: the fused schedules of the C core in Python, compiled on first use.

For installations without the C core, and for reading: the same plan, the same arena, and the same
sums in the same order, in float32 and one thread. From the top:

    executor.py    a plan's steps, one after the other, and the arena
    rows.py        blocks by rows, streaming into each other; stem.py feeds the first
    tiles.py       blocks by channel tiles
    head.py        last 1x1 convolution, pool and classifier
    block.py       expand and project of an inverted residual
    pointwise.py, depthwise.py    the kernels that all of them are made of
    vector.py      the vectors that those are made of
    tables.py      what compiled code reads of a plan
    compiling.py   how all of this is compiled, and kept
"""

from __future__ import annotations

from .compiling import Compilation, compile_entries
from .executor import NumbaExecutor

__all__ = ["Compilation", "NumbaExecutor", "compile_entries"]
