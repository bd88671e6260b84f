"""The float network and the 8-bit one side by side, made 8-bit one layer at a time.

Each layer is made for the inputs that the layers before it give in 8 bits, so what they got wrong
is seen and made up for: the rounding of its weights by the inputs' covariance, its bias by the
means of its output, which it is made to share with the float network's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..executors import integer, reference
from ..executors.integer import frame, pad_pixel, unpadded
from ..executors.reference import Outputs
from ..model.input_spec import InputSpec
from ..network.blocks import match
from ..network.layer import Layer, Network
from ..network.parts import IDENTITY
from ..network.quantization import (
    MAX_HIDDEN_SCALE,
    MAX_SCALE,
    LayerQuantization,
    PoolQuantization,
    Quantization,
)
from .folding import Activation, fold_classifier, fold_layer, fold_pool
from .moments import Moments
from .ranges import Histogram, choose_reach
from .report import Comparison, LayerReport
from .rounding import round_jointly, round_to_nearest, weight_scales

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .equalisation import Thin

    Float64 = NDArray[np.float64]
    Float32 = NDArray[np.float32]

IMAGE = Activation(1.0)  # pixels are used as they are
THIN_ZERO = 128  # thin tensors are equalised around their middles
RELU6_LIMIT = 6.0
HIDDEN_LEVELS, THIN_LEVELS = 255, 127
KEPT_BYTES = 256 << 20  # of outputs that are kept for all frames; larger ones are computed anew
LEAST_ACTIVE = 0.02  # share of values within the ReLU6, below which a mean says little of a bias
# A layer's steps may be no finer than the sums that make them, nor than half a shortcut's.
LEAST_STEPS = 1.001
LEAST_OF_SHORTCUT = 1 / 1.99


class Made(NamedTuple):
    """An 8-bit network, and how it compares with the float one on the frames."""

    arrays: dict[str, NDArray[Any]]  # canonical, as packing_int8.py has them
    quantization: Quantization
    reports: tuple[LayerReport, ...]
    silenced: dict[str, int]  # by layer: channels whose weights were too small to matter
    real: Outputs  # of N images
    integers: Outputs


class _Frame(NamedTuple):
    """One tensor of both networks for one image, (1, height, width, channels) each."""

    real: Float32
    levels: NDArray[np.integer[Any]]  # of 8 bits


class Stepwise:
    """The networks, run side by side as far as they are made."""

    def __init__(
        self,
        network: Network,
        spec: InputSpec,
        weights: Mapping[str, Float64],
        thin: Mapping[str, Thin],
        reaches: Mapping[str, float],
        pixels: NDArray[np.uint8],
        method: str,
        advance: Callable[[int], object],
    ) -> None:
        """For equalised `weights`, whose `thin` tensors are moved and multiplied; `reaches` are the
        largest distances from 0 of layers' outputs; `advance` is called with the count of frames
        after a layer."""
        self._reaches = reaches
        self._network, self._thin, self._method, self._advance = network, thin, method, advance
        self._parts = match(network)
        self._table = {layer.name: layer for layer in network.weighted}
        self._projects = {block.project.name for block in self._parts.blocks}
        self._ends = {head.project.name for head in self._parts.heads}
        stem = self._parts.stem
        self._table[stem.name] = unpadded(stem)
        self._weights = _of_pixels(stem, weights, spec)
        self._singles = {name: each.astype(np.float32) for name, each in self._weights.items()}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._said: dict[str, LayerQuantization] = {}
        self._silenced: dict[str, int] = {}
        self._compared: dict[str, Comparison] = {}
        # Where both networks stand: `_frames` went through all layers but those in `_ahead`.
        mean, pad = np.array(spec.mean, np.float32), pad_pixel(spec)
        self._frames: list[_Frame] = []
        for i in range(len(pixels)):
            levels = frame(stem, pad, pixels[i : i + 1])
            self._frames.append(_Frame(_framed_real(stem, levels, mean), levels))
        self._ahead: list[str] = []
        self._source = IMAGE
        self._heads: dict[str, tuple[Float32, Float32]] = {}  # what both networks' give, real
        self._shortcuts: list[_Frame] | None = None
        self._shortcut_source: Activation | None = None
        # The level that stands for zero around a layer's input; the stem's is there already.
        self._zeros: dict[str, int] = {}

    def make(self) -> Made:
        """Make every layer 8-bit, first to last."""
        parts, pool = self._parts, None
        self._layer(parts.stem)
        for index, block in enumerate(parts.blocks):
            if block.residual:
                self._frames, self._ahead = list(self._now()), []
                self._shortcuts, self._shortcut_source = list(self._frames), self._source
            if block.expand is not None:
                self._layer(block.expand)
                self._look(index, True)
            if block.depthwise.operation != IDENTITY:
                self._layer(block.depthwise)
            self._layer(block.project)
            self._look(index, False)
        for layer in (*parts.convs, parts.head):
            if layer is not None:
                self._layer(layer)
        if parts.pooling is None:
            both = self._found()
        else:
            pool, features, real, levels = self._pool()
            none = np.empty((len(real), 0), np.float32)
            both = [Outputs(each, none) for each in self._dense(features, real, levels)]
        return Made(
            self._arrays,
            Quantization(self._in_order(), pool),
            tuple(each.report() for each in self._compared.values()),
            {name: count for name, count in self._silenced.items() if count},
            *both,
        )

    def _in_order(self) -> dict[str, LayerQuantization]:
        """What is said of the layers, in the order of execution."""
        return {
            each.name: self._said[each.name]
            for each in self._network.weighted
            if each.name in self._said
        }

    def _look(self, index: int, expanded: bool) -> None:
        """Make the heads of a detector that read a tensor of block `index`, behind which both
        networks stand, and stand there again."""
        for head in self._parts.heads:
            if (head.at, head.expanded) != (index, expanded):
                continue
            kept = list(self._frames), list(self._ahead), self._source
            shortcut = self._shortcuts, self._shortcut_source
            self._shortcuts = self._shortcut_source = None
            if head.depthwise.operation != IDENTITY:
                self._layer(head.depthwise)
            name = head.project.name
            self._layer(head.project)
            thin = self._thin[name]
            values = self._arrays[f"{name}.values"] = thin_values(
                self._source, head.project.out_channels, thin
            )
            now = list(self._now())
            moved = np.float32(thin.factor), np.float32(thin.middle)
            self._heads[name] = (
                np.concatenate([each.real * moved[0] + moved[1] for each in now]),
                integer.real(np.concatenate([each.levels for each in now]), values),
            )
            self._frames, self._ahead, self._source = kept
            self._shortcuts, self._shortcut_source = shortcut

    def _found(self) -> list[Outputs]:
        """What a detector's heads give, of both networks."""
        detection = self._network.detection
        assert detection is not None
        made = []
        for which in (0, 1):
            maps = {name: both[which] for name, both in self._heads.items()}
            none = np.empty((len(self._frames), 0), np.float32)
            made.append(Outputs(none, none, (), *reference.by_anchor(detection, maps)))
        return made

    def _now(self) -> Iterator[_Frame]:
        """Every frame where both networks stand."""
        for i in range(len(self._frames)):
            now = self._frames[i]
            for name in self._ahead:
                now = _Frame(self._real_output(name, i, now), self._levels_output(name, i, now))
            yield now

    def _real_output(self, name: str, i: int, now: _Frame) -> Float32:
        joined = self._joined(name)
        made: Float32 = reference.apply_layer(self._table[name], self._singles, now.real).astype(
            np.float32, copy=False
        )
        return made + joined[i].real if joined else made

    def _levels_output(self, name: str, i: int, now: _Frame) -> NDArray[np.uint8]:
        joined = self._joined(name)
        shortcut = joined[i].levels if joined else None
        layer, levels = self._table[name], now.levels
        if any(layer.pads):
            levels = frame(layer, self._zeros[name], levels)
        return integer.apply_layer(
            unpadded(layer), self._arrays, self._said[name], levels, shortcut
        ).astype(np.uint8)

    def _joined(self, name: str) -> list[_Frame] | None:
        """What a shortcut adds to the layer's output, of every frame."""
        return self._shortcuts if name in self._projects else None

    def _layer(self, stated: Layer) -> None:
        """Make a layer 8-bit, and stand behind it."""
        name, source = stated.name, self._source
        layer = self._table[name]
        self._zeros[name] = source.zero_point
        moments = Moments(layer)
        histogram = Histogram(self._reach(layer))
        real_sum: Float64 = np.zeros(layer.out_channels)
        for i, now in enumerate(self._now()):
            moments.add(now.real, _dequantised(now.levels, source))
            output = self._real_output(name, i, now)
            histogram.add(output)
            real_sum += output.mean((0, 1, 2), dtype=np.float64)

        weight = self._weights[f"{name}.weight"]
        taps_last = _taps_last(layer, weight)
        variance = np.maximum(np.einsum("gtt->gt", moments.covariance), 0.0)
        scales = weight_scales(taps_last, variance)
        # Weights so large that one step of the input is one of 0 to 6 are cut off.
        if layer.activation == "relu6":
            scales = np.minimum(scales, MAX_HIDDEN_SCALE / (LEAST_STEPS * source.scale))
        groups = len(moments.mean)
        rounded = round_jointly(
            taps_last.reshape(groups, -1, taps_last.shape[1]),
            scales.reshape(groups, -1),
            moments.covariance,
        ).reshape(taps_last.shape)
        bias = self._weights[f"{name}.bias"] + _shift(taps_last, rounded, scales, moments)

        target = self._target(layer, histogram, source, scales)
        for last in (False, True):
            self._fold(layer, _canonical(layer, rounded), scales, bias, target)
            if not last:
                bias = bias + self._correction(layer, target, real_sum)
        self._stand_behind(layer, target)

    def _target(
        self, layer: Layer, histogram: Histogram, source: Activation, scales: Float64
    ) -> Activation:
        """The layer's 8-bit output."""
        least = LEAST_STEPS * source.scale * float(scales.max())
        if layer.activation != "linear":
            reach = choose_reach(histogram, HIDDEN_LEVELS, self._method)
            most = MAX_HIDDEN_SCALE if layer.activation == "relu6" else MAX_SCALE
            return Activation(min(max(reach / HIDDEN_LEVELS, least), most))
        if self._shortcut_source is not None:
            least = max(least, LEAST_OF_SHORTCUT * self._shortcut_source.scale)
        if layer.name in self._ends:  # further than calibration does: head_ranges.py
            reach = self._thin[layer.name].reach
        else:
            reach = choose_reach(histogram, THIN_LEVELS, self._method)
        return Activation(max(reach / THIN_LEVELS, least), THIN_ZERO)

    def _fold(
        self,
        layer: Layer,
        weight: NDArray[np.int8],
        scales: Float64,
        bias: Float64,
        target: Activation,
    ) -> None:
        shortcut = self._shortcut_source if self._joined(layer.name) else None
        if layer.activation != "linear":  # a bias that no input can bring back may be any such
            limit = RELU6_LIMIT if layer.activation == "relu6" else 255 * target.scale
            reach = 255 * self._source.scale * scales
            reach *= np.abs(weight.astype(np.int64)).sum((1, 2, 3))
            bias = np.clip(bias, -reach - limit, reach + 2 * limit)
        folded = fold_layer(
            layer.name,
            weight,
            scales,
            bias,
            self._source,
            target,
            layer.activation,
            shortcut,
        )
        self._arrays.update(folded.arrays)
        self._said[layer.name] = folded.quantization
        self._silenced[layer.name] = folded.silenced

    def _correction(self, layer: Layer, target: Activation, real_sum: Float64) -> Float64:
        """What to add to the bias for the means of both networks' outputs to be the same.

        It makes up for what rounding and cutting off do to the mean, behind the ReLU6 too: a
        channel's values near 0 are more often rounded down than up. Where few values lie within
        the ReLU6, the bias has to move further for the same effect.
        """
        mean: Float64 = np.zeros(layer.out_channels)
        active: Float64 = np.zeros(layer.out_channels)
        for i, now in enumerate(self._now()):
            levels = self._levels_output(layer.name, i, now)
            mean += levels.mean((0, 1, 2))
            active += ((levels > 0) & (levels < 255)).mean((0, 1, 2))
        frames = len(self._frames)
        missing: Float64 = real_sum / frames - (mean / frames - target.zero_point) * target.scale
        if layer.activation == "linear":
            return missing
        share = active / frames
        corrected: Float64 = np.where(
            share > LEAST_ACTIVE, missing / np.maximum(share, 2 * LEAST_ACTIVE), 0.0
        )
        return corrected

    def _stand_behind(self, layer: Layer, target: Activation) -> None:
        """Compare the layer's outputs, and take them for the next layer's inputs."""
        self._ahead.append(layer.name)
        thin = self._thin.get(layer.name)
        compared = self._compared[layer.name] = (
            Comparison(layer.name, target, thin.factor, thin.middle)
            if thin
            else Comparison(layer.name, target)
        )
        if layer.name in self._projects:
            self._arrays[f"{layer.name}.values"] = thin_values(target, layer.out_channels, thin)
        area = layer.out_size[0] * layer.out_size[1]
        bytes_a_frame = area * layer.out_channels * (np.dtype(np.float32).itemsize + 1)
        keep = layer.activation == "linear" or len(self._frames) * bytes_a_frame <= KEPT_BYTES
        for i, now in enumerate(self._now()):
            compared.add(now.real, _dequantised(now.levels, target))
            if keep:
                self._frames[i] = now
        if keep:
            self._ahead = []
        if layer.name in self._projects:
            self._shortcuts = self._shortcut_source = None
        self._source = target
        self._advance(len(self._frames))

    def _reach(self, layer: Layer) -> float:
        """What the layer's output reaches from its zero, at most."""
        if layer.activation == "relu6":
            return RELU6_LIMIT
        thin = self._thin.get(layer.name)
        return thin.reach if thin else self._reaches[layer.name]

    def _pool(self) -> tuple[PoolQuantization, Activation, Float32, NDArray[np.int64]]:
        """The pool, its 8-bit output, and the features (N, channels) of both networks, the 8-bit
        one's as levels."""
        pool, source = self._parts.pool, self._source
        real, maps = [], []
        for now in self._now():
            real.append(now.real.mean((1, 2)))
            maps.append(now.levels.sum((1, 2), dtype=np.int64)[:, None, None])
        features: Float32 = np.concatenate(real)
        # Features have signs where what is pooled has: a thin tensor.
        zero = THIN_ZERO if source.zero_point else 0
        levels = THIN_LEVELS if zero else HIDDEN_LEVELS
        histogram = Histogram(max(float(np.abs(features).max()), RELU6_LIMIT))
        histogram.add(features)
        reach = choose_reach(histogram, levels, "minmax")
        area = pool.in_size[0] * pool.in_size[1]
        scale = max(reach / levels, LEAST_STEPS * source.scale / area)
        said = fold_pool(source.scale, area, scale, (source.zero_point, zero))
        _, made = integer.pool(said, np.concatenate(maps))
        return said, Activation(said.scale, zero), features, made

    def _dense(
        self, source: Activation, real: Float32, levels: NDArray[np.int64]
    ) -> tuple[Float32, Float32]:
        """Make the first dense layer 8-bit; those behind it stay float32, as they are small.
        Returns the logits of both networks, or their features where there is no dense layer."""
        given = _dequantised(levels, source)
        for i, layer in enumerate(self._parts.dense):
            real_input, real = real, reference.apply_layer(layer, self._singles, real)
            if i > 0:
                for part in ("weight", "bias"):
                    self._arrays[f"{layer.name}.{part}"] = self._singles[f"{layer.name}.{part}"]
                given = reference.apply_layer(layer, self._singles, given)
                continue
            weight, bias = (self._weights[f"{layer.name}.{part}"] for part in ("weight", "bias"))
            # Too few images for a covariance of so many features.
            scales = weight_scales(weight, given.var(0, dtype=np.float64)[None])
            rounded = round_to_nearest(weight, scales)
            real_mean = real_input.mean(0, dtype=np.float64)
            mean = given.mean(0, dtype=np.float64)
            bias = bias + weight @ real_mean - (rounded * scales[:, None]) @ mean
            self._arrays.update(fold_classifier(layer.name, rounded, scales, bias, source))
            made = integer.classify(layer, self._arrays, levels)
            given = reference.activated(layer.activation, made)
            self._advance(len(self._frames))
        return real, given


def thin_values(target: Activation, channels: int, thin: Thin | None) -> Float32:
    """Scale and offset (2, channels) of a block's output: real = q * scale + offset."""
    scale, middle = np.full(channels, target.scale), np.zeros(channels)
    if thin is not None:
        scale, middle = thin.factor * scale, thin.middle
    return np.array([scale, middle - scale * target.zero_point], np.float32)


def _of_pixels(stem: Layer, weights: Mapping[str, Float64], spec: InputSpec) -> dict[str, Float64]:
    """`weights` for an image of pixels: normalisation is in the stem's weight and bias."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    weight = weights[f"{stem.name}.weight"] / std[:, None, None]
    bias = weights[f"{stem.name}.bias"] - weight.sum((2, 3)) @ mean
    return {**weights, f"{stem.name}.weight": weight, f"{stem.name}.bias": bias}


def _framed_real(stem: Layer, framed: NDArray[Any], mean: Float32) -> Float32:
    """Pixels as the float network takes them: what stands for zero around them is the mean."""
    (top, _), (left, _) = stem.pad_rows, stem.pad_columns
    height, width = stem.in_size
    real: Float32 = np.empty(framed.shape, np.float32)
    real[:] = mean
    inside = np.s_[:, top : top + height, left : left + width]
    real[inside] = framed[inside]
    return real


def _dequantised(levels: NDArray[Any], of: Activation) -> Float32:
    real: Float32 = (levels.astype(np.float32) - np.float32(of.zero_point)) * np.float32(of.scale)
    return real


def _taps_last(layer: Layer, weight: Float64) -> Float64:
    """(out, terms), in the order of `Moments`."""
    taps_last: Float64 = weight.transpose(0, 2, 3, 1).reshape(layer.out_channels, -1)
    return taps_last


def _canonical(layer: Layer, rounded: NDArray[np.int8]) -> NDArray[np.int8]:
    """The inverse of `_taps_last`."""
    out, inputs, rows, columns = layer.weight_shape
    weight: NDArray[np.int8] = rounded.reshape(out, rows, columns, inputs).transpose(0, 3, 1, 2)
    return weight


def _shift(
    weight: Float64, rounded: NDArray[np.int8], scales: Float64, moments: Moments
) -> Float64:
    """How far the mean of the sums moves with the mean of the inputs and with the rounding."""
    moved: Float64 = (weight * moments.real_mean).sum(1)
    moved = moved - (rounded * scales[:, None] * moments.mean).sum(1)
    return moved
