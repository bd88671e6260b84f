"""What the network is: the papers' tables as data, resolved to layers with shapes.

Pure Python and free of imports beyond `typing`: loading an engine in a low-RAM process runs this.

MobileNetV2 is Table 2 of Sandler et al., CVPR 2018 (arXiv 1801.04381). EfficientNet-Lite0 to 4
are the same blocks with k = 5 in places (the tables of the TensorFlow TPU models, 2020): no
squeeze-excite, ReLU6, and stem, head and the repeats of the first and last row left unscaled.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import InputError, UnsupportedError

STEM_KERNEL = 3
STEM_STRIDE = 2
IMAGE_CHANNELS = 3
PADDINGS = ("same", "symmetric")

# Bounds on what a model file or a caller may ask for, so that hostile sizes end in an error
# and not in arithmetic: far above any published network, far below 2**31.
MAX_RESOLUTION = 4096
MAX_CLASSES = 1 << 20
MAX_WIDTH = 16.0


class BlockSpec(NamedTuple):
    """One row of the paper's Table 2, and the depthwise kernel size k, which is 3 there."""

    expansion: int  # t
    channels: int  # c
    repeats: int  # n
    stride: int  # s, of the first repeat; the others have 1
    kernel: int = 3  # k


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

FAMILIES = ("mobilenet_v2", *(f"efficientnet_lite{n}" for n in range(5)))


class Block(NamedTuple):
    """One inverted residual with a linear bottleneck, its channels resolved."""

    expansion: int  # t; 1 means that the block has no expand layer
    in_channels: int
    hidden: int  # channels of the expanded tensor, t * in_channels
    out_channels: int
    stride: int
    kernel: int  # k of the depthwise layer

    @property
    def residual(self) -> bool:
        """Whether a shortcut joins the thin ends: stride 1 and the same channels (section 3.3)."""
        return self.stride == 1 and self.in_channels == self.out_channels


class Architecture(NamedTuple):
    """A network whose every shape is known. Make one with `mobilenet_v2` or `efficientnet_lite`."""

    family: str  # one of FAMILIES
    width: float  # width multiplier
    divisor: int  # channels are rounded to multiples of it
    resolution: tuple[int, int]  # (height, width) of the input, pixels
    classes: int
    padding: str  # "same" (TensorFlow) or "symmetric" (PyTorch)
    stem_channels: int
    blocks: tuple[Block, ...]
    head_channels: int

    @property
    def name(self) -> str:
        """The name that a person would use, such as ``mobilenet_v2_1.0_224``."""
        height, width = self.resolution
        size = f"{height}" if height == width else f"{height}x{width}"
        if self.family == "mobilenet_v2":
            return f"{self.family}_{self.width:g}_{size}".replace("_1_", "_1.0_")
        return f"{self.family}_{size}"


class Layer(NamedTuple):
    """One convolution (or the classifier) with every shape resolved.

    `kind` is ``conv`` (the 3×3 stem), ``pointwise`` (1×1), ``depthwise`` or ``dense`` (the
    classifier). Pads are (before, after) of the rows and of the columns, in pixels.
    """

    name: str  # "stem", "block3.expand", "head", "classifier"
    kind: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    in_size: tuple[int, int]  # (height, width), pixels
    out_size: tuple[int, int]
    pad_rows: tuple[int, int]
    pad_columns: tuple[int, int]
    relu6: bool

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the canonical weight: OIHW, or (out, in) for the classifier."""
        if self.kind == "dense":
            return (self.out_channels, self.in_channels)
        inputs = 1 if self.kind == "depthwise" else self.in_channels
        return (self.out_channels, inputs, self.kernel, self.kernel)

    @property
    def parameters(self) -> int:
        """Weights plus bias, or plus batch-norm scale and shift, as the papers count them."""
        weights = 1
        for extent in self.weight_shape:
            weights *= extent
        return weights + self.out_channels * (1 if self.kind == "dense" else 2)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image."""
        inputs = 1 if self.kind == "depthwise" else self.in_channels
        per_pixel = self.out_channels * inputs * self.kernel * self.kernel
        return per_pixel * self.out_size[0] * self.out_size[1]


def make_divisible(channels: float, divisor: int) -> int:
    """`channels` rounded to a multiple of `divisor`, never more than 10 % down.

    The rounding of the MobileNet reference code, which every published width uses.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def padding_of(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Output size and the pads before and after, in pixels, of one axis of a convolution.

    ``same`` is TensorFlow's: as many outputs as ceil(size / stride), the odd pixel after.
    ``symmetric`` is PyTorch's: (k - 1) / 2 on either side; the row or column that the last
    output does not reach is not counted into the pad after.
    """
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        return out, total // 2, total - total // 2
    before = (kernel - 1) // 2
    out = (size + 2 * before - kernel) // stride + 1
    return out, before, max((out - 1) * stride + kernel - size - before, 0)


def mobilenet_v2(
    width: float = 1.0,
    resolution: int | tuple[int, int] = 224,
    classes: int = 1000,
    padding: str = "same",
    divisor: int = 8,
) -> Architecture:
    """MobileNetV2 (Table 2), any width multiplier, (height, width) in pixels and class count.

    The last convolution (1280) grows with `width` only above 1.0 (section 4.1). Width 0.1 is
    published with `divisor` 4. Raises InputError for a value out of range.
    """
    checked = _check(width, resolution, classes, padding, divisor)
    stem = make_divisible(32 * width, divisor)
    rows = [
        row._replace(channels=make_divisible(row.channels * width, divisor)) for row in MOBILENET_V2
    ]
    head = make_divisible(1280 * max(width, 1.0), divisor)
    return _resolve("mobilenet_v2", width, divisor, checked, classes, padding, stem, rows, head)


def efficientnet_lite(
    variant: int = 0,
    resolution: int | tuple[int, int] | None = None,
    classes: int = 1000,
    padding: str = "same",
) -> Architecture:
    """EfficientNet-Lite `variant` (0 to 4), at its own resolution unless another is given.

    Raises InputError for a value out of range.
    """
    if variant not in range(len(EFFICIENTNET_LITE_SCALING)):
        raise InputError(f"EfficientNet-Lite variant {variant!r}: expected 0, 1, 2, 3 or 4")
    width, depth, own_resolution = EFFICIENTNET_LITE_SCALING[variant]
    divisor = 8
    size = own_resolution if resolution is None else resolution
    checked = _check(width, size, classes, padding, divisor)
    ends = (0, len(EFFICIENTNET_LITE) - 1)
    rows = [
        row._replace(
            channels=make_divisible(row.channels * width, divisor),
            repeats=row.repeats if i in ends else -int(-row.repeats * depth // 1),
        )
        for i, row in enumerate(EFFICIENTNET_LITE)
    ]
    family = f"efficientnet_lite{variant}"
    return _resolve(family, width, divisor, checked, classes, padding, 32, rows, 1280)


def architecture(
    family: str,
    width: float,
    divisor: int,
    resolution: tuple[int, int],
    classes: int,
    padding: str,
) -> Architecture:
    """The architecture that a model file's `meta` names. Raises UnsupportedError for a family
    that this version does not know, InputError for values out of range or inconsistent."""
    if family == "mobilenet_v2":
        return mobilenet_v2(width, resolution, classes, padding, divisor)
    if family in FAMILIES:
        made = efficientnet_lite(int(family[-1]), resolution, classes, padding)
        if (made.width, made.divisor) != (width, divisor):
            raise InputError(
                f"{family} has width {made.width:g} and divisor {made.divisor}, "
                f"not {width!r} and {divisor!r}"
            )
        return made
    raise UnsupportedError(f"architecture {family!r}: this version knows {', '.join(FAMILIES)}")


def layers(network: Architecture) -> tuple[Layer, ...]:
    """Every layer in the order of execution, with its shapes."""
    made: list[Layer] = []
    size = network.resolution

    def add(name: str, kind: str, cin: int, cout: int, k: int, stride: int, relu6: bool) -> None:
        nonlocal size
        out_h, top, bottom = padding_of(size[0], k, stride, network.padding)
        out_w, left, right = padding_of(size[1], k, stride, network.padding)
        out = (out_h, out_w)
        made.append(
            Layer(name, kind, cin, cout, k, stride, size, out, (top, bottom), (left, right), relu6)
        )
        size = out

    add("stem", "conv", IMAGE_CHANNELS, network.stem_channels, STEM_KERNEL, STEM_STRIDE, True)
    for i, b in enumerate(network.blocks):
        if b.expansion != 1:
            add(f"block{i}.expand", "pointwise", b.in_channels, b.hidden, 1, 1, True)
        add(f"block{i}.depthwise", "depthwise", b.hidden, b.hidden, b.kernel, b.stride, True)
        add(f"block{i}.project", "pointwise", b.hidden, b.out_channels, 1, 1, False)
    last = network.blocks[-1].out_channels
    add("head", "pointwise", last, network.head_channels, 1, 1, True)
    size = (1, 1)  # the global average pool
    add("classifier", "dense", network.head_channels, network.classes, 1, 1, False)
    return tuple(made)


def parameters(network: Architecture) -> int:
    """Trainable parameters, batch-norm scale and shift counted, as the papers do."""
    return sum(layer.parameters for layer in layers(network))


def multiply_adds(network: Architecture) -> int:
    """Multiply-adds of one image, convolutions and classifier, as the papers count them."""
    return sum(layer.multiply_adds for layer in layers(network))


def _check(
    width: float,
    resolution: int | tuple[int, int],
    classes: int,
    padding: str,
    divisor: int,
) -> tuple[int, int]:
    """(height, width) in pixels, after the bounds of every argument are checked."""
    if not isinstance(width, (int, float)) or not 0.0 < width <= MAX_WIDTH:
        raise InputError(f"width multiplier {width!r}: expected a number in (0, {MAX_WIDTH:g}]")
    if padding not in PADDINGS:
        raise InputError(f"padding {padding!r}: expected one of {', '.join(PADDINGS)}")
    if not _is_integer(divisor) or not 1 <= divisor <= 64:
        raise InputError(f"channel divisor {divisor!r}: expected an integer from 1 to 64")
    if not _is_integer(classes) or not 1 <= classes <= MAX_CLASSES:
        raise InputError(f"class count {classes!r}: expected an integer from 1 to {MAX_CLASSES}")
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    if (
        not isinstance(size, tuple)
        or len(size) != 2
        or not all(_is_integer(extent) and 1 <= extent <= MAX_RESOLUTION for extent in size)
    ):
        raise InputError(
            f"resolution {resolution!r}: expected a size or (height, width), "
            f"each from 1 to {MAX_RESOLUTION} pixels"
        )
    return size


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _resolve(
    family: str,
    width: float,
    divisor: int,
    resolution: tuple[int, int],
    classes: int,
    padding: str,
    stem: int,
    rows: list[BlockSpec],
    head: int,
) -> Architecture:
    blocks: list[Block] = []
    channels = stem
    for row in rows:
        for i in range(row.repeats):
            stride = row.stride if i == 0 else 1
            hidden = channels * row.expansion
            blocks.append(Block(row.expansion, channels, hidden, row.channels, stride, row.kernel))
            channels = row.channels
    return Architecture(
        family, float(width), divisor, resolution, classes, padding, stem, tuple(blocks), head
    )
