"""A network is a table of layers: operations with their inputs by name, every shape resolved.

The table is the truth, the name of a family only a label. builder.py makes networks layer by layer
and resolves the shapes; families.py has the papers' tables, blocks.py matches a table with what
the kernels run, supported.py says what they do not.

Pure Python without imports beyond `typing`: loading an engine in a low-RAM process runs this.
"""

from __future__ import annotations

from ..untyped import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .detection import Detection

IMAGE = "image"  # the name of the network's input
IMAGE_CHANNELS = 3
ANCHORS = "anchors"  # the array of a detector's model file; detection.py says what it holds

# What a layer can be. `add` joins a shortcut, `pool` is the mean over all pixels.
OPERATIONS = ("conv", "pointwise", "depthwise", "add", "pool", "dense")
WINDOWED = ("conv", "depthwise")  # those that have a kernel, a stride, a dilation and pads
WEIGHTED = ("conv", "pointwise", "depthwise", "dense")
ACTIVATIONS = ("linear", "relu", "relu6")
# How outputs become answers: one of many classes, each class by itself, numbers as they are, or
# objects with their boxes (detection.py).
ANSWERS = ("softmax", "sigmoid", "linear", "boxes")
PADDINGS = ("same", "symmetric")

# Bounds on what a model file or a caller may ask for, so that hostile sizes end in an error
# and not in arithmetic: far above any published network, far below 2**31.
MAX_RESOLUTION = 4096
MAX_CHANNELS = 1 << 20
MAX_LAYERS = 1024
MAX_KERNEL = 31
MAX_VALUES = 1 << 30  # of one tensor
MAX_WEIGHTS = 1 << 32  # of one layer
MAX_NAME = 64  # characters
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Layer(NamedTuple):
    """One operation with every shape resolved.

    `conv` is a full convolution, `pointwise` one of 1×1, `depthwise` one of each channel by
    itself, `add` the sum of two maps, `pool` the mean over all pixels, `dense` a matrix times
    pooled features. Pads are (before, after) of the rows and of the columns, in pixels of zero.
    """

    name: str  # "stem", "block3.expand", "head", "classifier" in the families' tables
    operation: str  # one of OPERATIONS
    inputs: tuple[str, ...]  # names of layers, or IMAGE; two of `add`, else one
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    dilation: int
    in_size: tuple[int, int]  # (height, width), pixels; (1, 1) behind the pool
    out_size: tuple[int, int]
    pad_rows: tuple[int, int]
    pad_columns: tuple[int, int]
    activation: str  # one of ACTIVATIONS

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right), pixels."""
        (top, bottom), (left, right) = self.pad_rows, self.pad_columns
        return top, left, bottom, right

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the canonical weight: OIHW, or (out, in) for dense layers."""
        if self.operation == "dense":
            return (self.out_channels, self.in_channels)
        inputs = 1 if self.operation == "depthwise" else self.in_channels
        return (self.out_channels, inputs, self.kernel, self.kernel)

    @property
    def parameters(self) -> int:
        """Weights plus bias, or plus batch-norm scale and shift, as the papers count them."""
        if self.operation not in WEIGHTED:
            return 0
        weights = 1
        for extent in self.weight_shape:
            weights *= extent
        return weights + self.out_channels * (1 if self.operation == "dense" else 2)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image."""
        if self.operation not in WEIGHTED:
            return 0
        inputs = 1 if self.operation == "depthwise" else self.in_channels
        per_pixel = self.out_channels * inputs * self.kernel * self.kernel
        return per_pixel * self.out_size[0] * self.out_size[1]


class Network(NamedTuple):
    """A table of layers, in the order of execution. Made by `Builder.network`."""

    name: str  # a label for people, such as "mobilenet_v2_1.0_224"
    resolution: tuple[int, int]  # (height, width) of the input, pixels
    layers: tuple[Layer, ...]
    # Names of layers: one, the last dense layer, or the pool where there is none; of a detector
    # those that its `detection` names.
    outputs: tuple[str, ...]
    answer: str  # one of ANSWERS
    detection: Detection | None = None  # where the answer is boxes

    @property
    def weighted(self) -> tuple[Layer, ...]:
        """The layers that have weights, in the order of execution."""
        return tuple(layer for layer in self.layers if layer.operation in WEIGHTED)

    @property
    def small_dense(self) -> tuple[str, ...]:
        """Names of the dense layers behind the first one: small, and float32 in every file."""
        dense = [layer.name for layer in self.layers if layer.operation == "dense"]
        return tuple(dense[1:])

    @property
    def classes(self) -> int:
        """Values of the answer, of a detector the classes of objects; 0 of a network without a
        classifier, which gives features."""
        if self.detection is not None:
            return self.detection.classes
        last = self.layers[-1]
        return last.out_channels if last.operation == "dense" else 0

    @property
    def features(self) -> int:
        """Channels of the pooled features; 0 of a detector, which has none."""
        return next((layer.out_channels for layer in self.layers if layer.operation == "pool"), 0)

    @property
    def padding(self) -> str:
        """How windows are padded: "same" (TensorFlow), "symmetric" (PyTorch), or "explicit" where
        neither rule gives the pads of all of them."""
        windows = [
            layer for layer in self.layers if layer.operation in WINDOWED and layer.kernel > 1
        ]
        for padding in PADDINGS:
            if all(
                (layer.pad_rows, layer.pad_columns)
                == tuple(
                    padding_of(size, layer.kernel, layer.stride, padding)[1:]
                    for size in layer.in_size
                )
                for layer in windows
            ):
                return padding
        return "explicit"


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


def parameters(network: Network) -> int:
    """Trainable parameters, batch-norm scale and shift counted, as the papers do."""
    return sum(layer.parameters for layer in network.layers)


def multiply_adds(network: Network) -> int:
    """Multiply-adds of one image, convolutions and dense layers, as the papers count them."""
    return sum(layer.multiply_adds for layer in network.layers)


def is_name(text: object) -> bool:
    """Whether `text` may name a layer: 1 to 64 of the letters a-z, digits, ``_``, ``.``, ``-``."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_NAME
        and _NAME_CHARACTERS.issuperset(text)
        and text != IMAGE
    )


def is_integer(value: object) -> bool:
    """Whether `value` is an integer, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)
