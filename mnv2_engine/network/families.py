"""The papers' tables as data, and the networks that they make.

MobileNetV2 is Table 2 of Sandler et al., CVPR 2018 (arXiv 1801.04381). EfficientNet-Lite0 to 4
are the same blocks with k = 5 in places (the tables of the TensorFlow TPU models, 2020): no
squeeze-excite, ReLU6, and stem, head and the repeats of the first and last row left unscaled.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError, UnsupportedError
from ..untyped import NamedTuple
from .builder import Builder
from .layer import PADDINGS, Network, is_integer
from .supported import STEM_KERNEL, STEM_STRIDE

MAX_WIDTH = 16.0
MAX_CLASSES = 1 << 20


class BlockSpec(NamedTuple):
    """One row of the paper's Table 2, and the depthwise kernel size k, which is 3 there."""

    expansion: int  # t
    channels: int  # c
    repeats: int  # n
    stride: int  # s, of the first repeat; the others have 1
    kernel: int = 3  # k
    shortcut: bool = True  # False: the first repeat has none, though its ends may be equal


MOBILENET_V2 = (
    BlockSpec(1, 16, 1, 1),
    BlockSpec(6, 24, 2, 2),
    BlockSpec(6, 32, 3, 2),
    BlockSpec(6, 64, 4, 2),
    BlockSpec(6, 96, 3, 1),
    BlockSpec(6, 160, 3, 2),
    BlockSpec(6, 320, 1, 1),
)

EFFICIENTNET_LITE = (
    BlockSpec(1, 16, 1, 1, 3),
    BlockSpec(6, 24, 2, 2, 3),
    BlockSpec(6, 40, 2, 2, 5),
    BlockSpec(6, 80, 3, 2, 3),
    BlockSpec(6, 112, 3, 1, 5),
    BlockSpec(6, 192, 4, 2, 5),
    BlockSpec(6, 320, 1, 1, 3),
)

# (width, depth, resolution) of EfficientNet-Lite0 to 4.
EFFICIENTNET_LITE_SCALING = (
    (1.0, 1.0, 224),
    (1.0, 1.1, 240),
    (1.1, 1.2, 260),
    (1.2, 1.4, 280),
    (1.4, 1.8, 300),
)

# The families that a model file of version 1 names; those of version 2 have a table.
FAMILIES = ("mobilenet_v2", *(f"efficientnet_lite{n}" for n in range(5)))


class BlockShape(NamedTuple):
    """One block of a network, its channels resolved."""

    hidden: int  # channels of the expanded tensor
    channels: int  # of the thin output
    stride: int = 1
    kernel: int = 3
    expands: bool = True  # False: no expand layer; `hidden` is then the input's channels
    activation: str = "linear"  # behind the project layer
    shortcut: bool = True  # where the thin ends are equal; False: there is none


def inverted_residuals(
    name: str,
    resolution: int | tuple[int, int],
    stem: int,
    blocks: list[BlockShape] | tuple[BlockShape, ...],
    head: int | None,
    dense: list[int] | tuple[int, ...],
    padding: str = "same",
    activation: str = "relu6",
    answer: str | None = None,
    dense_activation: str = "relu",
) -> Network:
    """A network of `blocks`: a 3×3 stem of `stem` channels, a last 1×1 convolution of `head`
    channels (None: there is none), the pool and dense layers of `dense` outputs (none: the features
    are the answer). `activation` stands behind every layer but project and the last dense one. The
    answer is by default softmax; of one class, of which softmax says 100 % always, sigmoid.

    Raises InputError for a value out of range.
    """
    if padding not in PADDINGS:
        raise InputError(f"padding {padding!r:.80}: expected one of {', '.join(PADDINGS)}")
    build = Builder(resolution)
    at = build.conv("stem", "image", stem, STEM_KERNEL, STEM_STRIDE, padding, activation)
    channels = stem
    for i, block in enumerate(blocks):
        thin = at
        if block.expands:
            at = build.pointwise(f"block{i}.expand", at, block.hidden, activation)
        elif block.hidden != channels:
            raise InputError(f"block {i}: {block.hidden} hidden channels of {channels}, unexpanded")
        at = build.depthwise(
            f"block{i}.depthwise", at, block.kernel, block.stride, padding, activation
        )
        at = build.pointwise(f"block{i}.project", at, block.channels, block.activation)
        # A shortcut joins the thin ends: stride 1 and the same channels (section 3.3).
        equal = block.stride == 1 and channels == block.channels
        if equal and block.shortcut and block.activation == "linear":
            at = build.add(f"block{i}.add", at, thin)
        channels = block.channels
    if head is not None:
        at = build.pointwise("head", at, head, activation)
    at = build.pool("pool", at)
    for i, outputs in enumerate(dense):
        last = i == len(dense) - 1
        label = "classifier" if last else f"dense{i}"
        at = build.dense(label, at, outputs, "linear" if last else dense_activation)
    if answer is None:
        answer = "sigmoid" if list(dense[-1:]) == [1] else "softmax"
    return build.network(name, (at,), answer)


def make_divisible(channels: float, divisor: int) -> int:
    """`channels` rounded to a multiple of `divisor`, never more than 10 % down.

    The rounding of the MobileNet reference code, which every published width uses.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def mobilenet_v2(
    width: float = 1.0,
    resolution: int | tuple[int, int] = 224,
    classes: int = 1000,
    padding: str = "same",
    divisor: int = 8,
) -> Network:
    """MobileNetV2 (Table 2), any width multiplier, (height, width) in pixels and class count.

    The last convolution (1280) grows with `width` only above 1.0 (section 4.1). Width 0.1 is
    published with `divisor` 4. Raises InputError for a value out of range.
    """
    _check(width, classes, divisor)
    rows = [
        row._replace(channels=make_divisible(row.channels * width, divisor)) for row in MOBILENET_V2
    ]
    stem = make_divisible(32 * width, divisor)
    head = make_divisible(1280 * max(width, 1.0), divisor)
    name = f"mobilenet_v2_{width:g}_{size_label(resolution)}".replace("_1_", "_1.0_")
    return inverted_residuals(
        name, resolution, stem, block_shapes(stem, rows), head, [classes], padding
    )


def efficientnet_lite(
    variant: int = 0,
    resolution: int | tuple[int, int] | None = None,
    classes: int = 1000,
    padding: str = "same",
) -> Network:
    """EfficientNet-Lite `variant` (0 to 4), at its own resolution unless another is given.

    Raises InputError for a value out of range.
    """
    if variant not in range(len(EFFICIENTNET_LITE_SCALING)):
        raise InputError(f"EfficientNet-Lite variant {variant!r}: expected 0, 1, 2, 3 or 4")
    width, depth, own_resolution = EFFICIENTNET_LITE_SCALING[variant]
    size = own_resolution if resolution is None else resolution
    _check(width, classes, 8)
    ends = (0, len(EFFICIENTNET_LITE) - 1)
    rows = [
        row._replace(
            channels=make_divisible(row.channels * width, 8),
            repeats=row.repeats if i in ends else -int(-row.repeats * depth // 1),
        )
        for i, row in enumerate(EFFICIENTNET_LITE)
    ]
    name = f"efficientnet_lite{variant}_{size_label(size)}"
    return inverted_residuals(name, size, 32, block_shapes(32, rows), 1280, [classes], padding)


def family_network(
    family: str,
    width: float,
    divisor: int,
    resolution: tuple[int, int],
    classes: int,
    padding: str,
) -> Network:
    """The network that the `meta` of a model file of version 1 names. Raises UnsupportedError for
    a family that version 1 does not know, InputError for values out of range or inconsistent."""
    if family == "mobilenet_v2":
        return mobilenet_v2(width, resolution, classes, padding, divisor)
    if family in FAMILIES:
        variant = int(family[-1])
        due = (EFFICIENTNET_LITE_SCALING[variant][0], 8)
        if due != (width, divisor):
            raise InputError(
                f"{family} has width {due[0]:g} and divisor {due[1]}, not {width!r} and {divisor!r}"
            )
        return efficientnet_lite(variant, resolution, classes, padding)
    raise UnsupportedError(f"architecture {family!r}: this version knows {', '.join(FAMILIES)}")


def block_shapes(
    stem: int, rows: Sequence[BlockSpec], always_expands: bool = False
) -> list[BlockShape]:
    """The blocks of a table whose channels are resolved. With t = 1 there is no expand layer, or
    one as wide as its input where the family `always_expands`."""
    blocks: list[BlockShape] = []
    channels = stem
    for row in rows:
        for i in range(row.repeats):
            blocks.append(
                BlockShape(
                    hidden=channels * row.expansion,
                    channels=row.channels,
                    stride=row.stride if i == 0 else 1,
                    kernel=row.kernel,
                    expands=always_expands or row.expansion != 1,
                    shortcut=row.shortcut or i > 0,
                )
            )
            channels = row.channels
    return blocks


def size_label(resolution: int | tuple[int, int]) -> str:
    """ "224", or "192x256" for (height, width)."""
    if isinstance(resolution, tuple) and len(resolution) == 2:
        height, width = resolution
        return f"{height}" if height == width else f"{height}x{width}"
    return f"{resolution}"


def _check(width: float, classes: int, divisor: int) -> None:
    if not isinstance(width, (int, float)) or not 0.0 < width <= MAX_WIDTH:
        raise InputError(f"width multiplier {width!r}: expected a number in (0, {MAX_WIDTH:g}]")
    if not is_integer(divisor) or not 1 <= divisor <= 64:
        raise InputError(f"channel divisor {divisor!r}: expected an integer from 1 to 64")
    check_classes(classes)


def check_classes(classes: int) -> None:
    """Raise InputError for a class count out of range."""
    if not is_integer(classes) or not 1 <= classes <= MAX_CLASSES:
        raise InputError(f"class count {classes!r}: expected an integer from 1 to {MAX_CLASSES}")
