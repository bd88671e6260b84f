"""Every shape that a kernel meets in the published networks, each once, for tests and benches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..network.architecture import Architecture, Layer, efficientnet_lite, layers, mobilenet_v2

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

    network: Architecture
    block: int | None  # None: the head or the classifier


def networks() -> list[Architecture]:
    """MobileNetV2 of every published width at every published size, and EfficientNet-Lite0; the
    most common one first."""
    common = mobilenet_v2(1.0, 224)
    others = [mobilenet_v2(width, size) for width in WIDTHS for size in SIZES]
    return [common, efficientnet_lite(0), *(each for each in others if each != common)]


def kernel_shapes(among: Iterable[Architecture]) -> dict[KernelShape, Place]:
    """Every distinct shape of a layer, with the first network that has it and its first place."""
    found: dict[KernelShape, Place] = {}
    for network in among:
        for layer in layers(network):
            owner = layer.name.partition(".")[0]
            block = 0 if owner == "stem" else None
            if owner.startswith("block"):
                block = int(owner.removeprefix("block"))
            found.setdefault(_shape_of(layer), Place(network, block))
    return found


def block_shapes(among: Iterable[Architecture]) -> dict[BlockShape, Place]:
    """Every distinct block, with the first network that has it and its first place."""
    found: dict[BlockShape, Place] = {}
    for network in among:
        by_name = {layer.name: layer for layer in layers(network)}
        for index, block in enumerate(network.blocks):
            parts = ("expand", "depthwise", "project")
            names = ["stem"] if index == 0 else []
            names += [f"block{index}.{part}" for part in parts]
            shapes = tuple(_shape_of(by_name[name]) for name in names if name in by_name)
            found.setdefault(BlockShape(shapes, block.residual), Place(network, index))
    return found


def multiply_adds(shape: KernelShape | BlockShape, place: Place) -> int:
    """Multiply-adds of a layer, or of all layers of a block, for one image."""
    wanted = shape.layers if isinstance(shape, BlockShape) else (shape,)
    of_shape = {_shape_of(layer): layer.multiply_adds for layer in layers(place.network)}
    return sum(of_shape[each] for each in wanted)


def _shape_of(layer: Layer) -> KernelShape:
    kind = layer.name.rpartition(".")[2]
    return KernelShape(
        kind, layer.in_size, layer.in_channels, layer.out_channels, layer.kernel, layer.stride
    )
