"""The oracle: the network layer by layer in NumPy, without fusion and without cleverness.

It reads canonical weights and `architecture.layers` alone, so it shares neither the packing nor
the plan with the kernels that are compared with it. Activations are (N, height, width, channels).
In float64 it is the truth that tolerances are measured against; in float32 it is a backend for
machines on which the compiled core is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..model.input_spec import InputSpec
from ..network.architecture import IMAGE_CHANNELS, Architecture, Layer, layers
from .arrays import ArrayExecutor

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from ..model.modelfile import ModelFile

    Float = NDArray[np.floating[Any]]
    Numbers = NDArray[Any]  # of one dtype


class Outputs(NamedTuple):
    """What a network says about a batch of N images."""

    logits: Float  # (N, classes)
    features: Float  # (N, head channels): the head, averaged over its pixels


def normalise(spec: InputSpec, pixels: NDArray[np.uint8], dtype: DTypeLike = np.float32) -> Float:
    """(pixel - mean) / std for each channel of (..., 3) 8-bit pixels."""
    mean, std = np.array(spec.mean, dtype), np.array(spec.std, dtype)
    normalised: Float = (pixels.astype(dtype) - mean) / std
    return normalised


def run(
    network: Architecture,
    weights: Mapping[str, NDArray[Any]],
    x: NDArray[Any],
    dtype: DTypeLike = np.float32,
    seen: dict[str, Float] | None = None,
) -> Outputs:
    """The outputs of `network` for normalised input `x`, (N, height, width, 3).

    All arithmetic is in `dtype`, float32 or float64. `seen`, if given, receives every layer's
    output by name, a project layer's with its shortcut added. Raises InputError for another dtype
    or shape.
    """
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError(f"dtype {np.dtype(dtype)}: the reference computes in float32 or float64")
    if x.ndim != 4 or x.shape[1:] != (*network.resolution, IMAGE_CHANNELS) or x.dtype.kind != "f":
        raise InputError(
            f"input {x.dtype} {x.shape}: expected floating point of shape "
            f"(N, {network.resolution[0]}, {network.resolution[1]}, {IMAGE_CHANNELS})"
        )
    table = {layer.name: layer for layer in layers(network)}

    def apply(name: str, x: Float, shortcut: Float | None = None) -> Float:
        y = apply_layer(table[name], weights, x, shortcut)
        if seen is not None:
            seen[name] = y
        return y

    y = apply("stem", x.astype(dtype))
    for i, block in enumerate(network.blocks):
        thin = y
        if f"block{i}.expand" in table:
            y = apply(f"block{i}.expand", y)
        y = apply(f"block{i}.depthwise", y)
        y = apply(f"block{i}.project", y, thin if block.residual else None)
    features = apply("head", y).mean(axis=(1, 2))
    return Outputs(apply("classifier", features), features)


def apply_layer(
    layer: Layer, weights: Mapping[str, NDArray[Any]], x: Float, shortcut: Float | None = None
) -> Float:
    """The output of one layer, in the dtype of `x`."""
    weight = np.asarray(weights[f"{layer.name}.weight"], x.dtype)
    y = _OPERATIONS[layer.kind](layer, weight, x)
    y += np.asarray(weights[f"{layer.name}.bias"], x.dtype)
    if shortcut is not None:
        y += shortcut
    return relu6(y) if layer.relu6 else y


def relu6(x: Float) -> Float:
    """min(max(x, 0), 6); NaN stays NaN."""
    clipped: Float = np.minimum(np.maximum(x, 0), 6)
    return clipped


def convolution(layer: Layer, weight: Numbers, x: Numbers) -> Numbers:
    """A full k x k convolution: one matrix product for each tap, weight (out, in, k, k)."""
    padded = pad(layer, x)
    y: Numbers = np.zeros((len(x), *layer.out_size, layer.out_channels), x.dtype)
    for ky in range(layer.kernel):
        for kx in range(layer.kernel):
            y += tap(layer, padded, ky, kx) @ weight[:, :, ky, kx].T
    return y


def depthwise(layer: Layer, weight: Numbers, x: Numbers) -> Numbers:
    """A k x k convolution of each channel by itself, weight (channels, 1, k, k)."""
    padded = pad(layer, x)
    y: Numbers = np.zeros((len(x), *layer.out_size, layer.out_channels), x.dtype)
    for ky in range(layer.kernel):
        for kx in range(layer.kernel):
            y += tap(layer, padded, ky, kx) * weight[:, 0, ky, kx]
    return y


def pointwise(layer: Layer, weight: Float, x: Float) -> Float:
    """A 1x1 convolution: every pixel's channels times the matrix, weight (out, in, 1, 1)."""
    y: Float = x @ weight[:, :, 0, 0].T
    return y


def dense(layer: Layer, weight: Float, x: Float) -> Float:
    """The classifier, weight (out, in), on pooled features (N, in)."""
    y: Float = x @ weight.T
    return y


_OPERATIONS = {
    "conv": convolution,
    "depthwise": depthwise,
    "pointwise": pointwise,
    "dense": dense,
}


def pad(layer: Layer, x: Numbers) -> Numbers:
    """`x` with the zeros that the layer puts around it."""
    return np.pad(x, ((0, 0), layer.pad_rows, layer.pad_columns, (0, 0)))


def tap(layer: Layer, padded: Numbers, ky: int, kx: int) -> Numbers:
    """The input pixels that meet tap (ky, kx), one for each output pixel."""
    height, width = layer.out_size
    stride = layer.stride
    return padded[
        :,
        ky : ky + (height - 1) * stride + 1 : stride,
        kx : kx + (width - 1) * stride + 1 : stride,
    ]


class ReferenceExecutor(ArrayExecutor):
    """The oracle as a backend: a model file's weights, in float32, one image at a time.

    It has no threads but those that NumPy's own matrix product may have.
    """

    backend = "numpy"

    def __init__(self, model: ModelFile) -> None:
        self._model = model
        self._weights: dict[str, NDArray[Any]] | None = None

    def run(self, image: Any, is_float: bool, logits: Any = None, features: Any = None) -> None:
        """Runs one image, a buffer of (height, width, 3) uint8 pixels or normalised float32."""
        shape = (1, *self._model.architecture.resolution, IMAGE_CHANNELS)
        x = np.frombuffer(image, np.float32 if is_float else np.uint8).reshape(shape)
        made = self.outputs(x)
        if logits is not None:
            logits[:] = made.logits[0]
        if features is not None:
            features[:] = made.features[0]

    def outputs(self, x: NDArray[Any]) -> Outputs:
        """Float32 outputs for (N, height, width, 3): uint8 pixels, or normalised floats.

        Raises InputError for any other array. Memory beyond the result does not grow with N.
        """
        network = self._model.architecture
        if self._weights is None:
            self._weights = self._model.weights()
        logits = np.empty((len(x), network.classes), np.float32)
        features = np.empty((len(x), network.head_channels), np.float32)
        for i in range(len(x)):
            image = x[i : i + 1]
            if image.dtype == np.uint8 and image.shape[-1:] == (IMAGE_CHANNELS,):
                image = normalise(self._model.input_spec, image)
            made = run(network, self._weights, image)
            logits[i], features[i] = made.logits[0], made.features[0]
        return Outputs(logits, features)
