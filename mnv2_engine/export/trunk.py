"""The way through a network that every format is written along."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..network.blocks import match
from ..network.layer import Layer, Network

T = TypeVar("T")


def trunk(
    network: Network,
    at: T,
    convolution: Callable[[Layer, T], T],
    shortcut: Callable[[Layer, T, T], T],
) -> T:
    """What is pooled, of the image `at`.

    `convolution(layer, at)` gives what a layer makes of `at`; `shortcut(layer, before, at)` the sum
    of a block's input and the output of its project `layer`.
    """
    parts = match(network)
    at = convolution(parts.stem, at)
    for block in parts.blocks:
        before = at
        for layer in (block.expand, block.depthwise, block.project):
            if layer is not None:
                at = convolution(layer, at)
        if block.residual:
            at = shortcut(block.project, before, at)
    for layer in parts.convs:
        at = convolution(layer, at)
    return convolution(parts.head, at) if parts.head else at
