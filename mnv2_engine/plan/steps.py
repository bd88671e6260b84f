"""A plan as plain data: steps, and the arrays of the arena that each works on."""

from __future__ import annotations

from ..network.layer import Network
from ..untyped import NamedTuple


class Buffer(NamedTuple):
    """An array in the arena."""

    name: str
    offset: int  # bytes from the arena's start, a multiple of ALIGNMENT
    bytes: int  # rounded up to ALIGNMENT
    shape: tuple[int, ...]
    copies: int = 1  # one a thread, Step.thread_bytes apart; `bytes` and `shape` are of one


class Step(NamedTuple):
    """One step: reads the tensor at `input`, leaves one at `output`, uses scratch in between."""

    kind: str  # of its schedule: "rows", "tiles", "conv", "head", "dense", or, measured, "layers";
    # "tap": the thin tensor goes to the caller, too; "boxes": a detector's outputs at one map do
    name: str  # "stem, block0-3", "block4", "head + pool", "classifier"
    # Those that stream into each other, or the one; empty for the ends. A detector's heads are
    # counted behind its blocks.
    blocks: range
    input: Buffer | None  # None: the caller's image
    output: Buffer | None  # None: the caller's logits
    in_place: bool
    scratch: tuple[Buffer, ...]  # named as in kernels/mnv2.h, those of a block after its number
    strip: int  # rows: output pixels of a strip, at most
    tile: int  # tiles: hidden channels of a thread's part of one, at most; layers: of a split
    thread_bytes: int  # of one thread's own scratch
    bytes: int  # of the arena that are live during the step
    unfused_bytes: int  # what the same layers need when each writes its whole output
    number: int = 0  # conv, dense, tap, boxes: which of them
    outputs: tuple[Buffer, ...] = ()  # of a detector's heads, named as their last layers
    room: Buffer | None = None  # where such outputs lie in turn, those of other steps too
    bands: int = 1  # tiles: of output rows, run through one after the other, or
    apart: bool = False  # each by one thread


class Plan(NamedTuple):
    """A network's whole schedule. `str()` is a table and a drawing for people."""

    network: Network
    precision: str  # what it is computed in, one of shapes.PRECISIONS
    dtype: str  # of the weights, one of packing.DTYPES
    threads: int  # that share every step
    steps: tuple[Step, ...]
    arena_bytes: int  # exactly what a prediction needs, its scratch included: of one image
    weight_bytes: int  # packed weights, mapped from the model file
    image_bytes: int  # the caller's uint8 image
    unfused_bytes: int  # the largest sum of live tensors when every layer runs by itself
    taps: tuple[int, ...] = ()  # blocks whose thin outputs go to the caller, ascending
    expanded: tuple[int, ...] = ()  # blocks whose expanded tensors do, within their steps
    batch: int = 1  # images that a call runs together, each in an arena of its own

    @property
    def run_bytes(self) -> int:
        """What a call needs: an arena for each image of a batch."""
        return self.batch * self.arena_bytes

    def __str__(self) -> str:
        from .shown.table import describe

        return describe(self)

    def _repr_svg_(self) -> str:
        """What a notebook shows: the drawing of `mnv2 plan --svg`."""
        from .shown.picture import draw

        return draw(self)
