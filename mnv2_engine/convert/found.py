"""A layer as it was found in a graph, and its weights with everything around it folded in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from .graph import Constant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]


@dataclass(eq=False)
class Found:
    """One layer of the network. `inputs` are layers, or None for the image."""

    where: str  # the framework's name and place
    operation: str  # as network.layer has it: conv, pointwise, depthwise, add, pool, dense
    inputs: tuple[Found | None, ...]
    channels: int
    in_size: tuple[int, int]
    size: tuple[int, int]
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    activation: str = "linear"
    weight: Constant | None = None
    bias: Constant | None = None
    # (scale, shift) for each channel, in order: of the features before a dense layer, and of what
    # any layer gives, before its activation.
    before: list[tuple[Float64, Float64]] = field(default_factory=list)
    behind: list[tuple[Float64, Float64]] = field(default_factory=list)
    # Of a shortcut: the convolution whose output it alone takes, and whose bias may change.
    shiftable: Found | None = None
    data: str = ""  # the tensors that go in and come out, behind the activation
    out: str = ""
    sums: str = ""  # the tensor behind the layer itself

    def folded(self, what: str) -> tuple[Float32, Float32]:
        """Canonical weight and bias, computed in float64. Raises CheckpointError for a weight or
        a bias of another shape."""
        import numpy as np

        assert self.weight is not None
        weight: Float64 = np.asarray(self.weight.load(), np.float64)
        if self.operation == "dense":
            weight = weight.reshape(weight.shape[:2])
        bias: Float64 = np.zeros(self.channels)
        if self.bias is not None:
            bias = np.asarray(self.bias.load(), np.float64)
            if bias.size != self.channels:
                raise CheckpointError(
                    f"{what}: {self.where}: its bias has shape {bias.shape}: expected "
                    f"({self.channels},)"
                )
            bias = bias.reshape(self.channels)
        # Non-finite weights are refused later.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for scale, shift in reversed(self.before):  # the last stands next to the layer
                bias = bias + weight @ np.broadcast_to(shift, weight.shape[1:])
                weight = weight * scale
            for scale, shift in self.behind:
                weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
                bias = bias * scale + shift
            return weight.astype(np.float32), bias.astype(np.float32)


def channel_values(constant: Constant, channels: int, axis_from_end: int) -> NDArray[Any] | None:
    """The values of a constant that has one for all or one for each channel, else None.

    `axis_from_end` is where the channels are in the tensor that it is combined with.
    """
    size = 1
    for extent in constant.shape:
        size *= extent
    if size == 1:
        return constant.load().reshape(1)
    rank = len(constant.shape)
    if size != channels or rank < axis_from_end or constant.shape[rank - axis_from_end] != size:
        return None
    return constant.load().reshape(channels)
