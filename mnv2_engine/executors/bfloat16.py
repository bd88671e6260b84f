"""What a bfloat16 network computes, to the bit: docs/bfloat16.md in NumPy, layer by layer.

The oracle of the C core's bfloat16 kernels, and slow. A CPU adds the terms of a 1×1 convolution
in an order of its own, so there are two statements:

- `PAIRS`, vdpbf16ps on Intel: sum = fma(x0, w0, fma(x1, w1, sum)), two terms at a time
- `TILES`, AMX's tdpbf16ps: of each 32 terms two chains, of the even and of the odd ones, begin at
  zero; their sum is added to the sum. Layers of an odd number of input channels run by pairs.

Denormals are zero, going in and coming out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..model.packing_half import from_bfloat16, to_bfloat16
from ..network.blocks import match
from ..network.layer import IMAGE_CHANNELS, Layer, Network
from ..untyped import TYPE_CHECKING, Any
from .reference import Outputs, activated, pad, tap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float32]

PAIRS, TILES = "pairs", "tiles"
TILE_TERMS = 32  # of a row of a tile register
LEAST_NORMAL = 2.0**-126


def run(
    network: Network, weights: Mapping[str, NDArray[Any]], x: NDArray[Any], order: str
) -> Outputs:
    """The outputs for one normalised float32 image, (height, width, 3). `weights` are canonical;
    those of all layers but the depthwise ones are rounded to bfloat16."""
    parts = match(network)

    def sums_of(layer: Layer, x: Float) -> Float:
        bias = weights[f"{layer.name}.bias"].astype(np.float32)
        weight = weights[f"{layer.name}.weight"].astype(np.float32)
        if layer.operation == "depthwise":
            return _depthwise(layer, weight, bias, x)
        if layer.operation == "conv":
            return _stem(layer, rounded(weight), bias, x, order)
        matrix = rounded(weight).reshape(len(weight), -1).T
        if layer.operation == "dense":
            return _chain(x, matrix, _begin(bias, x))
        # Filtered channels are padded to an even number, with zeros; thin ones are not.
        is_odd = layer not in projects and layer.in_channels % 2
        return _products(x, matrix, _begin(bias, x), PAIRS if is_odd else order)

    def apply(layer: Layer, x: Float) -> Float:
        return activated(layer.activation, sums_of(layer, x))

    projects = [block.project for block in parts.blocks]
    y = apply(parts.stem, rounded(x[np.newaxis].astype(np.float32)))
    for i, block in enumerate(parts.blocks):
        shortcut = rounded(y) if i == 0 else y
        if block.expand is not None:
            y = apply(block.expand, y)
        y = apply(block.project, rounded(apply(block.depthwise, y)))
        y = rounded(flushed(y.astype(np.float64) + shortcut) if block.residual else y)
    assert parts.head is not None
    features = _pooled(apply(parts.head, y))
    logits = features
    for layer in parts.dense:
        logits = apply(layer, logits)
    return Outputs(logits, features)


def rounded(x: NDArray[Any]) -> Float:
    """To the nearest bfloat16, ties to even."""
    values: Float = from_bfloat16(to_bfloat16(flushed(x)))
    return values


def flushed(x: NDArray[Any]) -> Float:
    """As float32, denormals as zero."""
    made: Float = x.astype(np.float32)
    normal: Float = np.where(np.abs(made) < LEAST_NORMAL, np.copysign(np.float32(0), made), made)
    return normal


def fused(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> Float:
    """a * b + c, rounded once: the sum in float64, rounded to odd, keeps what decides a tie."""
    product = a.astype(np.float64) * b
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    bits = total.view(np.int64)
    towards = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where((error != 0) & (bits % 2 == 0), bits + towards, bits)
    return flushed(odd.view(np.float64))


def _begin(bias: Float, x: Float) -> Float:
    sums: Float = np.broadcast_to(bias, (*x.shape[:-1], len(bias))).copy()
    return sums


def _products(x: Float, weight: Float, sums: Float, order: str) -> Float:
    """`sums` plus x (..., terms) times weight (terms, outputs)."""
    terms = len(weight)
    if order == PAIRS:
        for k in range(0, terms, 2):
            if k + 1 < terms:
                sums = fused(x[..., k + 1, np.newaxis], weight[k + 1], sums)
            sums = fused(x[..., k, np.newaxis], weight[k], sums)
        return sums
    for first in range(0, terms, TILE_TERMS):
        chains = [np.zeros_like(sums), np.zeros_like(sums)]
        for k in range(first, min(first + TILE_TERMS, terms)):
            chains[k % 2] = fused(x[..., k, np.newaxis], weight[k], chains[k % 2])
        both = flushed(chains[0].astype(np.float64) + chains[1])
        sums = flushed(sums.astype(np.float64) + both)
    return sums


def _chain(x: Float, weight: Float, sums: Float) -> Float:
    """The same in the order of the terms, in float32."""
    for k in range(len(weight)):
        sums = fused(x[..., k, np.newaxis], weight[k], sums)
    return sums


def _stem(layer: Layer, weight: Float, bias: Float, x: Float, order: str) -> Float:
    """A kernel row after the other, nine taps each."""
    padded = pad(layer, x)
    sums: Float = np.broadcast_to(bias, (1, *layer.out_size, len(bias))).copy()
    for ky in range(layer.kernel):
        taps = [tap(layer, padded, ky, kx) for kx in range(layer.kernel)]
        row = weight[:, :, ky].transpose(2, 1, 0).reshape(layer.kernel * IMAGE_CHANNELS, -1)
        sums = _products(np.concatenate(taps, axis=-1), row, sums, order)
    return sums


def _depthwise(layer: Layer, weight: Float, bias: Float, x: Float) -> Float:
    padded = pad(layer, x)
    sums: Float = np.broadcast_to(bias, (1, *layer.out_size, len(bias))).copy()
    for ky in range(layer.kernel):
        for kx in range(layer.kernel):
            sums = fused(tap(layer, padded, ky, kx), weight[:, 0, ky, kx], sums)
    return sums


def _pooled(x: Float) -> Float:
    pixels = x.reshape(-1, x.shape[-1])
    total = np.zeros_like(pixels[0])
    for pixel in pixels:
        total = total + pixel
    shared: Float = total * (np.float32(1) / np.float32(len(pixels)))
    return shared[np.newaxis]
