"""The integers of a quantised network, taken as they are into an int8 network.

int8 weights with a scale for each output channel are kept bit for bit. uint8 ones with a zero
point are kept where w - zero point fits 8 bits with a sign; a channel in which it does not is
rounded to 127 steps of its own, and the notes say by how much. Biases, scales and zero points go
into the constants of docs/int8.md.

A run differs from TFLite's in three places: what a project layer gives is not rounded to 8 bits
before its shortcut is added, requantisation keeps 12 to 15 bits of a factor, not 31, and logits
stay float32. Requantisation multiplies by less than 1; a channel that needs more gets its weights
multiplied by a whole number where they still fit 8 bits, and else its input channel is stored in
finer steps, which then end below 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import CheckpointError, InputError, UnsupportedError
from ..network.blocks import match
from ..network.layer import IMAGE
from ..network.quantization import (
    MAX_HIDDEN_SCALE,
    MAX_MULTIPLIER,
    MULTIPLIER_BITS,
    LayerQuantization,
    Quantization,
)
from ..quantize.folding import Activation, fold_classifier, fold_layer, fold_pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network.parts import Parts
    from .assemble import Assembled
    from .found import Found
    from .graph import Graph, Quantised
    from .walk import Walked

    Float64 = NDArray[np.float64]

_INT8 = np.iinfo(np.int8)
_STEPS = 127  # of a channel that is rounded anew
_BIAS_TOLERANCE = 0.01  # of a bias's stated scale, which is the input's times the weight's
_LARGEST = (MAX_MULTIPLIER - 1) / (1 << MULTIPLIER_BITS)  # factor of a requantisation


class Integers(NamedTuple):
    """An int8 network, as its canonical arrays and what they stand for."""

    weights: dict[str, NDArray[Any]]
    quantization: Quantization
    notes: tuple[str, ...]  # what was lost


class _Weight(NamedTuple):
    """A layer's weight in 8 bits: real = scale * integers, a scale for each output channel."""

    integers: NDArray[np.int8]  # canonical
    scale: Float64
    stated: Float64  # the file's scale
    error: Float64  # of each weight of the channels that were rounded, in steps of the file's


@dataclass
class _Layer:
    """A convolution on its way into the form of docs/int8.md."""

    found: Found
    weight: _Weight
    bias: Float64
    source: Activation  # the file's
    target: Activation
    activation: str

    @property
    def factor(self) -> Float64:
        """What each channel's sums are multiplied by."""
        scale = self.target.scale
        if self.activation == "relu6":
            scale = min(scale, MAX_HIDDEN_SCALE)
        alive = self.weight.integers.reshape(len(self.bias), -1).any(1)
        factor: Float64 = np.where(alive, self.source.scale * self.weight.scale / scale, 0.0)
        return factor


def take_integers(walked: Walked, made: Assembled, are_pixels: bool) -> Integers:
    """The int8 network that a quantised graph is, whose input's integers have to be pixels.

    Raises InputError for a graph that is not quantised throughout, CheckpointError for a damaged
    quantisation, UnsupportedError for one that the engine's form of int8 cannot hold.
    """
    graph, network = walked.graph, made.network
    what = graph.what
    if graph.image.channels == 1:
        raise UnsupportedError(
            f"{what}: it takes grey, which changes the first layer's weights, and weights 'int8' "
            "keep them; leave weights out, and make an int8 model file of the result with: mnv2 "
            "quantize"
        )
    parts = match(network)
    if not parts.dense and not parts.heads:
        raise UnsupportedError(f"{what}: weights 'int8' take networks with a classifier")
    layers = _layers(graph, made)
    if not are_pixels:
        raise UnsupportedError(
            f"{what}: its metadata say that its integers are not pixels; weights 'int8' need them "
            "to be"
        )
    taken = [layer.weight for layer in layers.values()]  # before any is multiplied
    finer = _fit_factors(layers, parts, what)
    weights: dict[str, NDArray[Any]] = {}
    said: dict[str, LayerQuantization] = {}
    silenced: dict[str, int] = {}
    blocks = {block.project.name: block for block in parts.blocks}
    ends = {head.project.name for head in parts.heads}
    given = {layer.name: layer.inputs[0] for layer in network.layers if layer.name in layers}
    # What each layer gives, as it will be, unlike what the file states.
    outputs = {IMAGE: layers[parts.stem.name].source}
    for name, layer in layers.items():
        block, source = blocks.get(name), outputs[given[name]]
        residual = block is not None and block.residual
        try:
            folded = fold_layer(
                name,
                layer.weight.integers,
                layer.weight.scale,
                layer.bias,
                source,
                layer.target,
                activation=layer.activation,
                shortcut=outputs[block.source] if block is not None and residual else None,
            )
        except UnsupportedError as error:
            raise UnsupportedError(f"{what}: {layer.found.where}: {error}") from None
        weights.update(folded.arrays)
        said[name] = folded.quantization
        if folded.silenced:
            silenced[name] = folded.silenced
        output = Activation(folded.quantization.scale, folded.quantization.zero_point)
        outputs[name] = output
        if block is not None:
            outputs[block.output] = output
        if block is not None or name in ends:
            values = np.array((output.scale, -output.scale * output.zero_point), np.float32)
            weights[f"{name}.values"] = np.repeat(values, len(layer.bias)).reshape(2, -1)
    pool = None
    if parts.dense:
        source = outputs[parts.pool.inputs[0]]
        pool = _take_dense(graph, made, parts, source, weights, taken)
    return Integers(weights, Quantization(said, pool), _notes(taken, silenced) + finer)


def _layers(graph: Graph, made: Assembled) -> dict[str, _Layer]:
    """The convolutions, as the file has them; every one takes what the one before it gives."""
    what = graph.what
    layers: dict[str, _Layer] = {}
    network = made.network
    outputs: dict[str, Activation] = {}  # by layer, shortcuts added
    joined = {
        joining.inputs[index]: joining.name
        for joining in network.layers
        if joining.operation == "add"
        for index in (0, 1)
        if joining.inputs[index].endswith(".project") and joining.name.endswith(".add")
        and joining.inputs[index].removesuffix(".project") == joining.name.removesuffix(".add")
    }  # fmt: skip
    for layer in network.layers:
        found = made.found[layer.name]
        if layer.operation == "add":
            outputs[layer.name] = _activation(graph, found.out, found.where)
        if layer.operation not in ("conv", "pointwise", "depthwise"):
            continue
        source = _activation(graph, found.data, found.where)
        (before,) = layer.inputs
        if before in outputs and outputs[before] != source:
            raise UnsupportedError(
                f"{what}: {found.where}: its input is quantised anew; weights 'int8' need the "
                "integers that were computed before it"
            )
        weight = _weight(graph, found, layer.weight_shape)
        if found.behind or found.before:
            raise UnsupportedError(
                f"{what}: {found.where}: a batch-norm apart from its layer; weights 'int8' need it "
                "folded in"
            )
        bias = _bias(graph, found, source.scale * weight.stated)
        outputs[layer.name] = _activation(graph, found.out, found.where)
        sums = made.found[joined[layer.name]] if layer.name in joined else found
        target = _activation(graph, sums.out, sums.where)
        layers[layer.name] = _Layer(found, weight, bias, source, target, layer.activation)
    return layers


def _fit_factors(layers: dict[str, _Layer], parts: Parts, what: str) -> tuple[str, ...]:
    """Bring every factor of a requantisation below 1; a sentence on what that took."""
    before: dict[str, str] = {}
    several = {parts.blocks[head.at].expand for head in parts.heads if head.expanded}
    for block in parts.blocks:
        if block.expand not in several:  # else other layers read that one, too
            before[block.depthwise.name] = block.depthwise.inputs[0]
    exact, finer, least = 0, 0, 6.0
    for name, layer in layers.items():
        need = layer.factor / _LARGEST
        large = np.flatnonzero(need > 1)
        if not large.size:
            continue
        integers = layer.weight.integers.astype(np.int64)
        scale = layer.weight.scale.copy()
        reach = np.abs(integers).reshape(len(scale), -1).max(1)
        source = layers.get(before.get(name, ""))
        gain = np.ones(len(scale))
        for channel in large:
            times = int(np.ceil(min(need[channel], 2.0 * _STEPS)))
            if reach[channel] * times <= _STEPS:
                integers[channel] *= times
                scale[channel] /= times
                exact += 1
            elif source is not None:
                gain[channel] = need[channel]
                scale[channel] /= need[channel]
                finer += 1
                least = min(least, 6.0 / need[channel])
        layer.weight = layer.weight._replace(integers=integers.astype(np.int8), scale=scale)
        if source is not None and (gain > 1).any():
            source.weight = source.weight._replace(scale=source.weight.scale * gain)
            source.bias = source.bias * gain
            if (source.factor > _LARGEST).any():
                raise UnsupportedError(
                    f"{what}: {layer.found.where}: requantisation by {need.max():.2f}, and the "
                    "layer before it cannot take a part of that; convert without --weights int8, "
                    "then make an int8 model file with: mnv2 quantize"
                )
    notes = []
    if exact:
        notes.append(
            f"{exact} channels are requantised by 1 or more: their weights were multiplied by 2 or "
            "more, which changes no result"
        )
    if finer:
        notes.append(
            f"{finer} channels are requantised by 1 or more, and their weights fill 8 bits: the "
            f"channel before each has finer steps, which end at {least:.2f} or above, not at 6"
        )
    return tuple(notes)


def _take_dense(
    graph: Graph,
    made: Assembled,
    parts: Parts,
    source: Activation,
    weights: dict[str, NDArray[Any]],
    taken: list[_Weight],
) -> Any:
    """The dense layers: the first in 8 bits, the small ones behind it float32; and the pool."""
    what = graph.what
    first, *others = parts.dense
    found = made.found[first.name]
    pooled = made.found[parts.pool.name]
    tensor = found.data if found.data in graph.quantised else pooled.out
    features = _activation(graph, tensor, found.where)
    if found.before or found.behind:
        raise UnsupportedError(
            f"{what}: {found.where}: a batch-norm apart from its layer; weights 'int8' need it "
            "folded in"
        )
    weight = _weight(graph, found, first.weight_shape)
    taken.append(weight)
    bias = _bias(graph, found, features.scale * weight.stated)
    try:
        points = (source.zero_point, features.zero_point)
        pool = fold_pool(source.scale, prod(parts.pool.in_size), features.scale, points)
    except UnsupportedError as error:
        raise UnsupportedError(f"{what}: {error}") from None
    features = Activation(pool.scale, features.zero_point)
    weights.update(fold_classifier(first.name, weight.integers, weight.scale, bias, features))
    for layer in others:
        small = made.found[layer.name].folded(what)
        weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"] = small
    return pool


def _activation(graph: Graph, tensor: str, where: str) -> Activation:
    """The quantisation of a computed tensor, as unsigned 8 bits have it."""
    stated: Quantised | None = graph.quantised.get(tensor)
    if tensor == graph.image.name:
        stated = graph.image.quantised
    if stated is None:
        raise _not_quantised(graph, tensor, where)
    zero_point = stated.zero_point - stated.low
    if stated.scale == 0 or not 0 <= zero_point <= 255:
        raise CheckpointError(
            f"{graph.what}: {where}: tensor {graph.name_of(tensor)} has the scale "
            f"{stated.scale:g} and the zero point {stated.zero_point}: expected a scale above 0 "
            "and a zero point that 8 bits hold; the file is damaged"
        )
    return Activation(stated.scale, zero_point)


def _not_quantised(graph: Graph, tensor: str, where: str) -> InputError:
    return InputError(
        f"{graph.what}: {where}: {graph.shown.get(tensor, tensor[:80])} is not quantised as a "
        "whole: weights 'int8' take a network that is 8-bit integers from its pixels to its "
        "classifier or its heads; leave the option out, and make an int8 model file of the "
        "result with: mnv2 quantize"
    )


def _weight(graph: Graph, found: Found, shape: tuple[int, ...]) -> _Weight:
    """The 8-bit weight of a layer, rounded anew where it has to be."""
    assert found.weight is not None
    stated = found.weight.integers
    if stated is None:
        raise _not_quantised(graph, "its weight", found.where)
    channels = shape[0]
    for term in (stated.scales, stated.zero_points):
        if term.size != 1 and (term.size != channels or not stated.per_channel):
            raise CheckpointError(
                f"{graph.what}: {found.where}: its weight has {term.size} scales or zero points: "
                f"expected one, or one for each of {channels} output channels"
            )
    scale: Float64 = np.broadcast_to(np.asarray(stated.scales, np.float64), channels)
    zero_point = np.broadcast_to(stated.zero_points, channels)
    if not ((zero_point >= stated.low) & (zero_point <= stated.high)).all():
        raise CheckpointError(
            f"{graph.what}: {found.where}: its weight has a zero point that {stated.kind} does not "
            "hold; the file is damaged"
        )
    if not scale.all():
        raise CheckpointError(
            f"{graph.what}: {found.where}: the scale of its weight's channel "
            f"{int(np.argmin(scale))} is 0; the file is damaged"
        )
    offset = zero_point.reshape(-1, *[1] * (len(shape) - 1))
    wide = stated.stored().reshape(shape).astype(np.int64) - offset
    flat = wide.reshape(channels, -1)
    fits = (flat.min(1) >= _INT8.min) & (flat.max(1) <= _INT8.max)
    stretch = np.where(fits, 1.0, np.abs(flat).max(1) / _STEPS)  # of a step
    rounded = np.rint(flat / stretch[:, None])
    error = np.abs(rounded * stretch[:, None] - flat)[~fits]
    integers = rounded.astype(np.int8).reshape(shape)
    return _Weight(integers, scale * stretch, scale, error.reshape(-1))


def _bias(graph: Graph, found: Found, unit: Float64) -> Float64:
    """The bias of a layer in real numbers; its integers count in units of the layer's sums. That
    of a dense layer may be floats, where its sums are."""
    if found.bias is None:
        return np.zeros(found.channels)
    stated = found.bias.integers
    if stated is None and found.operation != "dense":
        raise _not_quantised(graph, "its bias", found.where)
    if stated is not None and (
        stated.scales.size not in (1, found.channels)
        or stated.zero_points.any()
        or not np.allclose(stated.scales, unit, rtol=_BIAS_TOLERANCE, atol=0)
    ):
        raise CheckpointError(
            f"{graph.what}: {found.where}: its bias states another scale than its input's times "
            "its weight's; the file is damaged"
        )
    # Its own scale is rounded to float32, which large integers would show: the unit counts.
    bias: Float64 = np.asarray(found.bias.load() if stated is None else stated.stored(), np.float64)
    if bias.size != found.channels:
        raise CheckpointError(
            f"{graph.what}: {found.where}: its bias has shape {bias.shape}: expected "
            f"({found.channels},)"
        )
    return bias.reshape(-1) if stated is None else bias.reshape(-1) * unit


def _notes(taken: list[_Weight], silenced: dict[str, int]) -> tuple[str, ...]:
    """A sentence for each thing that was lost."""
    notes = []
    changed = sum(int((each.scale != each.stated).sum()) for each in taken)
    if changed:
        error = np.concatenate([each.error for each in taken])
        channels = sum(each.scale.size for each in taken)
        notes.append(
            f"{channels - changed} of {channels} output channels keep the file's integers; the "
            f"weights of the other {changed} do not fit 8 bits with a sign and were rounded to "
            f"{_STEPS} steps of their own, by {error.max():.2f} of the file's steps at most and "
            f"{error.mean():.2f} on average"
        )
    if silenced:
        places = ", ".join(f"{name} {count}" for name, count in silenced.items())
        notes.append(
            f"dead channels, whose weights are too small to move an output by a step, are zero "
            f"now: {places}"
        )
    return tuple(notes)
