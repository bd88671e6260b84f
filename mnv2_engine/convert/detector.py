"""A detector, found in a graph: its network, and what the source says around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CheckpointError, InputError, UnsupportedError
from ..network.blocks import match
from ..network.box_maps import anchors_of
from ..network.builder import Builder
from ..network.detection import ANCHORS, BoxMap, Detection, check_anchors
from ..network.layer import IMAGE, Network
from .assemble import Assembled, add_layer, canonical_weights, layer_names, paddings_of
from .checkpoint import Checkpoint, Geometry
from .entrance import Normalisation, entrance_of
from .found import Found
from .graph import Graph
from .recognise import WIDTHS
from .walk import Walked, walk_maps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..network.quantization import Quantization

ANSWER = "boxes"


class Head(NamedTuple):
    """The two tensors of the network that say what is on one of its maps."""

    boxes: str
    scores: str
    anchors: int  # of a pixel of the map


class Detector(NamedTuple):
    """What a source says of a detector besides its network, as network.detection has it."""

    heads: tuple[Head, ...]
    classes: int  # without the background
    background: bool
    score_conversion: str
    anchors: NDArray[np.float32]  # (N, 4): y centre, x centre, height, width
    box_coding: tuple[float, float, float, float]
    score_threshold: float
    iou_threshold: float
    max_per_class: int
    max_objects: int

    @property
    def outputs(self) -> tuple[str, ...]:
        """The tensors of all heads, in order."""
        return tuple(name for head in self.heads for name in (head.boxes, head.scores))


def detector_from_graph(
    graph: Graph,
    detector: Detector,
    form: str,
    geometry: Geometry,
    *,
    weights: str = "float32",
    normalisation: Normalisation | None = None,
    are_pixels: bool = False,
    labels: tuple[str, ...] | None = None,
    labels_by: str = "the file",
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    """The detector whose network is `graph`, its outputs those of `detector`. `weights` and
    `are_pixels` are those of `from_graph`.

    Raises UnsupportedError for what no kernel runs, CheckpointError for a damaged graph.
    """
    walked = walk_maps(graph._replace(outputs=detector.outputs))
    made = assemble_detector(walked, detector)
    known = entrance_of(normalisation, walked.entrance)
    canonical: dict[str, NDArray[Any]] = {}
    quantization: Quantization | None = None
    if weights == "int8":
        from .integers import take_integers

        integers = take_integers(walked, made, are_pixels)
        canonical, quantization = integers.weights, integers.quantization
        form, notes = f"{form}, its integers kept", (*notes, *integers.notes)
    else:
        canonical.update(canonical_weights(made, graph.what))
    canonical[ANCHORS] = detector.anchors
    return Checkpoint(
        format=form,
        network=lambda *_: made.network,
        classes=detector.classes,
        weights=canonical,
        paddings=paddings_of(made.network),
        resolution=walked.resolution,
        normalisation=known.normalisation,
        entrance=known.waiting,
        geometry=geometry,
        labels=labels,
        labels_by=labels_by,
        answer=ANSWER,
        notes=notes,
        quantization=quantization,
    )


def assemble_detector(walked: Walked, detector: Detector) -> Assembled:
    """The network that was found.

    Raises UnsupportedError, with the framework's name and place, for one that no kernel runs.
    """
    what = walked.graph.what
    names = _names(walked)
    build = Builder(walked.resolution)
    for layer in walked.layers:
        sources = [IMAGE if each is None else names[id(each)] for each in layer.inputs]
        try:
            add_layer(build, layer, names[id(layer)], sources)
        except InputError as error:
            raise UnsupportedError(f"{what}: {layer.where}: {error}") from None
    ends = [names[id(layer)] for layer in walked.maps]
    detection = Detection(
        maps=tuple(
            BoxMap(boxes, scores, head.anchors)
            for boxes, scores, head in zip(ends[::2], ends[1::2], detector.heads, strict=True)
        ),
        classes=detector.classes,
        background=detector.background,
        score_conversion=detector.score_conversion,
        box_coding=detector.box_coding,
        score_threshold=detector.score_threshold,
        iou_threshold=detector.iou_threshold,
        max_per_class=detector.max_per_class,
        max_objects=detector.max_objects,
    )
    found = {names[id(layer)]: layer for layer in walked.layers}
    try:
        network = build.network("ssd", detection.outputs, ANSWER, detection)
        _check_anchors(network, detector, what)
        match(network)
    except (UnsupportedError, InputError) as error:
        text = str(error)
        for name, layer in found.items():
            if text.startswith(f"layer {name!r} "):
                raise UnsupportedError(f"{what}: {layer.where}: {text}") from None
        raise UnsupportedError(f"{what}: {text}") from None
    return Assembled(network._replace(name=_label(network)), found)


def _check_anchors(network: Network, detector: Detector, what: str) -> None:
    detection = network.detection
    due = anchors_of(detection, network.layers) if detection else 0
    if detector.anchors.shape != (due, 4):
        raise CheckpointError(
            f"{what}: {len(detector.anchors)} anchors, but its maps have {due} boxes"
        )
    check_anchors(detector.anchors.ravel().tolist())


def _label(network: Network) -> str:
    """The published name where the layers are those of one, else what it is by its size."""
    from ..network.families import size_label
    from ..network.ssdlite import ssdlite

    detection = network.detection
    assert detection is not None
    mine = {layer.name: layer for layer in network.layers}
    for width, _ in WIDTHS:
        published = ssdlite(
            width,
            network.resolution,
            detection.classes,
            detection.background,
            detection.score_conversion,
        )
        if {layer.name: layer for layer in published.layers} == mine:
            return published.name
    return f"ssd_{size_label(network.resolution)}"


def _names(walked: Walked) -> dict[int, str]:
    """The layers' names by id: those of the families, and boxes0, scores0, … of the heads."""
    names: dict[int, str] = {}
    readers: dict[int, list[Found]] = {}
    for layer in walked.layers:
        for source in layer.inputs:
            if source is not None:
                readers.setdefault(id(source), []).append(layer)
    for at, end in enumerate(walked.maps):
        part = f"{('boxes', 'scores')[at % 2]}{at // 2}"
        (source,) = end.inputs
        names[id(end)] = part
        if source is not None and source.operation == "depthwise" and readers[id(source)] == [end]:
            names[id(source)] = f"{part}.depthwise"
    backbone = [layer for layer in walked.layers if id(layer) not in names]
    extras = -1  # blocks behind the head make maps of their own
    for layer, name in zip(backbone, layer_names(backbone), strict=True):
        part = name.partition(".")[2]
        if extras >= 0 and part:
            extras += part == "expand"
            name = f"extra{extras - 1}.{part}"
        elif not part and _is_head(layer, readers) and extras < 0:
            name, extras = "head", 0
        names[id(layer)] = name
    return names


def _is_head(layer: Found, readers: dict[int, list[Found]]) -> bool:
    """Whether it is the last 1×1 convolution of the backbone, which heads read."""
    return layer.operation == "pointwise" and any(
        each.operation == "depthwise" for each in readers.get(id(layer), [])
    )
