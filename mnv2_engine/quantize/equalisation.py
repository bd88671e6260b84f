"""Cross-layer equalisation of the thin tensors (Nagel et al., arXiv 1906.04721, section 4.1).

One scale and zero point serve a whole 8-bit tensor, while the ranges of its channels differ by an
order of magnitude. What a project layer writes is linear, and only pointwise layers read it: any
channel may be multiplied by a factor and moved by a constant, if the layers that read it divide
and move it back. The function of the network stays what it was, and the channels share one range.

The paper does so through the activation function as well, having replaced ReLU6 by ReLU. The
hidden tensors are left alone here: a ReLU6 gives every channel the range 0 to 6 beforehand, and
factors that leave room for what calibration has not seen gained nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..network.block import Block
from ..network.blocks import match
from ..network.layer import Layer, Network
from ..network.parts import Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

# Wholly equal ranges would make the columns of the reading layer, which share a scale too, as
# unequal as the channels were: their geometric mean is the best of both.
EXPONENT = 0.5
LEAST_FACTOR = 1 / 64  # of channels that are as good as constant


class Thin(NamedTuple):
    """A thin tensor: real = middle + factor * (what the equalised network has in its place)."""

    middle: Float64  # (channels,)
    factor: Float64  # (channels,), at most 1
    reach: float  # the largest distance from the middle in the equalised network


class ChannelRange(NamedTuple):
    """The least and the largest value of each channel."""

    low: Float64
    high: Float64


def equalise(
    network: Network,
    weights: Mapping[str, NDArray[Any]],
    ranges: Mapping[str, ChannelRange],
) -> tuple[dict[str, Float64], dict[str, Thin]]:
    """Weights in float64 of an equal network, and what its thin tensors stand for.

    `ranges` are those of every block's output, and of a detector's heads, by the name of the layer
    that gives it. Tensors that are added to each other share their factors, but not their middles.
    """
    made = {name: np.array(weight, np.float64) for name, weight in weights.items()}
    thin: dict[str, Thin] = {}
    parts = match(network)
    for chain in _chains(parts.blocks):
        blocks = [parts.blocks[i] for i in chain]
        halves = np.array([(ranges[b.output].high - ranges[b.output].low) / 2 for b in blocks])
        widest = halves.max(1, keepdims=True)
        share = (halves / np.where(widest > 0, widest, 1.0)).max(0)
        factor = np.maximum(share**EXPONENT, LEAST_FACTOR)
        factor /= factor.max()
        fixed = any(_is_fixed(parts, i) for i in chain)
        # The shortcut of a first block is the stem's output, a hidden tensor.
        if fixed or blocks[0].residual:
            factor[:] = 1.0
        before: Float64 = np.zeros(len(factor))
        for i, block, half in zip(chain, blocks, halves, strict=True):
            name = block.project.name
            if block.project.activation != "linear":
                continue  # as the hidden ones, from 0 on
            low, high = ranges[block.output]
            middle = (high + low) / 2
            if fixed:
                middle, half = 0 * middle, np.maximum(np.abs(low), np.abs(high))
            thin[name] = Thin(middle, factor, float((half / factor).max()))
            made[f"{name}.weight"] /= factor[:, None, None, None]
            made[f"{name}.bias"] = (made[f"{name}.bias"] - (middle - before)) / factor
            reader = _reader(parts, i)
            if reader is not None:  # else both are 1 and 0
                columns = made[f"{reader.name}.weight"]
                made[f"{reader.name}.bias"] += columns.sum((2, 3)) @ middle
                columns *= factor[:, None, None]
            before = middle  # which the next block's shortcut brings along
    for head in parts.heads:
        _equalise_head(head.project.name, ranges[head.project.name], made, thin)
    return made, thin


def _equalise_head(
    name: str, reached: ChannelRange, made: dict[str, Float64], thin: dict[str, Thin]
) -> None:
    """What a detector's head gives no layer reads, so its channels get wholly equal ranges."""
    half = (reached.high - reached.low) / 2
    widest = half.max()
    factor = np.maximum(half / (widest if widest > 0 else 1.0), LEAST_FACTOR)
    middle = (reached.high + reached.low) / 2
    thin[name] = Thin(middle, factor, float((half / factor).max()))
    made[f"{name}.weight"] /= factor[:, None, None, None]
    made[f"{name}.bias"] = (made[f"{name}.bias"] - middle) / factor


def _reader(parts: Parts, block: int) -> Layer | None:
    """The convolution that reads a block's output, which may be moved and multiplied for it."""
    if any(head.at == block and not head.expanded for head in parts.heads):
        return None  # a depthwise layer, or several that would each have to
    if block + 1 < len(parts.blocks):
        return parts.blocks[block + 1].expand
    return parts.convs[0] if parts.convs else parts.head


def _is_fixed(parts: Parts, block: int) -> bool:
    """Whether a block's output has to be what it is: its zeros are padded, it is pooled, or an
    activation made it."""
    return _reader(parts, block) is None or parts.blocks[block].project.activation != "linear"


def _chains(blocks: Sequence[Block]) -> list[list[int]]:
    """Blocks whose outputs are linked by shortcuts."""
    chains: list[list[int]] = []
    for i, block in enumerate(blocks):
        if block.residual and chains:
            chains[-1].append(i)
        else:
            chains.append([i])
    return chains
