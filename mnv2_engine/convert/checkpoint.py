"""What every reader makes of a source: canonical weights, and which network they are.

The names and the shapes of the weights say which family, width and class count a source holds;
they are compared channel by channel with what `architecture` builds, so that a network that is
almost a MobileNetV2 is refused instead of being run as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CheckpointError, UnsupportedError
from ..network.blocks import match
from ..network.families import (
    EFFICIENTNET_LITE_SCALING,
    MAX_CLASSES,
    MAX_WIDTH,
    MOBILENET_V2,
    efficientnet_lite,
    family_network,
    make_divisible,
    mobilenet_v2,
)
from ..network.layer import IMAGE_CHANNELS, Network, parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..network.quantization import Quantization

    Float32 = NDArray[np.float32]

# (width, divisor) of the checkpoints that have been published, and further values people use.
PUBLISHED = (
    (1.0, 8), (0.75, 8), (0.5, 8), (0.35, 8), (0.25, 8), (0.1, 4), (1.3, 8), (1.4, 8)
)  # fmt: skip
DIVISORS = (8, 4, 16, 2, 1)

# One gibibyte: a state_dict of EfficientNet-Lite4, optimizer state included, is a fifth of it.
MAX_SOURCE_BYTES = 1 << 30


class Identity(NamedTuple):
    """Which network the weights are, apart from what weights cannot say."""

    family: str
    width: float
    divisor: int
    classes: int

    def network(self, resolution: tuple[int, int], padding: str) -> Network:
        """The network, once the size of its input and its padding are known."""
        return family_network(
            self.family, self.width, self.divisor, resolution, self.classes, padding
        )

    @property
    def own_resolution(self) -> int:
        """The input size, in pixels, that the family was published with."""
        if self.family.startswith("efficientnet_lite"):
            return EFFICIENTNET_LITE_SCALING[int(self.family[-1])][2]
        return 224


class Normalisation(NamedTuple):
    """x = (pixel - mean) / std per channel, pixels 0 to 255, as a source states it."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stated_by: str  # "the input tensor's scale and zero point"


class Checkpoint(NamedTuple):
    """A source, read: what it holds, and what it says about its use."""

    format: str  # "TFLite", "PyTorch zip, torchvision names"
    identity: Identity
    # Canonical names; OIHW, classifier (out, in); batch-norm folded. Float32, unless there is a
    # quantization: then those of packing_int8.py.
    weights: Mapping[str, NDArray[Any]]
    paddings: tuple[str, ...] = ()  # those that fit what the source says; none: it does not say
    resolution: tuple[int, int] | None = None
    normalisation: Normalisation | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    quantization: Quantization | None = None


class _Block(NamedTuple):
    """A block as its weights show it; stride and residual cannot be seen in them."""

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    expands: bool


class _Channels(NamedTuple):
    stem: int
    blocks: tuple[_Block, ...]
    head: int


def recognise(shapes: Mapping[str, Sequence[int]], what: str) -> Identity:
    """Which network has weights of these canonical names and shapes.

    Raises CheckpointError if a name is missing or unknown or a shape contradicts another, and
    UnsupportedError if the network is none that this engine knows, showing its channels.
    """
    found, classes = _channels(shapes, what)
    for identity, candidate in _candidates(found, classes):
        if found == _channels_of(candidate):
            if parameters(candidate) * 4 > MAX_SOURCE_BYTES:
                raise UnsupportedError(
                    f"{what}: {parameters(candidate)} parameters; at most {MAX_SOURCE_BYTES // 4} "
                    "are supported"
                )
            return identity
    shown = ", ".join(
        f"{block.hidden}-{block.out_channels} k{block.kernel}" for block in found.blocks[:32]
    )
    raise UnsupportedError(
        f"{what}: no MobileNetV2 of any width and no EfficientNet-Lite has these channels: stem "
        f"{found.stem}; {len(found.blocks)} blocks, hidden-out and depthwise kernel: {shown}; "
        f"head {found.head}"
    )


def _candidates(found: _Channels, classes: int) -> Iterator[tuple[Identity, Network]]:
    """Networks that could have the channels `found`, the most likely first."""
    tried = set(PUBLISHED)
    for width, divisor in PUBLISHED:
        yield (
            Identity("mobilenet_v2", width, divisor, classes),
            mobilenet_v2(width, classes=classes, divisor=divisor),
        )
    for variant in range(len(EFFICIENTNET_LITE_SCALING)):
        lite = efficientnet_lite(variant, classes=classes)
        width = EFFICIENTNET_LITE_SCALING[variant][0]
        yield Identity(f"efficientnet_lite{variant}", width, 8, classes), lite
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
                    yield (
                        Identity("mobilenet_v2", width, divisor, classes),
                        mobilenet_v2(width, classes=classes, divisor=divisor),
                    )


def _channels_of(network: Network) -> _Channels:
    parts = match(network)
    blocks = tuple(
        _Block(b.in_channels, b.hidden, b.out_channels, b.kernel, b.expand is not None)
        for b in parts.blocks
    )
    return _Channels(parts.stem.out_channels, blocks, network.features)


def _channels(shapes: Mapping[str, Sequence[int]], what: str) -> tuple[_Channels, int]:
    """The channel counts and the class count, after every name and shape has been checked."""
    count = 0
    while f"block{count}.depthwise.weight" in shapes:
        count += 1
    names = ["stem"]
    for i in range(count):
        if f"block{i}.expand.weight" in shapes:
            names.append(f"block{i}.expand")
        names += [f"block{i}.depthwise", f"block{i}.project"]
    names += ["head", "classifier"]
    check_names(
        shapes,
        [f"{name}.{part}" for name in names for part in ("weight", "bias")],
        what,
        "canonical names: stem, block0 to block16 .expand .depthwise .project, head and "
        "classifier, each with .weight and .bias",
    )
    if not count:
        raise CheckpointError(f"{what}: a network without blocks: block0.depthwise.weight is due")

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

    stem, _ = layer("stem", IMAGE_CHANNELS, 3)
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
    head, _ = layer("head", channels, 1)
    classes, _ = layer("classifier", head, 1, rank=2)
    if classes > MAX_CLASSES:
        raise UnsupportedError(f"{what}: {classes} classes; at most {MAX_CLASSES} are supported")
    return _Channels(stem, tuple(blocks), head), classes


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


def fold_batch_norm(
    weight: NDArray[np.floating],
    gamma: NDArray[np.floating],
    beta: NDArray[np.floating],
    mean: NDArray[np.floating],
    variance: NDArray[np.floating],
    epsilon: float,
    name: str,
) -> tuple[Float32, Float32]:
    """Weight and bias of the convolution that does its batch-norm as well, computed in float64.

    `weight` has its output channels first; the others have one value for each of them. Raises
    CheckpointError if a shape does not fit or a variance is negative or not a number.
    """
    import numpy as np

    due = weight.shape[:1]
    terms = []
    for part, term in (
        ("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)
    ):  # fmt: skip
        if term.shape != due:
            raise CheckpointError(
                f"{name}: its batch-norm's {part} has shape {term.shape}: expected {due}"
            )
        terms.append(term.astype(np.float64))
    gamma64, beta64, mean64, variance64 = terms
    if not (variance64 >= 0).all():
        raise CheckpointError(
            f"{name}: its batch-norm's running_var is negative or NaN in places: the checkpoint "
            "is damaged"
        )
    scale = gamma64 / np.sqrt(variance64 + epsilon)
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite results are refused later
        folded = weight.astype(np.float64) * scale.reshape(-1, *[1] * (weight.ndim - 1))
        bias = beta64 - mean64 * scale
        return folded.astype(np.float32), bias.astype(np.float32)
