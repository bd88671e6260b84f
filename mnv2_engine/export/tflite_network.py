"""A network as TensorFlow Lite: NHWC, float32 (tflite_layers.py) or int8 (tflite_integers.py)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..network.layer import IMAGE_CHANNELS, Network
from .description import description
from .tflite_graph import TfliteGraph
from .tflite_integers import IntegerLayers
from .tflite_layers import FloatLayers
from .tflite_metadata import METADATA, labels_archive, metadata
from .trunk import trunk

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile

FORMAT = "TensorFlow Lite"


def encode(model: ModelFile, batch: int | str) -> bytes:
    """The bytes of a .tflite file for `batch` images, a number or the name of any number."""
    graph = TfliteGraph()
    kind = IntegerLayers if model.dtype == "int8" else FloatLayers
    layers = kind(graph, model, batch)
    entry, image = layers.image()
    if model.network.detection is not None:
        answers = layers.raw_heads(image)
    else:
        at = trunk(model.network, image, layers.convolution, layers.shortcut)
        answers = [layers.answer(layers.pool(at))]
    texts = description(model)
    graph.metadata(METADATA, metadata(model, texts))
    graph.metadata("mnv2_engine", json.dumps(texts, ensure_ascii=False).encode())
    summary = f"{texts['name']}, by {texts['exporter']}"
    # Label files stand behind the model, as TFLite's metadata have it.
    return graph.file(texts["name"], summary, [entry], answers) + labels_archive(model.labels)


def input_shape(network: Network, batch: int | str) -> tuple[int | str, ...]:
    """NHWC."""
    return (batch, *network.resolution, IMAGE_CHANNELS)
