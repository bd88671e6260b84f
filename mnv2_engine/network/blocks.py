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

from collections.abc import Sequence

from ..errors import InputError
from ..untyped import TYPE_CHECKING, NamedTuple
from .layer import IMAGE, Layer, Network
from .supported import check_block, check_blocks, check_convs, check_dense, check_stem, refuse

if TYPE_CHECKING:
    from .detector import Head


class Block(NamedTuple):
    """One inverted residual with a linear bottleneck, or a kin of it."""

    expand: Layer | None  # None: the depthwise layer reads the thin input (t = 1)
    depthwise: Layer
    project: Layer
    residual: bool  # a shortcut joins the thin ends (section 3.3)
    source: str  # the layer whose value is the thin input
    output: str  # the layer whose value is the thin output: the project layer, or the add

    @property
    def name(self) -> str:
        """What its layers' names begin with, "block3", else its output's name."""
        return self.project.name.removesuffix(".project")

    @property
    def in_channels(self) -> int:
        """Channels of the block's thin input."""
        return (self.expand or self.depthwise).in_channels

    @property
    def hidden(self) -> int:
        """Channels of the expanded tensor."""
        return self.depthwise.out_channels

    @property
    def out_channels(self) -> int:
        """Channels of its thin output."""
        return self.project.out_channels

    @property
    def kernel(self) -> int:
        """Extent of the depthwise kernel."""
        return self.depthwise.kernel

    @property
    def stride(self) -> int:
        """Stride of the depthwise layer."""
        return self.depthwise.stride


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
        raise InputError(
            f"features at {at!r:.80}: {problem}; there are {blocks[0].name} to {blocks[-1].name}"
        )
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


def match_block(
    layers: tuple[Layer, ...], at: int, thin: str, readers: dict[str, list[Layer]]
) -> Block | None:
    """The block whose first layer is `layers[at]` and whose input is `thin`; None where none is."""

    def follows(i: int, operation: str, source: str) -> bool:
        return (
            i < len(layers) and layers[i].operation == operation and layers[i].inputs == (source,)
        )

    first = layers[at]
    expand = None
    if follows(at, "pointwise", thin) and follows(at + 1, "depthwise", first.name):
        expand = first
        at += 1
    elif not follows(at, "depthwise", thin):
        return None
    depthwise = layers[at]
    if not follows(at + 1, "pointwise", depthwise.name):
        refuse(depthwise.name, "is not followed by a 1×1 convolution")
    project = layers[at + 1]
    residual = False
    for inner in (expand, depthwise):
        if inner is not None and len(readers[inner.name]) != 1:
            names = [layer.name for layer in readers[inner.name]]
            refuse(inner.name, f"is read by several layers, {', '.join(names[:3])}")
    output = project.name
    if at + 2 < len(layers) and layers[at + 2].operation == "add":
        joined = layers[at + 2]
        if set(joined.inputs) != {project.name, thin}:
            refuse(joined.name, "does not add a block's input to its output")
        residual, output = True, joined.name
    if residual and len(readers[project.name]) != 1:
        refuse(project.name, "is read by several layers")
    expected = {(expand or depthwise).name, output} if residual else {(expand or depthwise).name}
    others = [layer.name for layer in readers[thin] if layer.name not in expected]
    if others:
        refuse(others[0], f"reads {thin!r}, which is the input of another block")
    return Block(expand, depthwise, project, residual, thin, output)
