"""The oracle: the network layer by layer in NumPy, without fusion and without cleverness.

It reads canonical weights and the table of layers alone, so it shares neither the packing, nor the
matching of blocks, nor the plan with the kernels that are compared with it. Activations are
(N, height, width, channels). In float64 it is the truth that tolerances are measured against; in
float32 it is a backend for machines on which the compiled core is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..model.input_spec import InputSpec
from ..network.blocks import match
from ..network.box_maps import anchors_of
from ..network.detection import Detection
from ..network.layer import IMAGE, IMAGE_CHANNELS, Layer, Network
from ..untyped import TYPE_CHECKING, Any, NamedTuple
from .arrays import ArrayExecutor

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from ..model.modelfile import ModelFile
    from ..plan.steps import Plan

    Float = NDArray[np.floating[Any]]
    Numbers = NDArray[Any]  # of one dtype


class Outputs(NamedTuple):
    """What a network says about a batch of N images."""

    logits: Float  # (N, classes); (N, 0) without a classifier
    features: Float  # (N, channels): the pool
    maps: tuple[Float, ...] = ()  # of the taps that were asked for, (N, height, width, channels)
    # Of a detector, as its layers give them, anchor by anchor: (N, anchors, 4), coded, and
    # (N, anchors, classes and background). Others have None.
    boxes: Float | None = None
    scores: Float | None = None


def normalise(spec: InputSpec, pixels: NDArray[np.uint8], dtype: DTypeLike = np.float32) -> Float:
    """(pixel - mean) / std for each channel of (..., 3) 8-bit pixels."""
    mean, std = np.array(spec.mean, dtype), np.array(spec.std, dtype)
    normalised: Float = (pixels.astype(dtype) - mean) / std
    return normalised


def run(
    network: Network,
    weights: Mapping[str, NDArray[Any]],
    x: NDArray[Any],
    dtype: DTypeLike = np.float32,
    seen: dict[str, Float] | None = None,
    taps: Sequence[str] = (),
) -> Outputs:
    """The outputs of `network` for normalised input `x`, (N, height, width, 3).

    All arithmetic is in `dtype`, float32 or float64. `seen`, if given, receives every layer's
    output by name; `taps` are layers whose outputs are wanted as maps. Raises InputError for
    another dtype or shape.
    """
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError(f"dtype {np.dtype(dtype)}: the reference computes in float32 or float64")
    if x.ndim != 4 or x.shape[1:] != (*network.resolution, IMAGE_CHANNELS) or x.dtype.kind != "f":
        raise InputError(
            f"input {x.dtype} {x.shape}: expected floating point of shape "
            f"(N, {network.resolution[0]}, {network.resolution[1]}, {IMAGE_CHANNELS})"
        )
    last_reader = {source: layer.name for layer in network.layers for source in layer.inputs}
    values: dict[str, Float] = {IMAGE: x.astype(dtype)}
    maps: dict[str, Float] = {}
    features: Float = np.empty((len(x), 0), dtype)
    for layer in network.layers:
        y = _output(layer, weights, [values[source] for source in layer.inputs])
        for source in set(layer.inputs):
            if last_reader[source] == layer.name:
                del values[source]
        values[layer.name] = y
        if layer.operation == "pool":
            features = y
        if layer.name in taps or layer.name in network.outputs:
            maps[layer.name] = y
        if seen is not None:
            seen[layer.name] = y
    tapped = tuple(maps[name] for name in taps)
    if network.detection is not None:
        none: Float = np.empty((len(x), 0), dtype)
        return Outputs(none, features, tapped, *by_anchor(network.detection, maps))
    logits = y if network.classes else np.empty((len(x), 0), dtype)
    return Outputs(logits, features, tapped)


def by_anchor(detection: Detection, maps: Mapping[str, Numbers]) -> tuple[Numbers, Numbers]:
    """A detector's outputs by name as rows, one an anchor: codes of boxes, and scores."""
    boxes = [maps[each.boxes] for each in detection.maps]
    scores = [maps[each.scores] for each in detection.maps]
    return (
        np.concatenate([y.reshape(len(y), -1, 4) for y in boxes], axis=1),
        np.concatenate([y.reshape(len(y), -1, detection.columns) for y in scores], axis=1),
    )


def _output(layer: Layer, weights: Mapping[str, NDArray[Any]], inputs: list[Float]) -> Float:
    if layer.operation == "add":
        first, second = inputs
        return first + second
    if layer.operation == "pool":
        pooled: Float = inputs[0].mean(axis=(1, 2))
        return pooled
    return apply_layer(layer, weights, inputs[0])


def apply_layer(layer: Layer, weights: Mapping[str, NDArray[Any]], x: Float) -> Float:
    """The output of one layer that has weights, in the dtype of `x`."""
    weight = np.asarray(weights[f"{layer.name}.weight"], x.dtype)
    y = _OPERATIONS[layer.operation](layer, weight, x)
    y += np.asarray(weights[f"{layer.name}.bias"], x.dtype)
    return activated(layer.activation, y)


def activated(activation: str, x: Float) -> Float:
    """`x` behind an activation: min(max(x, 0), 6), max(x, 0), or as it is. NaN stays NaN."""
    if activation == "linear":
        return x
    clipped: Float = np.maximum(x, 0)
    return clipped if activation == "relu" else np.minimum(clipped, 6)


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
    """A dense layer, weight (out, in), of pooled features (N, in)."""
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


def joined_outputs(made: Sequence[Outputs]) -> Outputs:
    """Those of several batches, one or more, as one."""
    maps = zip(*(each.maps for each in made), strict=True)
    return Outputs(
        np.concatenate([each.logits for each in made]),
        np.concatenate([each.features for each in made]),
        tuple(np.concatenate(each) for each in maps),
        *(
            np.concatenate([rows for each in made if (rows := each[part]) is not None])
            for part in ((3, 4) if made[0].boxes is not None else ())
        ),
    )


def first_outputs(made: Outputs, count: int) -> Outputs:
    """Those of the first `count` images."""
    rows = (None if each is None else each[:count] for each in made[3:])
    maps = tuple(each[:count] for each in made.maps)
    return Outputs(made.logits[:count], made.features[:count], maps, *rows)


class ReferenceExecutor(ArrayExecutor):
    """The oracle as a backend: a model file's weights, in float32, one image at a time.

    It has no threads but those that NumPy's own matrix product may have.
    """

    backend = "numpy"

    def __init__(self, model: ModelFile, plan: Plan | None = None) -> None:
        self._model = model
        blocks = match(model.network).blocks
        self._taps = [blocks[index].output for index in (plan.taps if plan else ())]
        inner = (blocks[index].expand for index in (plan.expanded if plan else ()))
        self._taps += [layer.name for layer in inner if layer is not None]
        self._weights: dict[str, NDArray[Any]] | None = None

    def run(
        self,
        image: Any,
        is_float: bool,
        logits: Any = None,
        features: Any = None,
        maps: Any = None,
        boxes: Any = None,
        scores: Any = None,
    ) -> None:
        """Runs one image, a buffer of (height, width, 3) uint8 pixels or normalised float32."""
        shape = (1, *self._model.network.resolution, IMAGE_CHANNELS)
        x = np.frombuffer(image, np.float32 if is_float else np.uint8).reshape(shape)
        made = self.outputs(x)
        if logits is not None:
            logits[:] = made.logits[0]
        if features is not None:
            features[:] = made.features[0]
        for wanted, found in zip(maps or (), made.maps, strict=bool(maps)):
            wanted[:] = found[0]
        for raw, rows in ((boxes, made.boxes), (scores, made.scores)):
            if raw is not None and rows is not None:
                np.asarray(raw).reshape(-1)[:] = rows.reshape(-1)

    def outputs(self, x: NDArray[Any]) -> Outputs:
        """Float32 outputs for (N, height, width, 3): uint8 pixels, or normalised floats.

        Raises InputError for any other array. Memory beyond the result does not grow with N.
        """
        if self._weights is None:
            self._weights = self._model.weights()
        network = self._model.network
        made = [self._outputs(self._weights, x[i : i + 1]) for i in range(len(x))]
        detection = network.detection
        if not made:
            none = np.empty((0, 0 if detection else network.classes), np.float32)
            features = np.empty((0, network.features), np.float32)
            if detection is None:
                return Outputs(none, features)
            count = anchors_of(detection, network.layers)
            boxes = np.empty((0, count, 4), np.float32)
            scores = np.empty((0, count, detection.columns), np.float32)
            return Outputs(none, features, (), boxes, scores)
        return joined_outputs(made)

    def _outputs(self, weights: Mapping[str, NDArray[Any]], x: NDArray[Any]) -> Outputs:
        """Float32 outputs for one image, (1, height, width, 3): uint8 pixels or normalised."""
        model = self._model
        if x.dtype == np.uint8 and x.shape[-1:] == (IMAGE_CHANNELS,):
            x = normalise(model.input_spec, x)
        return run(model.network, weights, x, taps=self._taps)
