"""Writes TFLite models of any network in the forms that exporters use, for the tests.

`Graph` is a file being made, operator by operator. `model` puts a network into one; the `Form`
says which of the many ways to write it down is used. Imported after a check for `tflite`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import tflite

from mnv2_engine.network.blocks import match
from mnv2_engine.network.layer import Layer, Network

Array = np.ndarray[Any, Any]

SAME, VALID = 0, 1
ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 3}


class Form(NamedTuple):
    """How a network is written down."""

    types: str = "float32"  # "float16" (weights alone), "uint8" (per tensor), "int8" (per channel)
    pool: str = "MEAN"  # or "AVERAGE_POOL_2D"
    classifier: str = "FULLY_CONNECTED"  # or "CONV_2D"
    explicit_pads: bool = False  # PAD operators before what has stride 2
    activation: str = "fused"  # "apart", "relu" (fused), "none"
    ends: tuple[str, ...] = ()  # "SOFTMAX", "RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE"
    starts: tuple[str, ...] = ()  # "QUANTIZE", "DEQUANTIZE"
    batch_norm: str = "folded"  # or "apart": MUL and ADD
    input: tuple[float, int] = (1 / 128, 128)  # scale and zero point of an integer input
    extra: str = ""  # an operator that does not belong, before the head
    clamp: float = 6.0  # what quantised outputs end at behind an activation
    spread: bool = False  # quantised outputs without an activation: each of its own scale
    bias_scales: bool = True  # whether integer biases state theirs
    without_shortcut: int = -1  # a block that loses it
    any_size: bool = False  # the input's height and width are stated as unknown
    grey: bool = False  # one channel, for which TFLite's converter writes a depthwise layer
    options: tuple[tuple[str, str, Any], ...] = ()  # (operator, field, value) to write instead


class Constant(NamedTuple):
    """A tensor in the file: stored values, and the quantisation that turns them into real ones."""

    stored: Array
    scales: Array | None = None
    zero_points: Array | None = None
    axis: int = 0

    @property
    def real(self) -> Array:
        if self.scales is None or self.zero_points is None:
            return self.stored.astype(np.float64)
        shape = [-1 if i == self.axis else 1 for i in range(self.stored.ndim)]
        if self.scales.size == 1:
            shape = [1] * self.stored.ndim
        zero_points = self.zero_points.reshape(shape)
        scales = self.scales.astype(np.float64).reshape(shape)
        return scales * (self.stored.astype(np.float64) - zero_points)


class Graph:
    """A TFLite file with one subgraph. Tensors are numbered as they are added."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 20)
        self._tensors: list[int] = []
        self.quantisations: list[tuple[float, int] | None] = []  # of computed tensors
        self._buffers: list[int] = [self._table("Buffer")]
        self._operators: list[int] = []
        self._codes: list[str] = []
        self.metadata: list[tuple[str, bytes]] = []
        self.instead: tuple[tuple[str, str, Any], ...] = ()

    def _table(self, name: str, **fields: Any) -> int:
        getattr(tflite, f"{name}Start")(self.builder)
        for field, value in fields.items():
            getattr(tflite, f"{name}Add{field}")(self.builder, value)
        return int(getattr(tflite, f"{name}End")(self.builder))

    def _numbers(self, values: Any, dtype: str) -> int:
        return int(self.builder.CreateNumpyVector(np.asarray(values, dtype).reshape(-1)))

    def _offsets(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def buffer(self, content: bytes) -> int:
        data = self._numbers(np.frombuffer(content, np.uint8), "u1")
        self._buffers.append(self._table("Buffer", Data=data))
        return len(self._buffers) - 1

    def tensor(
        self,
        shape: tuple[int, ...],
        kind: str,
        constant: Constant | None = None,
        quantisation: tuple[float, int] | None = None,
        **fields: Any,
    ) -> int:
        number = len(self._tensors)
        self.quantisations.append(quantisation)
        if quantisation is not None:
            constant_scales: Any = [quantisation[0]]
            constant_zero_points: Any = [quantisation[1]]
        elif constant is not None and constant.scales is not None:
            constant_scales, constant_zero_points = constant.scales, constant.zero_points
        else:
            constant_scales = None
        if constant_scales is not None:
            fields["Quantization"] = self._table(
                "QuantizationParameters",
                Scale=self._numbers(constant_scales, "f4"),
                ZeroPoint=self._numbers(constant_zero_points, "i8"),
                QuantizedDimension=0 if constant is None else constant.axis,
            )
        if constant is not None:
            fields["Buffer"] = self.buffer(constant.stored.tobytes())
        name = self.builder.CreateString(f"tensor_{number}")
        self._tensors.append(
            self._table(
                "Tensor",
                **{
                    "Shape": self._numbers(shape, "i4"),
                    "Type": getattr(tflite.TensorType, kind),
                    "Name": name,
                    **fields,
                },
            )
        )
        return number

    def operator(
        self, kind: str, inputs: list[int], outputs: list[int], options: str = "", **fields: Any
    ) -> None:
        stated: dict[str, Any] = {}
        fields.update({field: value for one, field, value in self.instead if one == kind})
        if options:
            stated["BuiltinOptions"] = self._table(options, **fields)
            stated["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options)
        if kind not in self._codes:
            self._codes.append(kind)
        self._operators.append(
            self._table(
                "Operator",
                OpcodeIndex=self._codes.index(kind),
                Inputs=self._numbers(inputs, "i4"),
                Outputs=self._numbers(outputs, "i4"),
                **stated,
            )
        )

    def file(self, inputs: list[int], outputs: list[int]) -> bytes:
        codes = []
        for kind in self._codes:
            number = getattr(tflite.BuiltinOperator, kind)
            codes.append(
                self._table(
                    "OperatorCode",
                    DeprecatedBuiltinCode=min(number, 127),
                    BuiltinCode=number,
                    Version=1,
                )
            )
        metadata = []
        for name, content in self.metadata:
            number = self.buffer(content)
            text = self.builder.CreateString(name)
            metadata.append(self._table("Metadata", Name=text, Buffer=number))
        graph = self._table(
            "SubGraph",
            Tensors=self._offsets(self._tensors),
            Inputs=self._numbers(inputs, "i4"),
            Outputs=self._numbers(outputs, "i4"),
            Operators=self._offsets(self._operators),
        )
        root = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._offsets(codes),
            Subgraphs=self._offsets([graph]),
            Buffers=self._offsets(self._buffers),
            Metadata=self._offsets(metadata),
        )
        self.builder.Finish(root, b"TFL3")
        return bytes(self.builder.Output())


def quantised(values: Array, types: str, axis: int) -> Constant:
    """`values` as an exporter for `types` stores them."""
    if types == "uint8":
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        scale = np.float32((high - low) / 255 or 1.0)
        zero_point = int(np.clip(round(-low / float(scale)), 0, 255))
        stored = np.clip(np.rint(values / scale) + zero_point, 0, 255).astype(np.uint8)
        return Constant(stored, np.array([scale]), np.array([zero_point]))
    if types == "int8":
        others = tuple(i for i in range(values.ndim) if i != axis)
        scales = (np.abs(values).max(others) / 127).astype(np.float32)
        scales[scales == 0] = 1
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        stored = np.clip(np.rint(values / scales.reshape(shape)), -127, 127).astype(np.int8)
        return Constant(stored, scales, np.zeros(scales.size, np.int64), axis)
    return Constant(values.astype(types))


class Written(NamedTuple):
    content: bytes
    weights: dict[str, Array]  # the canonical weights that are to be found in it
    stored: Mapping[str, Constant] = MappingProxyType({})  # the same as they lie in the file
    # Scale and zero point of "image", of each layer's output by name, "block<i>" where that is
    # behind a shortcut, and of "pool".
    outputs: Mapping[str, tuple[float, int]] = MappingProxyType({})


def model(
    network: Network,
    weights: dict[str, Array],
    form: Form | None = None,
    metadata: bytes | None = None,
) -> Written:
    """`network` with canonical `weights` as a .tflite file."""
    return _Writer(network, weights, form or Form(), metadata).write()


class _Writer:
    def __init__(
        self,
        network: Network,
        weights: dict[str, Array],
        form: Form,
        metadata: bytes | None,
    ) -> None:
        self.network, self.weights, self.form = network, weights, form
        self.graph = Graph()
        self.graph.instead = self.form.options
        if metadata is not None:
            self.graph.metadata.append(("TFLITE_METADATA", metadata))
        self.found: dict[str, Array] = {}
        self.stored: dict[str, Constant] = {}
        self.outputs: dict[str, tuple[float, int]] = {"image": self.form.input}
        self.random = np.random.default_rng(1)
        self.integers = form.types in ("uint8", "int8")
        self.kind = form.types.upper() if self.integers else "FLOAT32"

    def write(self) -> Written:
        height, width = self.network.resolution
        graph, form = self.graph, self.form
        channels = 1 if form.grey else 3
        shape = (1, height, width, channels)
        quantisation = form.input if self.integers else None
        fields: dict[str, Any] = {}
        if form.any_size:
            fields["ShapeSignature"] = graph.builder.CreateNumpyVector(
                np.array([1, -1, -1, channels], np.int32)
            )
        entry = at = graph.tensor(shape, self.kind, quantisation=quantisation, **fields)
        scale = form.input[0] or 1.0
        for operator in form.starts:
            into = graph.tensor(shape, self.kind, quantisation=quantisation)
            graph.operator(operator, [at], [into])
            at = into
        outlook = {layer.name: layer for layer in self.network.weighted}
        at, scale = self._convolution(outlook["stem"], at, scale)
        for i, block in enumerate(match(self.network).blocks):
            before = at
            for part in ("expand", "depthwise", "project"):
                if f"block{i}.{part}" in outlook:
                    at, scale = self._convolution(outlook[f"block{i}.{part}"], at, scale)
            if block.residual and i != form.without_shortcut:
                size = (1, *outlook[f"block{i}.project"].out_size, block.out_channels)
                joined, scale = self._computed(size, name=f"block{i}")
                graph.operator(
                    "ADD", [before, at], [joined], "AddOptions", FusedActivationFunction=0
                )
                at = joined
        if form.extra:
            size = (1, *outlook["head"].in_size, outlook["head"].in_channels)
            into, scale = self._computed(size)
            graph.operator(form.extra, [at], [into])
            at = into
        at, scale = self._convolution(outlook["head"], at, scale)
        at, scale = self._pool(outlook["head"], at)
        at = self._classify(outlook["classifier"], at, scale)
        for operator in form.ends:
            at = self._end(operator, at)
        return Written(graph.file([entry], [at]), self.found, self.stored, self.outputs)

    def _computed(
        self, shape: tuple[int, ...], relu6: bool = False, name: str = ""
    ) -> tuple[int, float]:
        """A tensor that is computed, the output called `name`, and its scale."""
        scale = self.form.clamp / 255 if relu6 else 1 / 16
        zero_point = (0 if relu6 else 128) - (128 if self.form.types == "int8" else 0)
        if self.form.spread and not relu6:
            scale *= float(self.random.uniform(0.8, 1.4))
            zero_point += int(self.random.integers(-20, 21))
        quantisation = (scale, zero_point) if self.integers else None
        if name:
            self.outputs[name] = (scale, zero_point)
        return self.graph.tensor(shape, self.kind, quantisation=quantisation), scale

    def _constant(self, constant: Constant) -> int:
        kinds = {"float16": "FLOAT16", "float32": "FLOAT32", "int32": "INT32"}
        name = constant.stored.dtype.name
        at = self.graph.tensor(constant.stored.shape, kinds.get(name, name.upper()), constant)
        if name != "float16":
            return at
        single = self.graph.tensor(constant.stored.shape, "FLOAT32")
        self.graph.operator("DEQUANTIZE", [at], [single])
        return single

    def _written(self, name: str, constants: tuple[Constant, Constant]) -> list[int]:
        weight, bias = constants
        self.stored[f"{name}.weight"], self.stored[f"{name}.bias"] = constants
        if not self.form.bias_scales:
            bias = Constant(bias.stored)
        return [self._constant(weight), self._constant(bias)]

    def _weight_and_bias(
        self, name: str, weight: Array, axis: int, scale: float
    ) -> tuple[Constant, Constant]:
        """The two constants of a layer, from a weight in TFLite's order."""
        stored = quantised(weight, self.form.types, axis)
        bias = self.weights[f"{name}.bias"]
        if not self.integers:
            return stored, Constant(bias.astype(self.form.types))
        assert stored.scales is not None
        scales = np.float64(np.float32(scale)) * stored.scales.astype(np.float64)
        if self.form.bias_scales:
            scales = scales.astype(np.float32)
        integers = np.rint(bias / scales.astype(np.float64)).astype(np.int32)
        return stored, Constant(integers, scales, np.zeros(scales.size, np.int64))

    def _convolution(self, layer: Layer, at: int, scale: float) -> tuple[int, float]:
        form, graph = self.form, self.graph
        pads = (layer.pad_rows, layer.pad_columns)
        full = (layer.kernel - 1) // 2
        if form.explicit_pads and layer.stride == 2:
            if self.network.padding == "symmetric":  # as PyTorch pads, whatever is reached
                pads = ((full, full), (full, full))
            extents = [size + sum(pad) for size, pad in zip(layer.in_size, pads, strict=True)]
            shape = (1, *extents, layer.in_channels)
            into = graph.tensor(shape, self.kind, quantisation=graph.quantisations[at])
            stated = self._constant(Constant(np.array([(0, 0), *pads, (0, 0)], np.int32)))
            graph.operator("PAD", [at, stated], [into])
            at = into
            padding = VALID
        else:
            padding = SAME
        weight = self.weights[f"{layer.name}.weight"]
        batch_norm = None
        if form.batch_norm == "apart":
            random = np.random.default_rng(weight.size)
            batch_norm = random.uniform(0.5, 2.0, layer.out_channels).astype(np.float32)
        depthwise = layer.operation == "depthwise" or (form.grey and layer.name == "stem")
        ordered = weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        constants = self._weight_and_bias(layer.name, ordered, 3 if depthwise else 0, scale)
        back = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        self._note(layer, constants[0].real.transpose(back), constants[1].real, batch_norm)
        inputs = [at, *self._written(layer.name, constants)]
        if batch_norm is not None:
            inputs[2] = -1
        fused = {"fused": "relu6", "relu": "relu"}.get(form.activation, "none")
        apart = batch_norm is not None or form.activation == "apart"
        shape = (1, *layer.out_size, layer.out_channels)
        into, scale = self._computed(shape, layer.activation == "relu6" and not apart, layer.name)
        activation = ACTIVATIONS[fused if layer.activation == "relu6" and not apart else "none"]
        fields = {
            "Padding": padding,
            "StrideH": layer.stride,
            "StrideW": layer.stride,
            "DilationHFactor": 1,
            "DilationWFactor": 1,
            "FusedActivationFunction": activation,
        }
        if depthwise:
            graph.operator(
                "DEPTHWISE_CONV_2D",
                inputs,
                [into],
                "DepthwiseConv2DOptions",
                DepthMultiplier=layer.out_channels if layer.operation == "conv" else 1,
                **fields,
            )
        else:
            graph.operator("CONV_2D", inputs, [into], "Conv2DOptions", **fields)
        if batch_norm is not None:
            into = self._batch_norm(batch_norm, constants[1], into, shape)
        if apart and layer.activation == "relu6":
            active, scale = self._computed(shape, True, layer.name)
            graph.operator("RELU6", [into], [active])
            into = active
        return into, scale

    def _batch_norm(self, factor: Array, shift: Constant, at: int, shape: tuple[int, ...]) -> int:
        for kind, constant in (("MUL", Constant(factor)), ("ADD", shift)):
            into, _ = self._computed(shape)
            operands = [at, self._constant(constant)]
            self.graph.operator(
                kind, operands, [into], f"{kind.title()}Options", FusedActivationFunction=0
            )
            at = into
        return at

    def _note(self, layer: Layer, weight: Array, bias: Array, factor: Array | None = None) -> None:
        if factor is not None:
            weight = weight * factor.astype(np.float64).reshape(-1, 1, 1, 1)
        self.found[f"{layer.name}.weight"] = weight.astype(np.float32).reshape(
            layer.out_channels, -1, *layer.weight_shape[2:]
        )
        self.found[f"{layer.name}.bias"] = bias.astype(np.float32)

    def _pool(self, head: Layer, at: int) -> tuple[int, float]:
        """The global average. Its output keeps the axes where the classifier is a convolution."""
        flat = self.form.pool == "MEAN" and self.form.classifier == "FULLY_CONNECTED"
        channels = head.out_channels
        into, scale = self._computed((1, channels) if flat else (1, 1, 1, channels), True, "pool")
        if self.form.pool == "MEAN":
            axes = self._constant(Constant(np.array([1, 2], np.int32)))
            self.graph.operator("MEAN", [at, axes], [into], "ReducerOptions", KeepDims=not flat)
            return into, scale
        height, width = head.out_size
        self.graph.operator(
            "AVERAGE_POOL_2D",
            [at],
            [into],
            "Pool2DOptions",
            Padding=VALID,
            StrideH=height,
            StrideW=width,
            FilterHeight=height,
            FilterWidth=width,
            FusedActivationFunction=0,
        )
        if self.form.classifier == "FULLY_CONNECTED":
            flattened, scale = self._computed((1, channels), True)
            shape = self._constant(Constant(np.array([1, channels], np.int32)))
            self.graph.operator("RESHAPE", [into, shape], [flattened])
            into = flattened
        return into, scale

    def _classify(self, layer: Layer, at: int, scale: float) -> int:
        weight = self.weights["classifier.weight"]
        classes = layer.out_channels
        if self.form.classifier == "FULLY_CONNECTED":
            constants = self._weight_and_bias("classifier", weight, 0, scale)
            self._note(layer, constants[0].real, constants[1].real)
            into, _ = self._computed((1, classes))
            inputs = [at, *self._written("classifier", constants)]
            self.graph.operator(
                "FULLY_CONNECTED",
                inputs,
                [into],
                "FullyConnectedOptions",
                FusedActivationFunction=0,
            )
            return into
        square = weight.reshape(classes, 1, 1, -1)
        constants = self._weight_and_bias("classifier", square, 0, scale)
        self._note(layer, constants[0].real, constants[1].real)
        into, _ = self._computed((1, 1, 1, classes))
        inputs = [at, *self._written("classifier", constants)]
        self.graph.operator(
            "CONV_2D",
            inputs,
            [into],
            "Conv2DOptions",
            Padding=SAME,
            StrideH=1,
            StrideW=1,
            DilationHFactor=1,
            DilationWFactor=1,
            FusedActivationFunction=0,
        )
        return into

    def _end(self, operator: str, at: int) -> int:
        classes = self.network.classes
        options: dict[str, Any] = {}
        inputs = [at]
        if operator == "SOFTMAX":
            options = {"options": "SoftmaxOptions", "Beta": 1.0}
        if operator == "RESHAPE":
            inputs.append(self._constant(Constant(np.array([1, classes], np.int32))))
        if operator == "SQUEEZE":
            options = {"options": "SqueezeOptions"}
        into, _ = self._computed((1, classes))
        self.graph.operator(operator, inputs, [into], **options)
        return into
