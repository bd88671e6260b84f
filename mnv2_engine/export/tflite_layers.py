"""The layers of a float32 network as TensorFlow Lite's operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..network.blocks import match
from ..network.layer import IMAGE_CHANNELS, Layer, padding_of
from .trunk import outputs, raw_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.modelfile import ModelFile
    from .tflite_graph import TfliteGraph

# Values of the schema's enumerations Padding and ActivationFunctionType.
_SAME, _VALID = 0, 1
NO_ACTIVATION = 0
ACTIVATIONS = {"linear": NO_ACTIVATION, "relu": 1, "relu6": 3}

_CONVOLUTIONS = {
    "conv": ("CONV_2D", "Conv2DOptions", {}),
    "pointwise": ("CONV_2D", "Conv2DOptions", {}),
    "depthwise": ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", {"DepthMultiplier": 1}),
}


class FloatLayers:
    """Adds operators to a graph. Tensors are given and returned by number."""

    versions: ClassVar[dict[str, int]] = {}  # of operators; 1 unless said otherwise
    hybrid = False  # whether the classifier quantises its features

    def __init__(self, graph: TfliteGraph, model: ModelFile, batch: int | str) -> None:
        self.graph, self.batch = graph, batch
        self.network = model.network
        self.weights = model.weights()

    def image(self) -> tuple[int, int]:
        """The graph's input, and the stem's."""
        entry = self.graph.tensor("input", self.shape(self.network.resolution), "float32")
        return entry, entry

    def convolution(self, layer: Layer, at: int) -> int:
        """A convolution with its activation; a PAD before it where SAME pads otherwise."""
        pads = (layer.pad_rows, layer.pad_columns)
        same = tuple(
            padding_of(extent, layer.kernel, layer.stride, "same")[1:] for extent in layer.in_size
        )
        if pads != same and any(map(any, pads)):
            at = self.pad(layer, at)
        out = self.computed(layer.name, (*layer.out_size, layer.out_channels))
        kind, options, more = _CONVOLUTIONS[layer.operation]
        self.operator(
            kind,
            [at, *self.parameters(layer, at)],
            [out],
            options,
            Padding=_SAME if pads == same else _VALID,
            StrideH=layer.stride,
            StrideW=layer.stride,
            DilationHFactor=1,
            DilationWFactor=1,
            FusedActivationFunction=ACTIVATIONS[layer.activation],
            **more,
        )
        return out

    def shortcut(self, layer: Layer, before: int, at: int) -> int:
        """The sum of a block's input and what its project `layer` gives."""
        out = self.computed(f"{layer.name}.joined", (*layer.out_size, layer.out_channels))
        added = {"FusedActivationFunction": NO_ACTIVATION}
        self.operator("ADD", [before, at], [out], "AddOptions", **added)
        return out

    def pool(self, at: int) -> int:
        """The features (batch, channels)."""
        axes = self.constant("pool.axes", np.array([1, 2], np.int32))
        out = self.computed("features", (self.network.features,))
        self.operator("MEAN", [at, axes], [out], "ReducerOptions", KeepDims=False)
        return out

    def answer(self, features: int) -> int:
        """The logits (batch, classes); the features where there is no dense layer."""
        at, dense = features, match(self.network).dense
        for i, layer in enumerate(dense):
            at, weight = (at, self.matrix(layer)) if i else self.first_dense(layer, at)
            at = self._dense(layer, at, weight, self.hybrid and i == 0, layer is dense[-1])
        return at

    def first_dense(self, layer: Layer, features: int) -> tuple[int, int]:
        """Input and weight of the first dense layer."""
        return features, self.matrix(layer)

    def matrix(self, layer: Layer) -> int:
        """The weight of a dense layer in float32."""
        return self.constant(f"{layer.name}.weight", self.weights[f"{layer.name}.weight"])

    def _dense(self, layer: Layer, at: int, weight: int, hybrid: bool, is_last: bool) -> int:
        bias = self.constant(f"{layer.name}.bias", self.dense_bias(layer))
        name = "logits" if is_last else layer.name
        out = self.graph.tensor(name, (self.batch, layer.out_channels), "float32")
        self.operator(
            "FULLY_CONNECTED",
            [at, weight, bias],
            [out],
            "FullyConnectedOptions",
            FusedActivationFunction=ACTIVATIONS[layer.activation],
            AsymmetricQuantizeInputs=hybrid,
        )
        return out

    def dense_bias(self, layer: Layer) -> NDArray[Any]:
        """The bias of a dense layer."""
        bias: NDArray[Any] = self.weights[f"{layer.name}.bias"]
        return bias

    def raw_heads(self, image: int) -> list[int]:
        """Of a detector, what its heads give: codes of boxes, (batch, anchors, 4), and scores
        before their conversion, (batch, anchors, classes and background)."""
        made = outputs(self.network, image, self.convolution, self.shortcut)
        joined = []
        for output in raw_outputs(self.network):
            parts, last = [], output.columns
            for name, count in output.rows:
                shape = self.constant(f"{name}.shape", np.array([-1, count, last], np.int32))
                part = self.graph.tensor(f"{name}.rows", (self.batch, count, last), "float32")
                self.operator("RESHAPE", [self.real_head(name, made[name]), shape], [part])
                parts.append(part)
            rows = (self.batch, output.anchors, last)
            out = self.graph.tensor(output.name, rows, "float32")
            fields = {"Axis": 1, "FusedActivationFunction": NO_ACTIVATION}
            self.operator("CONCATENATION", parts, [out], "ConcatenationOptions", **fields)
            joined.append(out)
        return joined

    # What networks of other numbers do in another way

    def real_head(self, name: str, at: int) -> int:
        """What a head gives, in float32."""
        return at

    def computed(self, name: str, extents: tuple[int, ...]) -> int:
        """A tensor that is computed, the batch before its `extents`."""
        return self.graph.tensor(name, (self.batch, *extents), "float32")

    def parameters(self, layer: Layer, source: int) -> list[int]:
        """Weight and bias of a convolution from the tensor `source`."""
        weight = ordered(layer, self.weights[f"{layer.name}.weight"])
        bias = self.weights[f"{layer.name}.bias"]
        names = (f"{layer.name}.weight", f"{layer.name}.bias")
        return [self.constant(name, each) for name, each in zip(names, (weight, bias), strict=True)]

    def padded(self, layer: Layer, source: int) -> int:
        """A tensor for `source`, the input of `layer`, with its padding around it."""
        return self.computed(f"{layer.name}.padded", padded_extents(layer))

    # Parts

    def shape(self, size: tuple[int, int], channels: int = IMAGE_CHANNELS) -> tuple[int | str, ...]:
        """The shape of a tensor of maps."""
        return (self.batch, *size, channels)

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """A constant without a quantisation."""
        return self.graph.tensor(name, values.shape, values.dtype.name, values=values)

    def operator(
        self, kind: str, inputs: list[int], outputs: list[int], options: str = "", **fields: Any
    ) -> None:
        """Adds an operator, in the version that its kind needs."""
        version = self.versions.get(kind, 1)
        self.graph.operator(kind, version, inputs, outputs, options, **fields)

    def pad(self, layer: Layer, at: int) -> int:
        """Zeros around the input of `layer`."""
        out = self.padded(layer, at)
        self.operator("PAD", [at, self.pads(layer)], [out], "PadOptions")
        return out

    def pads(self, layer: Layer) -> int:
        """The paddings of an NHWC tensor, as a constant (4, 2)."""
        pads = np.array([(0, 0), layer.pad_rows, layer.pad_columns, (0, 0)], np.int32)
        return self.constant(f"{layer.name}.pads", pads)


def ordered(layer: Layer, weight: NDArray[Any]) -> NDArray[Any]:
    """An OIHW weight in TFLite's order: OHWI, or (1, H, W, channels) of a depthwise layer."""
    axes = (1, 2, 3, 0) if layer.operation == "depthwise" else (0, 2, 3, 1)
    return np.ascontiguousarray(weight.transpose(axes))


def padded_extents(layer: Layer) -> tuple[int, int, int]:
    """Height, width and channels of a layer's input with its padding."""
    height, width = layer.in_size
    return height + sum(layer.pad_rows), width + sum(layer.pad_columns), layer.in_channels
