"""A network as ONNX: NCHW, float32, or int8 in QuantizeLinear and DequantizeLinear (qdq.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..network.blocks import match
from ..network.detection import ANCHORS
from ..network.layer import IMAGE_CHANNELS, Network
from .onnx_graph import OPSET, OnnxGraph
from .onnx_objects import add_objects
from .qdq import encode_int8
from .trunk import outputs, raw_outputs, trunk

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from ..network.layer import Layer

FORMAT = f"ONNX, opset {OPSET}"


def encode(model: ModelFile, batch: int | str, objects: bool = False) -> bytes:
    """The bytes of an .onnx file for `batch` images, a number or the name of any number. Of a
    detector it gives the `objects` too, if they are wanted, of one image."""
    if model.dtype == "int8":
        return encode_int8(model, batch)
    return _encode_float32(model, batch, objects)


def input_shape(network: Network, batch: int | str) -> tuple[int | str, ...]:
    """NCHW."""
    return (batch, IMAGE_CHANNELS, *network.resolution)


def _encode_float32(model: ModelFile, batch: int | str, objects: bool) -> bytes:
    graph = OnnxGraph()
    for name, array in model.weights().items():
        if name != ANCHORS:
            graph.constant(name, array)

    def parameters(name: str) -> list[str]:
        return [f"{name}.weight", f"{name}.bias"]

    def convolution(layer: Layer, at: str) -> str:
        sums = layer.name if layer.activation == "linear" else f"{layer.name}.sums"
        at = graph.convolution(layer, [at, *parameters(layer.name)], sums)
        return graph.activation(layer, at, layer.name)

    def shortcut(layer: Layer, before: str, at: str) -> str:
        return graph.node("Add", [before, at], f"{layer.name}.joined")

    if model.network.detection is not None:
        made = outputs(model.network, "input", convolution, shortcut)
        for output in raw_outputs(model.network):
            parts = [
                graph.rows(made[name], f"{name}.rows", (count, output.columns))
                for name, count in output.rows
            ]
            graph.node("Concat", parts, output.name, axis=1)
        found = add_objects(graph, model) if objects else []
        return graph.file(model, batch, "float32", found)
    at = trunk(model.network, "input", convolution, shortcut)
    at = graph.node("GlobalAveragePool", [at], "pool")
    at = graph.node("Flatten", [at], "features")
    dense = match(model.network).dense
    for layer in dense:
        at = graph.dense(layer, at, parameters(layer.name), is_last=layer is dense[-1])
    return graph.file(model, batch, "float32")
