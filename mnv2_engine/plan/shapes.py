"""The sizes that schedules are made of: the parts of a network, and bytes in an arena."""

from __future__ import annotations

from ..model.packed import DTYPES, PANEL
from ..network.blocks import match
from ..network.layer import Layer, Network
from ..untyped import Any, NamedTuple

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
FASTEST = "fastest"  # what a caller may ask for instead: the engine chooses


def natural_precision(dtype: str) -> str:
    """What a model file with weights of `dtype` is computed in unless a caller says otherwise."""
    return "int8" if dtype == "int8" else "float32"


def elements(shape: tuple[int, ...]) -> int:
    """How many values a shape has."""
    count = 1
    for extent in shape:
        count *= extent
    return count


def panels_of(channels: int) -> int:
    """Panels that hold so many channels."""
    return -(-channels // PANEL)


class Shapes:
    """The parts of a network, with the sizes that schedules for `threads` are made of."""

    def __init__(
        self,
        network: Network,
        threads: int,
        precision: Precision = FLOAT32,
        dtype: str | None = None,
        taps: tuple[int, ...] = (),
    ) -> None:
        self.network = network
        self.parts = match(network)
        self.blocks = self.parts.blocks
        self.threads = threads
        self.precision = precision
        self.dtype = dtype or precision.name  # of the weights
        self.taps = taps  # blocks whose thin outputs the caller wants, ascending
        self.known: dict[Any, Any] = {}  # of one block, which many schedules ask for

    def layers_of(self, kind: str, blocks: range, number: int) -> list[Layer]:
        """The layers that a step of `kind` runs, those of its blocks or the one of its `number`."""
        parts = self.parts
        if kind == "head":
            return [parts.head or parts.pool]
        if kind == "conv":
            return [parts.convs[number]]
        if kind == "dense":
            return [parts.dense[number]]
        found = [parts.stem] if 0 in blocks else []
        for index in blocks:
            block = parts.blocks[index]
            found += [each for each in (block.expand, block.depthwise, block.project) if each]
        return found

    def bytes_of(self, shape: tuple[int, ...], item_bytes: int) -> int:
        """Bytes of an array in the arena, rounded up to ALIGNMENT."""
        behind = OVERREAD_BYTES if self.precision is INT8 and self.threads > 1 else 0
        return -(-elements(shape) * item_bytes // ALIGNMENT) * ALIGNMENT + behind

    def weight_bytes(self, index: int) -> int:
        """Bytes of a block's weights."""
        block = self.blocks[index]
        inputs = block.in_channels if block.expand else 0
        per_hidden = inputs + block.kernel * block.kernel + block.out_channels
        return block.hidden * per_hidden * DTYPES[self.dtype]

    def thin_input(self, index: int) -> tuple[int, ...]:
        """Shape of a block's thin input: (height, width, channels)."""
        return (*self.blocks[index].depthwise.in_size, self.blocks[index].in_channels)

    def thin_output(self, index: int) -> tuple[int, ...]:
        """Shape of its thin output."""
        return (*self.blocks[index].depthwise.out_size, self.blocks[index].out_channels)

    def thin_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a thin tensor in the arena."""
        return self.bytes_of(shape, self.precision.thin)
