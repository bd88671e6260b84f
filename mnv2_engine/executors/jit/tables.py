"""A plan and the places of its weights as flat tables, which compiled code reads: what mnv2_plan of
kernels/mnv2.h is to the C core, under the same names. Places are in values, of float32 or of 8
bits, not in bytes: those of weights in the file, those of scratch in the arena."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from ...network.blocks import Block, Parts, match
from ...plan.steps import Plan, Step


def _record(names: str) -> np.dtype[Any]:
    return np.dtype([(name, np.int64) for name in names.split()])


# The last line of each is for 8 bits alone.
STEM = _record(
    "in_height in_width channels pad_top pad_left weight bias"  # see mnv2_stem
    " fraction"
)
BLOCK = _record(
    "in_height in_width in_channels hidden out_height out_width out_channels kernel stride pad_top"
    " pad_left residual expand_weight expand_bias depthwise_weight depthwise_bias project_weight"
    " project_bias partial thin thin_rows"
    " ring expand_fraction depthwise_fraction project_fraction"
)
STEP = _record(
    "first last input output expanded filtered halo strip tile lines columns"  # see mnv2_step
    " sums"
)
HEAD = _record(
    "pixels channels features classes head_weight head_bias classifier_weight classifier_bias"
    " fraction pool_fraction pool_bias pool_multiplier pool_shift"
)


STEMS, HEADS, BLOCKS, STEPS = (
    types.Array(numba.from_dtype(record), 1, "C") for record in (STEM, HEAD, BLOCK, STEP)
)


class Tables(NamedTuple):
    """One record of the stem and one of the head, one for each block and for each step."""

    stem: NDArray[Any]
    head: NDArray[Any]
    blocks: NDArray[Any]
    steps: NDArray[Any]


def tables_of(plan: Plan, places: dict[str, int], item_bytes: int) -> Tables:
    """The tables of a plan; `places` are those of the weights, `item_bytes` those of a value."""
    parts = match(plan.network)
    blocks = np.zeros(len(parts.blocks), BLOCK)
    steps = np.zeros(len(plan.steps), STEP)
    for block, record in zip(parts.blocks, blocks, strict=True):
        _fill_block(record, block, places)
    for step, record in zip(plan.steps, steps, strict=True):
        _fill_step(record, blocks, step, item_bytes)
    return Tables(*_ends(parts, places), blocks, steps)


def _ends(parts: Parts, places: dict[str, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    layer = parts.stem
    stem = np.zeros(1, STEM)
    stem["in_height"], stem["in_width"] = layer.in_size
    stem["channels"] = layer.out_channels
    stem["pad_top"], stem["pad_left"] = layer.pads[:2]
    stem["weight"], stem["bias"] = places[f"{layer.name}.weight"], places[f"{layer.name}.bias"]

    layer = parts.head or parts.pool
    head = np.zeros(1, HEAD)
    head["pixels"] = layer.in_size[0] * layer.in_size[1]
    head["channels"], head["features"] = layer.in_channels, layer.out_channels
    head["classes"] = parts.dense[-1].out_channels
    for name, each in (("head", parts.head), ("classifier", parts.dense[-1])):
        if each is not None:
            head[f"{name}_weight"] = places[f"{each.name}.weight"]
            head[f"{name}_bias"] = places[f"{each.name}.bias"]
    return stem, head


def _fill_block(record: Any, block: Block, places: dict[str, int]) -> None:
    layer = block.depthwise
    record["in_height"], record["in_width"] = layer.in_size
    record["out_height"], record["out_width"] = layer.out_size
    record["in_channels"], record["hidden"] = block.in_channels, block.hidden
    record["out_channels"], record["residual"] = block.out_channels, block.residual
    record["kernel"], record["stride"] = layer.kernel, layer.stride
    record["pad_top"], record["pad_left"] = layer.pads[:2]
    of_block = (("expand", block.expand), ("depthwise", layer), ("project", block.project))
    for name, each in of_block:
        if each is not None:  # else absent, and never read
            record[f"{name}_weight"] = places[f"{each.name}.weight"]
            record[f"{name}_bias"] = places[f"{each.name}.bias"]


def _fill_step(record: Any, blocks: NDArray[Any], step: Step, item_bytes: int) -> None:
    if step.blocks:
        record["first"], record["last"] = step.blocks[0], step.blocks[-1]
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
