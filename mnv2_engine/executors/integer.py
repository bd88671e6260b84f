"""The oracle of int8 networks: docs/int8.md in NumPy, layer by layer, in plain integers.

It reads canonical weights (packing_int8.py), the quantization and the table of layers alone, so
it shares neither the packing nor the plan with the kernels that have to equal it bit for bit.
Activations are (N, height, width, channels), integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..model.input_spec import InputSpec
from ..network.blocks import match
from ..network.layer import IMAGE_CHANNELS, Layer, Network
from ..network.parts import IDENTITY
from ..network.quantization import (
    MULTIPLIER_BITS,
    LayerQuantization,
    PoolQuantization,
    Quantization,
)
from ..untyped import TYPE_CHECKING, Any
from . import reference
from .reference import Outputs, ReferenceExecutor, activated, convolution, depthwise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.integer[Any]]

_HALF = 1 << (MULTIPLIER_BITS - 1)
_INT16 = np.iinfo(np.int16)


def pad_pixel(spec: InputSpec) -> NDArray[np.uint8]:
    """The pixel that stands for zero around the image, (3,)."""
    pixel: NDArray[np.uint8] = np.clip(np.rint(np.array(spec.mean)), 0, 255).astype(np.uint8)
    return pixel


def pixels_of(spec: InputSpec, x: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of a normalised float32 image; uint8 ones are what they are."""
    if x.dtype == np.uint8:
        return x
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    levels: NDArray[np.float32] = np.clip(np.rint(x * std + mean), 0, 255)
    return levels.astype(np.uint8)


def requantise(
    acc: Integers,
    shift: Integers | int,
    multiplier: Integers | int,
    fraction: int,
    shortcut: Integers | None = None,
    shortcut_multiplier: int = 0,
) -> NDArray[np.int64]:
    """8 bits of sums: t, v and y of docs/int8.md."""
    t = np.clip(acc.astype(np.int64) >> shift, _INT16.min, _INT16.max)
    v = (t * multiplier + _HALF) >> MULTIPLIER_BITS
    if shortcut is not None:
        added = (64 * shortcut.astype(np.int64) * shortcut_multiplier + _HALF) >> MULTIPLIER_BITS
        v = np.clip(v + added, _INT16.min, _INT16.max)
    y: NDArray[np.int64] = np.clip(v >> fraction, 0, 255)
    return y


def run(
    network: Network,
    weights: Mapping[str, NDArray[Any]],
    quantization: Quantization,
    spec: InputSpec,
    x: NDArray[Any],
    seen: dict[str, Integers] | None = None,
    taps: Sequence[str] = (),
) -> Outputs:
    """The outputs of an int8 network for (N, height, width, 3), uint8 pixels or normalised float32.

    `seen`, if given, receives the 8-bit output, (N, height, width, channels), of every layer but
    the dense ones by name, an `add` under its own name; `taps` are layers whose outputs are wanted
    as maps. Raises InputError for another shape or dtype.
    """
    if x.ndim != 4 or x.shape[1:] != (*network.resolution, IMAGE_CHANNELS):
        raise InputError(f"input {x.shape}: expected (N, *{network.resolution}, 3)")
    if x.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
        raise InputError(f"input {x.dtype}: expected uint8 pixels or normalised float32")
    parts = match(network)
    maps: dict[str, NDArray[np.float32]] = {}

    def apply(layer: Layer, x: Integers, pad: Any, shortcut: Integers | None = None) -> Integers:
        said = quantization.layers[layer.name]
        # What stands for zero around a map is a value of its own: it is put there beforehand.
        framed = frame(layer, pad, x) if any(layer.pads) else x
        y = apply_layer(unpadded(layer), weights, said, framed, shortcut)
        if seen is not None:
            seen[layer.name] = y
        return y

    def look(index: int, expanded: bool, x: Integers, pad: int) -> None:
        """The heads of a detector that read the tensor `x` of block `index`."""
        for head in parts.heads:
            if (head.at, head.expanded) == (index, expanded):
                plain = head.depthwise.operation == IDENTITY
                filtered = x if plain else apply(head.depthwise, x, pad)
                name = head.project.name
                maps[name] = real(apply(head.project, filtered, 0), weights[f"{name}.values"])

    y: Integers = apply(parts.stem, pixels_of(spec, x), pad_pixel(spec))
    zero = 0
    for index, block in enumerate(parts.blocks):
        thin = y
        pad = zero
        if block.expand is not None:
            y, pad = apply(block.expand, y, 0), 0
            look(index, True, y, pad)
        if block.depthwise.operation != IDENTITY:
            y = apply(block.depthwise, y, pad)
        y = apply(block.project, y, 0, thin if block.residual else None)
        zero = quantization.layers[block.project.name].zero_point
        if seen is not None:
            seen[block.output] = y
        if block.output in taps:
            maps[block.output] = real(y, weights[f"{block.project.name}.values"])
        look(index, False, y, zero)
    if network.detection is not None:
        none: NDArray[np.float32] = np.empty((len(x), 0), np.float32)
        tapped = tuple(maps[name] for name in taps)
        return Outputs(none, none, tapped, *reference.by_anchor(network.detection, maps))
    for layer in (*parts.convs, *((parts.head,) if parts.head else ())):
        y = apply(layer, y, 0)
        zero = quantization.layers[layer.name].zero_point
    assert quantization.pool is not None  # of a classifier
    sums, levels = pool(quantization.pool, y)
    area = parts.pool.in_size[0] * parts.pool.in_size[1]
    scale = quantization.layers[parts.pooled.name].scale
    share, offset = np.float32(scale / area), np.float32(-zero * scale)
    features = flushed(flushed(sums.astype(np.float32) * flushed(share)) + flushed(offset))
    logits: NDArray[np.float32] = np.empty((len(x), 0), np.float32)
    for i, layer in enumerate(parts.dense):
        if i == 0:
            logits = activated(layer.activation, classify(layer, weights, levels))
        else:
            logits = reference.apply_layer(layer, weights, logits)
    return Outputs(logits, features, tuple(maps[name] for name in taps))


def real(levels: Integers, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What 8-bit `levels`, (..., channels), stand for; `values` are scales and offsets."""
    scale, offset = values
    return flushed(flushed(levels.astype(np.float32) * scale) + offset)


def frame(layer: Layer, value: Any, x: Integers) -> Integers:
    """`x` (N, height, width, channels) with the layer's padding around it, of `value`, one number
    or one a channel."""
    (top, bottom), (left, right) = layer.pad_rows, layer.pad_columns
    height, width = layer.in_size
    framed: Integers = np.empty(
        (len(x), top + height + bottom, left + width + right, x.shape[3]), x.dtype
    )
    framed[:] = value
    framed[:, top : top + height, left : left + width] = x[:, :height, :width]
    return framed


def unpadded(layer: Layer) -> Layer:
    """`layer` for an input that has its padding already."""
    return layer._replace(pad_rows=(0, 0), pad_columns=(0, 0))


def apply_layer(
    layer: Layer,
    weights: Mapping[str, NDArray[Any]],
    said: LayerQuantization,
    x: Integers,
    shortcut: Integers | None = None,
) -> NDArray[np.int64]:
    """The 8-bit output of one convolution."""
    weight = weights[f"{layer.name}.weight"].astype(np.int64)
    acc = _SUMS[layer.operation](layer, weight, x.astype(np.int64)) + weights[f"{layer.name}.bias"]
    return requantise(
        acc,
        weights[f"{layer.name}.shift"],
        weights[f"{layer.name}.multiplier"],
        said.fraction,
        shortcut,
        said.shortcut,
    )


def pool(said: PoolQuantization, head: Integers) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sums over the pixels of the head's output, (N, channels), and the 8-bit features."""
    sums = head.sum((1, 2), dtype=np.int64)
    return sums, requantise(sums + said.bias, said.shift, said.multiplier, said.fraction)


def classify(
    layer: Layer, weights: Mapping[str, NDArray[Any]], features: Integers
) -> NDArray[np.float32]:
    """What the first dense layer makes of 8-bit features (N, channels), before its activation."""
    acc = features @ weights[f"{layer.name}.weight"].astype(np.int64).T
    scale, bias = weights[f"{layer.name}.scale"], weights[f"{layer.name}.bias"]
    return flushed(flushed(acc.astype(np.float32) * flushed(scale)) + flushed(bias))


def flushed(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero where `x` is denormal."""
    kept: NDArray[np.float32] = np.where(np.abs(x) < np.finfo(np.float32).tiny, np.float32(0), x)
    return kept


def _pointwise(layer: Layer, weight: Integers, x: Integers) -> Integers:
    # Exact: float64 holds every sum below 2**53, and its matrix product is the fast one.
    product = x.astype(np.float64) @ weight[:, :, 0, 0].astype(np.float64).T
    sums: Integers = product.astype(np.int64)
    return sums


_SUMS = {"conv": convolution, "depthwise": depthwise, "pointwise": _pointwise}


class IntegerExecutor(ReferenceExecutor):
    """The oracle as a backend for int8 model files, one image at a time."""

    def _outputs(self, weights: Mapping[str, NDArray[Any]], x: NDArray[Any]) -> Outputs:
        """Float32 outputs for one image, (1, height, width, 3): uint8 pixels or normalised."""
        model = self._model
        assert model.quantization is not None  # int8 model files have one
        return run(
            model.network,
            weights,
            model.quantization,
            model.input_spec,
            x,
            taps=self._taps,
        )
