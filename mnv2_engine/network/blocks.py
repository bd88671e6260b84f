"""What the kernels run: a table of layers matched with stem, inverted residuals, head and answer.

The one place that knows how layers make blocks:

    stem      conv 3×3 of the image, stride 2
    block     [pointwise `expand`] -> depthwise -> pointwise `project` [-> add of the block's input]
    convs     convolutions from map to map behind the last block, without padding
    head      pointwise in front of the pool
    pool
    dense     up to four, the last of which gives the logits

The heads of a detector are detector.py's. `match` gives the parts of a network, or raises
UnsupportedError with the sentence of supported.py that says what it is that no kernel runs.
"""

from __future__ import annotations

from ..errors import InputError
from ..untyped import Sequence
from .block import Block, match_block
from .layer import IMAGE, Layer, Network
from .parts import Parts
from .supported import check_block, check_blocks, check_convs, check_dense, check_stem, refuse


def match(network: Network) -> Parts:
    """The parts of `network`. Raises UnsupportedError for what no kernel runs."""
    if network.detection is not None:
        from .detector import match_detector

        return match_detector(network)
    layers = network.layers
    readers: dict[str, list[Layer]] = {IMAGE: []}
    for layer in layers:
        readers[layer.name] = []
        for source in layer.inputs:
            readers[source].append(layer)
    stem = layers[0]
    check_stem(stem)
    if len(readers[IMAGE]) != 1:
        refuse(readers[IMAGE][-1].name, "reads the image beside the stem")

    blocks: list[Block] = []
    at, thin = 1, stem.name
    while at < len(layers):
        block = match_block(layers, at, thin, readers)
        if block is None:
            break
        check_block(block.expand, block.depthwise, block.project, block.residual)
        at += (block.expand is not None) + 2 + block.residual
        blocks.append(block)
        thin = block.output
    if not blocks:
        refuse(layers[min(at, len(layers) - 1)].name, "follows the stem, where a block is expected")

    check_blocks(len(blocks))

    tail = layers[at:]
    for layer in tail:
        if layer.inputs != (thin,) or len(readers[thin]) != 1:
            refuse(layer.name, "is no part of one chain behind the last block")
        thin = layer.name
    names = [layer.operation for layer in tail]
    if "pool" not in names:
        refuse(thin, "is not followed by a pool over all pixels")
    pool_at = names.index("pool")
    convs, dense = list(tail[:pool_at]), tail[pool_at + 1 :]
    for layer in convs:
        if layer.operation not in ("conv", "pointwise"):
            refuse(layer.name, f"is {layer.operation} behind the last block")
    head = convs.pop() if convs and convs[-1].operation == "pointwise" else None
    check_convs(convs)
    check_dense(dense)
    return Parts(stem, tuple(blocks), tuple(convs), head, tail[pool_at], dense)


def tap_names(parts: Parts, at: Sequence[str] | None) -> list[str]:
    """The names of the blocks `at`; by default the last one at each stride from 4 on."""
    blocks = parts.blocks
    if at is None:
        first = next((i for i, block in enumerate(blocks) if block.stride > 1), 0)
        ends = (i for i in range(first, len(blocks) - 1) if blocks[i + 1].stride > 1)
        return [blocks[i].name for i in (*ends, len(blocks) - 1)]
    names = {name: block.name for block in blocks for name in (block.output, block.name)}
    names |= {layer.name: layer.name for layer in _expanding(parts)}
    wanted = [at] if isinstance(at, str) else list(at)
    unknown = [name for name in wanted if not isinstance(name, str) or name not in names]
    if unknown or not wanted or len(set(wanted)) != len(wanted):
        problem = f"{unknown[0]!r:.80} is no block" if unknown else "expected blocks, each once"
        # An expand layer behind the first block is one, too: its output never exists whole.
        there = f"{blocks[0].name} to {blocks[-1].name}"
        if expanding := _expanding(parts):
            there += f", and expanded {expanding[0].name} to {expanding[-1].name}"
        raise InputError(f"features at {at!r:.80}: {problem}; there are {there}")
    return [names[name] for name in wanted]


def tap_indices(parts: Parts, at: Sequence[str] | None) -> tuple[int, ...]:
    """The indices of the blocks `at`, ascending."""
    wanted = tap_names(parts, at)
    return tuple(i for i, block in enumerate(parts.blocks) if block.name in wanted)


def expanded_indices(parts: Parts, at: Sequence[str] | None) -> tuple[int, ...]:
    """The indices of the blocks whose expand layers are among `at`, ascending."""
    wanted = tap_names(parts, at)
    found = (i for i, block in enumerate(parts.blocks) if block.expand in _expanding(parts))
    return tuple(i for i in found if _expand_name(parts, i) in wanted)


def tap_shapes(parts: Parts) -> dict[str, tuple[int, int, int]]:
    """(height, width, channels) of everything that `tap_names` may name."""
    shapes = {block.name: (*block.depthwise.out_size, block.out_channels) for block in parts.blocks}
    return shapes | {
        layer.name: (*layer.out_size, layer.out_channels) for layer in _expanding(parts)
    }


def tap_order(parts: Parts, taps: Sequence[int], expanded: Sequence[int]) -> list[str]:
    """The names of a plan's taps in the order in which an executor fills them."""
    thin = [parts.blocks[index].name for index in taps]
    return [*thin, *(_expand_name(parts, index) for index in expanded)]


def _expanding(parts: Parts) -> list[Layer]:
    return [block.expand for block in parts.blocks[1:] if block.expand is not None]


def _expand_name(parts: Parts, index: int) -> str:
    layer = parts.blocks[index].expand
    assert layer is not None
    return layer.name
