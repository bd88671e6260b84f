"""What a detector finds, for callers."""

from __future__ import annotations

from ..untyped import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels of the caller's image, upright, from its top left corner."""

    left: float
    top: float
    right: float
    bottom: float


class Detection(NamedTuple):
    """One object in a picture."""

    label: str  # the model file's, or "class <index>" where it has none
    index: int  # type: ignore[assignment]  # of the class, without the background; hides a method
    score: float  # 0 to 1
    box: Box
