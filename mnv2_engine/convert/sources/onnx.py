"""ONNX models: float32 and float16, and 8 bits as QDQ or QLinear operations."""

from __future__ import annotations

from ..checkpoint import Checkpoint
from ..entrance import Normalisation, reciprocal
from ..from_graph import from_graph
from .onnx_file import read_file
from .onnx_nodes import to_graph


def read(content: bytes, path: str | None, what: str, weights: str = "float32") -> Checkpoint:
    """The network in the bytes of an .onnx file, which lies at `path`.

    Raises CheckpointError for a damaged file, UnsupportedError for a graph that no kernel runs,
    MissingExtraError without the package `onnx`.
    """
    file = read_file(content, path, what)
    graph = to_graph(file)
    normalisation = None
    entry = graph.image.quantised
    if entry is not None and entry.scale > 0:
        centre, deviation = float(entry.zero_point - entry.low), reciprocal(entry.scale)
        by = f"its input's scale 1/{deviation:g} and zero point {entry.zero_point}"
        normalisation = Normalisation((centre,) * 3, (deviation,) * 3, by)
    by = f" by {file.producer}" if file.producer.isprintable() and file.producer else ""
    return from_graph(
        graph,
        f"ONNX{by}",
        weights,
        normalisation=normalisation,
        are_pixels=normalisation is not None,
    )
