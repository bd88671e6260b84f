"""From the integers of docs/int8.md back to scales, zero points and biases: folding undone.

Only ratios of scales matter to a run, so they are taken from what it multiplies by, not from the
scales that the model file states: a weight's scale from its channel's multiplier, that of a thin
tensor behind a shortcut from the shortcut's. All scales are float32 numbers.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UnsupportedError
from ..executors.integer import pad_pixel
from ..network.blocks import match
from ..network.layer import IMAGE, Layer
from ..network.quantization import (
    MULTIPLIER_BITS,
    SHORTCUT_BITS,
    LayerQuantization,
    PoolQuantization,
    effective_factor,
)
from ..quantize.folding import Activation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..model.input_spec import InputSpec
    from ..model.modelfile import ModelFile

    Float64 = NDArray[np.float64]

_INT32 = np.iinfo(np.int32)
_SCALES = np.finfo(np.float32)


class IntegerLayer(NamedTuple):
    """A convolution: sums of weight * (input - the input's zero point), and the bias."""

    weight: NDArray[np.int8]  # canonical
    scale: NDArray[np.float32]  # of the weights, (out,)
    bias: NDArray[np.int32]  # (out,), in units of scale times the input's scale
    target: Activation  # the output's, before a shortcut


class IntegerDense(NamedTuple):
    """The first dense layer: sums of weight * (feature - its zero point), and the bias."""

    weight: NDArray[np.int8]  # (out, channels)
    scale: NDArray[np.float32]  # of the weights, (out,)
    bias: NDArray[np.float32]  # (out,)


class IntegerNetwork(NamedTuple):
    """An int8 network in terms that other runtimes share. Zero points are those of uint8."""

    image: Activation  # of uint8 pixels
    frame: tuple[int, int, int] | None  # pixels around the image, unless they are its zero point
    layers: dict[str, IntegerLayer]  # all convolutions
    # The sum of a shortcut, by its project layer and by the layer that adds.
    joined: dict[str, Activation]
    features: Activation | None  # None of a detector
    dense: IntegerDense | None  # the first dense layer; those behind it are float32


def unfold(model: ModelFile) -> IntegerNetwork:
    """The int8 network of a model file.

    Raises UnsupportedError for constants beyond 32 bits and scales beyond float32, which nothing
    in this package makes.
    """
    assert model.quantization is not None
    network, weights, said = model.network, model.weights(), model.quantization
    image, frame = _image(model.input_spec)
    parts = match(network)
    residuals = {block.project.name: block for block in parts.blocks if block.residual}
    found: dict[str, IntegerLayer] = {}
    joined: dict[str, Activation] = {}
    made = {IMAGE: image}  # by the layer that gives it
    for layer in network.weighted:
        if layer.operation == "dense":
            continue
        stated = said.layers[layer.name]
        target = _activation(stated.scale, stated.zero_point)
        shortcut = None
        block = residuals.get(layer.name)
        if block is not None and stated.shortcut:
            thin = made[block.source]
            shortcut = (stated.shortcut * 2.0 ** -(SHORTCUT_BITS + stated.fraction), thin)
            target = _activation(thin.scale / shortcut[0], stated.zero_point)
        found[layer.name] = _layer(layer, weights, stated, made[layer.inputs[0]], target, shortcut)
        made[layer.name] = target
        if block is not None:
            joined[layer.name] = joined[block.output] = made[block.output] = target
    if said.pool is None:
        return IntegerNetwork(image, frame, found, joined, None, None)
    features = _features(said.pool, made[parts.pool.inputs[0]], prod(parts.pool.in_size))
    if not parts.dense:
        return IntegerNetwork(image, frame, found, joined, features, None)
    return IntegerNetwork(
        image, frame, found, joined, features, _dense(parts.dense[0], weights, features)
    )


def _features(pool: PoolQuantization, source: Activation, area: int) -> Activation:
    """The pooled features' scale and zero point, of which fold_pool made the pool's bias."""
    factor = effective_factor(pool.multiplier, pool.shift, pool.fraction)
    if not factor:
        return _activation(pool.scale, 0)
    halves = (0.5 - 0.5 ** (pool.fraction + 1)) / factor + (1 << pool.shift >> 1)
    zero_point = round((pool.bias - halves + source.zero_point * area) * factor)
    return _activation(source.scale / (area * factor), min(max(zero_point, 0), 255))


def _dense(layer: Layer, weights: Mapping[str, NDArray[Any]], features: Activation) -> IntegerDense:
    """The first dense layer, in terms of its weights' scales."""
    weight = weights[f"{layer.name}.weight"]
    scale = weights[f"{layer.name}.scale"].astype(np.float64)
    bias = weights[f"{layer.name}.bias"]
    if features.zero_point:
        wide = weight.astype(np.int64).sum(1)
        bias = (bias + scale * features.zero_point * wide).astype(np.float32)
    silent = np.abs(scale) < _SCALES.tiny  # a run takes denormals for zero
    return IntegerDense(
        np.where(silent[:, None], 0, weight).astype(np.int8),
        _float32(np.where(silent, features.scale, scale) / features.scale),
        bias,
    )


def _activation(scale: float, zero_point: int) -> Activation:
    return Activation(float(_float32(np.array(scale))), zero_point)


def _float32(scales: Float64) -> NDArray[np.float32]:
    """`scales`, rounded. Raises UnsupportedError for what float32 does not hold, zero included."""
    for scale in (float(scales.min()), float(scales.max())):
        if not float(_SCALES.tiny) <= scale <= float(_SCALES.max):
            raise UnsupportedError(
                f"a tensor has the scale {scale:g}, which float32 does not hold; make the int8 "
                "model file again with: mnv2 quantize"
            )
    return scales.astype(np.float32)


def _image(spec: InputSpec) -> tuple[Activation, tuple[int, int, int] | None]:
    """What a pixel stands for, and what is around the image.

    The normalisation is in the stem's weights and bias, so any scale would do; one deviation for
    all channels gives that which importers expect. The pixel that stands for zero can be a zero
    point where it is the same for all channels.
    """
    scale = 1 / spec.std[0] if len(set(spec.std)) == 1 else 1.0
    red, green, blue = (int(level) for level in pad_pixel(spec))
    if red == green == blue:
        return _activation(scale, red), None
    return _activation(scale, 0), (red, green, blue)


def _layer(
    layer: Layer,
    weights: Mapping[str, NDArray[Any]],
    said: LayerQuantization,
    source: Activation,
    target: Activation,
    shortcut: tuple[float, Activation] | None,
) -> IntegerLayer:
    """`target` is that of the output, `shortcut` what multiplies the tensor added to it."""
    weight, bias, multiplier, shift = (
        weights[f"{layer.name}.{part}"] for part in ("weight", "bias", "multiplier", "shift")
    )
    # A channel multiplied by 0 gives the same without weights and bias.
    silent = multiplier == 0
    weight = np.where(silent.reshape(-1, *[1] * (weight.ndim - 1)), 0, weight).astype(np.int8)
    bias = np.where(silent, 0, bias)
    multiplier, shift = np.where(silent, 1 << 14, multiplier), np.where(silent, 0, shift)

    factor: Float64 = multiplier * 2.0 ** -(shift + MULTIPLIER_BITS + said.fraction)
    # What fold_layer added, in units of the output and of the sums.
    offset = target.zero_point + 0.5 - 0.5 ** (said.fraction + 1)
    if shortcut is not None:
        offset -= shortcut[0] * shortcut[1].zero_point
    halves = np.where(shift > 0, 2.0 ** (shift - 1.0), 0.0)
    wide = weight.reshape(len(bias), -1).astype(np.int64)
    own = np.rint(bias - halves - offset / factor + source.zero_point * wide.sum(1))
    if not (np.abs(own) <= _INT32.max).all():
        raise UnsupportedError(
            f"{layer.name}: the bias of channel {int(np.abs(own).argmax())} is beyond 32 bits "
            "without its zero points; make the int8 model file again with: mnv2 quantize"
        )
    scale = _float32(factor * target.scale / source.scale)
    return IntegerLayer(weight, scale, own.astype(np.int32), target)
