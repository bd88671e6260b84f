"""From scales and zero points to the integers of docs/int8.md: every constant into a bias.

Used by whatever makes an int8 network: post-training quantisation and the import of quantised
checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UnsupportedError
from ..network.quantization import (
    MAX_HIDDEN_SCALE,
    MAX_MULTIPLIER,
    MULTIPLIER_BITS,
    SHORTCUT_BITS,
    LayerQuantization,
    PoolQuantization,
    effective_factor,
    fixed_point,
    fraction_for,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

ACTIVATION_NAMES = {"relu": "ReLU", "relu6": "ReLU6"}
_BIAS_LIMIT = 1 << 30  # leaves as much again to the sum


class Activation(NamedTuple):
    """An 8-bit tensor: real = scale * (q - zero_point), q from 0 to 255."""

    scale: float
    zero_point: int = 0


class FoldedLayer(NamedTuple):
    """The canonical arrays of a layer, and what `meta` says of it."""

    arrays: dict[str, NDArray[Any]]  # by canonical name
    quantization: LayerQuantization
    silenced: int  # channels whose weights were too small to matter, and are zero now


def fold_layer(
    name: str,
    weight: NDArray[np.int8],
    weight_scale: Float64,
    bias: Float64,
    source: Activation,
    target: Activation,
    activation: str,
    shortcut: Activation | None = None,
) -> FoldedLayer:
    """A convolution of int8 `weight` (out, ...), one scale an output channel, and a real `bias`.

    `target` is the layer's output, `shortcut` the thin tensor that is added to it. Behind an
    activation the zero point is 0; behind a ReLU6 a scale beyond 6 / 255 becomes that. Raises
    UnsupportedError where the scales are too far apart for the fixed-point form.
    """
    if activation != "linear" and target.zero_point != 0:
        raise UnsupportedError(
            f"{name}: its output has the zero point {target.zero_point}: expected 0 behind "
            f"a {ACTIVATION_NAMES[activation]}"
        )
    if activation == "relu6":
        target = Activation(min(target.scale, MAX_HIDDEN_SCALE))
    unit = source.scale * weight_scale  # of the sums, (out,)
    wide = weight.reshape(len(bias), -1).astype(np.int64)
    alive = wide.any(1)  # of the others, whose scale may be anything, the constant is all
    factor = np.where(alive, unit / target.scale, 0.0)
    try:
        fraction = fraction_for(float(factor.max()))
        shortcut_multiplier = 0
        offset = np.full(len(bias), target.zero_point + _half(fraction))
        if shortcut is not None:
            ratio = shortcut.scale / target.scale
            shortcut_multiplier = round(ratio * 2.0 ** (SHORTCUT_BITS + fraction))
            if shortcut_multiplier > MAX_MULTIPLIER:
                raise UnsupportedError(
                    f"the shortcut's scale {shortcut.scale:g} is twice the output's "
                    f"{target.scale:g} or more"
                )
            taken = shortcut_multiplier * 2.0 ** -(SHORTCUT_BITS + fraction)
            offset -= taken * shortcut.zero_point
        pairs = [fixed_point(float(each), fraction) for each in factor]
    except (UnsupportedError, ValueError) as error:
        raise UnsupportedError(f"{name}: {error}") from None
    multiplier, shift = (np.array(each, np.int32) for each in zip(*pairs, strict=True))
    # As it will be computed, or as it should be where the multiplier says 0.
    taken_factor = np.array([effective_factor(m, s, fraction) for m, s in pairs])
    taken_factor = np.where(taken_factor > 0, taken_factor, factor)

    weight = np.array(weight)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        folded = (
            bias / unit
            - source.zero_point * wide.sum(1)
            + offset / taken_factor
            + np.where(shift > 0, 2.0 ** (shift - 1.0), 0.0)
        )
    # A channel so small that its constant does not fit: only the constant matters.
    dead = ~(np.abs(folded) <= _BIAS_LIMIT)
    for n in np.flatnonzero(dead):
        if 255 * np.abs(wide[n]).sum() * factor[n] > 0.5:
            raise UnsupportedError(
                f"{name}: the bias of channel {n} is {abs(bias[n]):g}, too large for its scale "
                f"{unit[n]:g}"
            )
        weight[n] = 0
        level = float(bias[n]) / target.scale + offset[n]  # in units of the output
        multiplier[n], shift[n] = 1 << 14, 0
        folded[n] = round(np.clip(level, -512.0, 512.0) * 2.0 ** (fraction + 1))
    arrays: dict[str, NDArray[Any]] = {
        f"{name}.weight": weight.astype(np.int8),
        f"{name}.bias": np.rint(folded).astype(np.int32),
        f"{name}.multiplier": multiplier,
        f"{name}.shift": shift,
    }
    said = LayerQuantization(target.scale, target.zero_point, fraction, shortcut_multiplier)
    return FoldedLayer(arrays, said, int((dead & alive).sum()))


def _half(fraction: int) -> float:
    """What makes the last shift of docs/int8.md round to nearest: the mean of the bits it drops.

    Those bits are whole, as v was rounded before, so that is half a unit less half their own.
    """
    return 0.5 - 0.5 ** (fraction + 1)


def fold_pool(
    head_scale: float, pixels: int, scale: float, zero_points: tuple[int, int] = (0, 0)
) -> PoolQuantization:
    """The pool over `pixels` pixels of a map of `head_scale`, to features of `scale`, with the zero
    points of the map and of the features.

    A scale finer than a step of the sums, as the head's own is where there is one pixel, becomes
    that step. Raises UnsupportedError for one so coarse that the fixed-point form has no bits left.
    """
    step = head_scale / pixels
    largest = MAX_MULTIPLIER / (1 << MULTIPLIER_BITS)
    scale = max(scale, step / largest)
    factor = min(step / scale, largest)
    fraction = fraction_for(factor)
    multiplier, shift = fixed_point(factor, fraction)
    taken_factor = effective_factor(multiplier, shift, fraction)
    if taken_factor * _BIAS_LIMIT <= 1.0:
        raise UnsupportedError(
            f"the pooled features' scale {scale:g} is too coarse for the head's {head_scale:g}"
        )
    bias = _half(fraction) / taken_factor + (1 << shift >> 1)
    bias += zero_points[1] / taken_factor - zero_points[0] * pixels
    return PoolQuantization(scale, fraction, round(bias), multiplier, shift)


def fold_classifier(
    name: str,
    weight: NDArray[np.int8],
    weight_scale: Float64,
    bias: Float64,
    features: Activation,
) -> dict[str, NDArray[Any]]:
    """The canonical arrays of the first dense layer, `features` being its input."""
    unit = weight_scale * features.scale
    bias = bias - unit * features.zero_point * weight.astype(np.int64).sum(1)
    with np.errstate(over="ignore"):  # what is beyond float32 is refused when it is packed
        return {
            f"{name}.weight": np.array(weight, np.int8),
            f"{name}.scale": unit.astype(np.float32),
            f"{name}.bias": bias.astype(np.float32),
        }
