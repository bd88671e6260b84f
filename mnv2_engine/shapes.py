"""The sizes that schedules are made of: the layers of a network by name, and bytes in an arena."""

from __future__ import annotations

from typing import Any

from .architecture import Architecture, layers
from .packing import PANEL

FLOAT_BYTES = 4
ALIGNMENT = 64  # bytes; a cache line, and one AVX-512 vector


def elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def bytes_of(shape: tuple[int, ...]) -> int:
    """Bytes of a float32 array in the arena, rounded up to ALIGNMENT."""
    return -(-elements(shape) * FLOAT_BYTES // ALIGNMENT) * ALIGNMENT


def panels_of(channels: int) -> int:
    return -(-channels // PANEL)


class Shapes:
    """The layers of a network by name, with the sizes that schedules for `threads` are made of."""

    def __init__(self, network: Architecture, threads: int) -> None:
        self.network = network
        self.threads = threads
        self.layers = {layer.name: layer for layer in layers(network)}
        self.depthwise = [self.layers[f"block{i}.depthwise"] for i in range(len(network.blocks))]
        self.known: dict[Any, Any] = {}  # of one block, which many schedules ask for

    def weight_bytes(self, index: int) -> int:
        block = self.network.blocks[index]
        inputs = block.in_channels if block.expansion != 1 else 0
        per_hidden = inputs + block.kernel * block.kernel + block.out_channels
        return block.hidden * per_hidden * FLOAT_BYTES

    def thin_input(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise[index].in_size, self.network.blocks[index].in_channels)

    def thin_output(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise[index].out_size, self.network.blocks[index].out_channels)
