"""From a neutral graph to a Checkpoint: walked, named, folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .assemble import assemble, canonical_weights, paddings_of
from .checkpoint import Checkpoint, Geometry
from .entrance import Normalisation, entrance_of
from .graph import Graph
from .walk import walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..network.layer import Network
    from ..network.quantization import Quantization

DEFAULT_RESOLUTION = 224


def from_graph(
    graph: Graph,
    form: str,
    weights: str = "float32",
    *,
    normalisation: Normalisation | None = None,
    are_pixels: bool = False,
    geometry: Geometry | None = None,
    labels: tuple[str, ...] | None = None,
    labels_by: str = "the file",
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    """The network in `graph`, with what its source says besides.

    `weights` "int8" takes the graph's own integers; `are_pixels` says that its input's integers
    are. Raises UnsupportedError for what no kernel runs, CheckpointError for a damaged graph.
    """
    free = (DEFAULT_RESOLUTION, DEFAULT_RESOLUTION)
    walked = walk(graph, free)
    likely = "softmax" if walked.output.channels > 1 else "linear"
    made = assemble(walked, walked.answer or likely)
    known = entrance_of(normalisation, walked.entrance)
    own_size = graph.image.size
    if walked.resized is not None:
        resized, own_size = walked.resized, walked.resolution
        geometry = Geometry(resized.get("resample"), 1.0, resized.where, resized.get("fit"))
        if graph.image.size not in (None, own_size):
            height, width = graph.image.size or own_size
            notes = (
                *notes,
                f"pictures go to {own_size[0]}x{own_size[1]} pixels at once: the source takes "
                f"{height}x{width} and resizes those",
            )
    canonical: dict[str, NDArray[Any]] = {}
    quantization: Quantization | None = None
    if weights == "int8":
        from .integers import take_integers

        integers = take_integers(walked, made, are_pixels)
        canonical, quantization = integers.weights, integers.quantization
        form, notes = f"{form}, its integers kept", (*notes, *integers.notes)
    else:
        canonical.update(canonical_weights(made, graph.what))

    def network(resolution: tuple[int, int], padding: str, answer: str) -> Network:
        as_it_was = walked.resized is not None or resolution == walked.resolution
        again = walked if as_it_was else walk(graph, resolution)
        return assemble(again, answer).network

    return Checkpoint(
        form,
        network,
        made.network.classes,
        canonical,
        DEFAULT_RESOLUTION,
        paddings_of(made.network),
        own_size,
        known.normalisation,
        known.waiting,
        geometry,
        labels,
        labels_by,
        walked.answer,
        notes=notes,
        quantization=quantization,
    )
