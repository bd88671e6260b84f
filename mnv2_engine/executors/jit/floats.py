"""The executor of float networks, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UnsupportedError
from ...model.members import packed_members, widen
from ...model.modelfile import ModelFile
from ...plan.steps import Plan
from .compiling import compile_entries
from .conv import conv_step
from .dense import dense_step
from .executor import Entries, NumbaExecutor
from .head import head_step
from .rows import rows_step
from .tables import tables_of
from .tiles import tiles_step

FLOAT_BYTES = 4


class FloatExecutor(NumbaExecutor):
    """A float plan and model file.

    Weights of 32 bits are used where the file is mapped; files that have others are widened into
    private memory. Denormals are not flushed, unlike in the C core: Numba has no way to set the
    mode. Raises UnsupportedError for a plan that computes in bfloat16, too.
    """

    values = np.float32
    entries = Entries(rows_step, tiles_step, conv_step, head_step, dense_step)

    def __init__(self, model: ModelFile, plan: Plan) -> None:
        if plan.precision != "float32":
            raise UnsupportedError(
                f"precision {plan.precision!r}: the numba backend computes in float32"
            )
        super().__init__(plan)
        compile_entries("float32")
        self._weights, places = _weights(model, plan)
        self._tables = tables_of(plan, places, FLOAT_BYTES)
        mean, std = np.array(model.input_spec.mean), np.array(model.input_spec.std)
        self._normalisation = np.array([1 / std, -mean / std], np.float32)  # see stem_load

    def _features(self, pooled: NDArray[Any], count: int) -> NDArray[np.float32]:
        return pooled[:count]

    def _tap(self, arena: NDArray[Any], at: int, number: int, y: NDArray[np.float32]) -> None:
        y[:] = arena[at : at + len(y)]


def _weights(model: ModelFile, plan: Plan) -> tuple[NDArray[np.float32], dict[str, int]]:
    """All weights as one array of float32, and where in it each of them begins."""
    offsets = {name: tensor.offset for name, tensor in model.tensors.items()}
    buffer = memoryview(model.buffer)
    if plan.dtype == "float32":
        whole = len(buffer) // FLOAT_BYTES * FLOAT_BYTES
        weights = np.frombuffer(buffer[:whole], np.float32)
        places = {name: offset // FLOAT_BYTES for name, offset in offsets.items()}
    else:
        packed = {}
        for name, member in packed_members(plan.network, plan.dtype).items():
            flat = np.frombuffer(buffer, np.uint8, member.size, offsets[name])
            packed[name] = flat.view(member.descr).reshape(member.shape)
        wide = widen(plan.network, packed, plan.dtype)
        weights = np.concatenate([each.ravel() for each in wide.values()])
        ends = np.cumsum([each.size for each in wide.values()])
        places = {
            name: int(end) - each.size for (name, each), end in zip(wide.items(), ends, strict=True)
        }
    weights.flags.writeable = False
    return weights, places
