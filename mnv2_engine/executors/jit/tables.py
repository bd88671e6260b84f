"""A plan and the places of its weights as flat tables, which compiled code reads: what mnv2_plan of
kernels/mnv2.h is to the C core, under the same names. Places are in values, of float32 or of 8
bits, not in bytes: those of weights in the file, those of scratch in the arena."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from ...network.block import Block
from ...network.blocks import match
from ...network.layer import ACTIVATIONS, Layer
from ...network.parts import Parts
from ...plan.steps import Plan, Step


def _record(names: str) -> np.dtype[Any]:
    return np.dtype([(name, np.int64) for name in names.split()])


# The last line of each is for 8 bits alone.
STEM = _record(
    "in_height in_width channels pad_top pad_left activation weight bias"  # see mnv2_stem
    " fraction"
)
BLOCK = _record(
    "in_height in_width in_channels hidden out_height out_width out_channels kernel stride pad_top"
    " pad_left residual expand_activation depthwise_activation project_activation"
    " expand_weight expand_bias depthwise_weight depthwise_bias project_weight project_bias"
    " partial thin thin_rows"
    " ring pad expand_fraction depthwise_fraction project_fraction"
)
CONV = _record(
    "in_width in_channels out_height out_width out_channels kernel stride activation weight bias"
    " fraction"
)
STEP = _record(
    "first last input output expanded filtered halo strip tile lines columns"  # see mnv2_step
    " sums"
)
HEAD = _record(
    "pixels channels features activation head_weight head_bias"
    " fraction pool_fraction pool_bias pool_multiplier pool_shift"
)
DENSE = _record("inputs outputs activation weight bias")

ABSENT = -1  # the place of the weights of a layer that there is not

STEMS, HEADS, BLOCKS, CONVS, DENSES, STEPS = (
    types.Array(numba.from_dtype(record), 1, "C")
    for record in (STEM, HEAD, BLOCK, CONV, DENSE, STEP)
)


class Tables(NamedTuple):
    """One record of the stem and one of the head, one for each block, convolution, dense layer and
    step."""

    stem: NDArray[Any]
    head: NDArray[Any]
    blocks: NDArray[Any]
    convs: NDArray[Any]
    dense: NDArray[Any]
    steps: NDArray[Any]


def tables_of(plan: Plan, places: dict[str, int], item_bytes: int) -> Tables:
    """The tables of a plan; `places` are those of the weights, `item_bytes` those of a value."""
    parts = match(plan.network)
    made = Tables(
        stem=np.zeros(1, STEM),
        head=np.zeros(1, HEAD),
        blocks=np.zeros(len(parts.blocks), BLOCK),
        convs=np.zeros(len(parts.convs), CONV),
        dense=np.zeros(len(parts.dense), DENSE),
        steps=np.zeros(len(plan.steps), STEP),
    )
    _fill_stem(made.stem[0], parts.stem, places)
    for block, record in zip(parts.blocks, made.blocks, strict=True):
        _fill_block(record, block, places)
    for layer, record in zip(parts.convs, made.convs, strict=True):
        _fill_conv(record, layer, places)
    _fill_head(made.head[0], parts, places)
    for layer, record in zip(parts.dense, made.dense, strict=True):
        record["inputs"], record["outputs"] = layer.in_channels, layer.out_channels
        _fill_weights(record, "", layer, places)
    for step, record in zip(plan.steps, made.steps, strict=True):
        _fill_step(record, made.blocks, step, item_bytes)
    return made


def _fill_weights(record: Any, name: str, layer: Layer | None, places: dict[str, int]) -> None:
    """The fields `name`weight, `name`bias and `name`activation."""
    if layer is None:
        record[f"{name}weight"] = record[f"{name}bias"] = ABSENT
        return
    record[f"{name}weight"] = places[f"{layer.name}.weight"]
    record[f"{name}bias"] = places[f"{layer.name}.bias"]
    record[f"{name}activation"] = ACTIVATIONS.index(layer.activation)


def _fill_stem(record: Any, layer: Layer, places: dict[str, int]) -> None:
    record["in_height"], record["in_width"] = layer.in_size
    record["channels"] = layer.out_channels
    record["pad_top"], record["pad_left"] = layer.pads[:2]
    _fill_weights(record, "", layer, places)


def _fill_block(record: Any, block: Block, places: dict[str, int]) -> None:
    layer = block.depthwise
    record["in_height"], record["in_width"] = layer.in_size
    record["out_height"], record["out_width"] = layer.out_size
    record["in_channels"], record["hidden"] = block.in_channels, block.hidden
    record["out_channels"], record["residual"] = block.out_channels, block.residual
    record["kernel"], record["stride"] = layer.kernel, layer.stride
    record["pad_top"], record["pad_left"] = layer.pads[:2]
    _fill_weights(record, "expand_", block.expand, places)
    _fill_weights(record, "depthwise_", layer, places)
    _fill_weights(record, "project_", block.project, places)


def _fill_conv(record: Any, layer: Layer, places: dict[str, int]) -> None:
    record["in_width"], record["in_channels"] = layer.in_size[1], layer.in_channels
    record["out_height"], record["out_width"] = layer.out_size
    record["out_channels"] = layer.out_channels
    record["kernel"], record["stride"] = layer.kernel, layer.stride
    _fill_weights(record, "", layer, places)


def _fill_head(record: Any, parts: Parts, places: dict[str, int]) -> None:
    record["pixels"] = parts.pool.in_size[0] * parts.pool.in_size[1]
    record["channels"] = (parts.head or parts.pool).in_channels
    record["features"] = parts.pool.out_channels
    record["head_weight"] = record["head_bias"] = ABSENT
    if parts.head is not None:
        record["head_weight"] = places[f"{parts.head.name}.weight"]
        record["head_bias"] = places[f"{parts.head.name}.bias"]
        record["activation"] = ACTIVATIONS.index(parts.head.activation)


def _fill_step(record: Any, blocks: NDArray[Any], step: Step, item_bytes: int) -> None:
    if step.blocks:
        record["first"], record["last"] = step.blocks[0], step.blocks[-1]
    else:
        record["first"] = step.number
    record["input"] = step.input.offset // item_bytes if step.input else 0
    record["output"] = step.output.offset // item_bytes if step.output else 0
    record["strip"], record["tile"] = step.strip, step.tile
    for buffer in step.scratch:
        name, *of_block = reversed(buffer.name.split())
        holder = blocks[int(of_block[0])] if of_block else record
        holder[name] = buffer.offset // item_bytes
        if name == "thin":
            holder["thin_rows"] = buffer.shape[0]
        if step.kind == "tiles" and name == "expanded":
            _, record["lines"], record["columns"], _ = buffer.shape
