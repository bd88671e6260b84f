"""The oracle of int8 networks: docs/int8.md in NumPy, layer by layer, in plain integers.

It reads canonical weights (packing_int8.py), the quantization and `architecture.layers` alone, so
it shares neither the packing nor the plan with the kernels that have to equal it bit for bit.
Activations are (N, height, width, channels), integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..model.input_spec import InputSpec
from ..network.architecture import IMAGE_CHANNELS, Architecture, Layer, layers
from ..network.quantization import (
    MULTIPLIER_BITS,
    LayerQuantization,
    PoolQuantization,
    Quantization,
)
from .reference import Outputs, ReferenceExecutor, convolution, depthwise

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
    network: Architecture,
    weights: Mapping[str, NDArray[Any]],
    quantization: Quantization,
    spec: InputSpec,
    x: NDArray[Any],
    seen: dict[str, Integers] | None = None,
) -> Outputs:
    """The outputs of an int8 network for (N, height, width, 3), uint8 pixels or normalised float32.

    `seen`, if given, receives every layer's 8-bit output, (N, height, width, channels), by name.
    Raises InputError for another shape or dtype.
    """
    if x.ndim != 4 or x.shape[1:] != (*network.resolution, IMAGE_CHANNELS):
        raise InputError(f"input {x.shape}: expected (N, *{network.resolution}, 3)")
    if x.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
        raise InputError(f"input {x.dtype}: expected uint8 pixels or normalised float32")
    table = {layer.name: layer for layer in layers(network)}

    def apply(name: str, x: Integers, shortcut: Integers | None = None) -> Integers:
        y = apply_layer(table[name], weights, quantization.layers[name], x, shortcut)
        if seen is not None:
            seen[name] = y
        return y

    # The stem's padding is a pixel, which is no zero: it is put around the image beforehand.
    stem = table["stem"]
    framed = frame(stem, pad_pixel(spec), pixels_of(spec, x))
    table["stem"] = unpadded(stem)

    y = apply("stem", framed)
    for i, block in enumerate(network.blocks):
        thin = y
        if f"block{i}.expand" in table:
            y = apply(f"block{i}.expand", y)
        y = apply(f"block{i}.depthwise", y)
        y = apply(f"block{i}.project", y, thin if block.residual else None)
    y = apply("head", y)
    sums, features = pool(quantization.pool, y)
    logits = classify(weights, features)
    area = table["head"].out_size[0] * table["head"].out_size[1]
    share = np.array(quantization.layers["head"].scale / area, np.float32)
    return Outputs(logits, flushed(sums.astype(np.float32) * flushed(share)))


def frame(stem: Layer, pixel: NDArray[np.uint8], images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`images` (N, height, width, 3) with the stem's padding around them, of `pixel`s."""
    (top, bottom), (left, right) = stem.pad_rows, stem.pad_columns
    height, width = stem.in_size
    framed = np.empty((len(images), top + height + bottom, left + width + right, 3), np.uint8)
    framed[:] = pixel
    framed[:, top : top + height, left : left + width] = images
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
    acc = _SUMS[layer.kind](layer, weight, x.astype(np.int64)) + weights[f"{layer.name}.bias"]
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


def classify(weights: Mapping[str, NDArray[Any]], features: Integers) -> NDArray[np.float32]:
    """Logits (N, classes) of 8-bit features (N, channels)."""
    acc = features @ weights["classifier.weight"].astype(np.int64).T
    scale, bias = weights["classifier.scale"], weights["classifier.bias"]
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

    def outputs(self, x: NDArray[Any]) -> Outputs:
        """Float32 outputs for (N, height, width, 3): uint8 pixels, or normalised floats."""
        model = self._model
        if self._weights is None:
            self._weights = model.weights()
        assert model.quantization is not None  # int8 model files have one
        made = [
            run(
                model.architecture,
                self._weights,
                model.quantization,
                model.input_spec,
                x[i : i + 1],
            )
            for i in range(len(x))
        ]
        return Outputs(*(np.concatenate(each) for each in zip(*made, strict=True)))
