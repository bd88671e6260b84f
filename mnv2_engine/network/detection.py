"""What a detector's outputs mean: boxes against anchors, scores of classes, and which are kept.

A network whose answer is `boxes` has two outputs a feature map, both 1×1 convolutions without an
activation. The box layer has 4 · anchors channels: of each anchor of a cell y, x, height and width,
coded. The score layer has (classes + background) · anchors. The anchors themselves are the array
`anchors` of the model file, float32 [N][4] of (y centre, x centre, height, width) in parts of the
image: maps in order, cells row by row, the anchors of a cell together.
"""

from __future__ import annotations

from ..errors import InputError
from ..untyped import Any, NamedTuple
from .layer import ANCHORS as ANCHORS

SCORE_CONVERSIONS = ("sigmoid", "softmax")
MAX_MAPS = 16
MAX_CELL_ANCHORS = 64
MAX_ANCHORS = 1 << 20
MAX_OBJECT_CLASSES = 1 << 12
MAX_OBJECTS = 1 << 16
MAX_CODING = 1e6


class BoxMap(NamedTuple):
    """The outputs at one feature map."""

    boxes: str  # names of layers
    scores: str
    anchors: int  # a cell


class Detection(NamedTuple):
    """How the outputs become objects."""

    maps: tuple[BoxMap, ...]
    classes: int  # without the background
    background: bool  # whether each anchor's first score is the background's
    score_conversion: str  # one of SCORE_CONVERSIONS
    box_coding: tuple[float, float, float, float]  # what codes of y, x, h and w are divided by
    score_threshold: float  # what scores less is no object
    iou_threshold: float  # of two boxes of a class that overlap more, the better one stays
    max_per_class: int
    max_objects: int  # of all classes together

    @property
    def columns(self) -> int:
        """Scores of an anchor."""
        return self.classes + self.background

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the network, in order."""
        return tuple(name for each in self.maps for name in (each.boxes, each.scores))


def check_anchors(values: Any) -> None:
    """Raise InputError unless each row of `values`, (y, x, height, width) and so on, is finite and
    has a height and a width above 0. `values` are floats in one sequence."""
    from math import isfinite

    for i, value in enumerate(values):
        if not (isfinite(value) and (i % 4 < 2 or value > 0)):
            raise InputError(
                f"anchor {i // 4}: {value!r}: expected finite numbers, height and width above 0"
            )


def check_values(detection: Detection) -> None:
    """Raise InputError for a value out of range. `box_maps.check_detection` checks the layers."""
    maps, coding = detection.maps, detection.box_coding
    if not 0 < len(maps) <= MAX_MAPS:
        raise InputError(f"detection: {len(maps)} feature maps: expected 1 to {MAX_MAPS}")
    for each in maps:
        _check_count("anchors a cell", each.anchors, MAX_CELL_ANCHORS)
    _check_count("classes", detection.classes, MAX_OBJECT_CLASSES)
    _check_count("max_per_class", detection.max_per_class, MAX_OBJECTS)
    _check_count("max_objects", detection.max_objects, MAX_OBJECTS)
    if not isinstance(detection.background, bool):
        raise InputError(f"detection: background {detection.background!r:.80}: expected a bool")
    if detection.score_conversion not in SCORE_CONVERSIONS:
        raise InputError(
            f"detection: score_conversion {detection.score_conversion!r:.80}: expected one of "
            f"{', '.join(SCORE_CONVERSIONS)}"
        )
    if detection.score_conversion == "softmax" and detection.columns == 1:
        raise InputError("detection: softmax of one class is 100 % always: expected sigmoid")
    for name in ("score_threshold", "iou_threshold"):
        value = getattr(detection, name)
        if not _is_number(value) or not 0 <= value <= 1:  # NaN is not within
            raise InputError(f"detection: {name} {value!r:.80}: expected a number from 0 to 1")
    if len(coding) != 4 or not all(_is_number(each) and 0 < each <= MAX_CODING for each in coding):
        raise InputError(
            f"detection: box_coding {coding!r:.80}: expected four numbers above 0, for y, x, "
            "height and width"
        )


def _check_count(what: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InputError(f"detection: {what} {value!r:.80}: expected 1 to {most}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# --- JSON ---------------------------------------------------------------------------------

_KEYS = Detection._fields
_MAP_KEYS = BoxMap._fields


def to_json(detection: Detection) -> dict[str, object]:
    """Plain JSON values, the inverse of `from_json`."""
    made: dict[str, object] = dict(zip(_KEYS, detection, strict=True))
    made["maps"] = [dict(zip(_MAP_KEYS, each, strict=True)) for each in detection.maps]
    made["box_coding"] = list(detection.box_coding)
    return made


def from_json(obj: object) -> Detection:
    """What parsed JSON says. Raises InputError unless it has exactly the keys, of the right types;
    `check_values` checks the values."""
    if not isinstance(obj, dict) or set(obj) != set(_KEYS):
        raise InputError(f"detection: expected exactly the keys {', '.join(_KEYS)}")
    rows, coding = obj["maps"], obj["box_coding"]
    if not isinstance(rows, list) or not isinstance(coding, list):
        raise InputError("detection: expected lists for maps and box_coding")
    maps = []
    for row in rows[: MAX_MAPS + 1]:
        if not isinstance(row, dict) or set(row) != set(_MAP_KEYS):
            raise InputError(f"detection: a map: expected exactly the keys {', '.join(_MAP_KEYS)}")
        if not isinstance(row["boxes"], str) or not isinstance(row["scores"], str):
            raise InputError("detection: a map: expected names of layers for boxes and scores")
        maps.append(BoxMap(row["boxes"], row["scores"], row["anchors"]))
    if not isinstance(obj["score_conversion"], str):
        raise InputError("detection: expected a text for score_conversion")
    return Detection(**{**obj, "maps": tuple(maps), "box_coding": tuple(coding)})
