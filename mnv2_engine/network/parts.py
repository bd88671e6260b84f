"""A network as the kernels run it: what blocks.py and detector.py make of a table of layers."""

from __future__ import annotations

from ..untyped import NamedTuple
from .block import Block
from .layer import Layer

IDENTITY = "identity"  # the operation of a depthwise layer that is not there


class Head(NamedTuple):
    """The layers from a tensor of the chain to one output."""

    depthwise: Layer  # IDENTITY where the 1×1 convolution reads the tensor itself
    project: Layer
    at: int  # the block whose tensor it reads
    expanded: bool  # that block's expanded tensor; else its thin output

    @property
    def block(self) -> Block:
        """The same as a block without an expand layer."""
        source = self.depthwise.inputs[0]
        return Block(None, self.depthwise, self.project, False, source, self.project.name)


class Parts(NamedTuple):
    """A network as the kernels run it."""

    stem: Layer
    blocks: tuple[Block, ...]
    convs: tuple[Layer, ...]  # map to map
    head: Layer | None  # fused with the pool; None: the pool reads a map
    pooling: Layer | None  # None of a detector, which ends in its heads
    dense: tuple[Layer, ...]  # none: the features are the answer
    # Of a detector: by the block that each reads, those of its expanded tensor first.
    heads: tuple[Head, ...] = ()

    @property
    def pool(self) -> Layer:
        """The mean over all pixels, which every classifier has."""
        assert self.pooling is not None, "a detector has no pool"
        return self.pooling

    @property
    def pooled(self) -> Layer:
        """The layer whose outputs are pooled."""
        return self.head or (self.convs[-1] if self.convs else self.blocks[-1].project)
