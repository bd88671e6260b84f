"""The sizes that schedules are made of: the layers of a network by name, and bytes in an arena."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..model.packed import DTYPES, PANEL
from ..network.architecture import Architecture, layers

ALIGNMENT = 64  # bytes; a cache line, and one AVX-512 vector
# What int8 kernels may read, and ignore, behind an array: MNV2_OVERREAD of kernels/mnv2.h. A lone
# thread needs it at the arena's end; where another one may be writing, every array needs its own.
OVERREAD_BYTES = 128


class Precision(NamedTuple):
    """What a network is computed in: the bytes of a value of each kind of array, and how many
    terms of a sum one multiply-add of a 1x1 convolution takes."""

    name: str
    thin: int  # input and output of a block
    expanded: int  # in front of the depthwise layer
    filtered: int  # behind it
    sums: int  # of a convolution that is not complete
    terms: int = 1


FLOAT32 = Precision("float32", 4, 4, 4, 4)
BFLOAT16 = Precision("bfloat16", 2, 4, 2, 4, terms=2)
INT8 = Precision("int8", 1, 1, 1, 4, terms=4)
PRECISIONS = {each.name: each for each in (FLOAT32, BFLOAT16, INT8)}


def natural_precision(dtype: str) -> str:
    """What a model file with weights of `dtype` is computed in unless a caller says otherwise."""
    return "int8" if dtype == "int8" else "float32"


def elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def panels_of(channels: int) -> int:
    return -(-channels // PANEL)


class Shapes:
    """The layers of a network by name, with the sizes that schedules for `threads` are made of."""

    def __init__(
        self,
        network: Architecture,
        threads: int,
        precision: Precision = FLOAT32,
        dtype: str | None = None,
    ) -> None:
        self.network = network
        self.threads = threads
        self.precision = precision
        self.dtype = dtype or precision.name  # of the weights
        self.layers = {layer.name: layer for layer in layers(network)}
        self.depthwise = [self.layers[f"block{i}.depthwise"] for i in range(len(network.blocks))]
        self.known: dict[Any, Any] = {}  # of one block, which many schedules ask for

    def bytes_of(self, shape: tuple[int, ...], item_bytes: int) -> int:
        """Bytes of an array in the arena, rounded up to ALIGNMENT."""
        behind = OVERREAD_BYTES if self.precision is INT8 and self.threads > 1 else 0
        return -(-elements(shape) * item_bytes // ALIGNMENT) * ALIGNMENT + behind

    def weight_bytes(self, index: int) -> int:
        block = self.network.blocks[index]
        inputs = block.in_channels if block.expansion != 1 else 0
        per_hidden = inputs + block.kernel * block.kernel + block.out_channels
        return block.hidden * per_hidden * DTYPES[self.dtype]

    def thin_input(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise[index].in_size, self.network.blocks[index].in_channels)

    def thin_output(self, index: int) -> tuple[int, ...]:
        return (*self.depthwise[index].out_size, self.network.blocks[index].out_channels)

    def thin_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a thin tensor in the arena."""
        return self.bytes_of(shape, self.precision.thin)
