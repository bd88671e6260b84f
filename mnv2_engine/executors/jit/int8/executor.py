"""The executor of int8 networks: docs/int8.md, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import UnsupportedError
from ....model.input_spec import InputSpec
from ....model.modelfile import ModelFile
from ....network.blocks import match
from ....network.parts import Parts
from ....network.quantization import Quantization
from ....plan.steps import Plan
from ...integer import flushed, pad_pixel
from ..compiling import compile_entries
from ..executor import Entries, NumbaExecutor
from ..tables import Tables, tables_of
from .conv import conv_step
from .dense import dense_step, tap_step
from .head import head_step
from .pointwise import SUM_BYTES
from .rows import rows_step
from .tiles import tiles_step


class Int8Executor(NumbaExecutor):
    """An int8 plan and model file; its weights are used where the file is mapped."""

    values = np.uint8
    entries = Entries(rows_step, tiles_step, conv_step, head_step, dense_step)

    def __init__(self, model: ModelFile, plan: Plan) -> None:
        super().__init__(plan)
        if model.quantization is None:
            raise UnsupportedError("an int8 plan for weights that are not: expected an int8 model")
        compile_entries("int8")
        self._weights = np.frombuffer(model.buffer, np.uint8)
        self._weights.flags.writeable = False
        self._tables = tables_of(plan, _places(model), 1)
        parts = match(plan.network)
        _fill_quantization(self._tables, parts, model.quantization)
        self._normalisation = _levels(model.input_spec)
        pooled = model.quantization.layers[parts.pooled.name]
        area = float(self._tables.head["pixels"][0])
        self._feature_scale, self._feature_offset = (
            flushed(np.array(each, np.float32))
            for each in (pooled.scale / area, -pooled.zero_point * pooled.scale)
        )
        projects = [parts.blocks[block].project for block in plan.taps]
        self._taps = [
            (model.tensors[f"{layer.name}.values"].offset, layer.out_channels) for layer in projects
        ]

    def _run_dense(self, number: int, arena: NDArray[Any], logits: NDArray[np.float32]) -> None:
        tables = self._tables
        whole = len(self._weights) // SUM_BYTES * SUM_BYTES
        self.entries.dense(
            arena,
            self._weights,
            arena.view(np.float32),
            self._weights[:whole].view(np.float32),
            tables.head,
            tables.dense,
            tables.steps,
            number,
            logits,
        )

    def _features(self, pooled: NDArray[Any], count: int) -> NDArray[np.float32]:
        sums = pooled[: count * SUM_BYTES].view(np.int32)
        scaled = flushed(sums.astype(np.float32) * self._feature_scale)
        return flushed(scaled + self._feature_offset)

    def _tap(self, arena: NDArray[Any], at: int, number: int, y: NDArray[np.float32]) -> None:
        tap_step(arena, self._weights, at, *self._taps[number], y)


def _places(model: ModelFile) -> dict[str, int]:
    """Where weights begin, and what is in place of their biases."""
    found = {}
    for name, tensor in model.tensors.items():
        layer, _, part = name.rpartition(".")
        if part != "values":  # of taps
            found[f"{layer}.{'weight' if part == 'weight' else 'bias'}"] = tensor.offset
    return found


def _levels(spec: InputSpec) -> NDArray[np.float32]:
    """See stem.py."""
    return np.array([spec.std, spec.mean, pad_pixel(spec)], np.float32)


def _fill_quantization(tables: Tables, parts: Parts, quantization: Quantization) -> None:
    """What an int8 plan has beyond a float one."""
    said, pool = quantization.layers, quantization.pool
    tables.stem["fraction"] = said[parts.stem.name].fraction
    source = 0  # the zero point of a block's input
    for layers, block in zip(parts.blocks, tables.blocks, strict=True):
        if layers.expand is None:
            block["pad"] = source
        else:
            block["expand_fraction"] = said[layers.expand.name].fraction
        block["depthwise_fraction"] = said[layers.depthwise.name].fraction
        project = said[layers.project.name]
        block["project_fraction"], block["residual"] = project.fraction, project.shortcut
        source = project.zero_point
    for layer, conv in zip(parts.convs, tables.convs, strict=True):
        conv["fraction"] = said[layer.name].fraction
    for place in ("weight", "bias"):  # of later dense layers, which are floats
        tables.dense[place][1:] //= SUM_BYTES
    head = tables.head
    assert pool is not None  # of a classifier
    head["fraction"] = said[parts.pooled.name].fraction
    head["pool_fraction"], head["pool_bias"] = pool.fraction, pool.bias
    head["pool_multiplier"], head["pool_shift"] = pool.multiplier, pool.shift
