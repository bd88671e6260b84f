"""TensorFlow Lite models: float32, float16 weights, uint8 or int8, weights alone in 8 bits.

A quantised model's weights are dequantised, w = scale * (q - zero point), by float64; what comes
out is the float32 network that the integers stand for, without the rounding of its activations.
Or, if asked to, its integers are taken as they are (integers.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from ...errors import CheckpointError, UnsupportedError
from ..checkpoint import Checkpoint, Geometry
from ..detector import detector_from_graph
from ..entrance import Normalisation, reciprocal
from ..from_graph import from_graph
from .tflite_detection import detector_of, is_detector
from .tflite_metadata import Metadata, read_metadata
from .tflite_nodes import to_graph
from .tflite_schema import read_graph

if TYPE_CHECKING:
    from ..graph import Image

_METADATA = "its metadata"
# The file says nothing of it, but its boxes are parts of the whole picture.
_SQUASHED = Geometry("bilinear-no-antialias", 1.0, "how detectors are fed", "squash")


def read(content: bytes, handle: BinaryIO, what: str, weights: str = "float32") -> Checkpoint:
    """The network in the bytes of a .tflite file; `handle` reads the same file's label files.

    `weights` are what the model file is to have: "int8" takes the file's own integers.

    Raises CheckpointError for a damaged file, UnsupportedError for a graph that no kernel runs,
    MissingExtraError without the package `tflite`, InputError where there are no such integers.
    """
    file = read_graph(content, what)
    kinds = {operator.kind for operator in file.operators}
    if "edgetpu-custom-op" in kinds:
        raise UnsupportedError(
            f"{what}: compiled for the Edge TPU, whose program cannot be read back; use the "
            ".tflite file that was given to edgetpu_compiler, without _edgetpu in its name"
        )
    detector, more = None, tuple[str, ...]()
    if is_detector(file):
        detector, file, more = detector_of(file)
    graph = to_graph(file)
    if graph.image.size is None:
        raise UnsupportedError(
            f"{what}: input of any number of pixels: expected a fixed size; state it when "
            "exporting the model"
        )
    said = Metadata(None, None, None)
    if file.metadata is not None:
        said = read_metadata(file.metadata, handle, what)
    normalisation, notes = _normalisation(graph.image, said, what)
    kind = file.tensors[file.inputs[0]].type.lower()
    are_pixels = normalisation is not None and normalisation.stated_by != _METADATA
    if detector is not None:
        return detector_from_graph(
            graph,
            detector,
            f"TFLite detector, {kind} input",
            _SQUASHED,
            weights=weights,
            are_pixels=are_pixels,
            normalisation=normalisation,
            labels=said.labels,
            labels_by="its metadata",
            notes=(*notes, *more),
        )
    return from_graph(
        graph,
        f"TFLite, {kind} input",
        weights,
        normalisation=normalisation,
        are_pixels=are_pixels,
        labels=said.labels,
        labels_by="its metadata",
        notes=notes,
    )


def _normalisation(
    image: Image, said: Metadata, what: str
) -> tuple[Normalisation | None, tuple[str, ...]]:
    """What the file says of its input's normalisation, and a note on how that was found.

    An integer input holds pixels, and its scale and zero point turn them into what the network
    sees. If metadata state a normalisation whose result would not be the pixels again, then the
    integers are not pixels, and it is the metadata that say what the network sees. Raises
    CheckpointError for a zero point that the integers do not hold.
    """
    mean, std = said.mean, said.std
    stated = Normalisation(mean, std, _METADATA) if mean and std else None
    entry = image.quantised
    if entry is None or entry.scale <= 0:
        return stated, ()
    scale, zero_point, offset = entry.scale, entry.zero_point, -entry.low
    if not 0 <= zero_point + offset <= 255:
        raise CheckpointError(
            f"{what}: its input has the zero point {zero_point}: expected {-offset} to "
            f"{255 - offset}; the file is damaged"
        )
    if stated is not None and not all(
        abs((pixel - m) / s / scale + zero_point + offset - pixel) <= 1.5
        for m, s in zip(stated.mean, stated.std, strict=True)
        for pixel in (0, 255)
    ):
        return stated, ("its metadata's normalisation is used: its integers are not pixels",)
    centre, deviation = float(zero_point + offset), reciprocal(scale)
    by = f"its input's scale 1/{deviation:g} and zero point {zero_point}"
    return Normalisation((centre,) * 3, (deviation,) * 3, by), ()
