"""TensorFlow Lite models: float32, float16 weights, and uint8 or int8.

A quantised model's weights are dequantised, w = scale * (q - zero point), by float64; what comes
out is the float32 network that the integers stand for, without the rounding of its activations.
Or, if asked to, its integers are taken as they are (tflite_int8.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import CheckpointError, UnsupportedError
from ..network.blocks import match
from ..network.layer import PADDINGS, Layer, padding_of
from .checkpoint import Checkpoint, Identity, Normalisation, recognise
from .tflite_graph import FoundLayer, FoundNetwork, Pads, find_network
from .tflite_metadata import Metadata, read_metadata
from .tflite_schema import EIGHT_BITS, Graph, Tensor, read_graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .checkpoint import Float32

_METADATA = "its metadata"


def read(content: bytes, handle: BinaryIO, what: str, weights: str = "float32") -> Checkpoint:
    """The network in the bytes of a .tflite file; `handle` reads the same file's label files.

    `weights` are what the model file is to have: "int8" takes the file's own integers.

    Raises CheckpointError for a damaged file, UnsupportedError for a graph that is not one of the
    networks known, MissingExtraError without the package `tflite`, InputError where there are no
    such integers.
    """
    graph = read_graph(content, what)
    found = find_network(graph)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in found.layers.items():
        shapes[f"{name}.weight"] = layer.shape
        shapes[f"{name}.bias"] = layer.shape[:1]
    identity = recognise(shapes, what)
    paddings = _paddings(identity, found, what)
    said = Metadata(None, None, None)
    if graph.metadata is not None:
        said = read_metadata(graph.metadata, handle, what)
    (entry,) = graph.inputs
    normalisation, notes = _normalisation(graph.tensors[entry], said, what)
    form = f"TFLite, {graph.tensors[entry].type.lower()} input"
    canonical: dict[str, NDArray[Any]] = {}
    quantization = None
    if weights == "int8":
        from .tflite_int8 import take_integers

        integers = take_integers(graph, found)
        if normalisation is None or normalisation.stated_by == _METADATA:
            raise UnsupportedError(
                f"{what}: its metadata say that its integers are not pixels; weights 'int8' need "
                "them to be"
            )
        canonical, quantization = integers.weights, integers.quantization
        form, notes = f"{form}, its integers kept", integers.notes
    else:
        for name, layer in found.layers.items():
            canonical[f"{name}.weight"], canonical[f"{name}.bias"] = _weights(graph, layer)
    return Checkpoint(
        form,
        identity,
        canonical,
        paddings,
        found.resolution,
        normalisation,
        said.labels,
        notes,
        quantization,
    )


def _paddings(identity: Identity, found: FoundNetwork, what: str) -> tuple[str, ...]:
    """The paddings that the graph's convolutions have: several where they are the same here.

    Raises UnsupportedError where a stride, a shortcut or a pad is none of the architecture's.
    """
    fitting = []
    misfits = []
    for padding in PADDINGS:
        network = identity.network(found.resolution, padding)
        blocks = match(network).blocks
        for i, (block, shortcut) in enumerate(zip(blocks, found.shortcuts, strict=True)):
            if block.residual != shortcut:
                state = "has a shortcut" if shortcut else "has no shortcut"
                raise UnsupportedError(
                    f"{what}: block{i} {state}, unlike that of {identity.family}"
                )
        misfit = None
        for layer in network.weighted[:-1]:
            seen = found.layers[layer.name]
            if seen.stride != layer.stride:
                raise UnsupportedError(
                    f"{what}: {seen.where} has stride {seen.stride}: {layer.name} of "
                    f"{identity.family} has {layer.stride}"
                )
            if misfit is None and seen.pads != _pads(layer, padding):
                misfit = seen
        if misfit is None:
            fitting.append(padding)
        else:
            misfits.append(misfit)
    if not fitting:
        (_, top, bottom), (_, left, right) = misfits[0].pads
        raise UnsupportedError(
            f"{what}: {misfits[0].where} pads {misfits[0].in_size} by {top} above, {bottom} below, "
            f"{left} left, {right} right: neither SAME nor symmetric padding throughout"
        )
    return tuple(fitting)


def _pads(layer: Layer, padding: str) -> tuple[Pads, Pads]:
    """The pads that an architecture's layer has."""
    rows, columns = (
        Pads(*padding_of(extent, layer.kernel, layer.stride, padding)) for extent in layer.in_size
    )
    return rows, columns


def _weights(graph: Graph, layer: FoundLayer) -> tuple[Float32, Float32]:
    """Canonical weight and bias of a layer, a batch-norm behind it folded in."""
    import numpy as np

    weight = layer.canonical(graph.values(layer.weight))
    channels = layer.shape[0]
    bias = np.zeros(channels)
    if layer.bias is not None:
        bias = graph.values(layer.bias, _bias_scales(graph, layer))
        if bias.shape != (channels,):
            raise CheckpointError(
                f"{graph.what}: {layer.where}: its bias has shape {bias.shape}: expected "
                f"({channels},)"
            )
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite weights are refused later
        for kind, tensor in layer.affine:
            constant = graph.values(tensor)
            last = constant.shape[-1] if constant.ndim else 1
            if last not in (1, channels) or constant.size != last:
                raise CheckpointError(
                    f"{graph.what}: {layer.where}: a constant of shape {constant.shape} behind it: "
                    f"expected one value for each of {channels} channels"
                )
            constant = constant.reshape(-1)
            if kind == "MUL":
                weight = weight * constant.reshape(-1, *[1] * (weight.ndim - 1))
                bias = bias * constant
            else:
                bias = bias + (constant if kind == "ADD" else -constant)
        return weight.astype(np.float32), bias.astype(np.float32)


def _bias_scales(graph: Graph, layer: FoundLayer) -> NDArray[np.float64] | None:
    """The scales of an integer bias that states none: those of the input times the weight's."""
    data, weight = (graph.tensors[each].quantisation for each in (layer.data, layer.weight))
    if data is None or weight is None or data.scales.size != 1:
        return None
    return data.scales * weight.scales


def _normalisation(
    entry: Tensor, said: Metadata, what: str
) -> tuple[Normalisation | None, tuple[str, ...]]:
    """What the file says of its input's normalisation, and a note on how that was found.

    An integer input holds pixels, and its scale and zero point turn them into what the network
    sees. If metadata state a normalisation whose result would not be the pixels again, then the
    integers are not pixels, and it is the metadata that say what the network sees. Raises
    CheckpointError for a zero point that the integers do not hold.
    """
    mean, std = said.mean, said.std
    stated = Normalisation(mean, std, _METADATA) if mean and std else None
    if entry.type not in EIGHT_BITS or entry.quantisation is None:
        return stated, ()
    scale = float(entry.quantisation.scales[0])
    zero_point = int(entry.quantisation.zero_points[0])
    if entry.quantisation.scales.size != 1 or scale <= 0:
        return stated, ()
    offset = -EIGHT_BITS[entry.type][0]  # int8 models take the pixel less 128
    if not 0 <= zero_point + offset <= 255:
        raise CheckpointError(
            f"{what}: its {entry.type} input has the zero point {zero_point}: expected "
            f"{-offset} to {255 - offset}; the file is damaged"
        )
    if stated is not None and not all(
        abs((pixel - m) / s / scale + zero_point + offset - pixel) <= 1.5
        for m, s in zip(stated.mean, stated.std, strict=True)
        for pixel in (0, 255)
    ):
        return stated, ("its metadata's normalisation is used: its integers are not pixels",)
    centre, deviation = float(zero_point + offset), _reciprocal(scale)
    by = f"its input's scale 1/{deviation:g} and zero point {zero_point}"
    return Normalisation((centre,) * 3, (deviation,) * 3, by), ()


def _reciprocal(scale: float) -> float:
    """1 / scale; the shortest decimal whose reciprocal is the same in float32."""
    import numpy as np

    for digits in range(5):
        short = round(1 / scale, digits)
        if short and np.float32(1 / short) == np.float32(scale):
            return short
    return 1 / scale
