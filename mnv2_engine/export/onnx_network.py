"""A network as ONNX: NCHW, float32, or int8 in QuantizeLinear and DequantizeLinear (qdq.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..network.blocks import match
from ..network.layer import IMAGE_CHANNELS, Network
from .onnx_graph import OPSET, OnnxGraph
from .qdq import encode_int8
from .trunk import trunk

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from ..network.layer import Layer

FORMAT = f"ONNX, opset {OPSET}"


def encode(model: ModelFile, batch: int | str) -> bytes:
    """The bytes of an .onnx file for `batch` images, a number or the name of any number."""
    return (encode_int8 if model.dtype == "int8" else _encode_float32)(model, batch)


def input_shape(network: Network, batch: int | str) -> tuple[int | str, ...]:
    """NCHW."""
    return (batch, IMAGE_CHANNELS, *network.resolution)


def _encode_float32(model: ModelFile, batch: int | str) -> bytes:
    graph = OnnxGraph()
    for name, array in model.weights().items():
        graph.constant(name, array)

    def parameters(name: str) -> list[str]:
        return [f"{name}.weight", f"{name}.bias"]

    def convolution(layer: Layer, at: str) -> str:
        sums = layer.name if layer.activation == "linear" else f"{layer.name}.sums"
        at = graph.convolution(layer, [at, *parameters(layer.name)], sums)
        return graph.activation(layer, at, layer.name)

    def shortcut(layer: Layer, before: str, at: str) -> str:
        return graph.node("Add", [before, at], f"{layer.name}.joined")

    at = trunk(model.network, "input", convolution, shortcut)
    at = graph.node("GlobalAveragePool", [at], "pool")
    at = graph.node("Flatten", [at], "features")
    dense = match(model.network).dense
    for layer in dense:
        at = graph.dense(layer, at, parameters(layer.name), is_last=layer is dense[-1])
    return graph.file(model, batch, "float32")
