"""The sizes that schedules are made of: the parts of a network, and bytes in an arena."""

from __future__ import annotations

from ..model.packed import DTYPES, PANEL
from ..network.blocks import match
from ..network.layer import Layer, Network
from ..network.parts import IDENTITY
from ..untyped import Any, NamedTuple
from .cpu_costs import ANY, CPU_COSTS

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
        expanded: tuple[int, ...] = (),
        cpu: str = ANY,
    ) -> None:
        self.network = network
        self.parts = match(network)
        self.chain = len(self.parts.blocks)  # how many blocks stand in a row
        # A detector's heads are blocks, too, behind those of the chain.
        self.blocks = (*self.parts.blocks, *(head.block for head in self.parts.heads))
        self.threads = threads
        self.precision = precision
        self.dtype = dtype or precision.name  # of the weights
        self.taps = taps  # blocks whose thin outputs the caller wants, ascending
        self.expanded = expanded  # and whose expanded tensors
        self.cpu = cpu
        self.costs = CPU_COSTS[cpu, precision.name]
        self.known: dict[Any, Any] = {}  # of one block, which many schedules ask for
        self.outputs = place_outputs(self)

    def of_any_cpu(self) -> Shapes:
        """The same for a CPU of no family."""
        return Shapes(
            self.network, self.threads, self.precision, self.dtype, self.taps, self.expanded
        )

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
            for block in (self.blocks[index], *(self.blocks[i] for i in self.heads_within(index))):
                found += [each for each in (block.expand, block.depthwise, block.project) if each]
        return [layer for layer in found if layer.operation != IDENTITY]

    @property
    def order(self) -> list[int]:
        """The blocks that have steps, in their order: heads of thin tensors behind theirs."""
        return [i for at in range(self.chain) for i in (at, *self.heads_behind(at))]

    def heads_within(self, index: int) -> range:
        """The heads, as blocks, that read the expanded tensor of block `index`, in its step."""
        return self._heads_at(index, True)

    def heads_behind(self, index: int) -> range:
        """The heads, as blocks, that read the thin output of block `index`."""
        return self._heads_at(index, False)

    def _heads_at(self, index: int, expanded: bool) -> range:
        where = (index, expanded)
        found = [i for i, h in enumerate(self.parts.heads) if (h.at, h.expanded) == where]
        return range(self.chain + found[0], self.chain + found[-1] + 1) if found else range(0)

    def only_tiles(self, index: int) -> bool:
        """Whether nothing but tiles runs block `index`: heads, blocks whose expanded tensors heads
        or the caller read, and those without a depthwise layer."""
        plain = self.blocks[index].depthwise.operation == IDENTITY
        read = index in self.expanded or len(self.heads_within(index)) > 0
        return plain or read or index >= self.chain

    def branches(self, index: int) -> list[int]:
        """The blocks that filter and project what a step of tiles expands: `index` itself and the
        heads that read its expanded tensor."""
        return [index, *self.heads_within(index)]

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


class Outputs(NamedTuple):
    """Where a detector's outputs lie: in room at the arena's high end, that no tensor may take from
    the first step on that makes one."""

    bytes: int  # of the room
    below: dict[int, int]  # head, as a block -> bytes from the start of its output to the end
    first: int  # the first block whose input may not lie in the room
    maps: dict[int, tuple[int, ...]]  # head, as a block -> the maps that are complete with it


NO_OUTPUTS = Outputs(0, {}, 1 << 30, {})


def place_outputs(shapes: Shapes) -> Outputs:
    """The outputs of a map are handed to the caller as soon as both are there, and give their bytes
    to those of the next one."""
    detection = shapes.network.detection
    if detection is None:
        return NO_OUTPUTS
    waiting = {
        i: {each.boxes, each.scores} for i, each in enumerate(detection.maps)
    }  # map -> what is not there yet
    begun: set[int] = set()
    below: dict[int, int] = {}
    complete: dict[int, tuple[int, ...]] = {}
    at = most = 0
    for i, head in enumerate(shapes.parts.heads):  # in the order in which they run
        index, name = shapes.chain + i, head.project.name
        last = i + 1 == len(shapes.parts.heads)
        is_step = last or not head.expanded or shapes.parts.heads[i + 1][2:] != head[2:]
        at += shapes.thin_bytes(shapes.thin_output(index))
        below[index], most = at, max(most, at)
        for number, names in waiting.items():
            if name in names:
                begun.add(number)
                names.discard(name)
        if is_step:
            complete[index] = tuple(sorted(n for n in begun if not waiting[n]))
            begun -= set(complete[index])
            if not begun:
                at = 0
    first = shapes.parts.heads[0]
    return Outputs(most, below, first.at if first.expanded else first.at + 1, complete)
