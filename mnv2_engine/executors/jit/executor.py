"""Runs a plan in the Numba kernels: one call a step, the interpreter lock released within each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import UnsupportedError
from ...modelfile import ModelFile
from ...packing import packed_members
from ...plan import Plan, Step
from ..arrays import ArrayExecutor
from ..memory import private_memory
from .compiling import compile_entries
from .head import classifier_step, head_step
from .rows import COUNTERS, rows_step
from .tables import FLOAT_BYTES, tables_of
from .tiles import tiles_step


class _Memory(NamedTuple):
    """What one call at a time writes to."""

    arena: NDArray[np.float32]  # exactly the plan's
    counters: NDArray[np.int64]  # of rows: a few numbers a block, which the C core has on its stack


class NumbaExecutor(ArrayExecutor):
    """A plan and a model file, ready for the Numba kernels, which are compiled, or taken from
    Numba's cache, when the first executor of a process is made.

    Weights of 32 bits are used where the file is mapped; those of 16 are widened into private
    memory. Denormals are not flushed, unlike in the C core: Numba has no way to set the mode.
    Raises UnsupportedError for a plan that is not fused, of one thread and in float32.
    """

    backend = "numba"

    def __init__(self, model: ModelFile, plan: Plan) -> None:
        if plan.precision != "float32":
            raise UnsupportedError(
                f"precision {plan.precision!r}: the numba backend computes in float32"
            )
        if plan.threads != 1:
            raise UnsupportedError(f"{plan.threads} threads: the numba backend runs plans of one")
        if any(step.kind == "layers" for step in plan.steps):
            raise UnsupportedError("a plan layer by layer: the numba backend runs fused ones only")
        compile_entries()
        self._plan = plan
        self._weights, places = _weights(model, plan)
        self._tables = tables_of(model, plan, places)
        self._arenas: list[_Memory] = []

    def run(self, image: Any, is_float: bool, logits: Any = None, features: Any = None) -> None:
        """Runs one image.

        `image` is a contiguous buffer of the network's own size, (H, W, 3), uint8 pixels or
        (`is_float`) normalised float32; `logits` and `features` are writable float32 buffers of
        `classes` and `head_channels` values, or None.
        """
        pixels = np.frombuffer(image, np.uint8)
        pixels.flags.writeable = False
        try:
            memory = self._arenas.pop()
        except IndexError:
            memory = self._new_memory()
        for number, step in enumerate(self._plan.steps):
            self._run_step(number, step, memory, pixels, bool(is_float), logits)
            if step.kind == "head" and features is not None:
                assert step.output is not None
                made = np.frombuffer(features, np.float32)
                at = step.output.offset // FLOAT_BYTES
                made[:] = memory.arena[at : at + len(made)]
        self._arenas.append(memory)
        del self._arenas[1:]  # of calls that overlapped; one is kept

    def _run_step(
        self,
        number: int,
        step: Step,
        memory: _Memory,
        pixels: NDArray[np.uint8],
        is_float: bool,
        logits: Any,
    ) -> None:
        tables, arena, weights = self._tables, memory.arena, self._weights
        if step.kind == "rows":
            rows_step(
                arena,
                weights,
                pixels,
                is_float,
                tables.normalisation,
                tables.stem,
                tables.blocks,
                tables.steps,
                number,
                memory.counters,
            )
        elif step.kind == "tiles":
            tiles_step(arena, weights, tables.blocks, tables.steps, number)
        elif step.kind == "head":
            head_step(arena, weights, tables.head, tables.steps, number)
        elif logits is not None:
            out = np.frombuffer(logits, np.float32)
            classifier_step(arena, weights, tables.head, tables.steps, number, out)

    def _new_memory(self) -> _Memory:
        arena = np.frombuffer(private_memory(self._plan.arena_bytes), np.float32)
        return _Memory(arena, np.zeros((COUNTERS, len(self._tables.blocks)), np.int64))


def _weights(model: ModelFile, plan: Plan) -> tuple[NDArray[np.float32], dict[str, int]]:
    """All weights as one array of float32, and where in it each of them begins."""
    offsets = {name: tensor.offset for name, tensor in model.tensors.items()}
    buffer = memoryview(model.buffer)
    if plan.dtype == "float32":
        whole = len(buffer) // FLOAT_BYTES * FLOAT_BYTES
        weights = np.frombuffer(buffer[:whole], np.float32)
        places = {name: offset // FLOAT_BYTES for name, offset in offsets.items()}
    else:
        from ...packing_half import widen

        packed = {}
        for name, member in packed_members(plan.architecture, plan.dtype).items():
            flat = np.frombuffer(buffer, np.uint8, member.size, offsets[name])
            packed[name] = flat.view(member.descr).reshape(member.shape)
        wide = widen(plan.architecture, packed, plan.dtype)
        weights = np.concatenate([each.ravel() for each in wide.values()])
        ends = np.cumsum([each.size for each in wide.values()])
        places = {
            name: int(end) - each.size for (name, each), end in zip(wide.items(), ends, strict=True)
        }
    weights.flags.writeable = False
    return weights, places
