"""The integers of a quantised TensorFlow Lite model, taken as they are into an int8 network.

int8 weights with a scale for each output channel are kept bit for bit. uint8 ones with a zero
point are kept where w - zero point fits 8 bits with a sign; a channel in which it does not is
rounded to 127 steps of its own, and the notes say by how much. Biases, scales and zero points go
into the constants of docs/int8.md.

A run differs from TFLite's in three places: what a project layer gives is not rounded to 8 bits
before its shortcut is added, requantisation keeps 12 to 15 bits of a factor, not 31, and logits
stay float32.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import CheckpointError, InputError, UnsupportedError
from ..network.quantization import LayerQuantization, Quantization
from ..quantize.folding import Activation, fold_classifier, fold_layer, fold_pool
from .tflite_schema import EIGHT_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tflite_graph import FoundLayer, FoundNetwork
    from .tflite_schema import Graph

    Float64 = NDArray[np.float64]

_INT8 = np.iinfo(np.int8)
_STEPS = 127  # of a channel that is rounded anew
_BIAS_TOLERANCE = 0.01  # of a bias's stated scale, which is the input's times the weight's


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


def take_integers(graph: Graph, found: FoundNetwork) -> Integers:
    """The int8 network that `found` is.

    Raises InputError for a graph that is not quantised throughout, CheckpointError for a damaged
    quantisation, UnsupportedError for one that the engine's form of int8 cannot hold.
    """
    weights: dict[str, NDArray[Any]] = {}
    said: dict[str, LayerQuantization] = {}
    silenced: dict[str, int] = {}
    taken: list[_Weight] = []
    (entry,) = graph.inputs
    stated = _activation(graph, entry, "its input")  # the file's, of the tensor come to
    source = stated  # the same, as it will be
    thin = source
    *convolutions, (_, classifier) = found.layers.items()
    for name, layer in convolutions:
        if _activation(graph, layer.data, layer.where) != stated:
            raise UnsupportedError(
                f"{graph.what}: {layer.where}: its input is quantised anew; weights 'int8' need "
                "the integers that were computed before it"
            )
        weight = _weight(graph, layer)
        bias = _bias(graph, layer, stated.scale * weight.stated)
        stated = _activation(graph, layer.out, layer.where)
        projects = name.endswith(".project")
        try:
            folded = fold_layer(
                name,
                weight.integers,
                weight.scale,
                bias,
                source,
                stated,
                activation="linear" if projects else "relu6",
                shortcut=thin if projects and found.shortcuts[_block(name)] else None,
            )
        except UnsupportedError as error:
            raise UnsupportedError(f"{graph.what}: {error}") from None
        weights.update(folded.arrays)
        said[name] = folded.quantization
        taken.append(weight)
        if folded.silenced:
            silenced[name] = folded.silenced
        source = Activation(folded.quantization.scale, folded.quantization.zero_point)
        if projects or name == "stem":
            thin = source
        if projects:
            channels = len(bias)
            values = (source.scale, -source.scale * source.zero_point)
            weights[f"{name}.values"] = np.repeat(np.array(values, np.float32), channels).reshape(
                2, channels
            )
    features = _activation(graph, classifier.data, classifier.where)
    if features.zero_point != 0:
        raise UnsupportedError(
            f"{graph.what}: its pooled features have the zero point {features.zero_point}: "
            "expected 0 behind a ReLU6"
        )
    weight = _weight(graph, classifier)
    taken.append(weight)
    bias = _classifier_bias(graph, classifier, features.scale * weight.stated)
    try:
        pool = fold_pool(source.scale, prod(found.layers["head"].in_size), features.scale)
    except UnsupportedError as error:
        raise UnsupportedError(f"{graph.what}: {error}") from None
    weights.update(
        fold_classifier("classifier", weight.integers, weight.scale, bias, Activation(pool.scale))
    )
    return Integers(weights, Quantization(said, pool), _notes(taken, silenced))


def _block(name: str) -> int:
    """The number of the block that a layer is of."""
    return int(name.partition(".")[0].removeprefix("block"))


def _activation(graph: Graph, number: int, where: str) -> Activation:
    """The quantisation of a computed tensor, as unsigned 8 bits have it."""
    tensor = graph.tensors[number]
    if tensor.type not in EIGHT_BITS:
        raise _not_quantised(graph, number, where)
    stated = tensor.quantisation
    if stated is None or stated.scales.size != 1 or stated.zero_points.size != 1:
        count = "no scale" if stated is None else "more than one scale or zero point"
        raise CheckpointError(
            f"{graph.what}: {where}: tensor {graph.name_of(number)} has {count}: expected one for "
            "all of it; export the model again"
        )
    scale = float(stated.scales[0])
    zero_point = int(stated.zero_points[0]) - EIGHT_BITS[tensor.type][0]
    if scale == 0 or not 0 <= zero_point <= 255:
        raise CheckpointError(
            f"{graph.what}: {where}: tensor {graph.name_of(number)} has the scale {scale:g} and "
            f"the zero point {int(stated.zero_points[0])}: expected a scale above 0 and a zero "
            f"point that {tensor.type} holds; the file is damaged"
        )
    return Activation(scale, zero_point)


def _not_quantised(graph: Graph, number: int, where: str) -> InputError:
    return InputError(
        f"{graph.what}: {where}: tensor {graph.name_of(number)} is {graph.tensors[number].type}: "
        "weights 'int8' take a network that is 8-bit integers from its pixels to its classifier; "
        "leave the option out, and make an int8 model file of the result with: mnv2 quantize"
    )


def _weight(graph: Graph, layer: FoundLayer) -> _Weight:
    """The 8-bit weight of a layer, rounded anew where it has to be."""
    tensor = graph.tensors[layer.weight]
    if tensor.type not in EIGHT_BITS:
        raise _not_quantised(graph, layer.weight, layer.where)
    stated = tensor.quantisation
    if stated is None:
        raise CheckpointError(
            f"{graph.what}: {layer.where}: its weight {graph.name_of(layer.weight)} holds integers "
            "without a scale; export the model again"
        )
    channels = layer.shape[0]
    axis = 3 if layer.kind == "DEPTHWISE_CONV_2D" else 0
    for term in (stated.scales, stated.zero_points):
        if term.size != 1 and (term.size != channels or stated.axis != axis):
            raise CheckpointError(
                f"{graph.what}: {layer.where}: its weight has {term.size} scales or zero points "
                f"for axis {stated.axis}: expected one, or one for each of {channels} output "
                "channels"
            )
    scale: Float64 = np.broadcast_to(stated.scales, channels)
    zero_point = np.broadcast_to(stated.zero_points, channels)
    least, greatest = EIGHT_BITS[tensor.type]
    if not ((zero_point >= least) & (zero_point <= greatest)).all():
        raise CheckpointError(
            f"{graph.what}: {layer.where}: its weight has a zero point that {tensor.type} does "
            "not hold; the file is damaged"
        )
    if not scale.all():
        raise CheckpointError(
            f"{graph.what}: {layer.where}: the scale of its weight's channel "
            f"{int(np.argmin(scale))} is 0; the file is damaged"
        )
    offset = zero_point.reshape(-1, *[1] * (len(layer.shape) - 1))
    wide = layer.canonical(graph.stored(layer.weight)).astype(np.int64) - offset
    flat = wide.reshape(channels, -1)
    fits = (flat.min(1) >= _INT8.min) & (flat.max(1) <= _INT8.max)
    stretch = np.where(fits, 1.0, np.abs(flat).max(1) / _STEPS)  # of a step
    rounded = np.rint(flat / stretch[:, None])
    error = np.abs(rounded * stretch[:, None] - flat)[~fits]
    integers = rounded.astype(np.int8).reshape(layer.shape)
    return _Weight(integers, scale * stretch, scale, error.reshape(-1))


def _classifier_bias(graph: Graph, layer: FoundLayer, unit: Float64) -> Float64:
    """The bias of the classifier, which is float32 where its sums are."""
    if layer.bias is None or graph.tensors[layer.bias].type != "FLOAT32":
        return _bias(graph, layer, unit)
    bias: Float64 = graph.values(layer.bias)
    return _checked_bias(graph, layer, bias)


def _bias(graph: Graph, layer: FoundLayer, unit: Float64) -> Float64:
    """The bias of a layer in real numbers; its own integers count in units of the layer's sums."""
    if layer.affine:
        raise UnsupportedError(
            f"{graph.what}: {layer.where}: a batch-norm apart from its layer; weights 'int8' need "
            "it folded in"
        )
    channels = layer.shape[0]
    if layer.bias is None:
        return np.zeros(channels)
    tensor = graph.tensors[layer.bias]
    if tensor.type != "INT32":
        raise _not_quantised(graph, layer.bias, layer.where)
    integers = _checked_bias(graph, layer, graph.stored(layer.bias))
    stated = tensor.quantisation
    if stated is not None and (
        stated.scales.size not in (1, channels)
        or stated.zero_points.any()
        or not np.allclose(stated.scales, unit, rtol=_BIAS_TOLERANCE, atol=0)
    ):
        raise CheckpointError(
            f"{graph.what}: {layer.where}: its bias states another scale than its input's times "
            "its weight's; the file is damaged"
        )
    return integers * unit


def _checked_bias(graph: Graph, layer: FoundLayer, bias: NDArray[Any]) -> NDArray[Any]:
    """`bias`, if it has the right shape."""
    if bias.shape != layer.shape[:1]:
        raise CheckpointError(
            f"{graph.what}: {layer.where}: its bias has shape {bias.shape}: expected "
            f"({layer.shape[0]},)"
        )
    return bias


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
