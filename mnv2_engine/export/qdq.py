"""An int8 network as ONNX: every tensor between a QuantizeLinear and a DequantizeLinear.

Runtimes recognise the pattern and compute in integers. Activations are uint8 with a zero point,
weights int8 with a scale for each output channel, biases int32. A ReLU6 needs no node: hidden
tensors have the zero point 0 and a scale of at most 6 / 255, so that rounding to uint8 is the clip.
The classifier multiplies integers too, but its sums become float32 logits at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..network.blocks import match
from ..network.layer import IMAGE, IMAGE_CHANNELS, Layer
from ..quantize.folding import Activation
from .onnx_graph import OnnxGraph
from .trunk import trunk
from .unfolding import IntegerDense, IntegerNetwork, unfold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.modelfile import ModelFile


def encode_int8(model: ModelFile, batch: int | str) -> bytes:
    """The bytes of an .onnx file with uint8 pixels as its input."""
    return _Writer(unfold(model)).encode(model, batch)


class _Writer:
    """Tensors are named after the layers: `stem`, and quantised `stem.integers`."""

    def __init__(self, integers: IntegerNetwork) -> None:
        self.graph = OnnxGraph()
        self.integers = integers
        self.scales: dict[str, float] = {}  # of activations, by the name of the real tensor

    def encode(self, model: ModelFile, batch: int | str) -> bytes:
        graph, integers = self.graph, self.integers
        pixels = "input"
        if integers.frame is not None:
            pixels = self._framed(model, integers.frame)
        image = self._dequantised("image", pixels, integers.image)
        at = trunk(model.network, image, self._convolution, self._shortcut)
        at = graph.node("GlobalAveragePool", [at], "pool.real")
        assert integers.features is not None  # of a classifier
        at = self._requantised("pool", at, integers.features)
        at = graph.node("Flatten", [at], "features")
        dense, weights = match(model.network).dense, model.weights()
        if integers.dense is not None:
            at = self._first_dense(dense[0], integers.dense, at, is_last=len(dense) == 1)
        for layer in dense[1:]:
            arrays = (weights[f"{layer.name}.{part}"] for part in ("weight", "bias"))
            names = [
                graph.constant(f"{layer.name}.{part}", array)
                for part, array in zip(("weight", "bias"), arrays, strict=True)
            ]
            at = graph.dense(layer, at, names, is_last=layer is dense[-1])
        return graph.file(model, batch, "uint8")

    def _first_dense(self, layer: Layer, made: IntegerDense, at: str, is_last: bool) -> str:
        graph, name = self.graph, "logits" if is_last else layer.name
        stored = np.ascontiguousarray(made.weight.T)
        weight = self._constant(f"{layer.name}.weight", stored, made.scale, axis=1)
        at = graph.node("MatMul", [at, weight], f"{layer.name}.products")
        bias = graph.constant(f"{layer.name}.bias", made.bias)
        sums = name if layer.activation == "linear" else f"{name}.sums"
        return graph.activation(layer, graph.node("Add", [at, bias], sums), name)

    def _framed(self, model: ModelFile, frame: tuple[int, int, int]) -> str:
        """The image with the stem's padding around it, which differs between its channels."""
        graph, stem = self.graph, model.network.weighted[0]
        (top, bottom), (left, right) = stem.pad_rows, stem.pad_columns
        pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        planes = [f"input.{i}" for i in range(IMAGE_CHANNELS)]
        graph.node("Split", ["input"], *planes, axis=1)
        sizes = graph.constant("frame", pads)
        framed = [
            graph.node(
                "Pad",
                [plane, sizes, graph.constant(f"{plane}.level", np.uint8(level))],
                f"{plane}.framed",
            )
            for plane, level in zip(planes, frame, strict=True)
        ]
        return graph.node("Concat", framed, "framed", axis=1)

    def _convolution(self, layer: Layer, at: str) -> str:
        made = self.integers.layers[layer.name]
        weight = self._constant(f"{layer.name}.weight", made.weight, made.scale)
        unit = np.float32(self.scales[at]) * made.scale
        bias = self._constant(f"{layer.name}.bias", made.bias, unit)
        padded = layer.inputs != (IMAGE,) or self.integers.frame is None
        sums = self.graph.convolution(layer, [at, weight, bias], f"{layer.name}.real", padded)
        return self._requantised(layer.name, sums, made.target)

    def _shortcut(self, layer: Layer, before: str, at: str) -> str:
        name = f"{layer.name}.joined"
        target = self.integers.joined.get(layer.name, self.integers.layers[layer.name].target)
        return self._requantised(name, self.graph.node("Add", [before, at], f"{name}.real"), target)

    def _requantised(self, name: str, real: str, to: Activation) -> str:
        scale, zero_point = self._parameters(name, to)
        levels = self.graph.node("QuantizeLinear", [real, scale, zero_point], f"{name}.integers")
        return self._dequantised(name, levels, to)

    def _dequantised(self, name: str, levels: str, of: Activation) -> str:
        self.scales[name] = of.scale
        return self.graph.node("DequantizeLinear", [levels, *self._parameters(name, of)], name)

    def _parameters(self, name: str, of: Activation) -> list[str]:
        return [
            self.graph.constant(f"{name}.scale", np.float32(of.scale)),
            self.graph.constant(f"{name}.zero_point", np.uint8(of.zero_point)),
        ]

    def _constant(
        self,
        name: str,
        stored: NDArray[np.int8] | NDArray[np.int32],
        scale: NDArray[np.float32],
        axis: int = 0,
    ) -> str:
        zero_point = np.zeros(scale.shape, stored.dtype)
        inputs = [
            self.graph.constant(f"{name}.integers", stored),
            self.graph.constant(f"{name}.scale", scale),
            self.graph.constant(f"{name}.zero_point", zero_point),
        ]
        return self.graph.node("DequantizeLinear", inputs, name, axis=axis)
