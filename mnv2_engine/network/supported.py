"""What runs, and one sentence for whatever does not.

The cases of the depthwise layer are those of kernels/supported.def, which a test holds equal.
"""

from __future__ import annotations

from ..errors import UnsupportedError
from ..untyped import NoReturn, Sequence
from .layer import IMAGE, IMAGE_CHANNELS, Layer

STEM_KERNEL = 3
STEM_STRIDE = 2
# (kernel, stride, dilation) of depthwise layers.
DEPTHWISE = ((3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (7, 2, 1))
MAX_BLOCKS = 64
MAX_CONVS = 4  # between the last block and the pool
MAX_CONV_KERNEL = 7
MAX_DENSE = 4


def refuse(name: str, problem: str) -> NoReturn:
    """Raise the error for layer `name`."""
    raise UnsupportedError(
        f"layer {name!r} {problem}: this engine runs a 3×3 stem of stride 2, inverted residuals "
        "(expand, depthwise, project), a head, a pool and dense layers; docs/architecture.md lists "
        "what runs"
    )


def check_stem(layer: Layer) -> None:
    """The stem is a 3×3 convolution of the image with stride 2."""
    if layer.operation != "conv" or layer.inputs != (IMAGE,):
        refuse(layer.name, f"is {layer.operation}, where the network begins")
    if (layer.kernel, layer.stride, layer.dilation) != (STEM_KERNEL, STEM_STRIDE, 1):
        refuse(
            layer.name,
            f"is a {layer.kernel}×{layer.kernel} convolution of stride {layer.stride} and dilation "
            f"{layer.dilation} where the network begins",
        )
    assert layer.in_channels == IMAGE_CHANNELS
    if layer.activation == "linear":
        refuse(layer.name, "is a stem without an activation")


def check_block(expand: Layer | None, depthwise: Layer, project: Layer, residual: bool) -> None:
    """Kernel, stride, dilation and activations of a block."""
    case = (depthwise.kernel, depthwise.stride, depthwise.dilation)
    if case not in DEPTHWISE:
        kernel, stride, dilation = case
        refuse(
            depthwise.name,
            f"is a {kernel}×{kernel} depthwise convolution of stride {stride} and dilation "
            f"{dilation}, of which kernels of 3, 5 and 7, strides of 1 and 2 and dilation 1 run",
        )
    for layer in (expand, depthwise):
        if layer is not None and layer.activation == "linear":
            refuse(layer.name, "has no activation, where ReLU or ReLU6 is expected")
    if residual and project.activation != "linear":
        refuse(project.name, f"has {project.activation} in front of the shortcut's addition")
    if max(depthwise.pads) >= depthwise.kernel:
        refuse(depthwise.name, "has more padding than its kernel reaches")


def check_blocks(count: int) -> None:
    """How many blocks a network may have."""
    if count > MAX_BLOCKS:
        raise UnsupportedError(f"{count} blocks: this engine runs up to {MAX_BLOCKS}")


def check_convs(convs: Sequence[Layer]) -> None:
    """Convolutions from map to map in front of the pool."""
    if len(convs) > MAX_CONVS:
        raise UnsupportedError(
            f"{len(convs)} convolutions in front of the pool: this engine runs up to {MAX_CONVS}"
        )
    for layer in convs:
        if any(layer.pads):
            refuse(layer.name, "is a padded convolution in front of the pool")
        if layer.kernel > MAX_CONV_KERNEL or layer.dilation != 1 or layer.stride > 2:
            refuse(
                layer.name,
                f"is a {layer.kernel}×{layer.kernel} convolution of stride {layer.stride} and "
                f"dilation {layer.dilation} in front of the pool",
            )


def check_dense(dense: Sequence[Layer]) -> None:
    """The dense layers behind the pool."""
    for layer in dense:
        if layer.operation != "dense":
            refuse(layer.name, f"is {layer.operation} behind the pool")
    if len(dense) > MAX_DENSE:
        raise UnsupportedError(
            f"{len(dense)} dense layers: this engine runs up to {MAX_DENSE} behind the pool"
        )
