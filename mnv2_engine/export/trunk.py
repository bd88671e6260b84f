"""The way through a network that every format is written along."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..network.architecture import Architecture, Layer, layers

T = TypeVar("T")


def trunk(
    network: Architecture,
    at: T,
    convolution: Callable[[Layer, T], T],
    shortcut: Callable[[Layer, T, T], T],
) -> T:
    """The head's output, of the image `at`.

    `convolution(layer, at)` gives what a layer makes of `at`; `shortcut(layer, before, at)` the sum
    of a block's input and the output of its project `layer`.
    """
    table = {layer.name: layer for layer in layers(network)}
    at = convolution(table["stem"], at)
    for i, block in enumerate(network.blocks):
        before = at
        for part in ("expand", "depthwise", "project"):
            if f"block{i}.{part}" in table:
                at = convolution(table[f"block{i}.{part}"], at)
        if block.residual:
            at = shortcut(table[f"block{i}.project"], before, at)
    return convolution(table["head"], at)
