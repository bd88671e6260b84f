"""Every shape that a kernel meets in the published networks, each once, for tests and benches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..network.block import Block
from ..network.blocks import match
from ..network.families import efficientnet_lite, mobilenet_v2
from ..network.layer import Layer, Network
from ..network.parts import Parts

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SIZES = (96, 128, 160, 192, 224)


class KernelShape(NamedTuple):
    """A layer as a kernel sees it. Its string is a name that stays the same from version to
    version: "expand-56x56-24-144", "depthwise3s2-112x112-96"."""

    kind: str  # "stem", "expand", "depthwise", "project", "head" or "classifier"
    in_size: tuple[int, int]  # (height, width), pixels
    in_channels: int
    out_channels: int
    kernel: int
    stride: int

    def __str__(self) -> str:
        height, width = self.in_size
        if self.kind == "depthwise":
            return f"depthwise{self.kernel}s{self.stride}-{height}x{width}-{self.in_channels}"
        return f"{self.kind}-{height}x{width}-{self.in_channels}-{self.out_channels}"


class BlockShape(NamedTuple):
    """An inverted residual, by the shapes of its layers; of block 0 the stem is one. Its string is
    a name as that of a KernelShape: "block-56x56-24-144-24-3s1", and "+" if it has a shortcut."""

    layers: tuple[KernelShape, ...]
    residual: bool

    def __str__(self) -> str:
        *before, depthwise, project = self.layers
        height, width = before[0].in_size
        kernel = f"{depthwise.kernel}s{depthwise.stride}{'+' if self.residual else ''}"
        channels = f"{before[0].in_channels}-{project.in_channels}-{project.out_channels}"
        kind = "stem-block" if before[0].kind == "stem" else "block"
        return f"{kind}-{height}x{width}-{channels}-{kernel}"


class Place(NamedTuple):
    """Where a shape occurs."""

    network: Network
    block: int | None  # None: the head or the classifier


def networks() -> list[Network]:
    """MobileNetV2 of every published width at every published size, and EfficientNet-Lite0; the
    most common one first."""
    common = mobilenet_v2(1.0, 224)
    others = [mobilenet_v2(width, size) for width in WIDTHS for size in SIZES]
    return [common, efficientnet_lite(0), *(each for each in others if each != common)]


def kernel_shapes(among: Iterable[Network]) -> dict[KernelShape, Place]:
    """Every distinct shape of a layer, with the first network that has it and its first place."""
    found: dict[KernelShape, Place] = {}
    for network in among:
        parts = match(network)
        for index, block in enumerate(parts.blocks):
            for kind, layer in _of_block(parts, index, block):
                found.setdefault(_shape_of(kind, layer), Place(network, index))
        for kind, layer in _of_tail(parts):
            found.setdefault(_shape_of(kind, layer), Place(network, None))
    return found


def block_shapes(among: Iterable[Network]) -> dict[BlockShape, Place]:
    """Every distinct block, with the first network that has it and its first place."""
    found: dict[BlockShape, Place] = {}
    for network in among:
        parts = match(network)
        for index, block in enumerate(parts.blocks):
            shapes = tuple(_shape_of(*each) for each in _of_block(parts, index, block))
            found.setdefault(BlockShape(shapes, block.residual), Place(network, index))
    return found


def multiply_adds(shape: KernelShape | BlockShape, place: Place) -> int:
    """Multiply-adds of a layer, or of all layers of a block, for one image."""
    wanted = shape.layers if isinstance(shape, BlockShape) else (shape,)
    parts = match(place.network)
    layers = [each for i, block in enumerate(parts.blocks) for each in _of_block(parts, i, block)]
    of_shape = {_shape_of(*each): each[1].multiply_adds for each in (*layers, *_of_tail(parts))}
    return sum(of_shape[each] for each in wanted)


def _of_block(parts: Parts, index: int, block: Block) -> list[tuple[str, Layer]]:
    """The layers of a block, of the first one with the stem, each with its kind."""
    named = [("stem", parts.stem)] if index == 0 else []
    if block.expand is not None:
        named.append(("expand", block.expand))
    return [*named, ("depthwise", block.depthwise), ("project", block.project)]


def _of_tail(parts: Parts) -> list[tuple[str, Layer]]:
    head = [("head", parts.head)] if parts.head is not None else []
    return [*head, *(("classifier", layer) for layer in parts.dense[-1:])]


def _shape_of(kind: str, layer: Layer) -> KernelShape:
    return KernelShape(
        kind, layer.in_size, layer.in_channels, layer.out_channels, layer.kernel, layer.stride
    )
