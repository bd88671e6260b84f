"""The layers of an int8 network as TensorFlow Lite's operators.

Activations are those of docs/int8.md less 128, since TFLite's are signed; the graph takes uint8
pixels. The range of the logits is not known, so they stay float32: the classifier is TFLite's
hybrid one, of float32 features and int8 weights, which runtimes compute in integers of 8 bits that
they find for the features of each image anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..executors.integer import unpadded
from ..network.layer import IMAGE, IMAGE_CHANNELS, Layer
from .tflite_graph import Scales
from .tflite_layers import NO_ACTIVATION, FloatLayers, ordered, padded_extents
from .unfolding import unfold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.modelfile import ModelFile
    from ..quantize.folding import Activation
    from .tflite_graph import TfliteGraph

_SIGNED = 128  # uint8 less int8
_CHANNELS = 3  # the axis of an NHWC tensor


class IntegerLayers(FloatLayers):
    """Adds operators to a graph. Tensors are given and returned by number."""

    # The first with int8 in TensorFlow's op_version.cc; FULLY_CONNECTED's is that of float32
    # features and int8 weights with a scale for each channel.
    versions: ClassVar[dict[str, int]] = {
        "ADD": 2,
        "CONCATENATION": 2,
        "CONV_2D": 3,
        "DEQUANTIZE": 2,
        "DEPTHWISE_CONV_2D": 3,
        "FULLY_CONNECTED": 12,
        "MEAN": 2,
        "PAD": 2,
        "PADV2": 2,
        "SPLIT": 2,
    }
    hybrid = True

    def __init__(self, graph: TfliteGraph, model: ModelFile, batch: int | str) -> None:
        super().__init__(graph, model, batch)
        self.integers = unfold(model)
        self.activations: dict[int, Activation] = {}  # by the tensor's number
        self.shapes: dict[int, tuple[int | str, ...]] = {}

    def image(self) -> tuple[int, int]:
        """The input's tensor, and its values."""
        said = self.integers.image
        shape = self.shape(self.network.resolution)
        entry = self.graph.tensor("input", shape, "uint8", _scales(said, 0))
        image = self._activation("image", shape, said)
        self.operator("QUANTIZE", [entry], [image])
        return entry, image

    def convolution(self, layer: Layer, at: int) -> int:
        """A convolution, with padding by zero points where TFLite has none."""
        if layer.inputs == (IMAGE,) and self.integers.frame is not None:
            at, layer = self._framed(layer, at, self.integers.frame), unpadded(layer)
        return super().convolution(layer, at)

    def answer(self, features: int) -> int:
        """The tensor of the answer, behind the pooled features."""
        if self.integers.dense is not None:
            return super().answer(features)
        real = self.graph.tensor("features.real", (self.batch, self.network.features), "float32")
        self.operator("DEQUANTIZE", [features], [real])
        return real

    def real_head(self, name: str, at: int) -> int:
        """What a head gives, in float32; each channel has a scale and an offset of its own."""
        said = self.activations[at]
        scale, offset = self.weights[f"{name}.values"]
        factor = scale / np.float32(said.scale)
        middle = offset + scale * np.float32(said.zero_point)
        at = self._float(f"{name}.real", "DEQUANTIZE", at)
        linear = {"FusedActivationFunction": NO_ACTIVATION}
        # But for rounding, the tensor's own where an import made the file.
        if (np.abs(factor - 1) > 1e-6).any():
            at = self._float(f"{name}.scaled", "MUL", at, factor, "MulOptions", **linear)
        if (np.abs(middle) > 1e-4 * scale).any():
            at = self._float(f"{name}.moved", "ADD", at, middle, "AddOptions", **linear)
        return at

    def first_dense(self, layer: Layer, features: int) -> tuple[int, int]:
        """The first dense layer, in 8 bits."""
        made = self.integers.dense
        assert made is not None
        real = self.graph.tensor("features.real", (self.batch, layer.in_channels), "float32")
        self.operator("DEQUANTIZE", [features], [real])
        scales = Scales(made.scale, 0)
        name = f"{layer.name}.weight"
        return real, self.graph.tensor(name, made.weight.shape, "int8", scales, made.weight)

    def dense_bias(self, layer: Layer) -> NDArray[Any]:
        """A dense layer's bias."""
        made = self.integers.dense
        if made is None or f"{layer.name}.scale" not in self.weights:
            return super().dense_bias(layer)
        return made.bias

    def computed(self, name: str, extents: tuple[int, ...]) -> int:
        """A tensor that an operator computes."""
        return self._activation(name, (self.batch, *extents), self._said(name))

    def padded(self, layer: Layer, source: int) -> int:
        """The tensor of a layer's padded input."""
        shape = (self.batch, *padded_extents(layer))
        return self._activation(f"{layer.name}.padded", shape, self.activations[source])

    def parameters(self, layer: Layer, source: int) -> list[int]:
        """The tensors of a layer's weights and bias."""
        made = self.integers.layers[layer.name]
        weight = ordered(layer, made.weight)
        axis = _CHANNELS if layer.operation == "depthwise" else 0
        unit = np.float32(self.activations[source].scale) * made.scale
        name = f"{layer.name}.weight"
        return [
            self.graph.tensor(name, weight.shape, "int8", Scales(made.scale, 0, axis), weight),
            self.graph.tensor(
                f"{layer.name}.bias", made.bias.shape, "int32", Scales(unit, 0), made.bias
            ),
        ]

    def _said(self, name: str) -> Activation:
        """The quantisation of a layer's output, the sum of a shortcut, or the features."""
        if name == "features":
            assert self.integers.features is not None  # of a classifier
            return self.integers.features
        layer = name.removesuffix(".joined")
        made = self.integers
        return made.layers[layer].target if layer == name else made.joined[layer]

    def _activation(self, name: str, shape: tuple[int | str, ...], said: Activation) -> int:
        number = self.graph.tensor(name, shape, "int8", _scales(said, _SIGNED))
        self.activations[number], self.shapes[number] = said, shape
        return number

    def _float(
        self,
        name: str,
        kind: str,
        at: int,
        values: NDArray[Any] | None = None,
        options: str = "",
        **fields: Any,
    ) -> int:
        """A float32 tensor of the shape of `at`, computed of it and of a constant."""
        more = [] if values is None else [self.constant(f"{name}.values", values)]
        out = self.graph.tensor(name, self.shapes[at], "float32")
        self.shapes[out] = self.shapes[at]
        self.operator(kind, [at, *more], [out], options, **fields)
        return out

    def _framed(self, stem: Layer, at: int, frame: tuple[int, int, int]) -> int:
        """The image with the stem's padding around it, which differs between its channels."""
        said = self.activations[at]
        plane, framed_plane = (*stem.in_size, 1), (*padded_extents(stem)[:2], 1)
        axis = self.constant("image.axis", np.array(_CHANNELS, np.int32))
        sizes = self.pads(stem)
        planes = [
            self._activation(f"image.{i}", (self.batch, *plane), said)
            for i in range(IMAGE_CHANNELS)
        ]
        self.operator("SPLIT", [axis, at], planes, "SplitOptions", NumSplits=IMAGE_CHANNELS)
        framed = []
        for i, level in enumerate(frame):
            stored = np.array([level - _SIGNED], np.int8)
            scales = _scales(said, _SIGNED)
            pixel = self.graph.tensor(f"image.{i}.level", (1,), "int8", scales, stored)
            out = self._activation(f"image.{i}.framed", (self.batch, *framed_plane), said)
            self.operator("PADV2", [planes[i], sizes, pixel], [out], "PadV2Options")
            framed.append(out)
        out = self.padded(stem, at)
        joined = {"Axis": _CHANNELS, "FusedActivationFunction": NO_ACTIVATION}
        self.operator("CONCATENATION", framed, [out], "ConcatenationOptions", **joined)
        return out


def _scales(said: Activation, offset: int) -> Scales:
    return Scales(np.array([said.scale], np.float32), said.zero_point - offset)
