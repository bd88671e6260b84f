"""Weights of 16 bits: float32 members of a model file <-> those of float16 and bfloat16 files.

Biases, depthwise weights and those of dense layers behind the first stay float32: they are a
fiftieth of the file, and rounding them would move the logits four times as far as rounding all
others does. Of the rest, float16 lies as float32
does. bfloat16 is the upper half of a float32, so two weights fit the 32 bits of a lane: pointwise
and classifier weights are pairs of neighbouring input channels, (panels, ceil(cin / 2), 16, 2), an
odd last one beside a zero. One vector then holds both as float32 after a shift and a mask, and is
the operand of instructions that multiply pairs. Full convolutions have such pairs for each row of
their kernel; the stem nine taps beside a zero: (panels, 15, 16, 2).

Rounding is to nearest, ties to even.
"""

from __future__ import annotations

from ..errors import CheckpointError
from ..network.layer import Layer, Network
from ..untyped import TYPE_CHECKING, Any, Mapping
from .packed import Packed
from .packed import packed_layer as plain_layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Bits = NDArray[np.uint16]

PAIR = 2
DESCR = {"float16": "<f2", "bfloat16": "<u2"}  # bfloat16, which NumPy has not, as its bits
_LARGEST_FLOAT16 = 65504.0


def is_narrowed(network: Network, layer: Layer) -> bool:
    """Whether the weights of `layer` have 16 bits."""
    return layer.operation != "depthwise" and layer.name not in network.small_dense


def packed_layer(layer: Layer, dtype: str) -> dict[str, Packed]:
    """The packed members of a layer that is narrowed to `dtype`."""
    members = plain_layer(layer)
    name = f"{layer.name}.weight"
    panels, taps, lanes = shape = members[name].shape
    if dtype == "bfloat16":
        segment = _segment(layer, taps)
        shape = (panels, taps // segment * -(-segment // PAIR), lanes, PAIR)
    return {**members, name: Packed(DESCR[dtype], shape)}


def narrow(network: Network, packed: Mapping[str, Float32], dtype: str) -> dict[str, Any]:
    """Members of a `dtype` file from those of a float32 file.

    Raises CheckpointError for a weight that rounds to infinity.
    """
    made: dict[str, Any] = dict(packed)
    for layer in _narrowed(network):
        name = f"{layer.name}.weight"
        made[name] = narrowed(layer, packed[name], dtype)
    return made


def narrowed(layer: Layer, weight: Float32, dtype: str) -> Any:
    """The `dtype` weights of a layer from its packed float32 ones; raises as `narrow`."""
    import numpy as np

    if dtype == "float16":
        with np.errstate(over="ignore"):
            half: Any = weight.astype("<f2")
        finite = bool(np.isfinite(half).all())
    else:
        half = to_bfloat16(weight)
        finite = is_finite(half)
    if not finite:
        most = float(np.abs(weight).max())
        limit = f"{_LARGEST_FLOAT16:g}" if dtype == "float16" else "3.39e+38"
        raise CheckpointError(
            f"{layer.name}.weight holds {most:g}, beyond the largest {dtype}, {limit}; "
            f"keep float32{' or take bfloat16' if dtype == 'float16' else ''}"
        )
    return half if dtype == "float16" else _paired(layer, half)


def widen(network: Network, packed: Mapping[str, NDArray[Any]], dtype: str) -> dict[str, Any]:
    """Members of a float32 file from those of a `dtype` file, which it holds exactly."""
    made: dict[str, Any] = dict(packed)
    for layer in _narrowed(network):
        name = f"{layer.name}.weight"
        made[name] = widened(layer, packed[name], dtype)
    return made


def widened(layer: Layer, weight: NDArray[Any], dtype: str) -> Float32:
    """The packed float32 weights of a layer from its `dtype` ones, exactly."""
    import numpy as np

    if dtype == "float16":
        wide: Float32 = weight.astype(np.float32)
        return wide
    return from_bfloat16(_unpaired(layer, weight))


def to_bfloat16(x: Float32) -> Bits:
    """The bits of `x`, finite, as bfloat16, rounded to nearest, ties to even."""
    import numpy as np

    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded: Bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def from_bfloat16(bits: Bits) -> Float32:
    """The values of bfloat16 `bits`, exactly."""
    import numpy as np

    values: Float32 = (bits.astype(np.uint32) << 16).view(np.float32)
    return values


def is_finite(bits: Bits) -> bool:
    """Whether all bfloat16 numbers of those `bits` are finite."""
    return bool(((bits & 0x7F80) != 0x7F80).all())


def _narrowed(network: Network) -> list[Layer]:
    return [layer for layer in network.weighted if is_narrowed(network, layer)]


def _segment(layer: Layer, taps: int) -> int:
    """Neighbouring terms of a sum that are paired among themselves."""
    return layer.kernel * layer.in_channels if layer.operation == "conv" else taps


def _paired(layer: Layer, bits: Bits) -> Bits:
    """(panels, taps, 16) -> (panels, pairs, 16, 2)"""
    import numpy as np

    panels, taps, lanes = bits.shape
    segment = _segment(layer, taps)
    segments = bits.reshape(panels, taps // segment, segment, lanes)
    padded = np.pad(segments, ((0, 0), (0, 0), (0, -segment % PAIR), (0, 0)))
    pairs = padded.reshape(panels, -1, PAIR, lanes).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(pairs)


def _unpaired(layer: Layer, bits: Bits) -> Bits:
    """(panels, pairs, 16, 2) -> (panels, taps, 16)"""
    panels, _, lanes, _ = bits.shape
    taps = layer.kernel * layer.kernel * layer.in_channels
    segment = _segment(layer, taps)
    rows = bits.transpose(0, 1, 3, 2).reshape(panels, taps // segment, -1, lanes)
    unpadded: Bits = rows[:, :, :segment].reshape(panels, taps, lanes)
    return unpadded
