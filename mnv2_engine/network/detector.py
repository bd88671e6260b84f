"""A detector's table matched with what the kernels run: one chain of blocks, and heads beside it.

    head      [depthwise] -> pointwise to an output, of a block's thin output or of its expanded
              tensor: then it runs within the block's tiles
    block     as blocks.py has them, or expand -> project without a depthwise layer between, as
              where the last 1×1 convolution is followed by the first of the extra feature layers

The chain has neither pool nor dense layers; it ends where only heads read on.
"""

from __future__ import annotations

from .block import Block, match_block
from .layer import IMAGE, Layer, Network
from .parts import IDENTITY, Head, Parts
from .supported import check_block, check_blocks, check_stem, refuse


def identity(name: str, source: Layer) -> Layer:
    """The depthwise layer that gives what `source` gives."""
    channels, size = source.out_channels, source.out_size
    return Layer(
        name=name,
        operation=IDENTITY,
        inputs=(source.name,),
        in_channels=channels,
        out_channels=channels,
        kernel=1,
        stride=1,
        dilation=1,
        in_size=size,
        out_size=size,
        pad_rows=(0, 0),
        pad_columns=(0, 0),
        activation="linear",
    )


def match_detector(network: Network) -> Parts:
    """The parts of a network whose answer is boxes. Raises UnsupportedError for what no kernel
    runs."""
    layers = {layer.name: layer for layer in network.layers}
    ends = [_head_layers(layers, name, network) for name in network.outputs]
    beside = {each.name for head in ends for each in head}
    chain = tuple(layer for layer in network.layers if layer.name not in beside)
    readers: dict[str, list[Layer]] = {IMAGE: [], **{layer.name: [] for layer in chain}}
    for layer in chain:
        for source in layer.inputs:
            readers[source].append(layer)
    stem = network.layers[0]
    check_stem(stem)
    if not chain or chain[0] != stem or len(readers[IMAGE]) != 1:
        refuse(stem.name, "is not the only layer that reads the image")

    blocks: list[Block] = []
    at, thin = 1, stem.name
    while at < len(chain):
        block = match_block(chain, at, thin, readers)
        if block is None:
            block = _plain(chain, at, thin, readers)
        else:
            check_block(block.expand, block.depthwise, block.project, block.residual)
        at += len(_layers(block)) + block.residual
        blocks.append(block)
        thin = block.output
    if not blocks:
        refuse(stem.name, "is not followed by a block")
    check_blocks(len(blocks) + len(ends))
    heads = [_head(head, blocks, layers) for head in ends]
    heads.sort(key=lambda head: (head.at, not head.expanded))
    return Parts(stem, tuple(blocks), (), None, None, (), tuple(heads))


def _layers(block: Block) -> list[Layer]:
    found = (block.expand, block.depthwise, block.project)
    return [layer for layer in found if layer is not None and layer.operation != IDENTITY]


def _head_layers(layers: dict[str, Layer], output: str, network: Network) -> list[Layer]:
    """The layers of the head that ends in `output`: with its depthwise layer, or alone."""
    project = layers[output]
    source = project.inputs[0]
    if source == IMAGE:
        refuse(output, "is an output of the image itself")
    before = layers[source]
    if before.operation != "depthwise" or before.inputs[0] == IMAGE:
        return [project]
    readers = [layer.name for layer in network.layers if source in layer.inputs]
    if len(readers) != 1:
        refuse(source, f"is read by several layers, {', '.join(readers[:3])}")
    check_block(None, before, project, False)
    return [before, project]


def _plain(chain: tuple[Layer, ...], at: int, thin: str, readers: dict[str, list[Layer]]) -> Block:
    """The block of two 1×1 convolutions, `chain[at]` and what reads it."""
    expand = chain[at]
    if expand.operation != "pointwise" or expand.inputs != (thin,):
        refuse(expand.name, f"is {expand.operation} where a block is expected")
    following = readers[expand.name]
    if len(readers[thin]) != 1 or len(following) != 1 or following[0].operation != "pointwise":
        refuse(expand.name, "is not followed by a depthwise or a 1×1 convolution")
    if expand.activation == "linear":
        refuse(expand.name, "has no activation, where ReLU or ReLU6 is expected")
    project = following[0]
    return Block(expand, identity(expand.name, expand), project, False, thin, project.name)


def _head(head: list[Layer], blocks: list[Block], layers: dict[str, Layer]) -> Head:
    source = head[0].inputs[0]
    depthwise = head[0] if len(head) == 2 else identity(source, layers[source])
    for index, block in enumerate(blocks):
        if source == block.output:
            return Head(depthwise, head[-1], index, False)
        if index > 0 and block.expand is not None and source == block.expand.name:
            return Head(depthwise, head[-1], index, True)
    refuse(head[0].name, f"reads {source!r}, which is neither a block's output nor expanded")
