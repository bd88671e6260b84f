"""Runs a plan in Numba kernels, of floats (floats.py) or of 8 bits (int8/executor.py): one call a
step, the interpreter lock released within each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import UnsupportedError
from ...model.open_file import private_memory
from ...network.blocks import match
from ...plan.steps import Plan, Step
from ..arrays import ArrayExecutor
from .compiling import Entry
from .strips import COUNTERS
from .tables import Tables


class Memory(NamedTuple):
    """What one call at a time writes to."""

    arena: NDArray[Any]  # exactly the plan's
    counters: NDArray[np.int64]  # of rows: a few numbers a block, which the C core has on its stack


class Entries(NamedTuple):
    """The compiled function of each kind of step."""

    rows: Entry
    tiles: Entry
    conv: Entry
    head: Entry
    dense: Entry


class NumbaExecutor(ArrayExecutor):
    """A plan and a model file, ready for Numba kernels, which are compiled, or taken from Numba's
    cache, when the first executor of their precision is made in a process.

    Raises UnsupportedError for a plan that is not fused, or not of one thread.
    """

    backend = "numba"
    values: type[np.generic]  # what an arena is an array of
    entries: Entries
    _weights: NDArray[Any]  # read only
    _tables: Tables
    _normalisation: NDArray[np.float32]  # how the stem reads an image

    def __init__(self, plan: Plan) -> None:
        if plan.threads != 1:
            raise UnsupportedError(f"{plan.threads} threads: the numba backend runs plans of one")
        if any(step.kind == "layers" for step in plan.steps):
            raise UnsupportedError("a plan layer by layer: the numba backend runs fused ones only")
        if plan.network.detection is not None:
            raise UnsupportedError("a detector: the numba backend runs classifiers; use c or numpy")
        self._plan = plan
        self._arenas: list[Memory] = []

    def run(
        self,
        image: Any,
        is_float: bool,
        logits: Any = None,
        features: Any = None,
        maps: Any = None,
        boxes: Any = None,
        scores: Any = None,
    ) -> None:
        """Runs one image.

        `image` is a contiguous buffer of the network's own size, (H, W, 3), uint8 pixels or
        (`is_float`) normalised float32; `logits` and `features` are writable float32 buffers of
        `classes` and `features` values, or None; `maps` are one of (height, width, channels) for
        each tap of the plan, ascending, or None.
        """
        pixels = np.frombuffer(image, np.uint8)
        pixels.flags.writeable = False
        try:
            memory = self._arenas.pop()
        except IndexError:
            memory = self._new_memory()
        for number, step in enumerate(self._plan.steps):
            at = int(self._tables.steps[number]["output"])
            if step.kind == "tap":
                if maps is not None:
                    made = np.frombuffer(maps[step.number], np.float32)
                    self._tap(memory.arena, at, step.number, made)
                continue
            self._run_step(number, step, memory, pixels, bool(is_float), logits)
            if step.kind == "head" and features is not None:
                made = np.frombuffer(features, np.float32)
                made[:] = self._features(memory.arena[at:], len(made))
        self._arenas.append(memory)
        del self._arenas[1:]  # of calls that overlapped; one is kept

    def _run_step(
        self,
        number: int,
        step: Step,
        memory: Memory,
        pixels: NDArray[np.uint8],
        is_float: bool,
        logits: Any,
    ) -> None:
        entries, tables = self.entries, self._tables
        arena, weights = memory.arena, self._weights
        if step.kind == "rows":
            entries.rows(
                arena,
                weights,
                pixels,
                is_float,
                self._normalisation,
                tables.stem,
                tables.blocks,
                tables.steps,
                number,
                memory.counters,
            )
        elif step.kind == "tiles":
            entries.tiles(arena, weights, tables.blocks, tables.steps, number)
        elif step.kind == "conv":
            entries.conv(arena, weights, tables.convs, tables.steps, number)
        elif step.kind == "head":
            entries.head(arena, weights, tables.head, tables.steps, number)
        elif step.kind == "dense" and logits is not None:
            self._run_dense(number, arena, np.frombuffer(logits, np.float32))

    def _run_dense(self, number: int, arena: NDArray[Any], logits: NDArray[np.float32]) -> None:
        tables = self._tables
        self.entries.dense(arena, self._weights, tables.dense, tables.steps, number, logits)

    def _features(self, pooled: NDArray[Any], count: int) -> NDArray[np.float32]:
        """The first `count` features of what the head has left."""
        raise NotImplementedError

    def _tap(self, arena: NDArray[Any], at: int, number: int, y: NDArray[np.float32]) -> None:
        """Writes to y the thin tensor of tap `number`, which lies at `at`."""
        raise NotImplementedError

    def _new_memory(self) -> Memory:
        arena = np.frombuffer(private_memory(self._plan.arena_bytes), self.values)
        return Memory(arena, np.zeros((COUNTERS, len(match(self._plan.network).blocks)), np.int64))
