"""Which published network a table of channels is: the name, and what weights alone cannot show.

A state_dict shows channels and kernels, not strides or shortcuts; these follow from the network
that has exactly these channels. Graphs show everything; here they only get their name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..errors import CheckpointError, UnsupportedError
from ..network.blocks import match
from ..network.families import (
    EFFICIENTNET_LITE_SCALING,
    MAX_CLASSES,
    MAX_WIDTH,
    MOBILENET_V2,
    BlockShape,
    efficientnet_lite,
    inverted_residuals,
    make_divisible,
    mobilenet_v2,
    size_label,
)
from ..network.kin import PUBLISHED
from ..network.layer import IMAGE_CHANNELS, Network, parameters
from ..network.parts import Parts

# (width, divisor) of the checkpoints that have been published, and further values people use.
WIDTHS = (
    (1.0, 8), (0.75, 8), (0.5, 8), (0.35, 8), (0.25, 8), (0.1, 4), (1.3, 8), (1.4, 8)
)  # fmt: skip
DIVISORS = (8, 4, 16, 2, 1)
MAX_BYTES = 1 << 30  # of float32 weights


class _Block(NamedTuple):
    """A block as its weights show it; stride and shortcut cannot be seen in them."""

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    expands: bool


class _Channels(NamedTuple):
    stem: int
    blocks: tuple[_Block, ...]
    head: int | None


class Identity(NamedTuple):
    """Which network the weights are, apart from what weights cannot say."""

    label: str  # "mobilenet_v2_1.0"
    own_resolution: int  # pixels, that it was published with
    stem: int
    blocks: tuple[BlockShape, ...]
    head: int | None
    dense: tuple[int, ...]  # outputs of each dense layer; none of a network without a classifier
    activation: str
    hidden: str | None = None  # between dense layers, where the network's own are meant

    @property
    def classes(self) -> int:
        """Values of the last dense layer; 0 without one."""
        return self.dense[-1] if self.dense else 0

    def network(
        self, resolution: tuple[int, int], padding: str, answer: str, hidden: str | None = None
    ) -> Network:
        """The network, once the size of its input, its padding, its answer and what is between
        its dense layers are known."""
        return inverted_residuals(
            f"{self.label}_{size_label(resolution)}",
            resolution,
            self.stem,
            self.blocks,
            self.head,
            self.dense,
            padding,
            self.activation,
            answer,
            hidden or self.hidden or "linear",
        )


def recognise(
    shapes: Mapping[str, Sequence[int]], what: str, families_due: Sequence[str] = ()
) -> Identity:
    """Which network has weights of these canonical names and shapes.

    `families_due` are beginnings of labels, of which one must be the network's. Raises
    CheckpointError if a name is missing or unknown or a shape contradicts another, and
    UnsupportedError if the network is none that this engine knows, showing its channels.
    """
    found, dense = _channels(shapes, what)
    for label, own, candidate in _candidates(found):
        if families_due and not label.startswith(tuple(families_due)):
            continue
        parts = match(candidate)
        if found == _channels_of(parts):
            if parameters(candidate) * 4 > MAX_BYTES:
                raise UnsupportedError(
                    f"{what}: {parameters(candidate)} parameters; at most {MAX_BYTES // 4} are "
                    "supported"
                )
            return Identity(
                label,
                own,
                found.stem,
                tuple(
                    BlockShape(
                        block.hidden,
                        block.out_channels,
                        block.stride,
                        block.kernel,
                        block.expand is not None,
                        block.project.activation,
                        block.residual,
                    )
                    for block in parts.blocks
                ),
                found.head,
                dense,
                parts.stem.activation,
                parts.dense[0].activation if len(parts.dense) == len(dense) > 1 else None,
            )
    shown = ", ".join(
        f"{block.hidden}-{block.out_channels} k{block.kernel}" for block in found.blocks[:32]
    )
    raise UnsupportedError(
        f"{what}: no MobileNetV2 of any width, no EfficientNet-Lite and none of their kin has "
        f"these channels: stem {found.stem}; {len(found.blocks)} blocks, hidden-out and depthwise "
        f"kernel: {shown}; head {found.head}; weights alone do not say strides and shortcuts: "
        "export the network to ONNX, which does"
    )


def label_of(resolution: tuple[int, int], network: Network | None = None) -> str:
    """The name that people have for a network, such as ``mobilenet_v2_1.0_224``."""
    if network is not None:
        parts = match(network)
        found = _channels_of(parts)
        if not parts.convs:
            for label, _, candidate in _candidates(found):
                other = match(candidate)
                if found == _channels_of(other) and _strides(parts) == _strides(other):
                    return f"{label}_{size_label(resolution)}"
    return f"inverted_residuals_{size_label(resolution)}"


def _strides(parts: Parts) -> list[tuple[int, bool, str]]:
    return [(block.stride, block.residual, block.depthwise.activation) for block in parts.blocks]


def _candidates(found: _Channels) -> Iterator[tuple[str, int, Network]]:
    """(label, own size, network) of all that could have the channels `found`, the likeliest first;
    all with one class."""
    tried = set(WIDTHS)
    for width, divisor in WIDTHS:
        yield _labelled(width), 224, mobilenet_v2(width, classes=2, divisor=divisor)
    for variant in range(len(EFFICIENTNET_LITE_SCALING)):
        own = EFFICIENTNET_LITE_SCALING[variant][2]
        yield f"efficientnet_lite{variant}", own, efficientnet_lite(variant, classes=2)
    for name, published in PUBLISHED.items():
        if published.family not in ("mobilenet_v2", "efficientnet_lite") or "d_" in f"{name}_":
            size = published.resolution
            yield name, size, published.make(name, size, 2, published.padding)
    # Then every width, round numbers first, that gives the channels of the last block.
    last = found.blocks[-1].out_channels
    for steps in (20, 16, 100, 1000):
        for divisor in DIVISORS:
            for step in range(1, int(MAX_WIDTH) * steps + 1):
                width = step / steps
                if make_divisible(MOBILENET_V2[-1].channels * width, divisor) != last:
                    continue
                if (width, divisor) not in tried:
                    tried.add((width, divisor))
                    yield _labelled(width), 224, mobilenet_v2(width, classes=2, divisor=divisor)


def _labelled(width: float) -> str:
    return f"mobilenet_v2_{width:g}" if width != 1 else "mobilenet_v2_1.0"


def _channels_of(parts: Parts) -> _Channels:
    blocks = tuple(
        _Block(b.in_channels, b.hidden, b.out_channels, b.kernel, b.expand is not None)
        for b in parts.blocks
    )
    head = None if parts.head is None else parts.head.out_channels
    return _Channels(parts.stem.out_channels, blocks, head)


def _channels(shapes: Mapping[str, Sequence[int]], what: str) -> tuple[_Channels, tuple[int, ...]]:
    """What the shapes say, every name and every channel accounted for."""
    count = 0
    while f"block{count}.depthwise.weight" in shapes:
        count += 1
    if not count:
        raise CheckpointError(
            f"{what}: a network without blocks; expected stem, block0.depthwise and so on"
        )
    heads = ["head"] if "head.weight" in shapes or "head.bias" in shapes else []
    inner = 0
    while f"dense{inner}.weight" in shapes:
        inner += 1
    dense = [f"dense{i}" for i in range(inner)]
    if inner or "classifier.weight" in shapes or "classifier.bias" in shapes:
        dense.append("classifier")
    names = ["stem"]
    for i in range(count):
        parts = ("expand", "depthwise", "project")
        names += [
            f"block{i}.{part}"
            for part in parts
            if part != "expand" or f"block{i}.expand.weight" in shapes
        ]
    due = [f"{name}.{part}" for name in (*names, *heads, *dense) for part in ("weight", "bias")]
    check_names(shapes, due, what, "the canonical names, stem to classifier")

    def layer(name: str, inputs: int, kernel: int | None, rank: int = 4) -> tuple[int, int]:
        """(output channels, kernel) of a layer that should have `inputs` channels for each."""
        shape = tuple(shapes[f"{name}.weight"])
        bias = tuple(shapes[f"{name}.bias"])
        k = kernel if kernel is not None else (shape[-1] if len(shape) == 4 else 0)
        due = (inputs, k, k) if rank == 4 else (inputs,)
        odd = k % 2 == 1 and k <= 31
        if len(shape) != rank or shape[1:] != due or shape[0] < 1 or not odd:
            expected = ", ".join(["N", *map(str, due)])
            raise CheckpointError(f"{what}: {name}.weight has shape {shape}: expected ({expected})")
        if bias != shape[:1]:
            raise CheckpointError(
                f"{what}: {name}.bias has shape {bias}: expected {shape[:1]}, as {name}.weight "
                f"is {shape}"
            )
        return shape[0], k

    grey = tuple(shapes["stem.weight"])[1:2] == (1,)  # colours.py gives it colours
    stem, _ = layer("stem", 1 if grey else IMAGE_CHANNELS, 3)
    channels = stem
    blocks = []
    for i in range(count):
        hidden = channels
        expands = f"block{i}.expand.weight" in shapes
        if expands:
            hidden, _ = layer(f"block{i}.expand", channels, 1)
        depth, kernel = layer(f"block{i}.depthwise", 1, None)
        if depth != hidden:
            raise CheckpointError(
                f"{what}: block{i}.depthwise has {depth} channels, but {hidden} go into it"
            )
        out, _ = layer(f"block{i}.project", hidden, 1)
        blocks.append(_Block(channels, hidden, out, kernel, expands))
        channels = out
    head = None
    if heads:
        head, _ = layer("head", channels, 1)
        channels = head
    outputs = []
    for name in dense:
        channels, _ = layer(name, channels, 1, rank=2)
        outputs.append(channels)
    if outputs and outputs[-1] > MAX_CLASSES:
        raise UnsupportedError(
            f"{what}: {outputs[-1]} classes; at most {MAX_CLASSES} are supported"
        )
    return _Channels(stem, tuple(blocks), head), tuple(outputs)


def check_names(found: Mapping[str, object], due: Sequence[str], what: str, scheme: str) -> None:
    """Raise CheckpointError unless the names `found` are exactly those `due`, listing the rest."""
    missing = [name for name in due if name not in found]
    expected = set(due)
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        problems = [
            f"{problem} {listed(names)}"
            for problem, names in (("lacks", missing), ("has the unknown", unknown))
            if names
        ]
        raise CheckpointError(f"{what} {' and '.join(problems)}; expected {scheme}")


def listed(names: Sequence[str]) -> str:
    """The first few of many names, for a message; they come from a file, so they are cut."""
    shown = ", ".join(name[:80] for name in names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown
