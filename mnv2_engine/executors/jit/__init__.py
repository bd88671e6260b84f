"""The Numba executor: the fused schedules of the C core in Python, compiled on first use.

For installations without the C core, and for reading: the same plan, the same arena, and the same
sums in the same order, on one thread. From the top, for floats, which are computed in float32, and
under the same names in int8/ for 8 bits:

    floats.py      calls the kernels of each kind of step (int8/executor.py)
    rows.py        blocks by rows, streaming into each other; stem.py feeds the first
    tiles.py       blocks by channel tiles
    conv.py        convolutions from map to map
    head.py        last 1x1 convolution and pool, or the pool alone
    dense.py       dense layers; in 8 bits the taps, too
    block.py       expand and project of an inverted residual
    pointwise.py, depthwise.py    the kernels that all of them are made of
    activation.py  what follows a sum
    vector.py      the vectors that those are made of

and for both

    executor.py    a plan's steps, one after the other, and the arena
    strips.py      how rows are cut into strips
    tables.py      what compiled code reads of a plan
    compiling.py   how all of this is compiled, and kept (kept.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .compiling import Compilation, compile_entries

if TYPE_CHECKING:
    from ...model.modelfile import ModelFile
    from ...plan.steps import Plan
    from .executor import NumbaExecutor

__all__ = ["Compilation", "compile_kernels", "executor_of"]


def executor_of(model: ModelFile, plan: Plan) -> NumbaExecutor:
    """A plan and a model file, ready for the Numba kernels, which are compiled, or taken from
    Numba's cache, when the first executor of their precision is made in a process.

    Raises UnsupportedError for a plan that is not fused, of one thread, and in float32 or int8.
    """
    if plan.precision == "int8":
        from .int8 import Int8Executor

        return Int8Executor(model, plan)
    from .floats import FloatExecutor

    return FloatExecutor(model, plan)


def compile_kernels(precision: str) -> Compilation:
    """Has the kernels of a precision, float32 or int8, ready: see `compile_entries`."""
    if precision == "int8":
        from . import int8  # noqa: F401
    else:
        from . import floats  # noqa: F401
    return compile_entries(precision)
