"""The model file: container, description, packed weights, labels, input specification.

`Outline` is what a caller asks of its network: all but the layers, which take time to read.
"""

from __future__ import annotations

from ..untyped import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..network.layer import Network


class Outline(NamedTuple):
    """Each field is that of `Network`."""

    name: str
    resolution: tuple[int, int]  # (height, width) of the input, pixels
    answer: str  # "boxes" of a detector
    classes: int
    features: int


def outline_of(network: Network) -> Outline:
    """The outline of a network."""
    return Outline(
        network.name, network.resolution, network.answer, network.classes, network.features
    )
