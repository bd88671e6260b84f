"""How a step of rows goes through the maps of its blocks, in any precision: the strips of a row,
where thin rows lie, and what is counted. rows.py and int8/rows.py compute them. As
kernels/strips.h, but that a cascade is a loop here, where C calls itself."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...model.packed import PANEL
from .compiling import inlined
from .tables import ABSENT

# What is counted of each block while a cascade runs.
NEXT = 0  # the input row that it takes next
MADE = 1  # its output rows that are complete
NEEDED = 2  # its output rows that the block behind it needs
COUNTERS = 3


@inlined
def panels_of(channels: int) -> int:
    return (channels + PANEL - 1) // PANEL


class Strip(NamedTuple):
    """Output columns [first, last) and the columns of the padded input row under them."""

    first: int
    last: int
    start: int  # padded column at the left edge of the expanded strip
    end: int  # padded column past the strip
    fresh: int  # real columns [fresh, past) are new in this strip
    past: int


@inlined
def strips_of(block: Any, step: Any) -> Any:
    return (block.out_width + step.strip - 1) // step.strip


@inlined
def strip_of(block: Any, first: int, left: int) -> Strip:
    """The strip that begins at output column `first`: `left` more, with it, share the row
    evenly."""
    last = first + (block.out_width - first + left - 1) // left
    start, end = first * block.stride, (last - 1) * block.stride + block.kernel
    seen = (first - 1) * block.stride + block.kernel if first else 0  # by the strips before
    fresh = max(seen - block.pad_left, 0)
    return Strip(first, last, start, end, fresh, min(end - block.pad_left, block.in_width))


@inlined
def behind_stem(blocks: Any, index: int) -> Any:
    """Whether the stem's outputs are the block's expanded tensor, and its thin rows panels."""
    return index == 0 and blocks[0].expand_weight == ABSENT


@inlined
def thin_row(blocks: Any, step: Any, index: int, j: int) -> Any:
    """Where thin input row j of a block lies: in the tensor of the step, or among the last rows
    kept."""
    block = blocks[index]
    if index == step.first and index > 0:
        return step.input + j * block.in_width * block.in_channels
    stored = panels_of(block.hidden) * PANEL if behind_stem(blocks, index) else block.in_channels
    return block.thin + j % block.thin_rows * block.in_width * stored
