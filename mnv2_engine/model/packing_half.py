"""Weights of 16 bits: float32 members of a model file <-> those of float16 and bfloat16 files.

Biases and depthwise weights stay float32: those are a fiftieth of the file, and rounding them would
move the logits four times as far as rounding all others does. Of the rest, float16 lies as float32
does. bfloat16 is the upper half of a float32, so two weights fit the 32 bits of a lane: pointwise
and classifier weights are pairs of neighbouring input channels, (panels, ceil(cin / 2), 16, 2), an
odd last one beside a zero. One vector then holds both as float32 after a shift and a mask, and is
the operand of instructions that multiply pairs. The stem has such pairs for each row of its kernel,
nine taps beside a zero: (panels, 15, 16, 2).

Rounding is to nearest, ties to even.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from ..network.architecture import IMAGE_CHANNELS, STEM_KERNEL, Architecture, Layer, layers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Bits = NDArray[np.uint16]

PAIR = 2
DESCR = {"float16": "<f2", "bfloat16": "<u2"}  # bfloat16, which NumPy has not, as its bits
WHOLE = "depthwise"  # the kind of layer whose weights stay float32
_LARGEST_FLOAT16 = 65504.0


def weight_member(layer: Layer, dtype: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """NumPy's name of the type and the shape of the packed weight, which is `shape`, (panels, taps,
    16), in float32."""
    if layer.kind == WHOLE:
        return "<f4", shape
    if dtype == "float16":
        return DESCR[dtype], shape
    panels, taps, lanes = shape
    segment = _segment(layer, taps)
    return DESCR[dtype], (panels, taps // segment * -(-segment // PAIR), lanes, PAIR)


def narrow(network: Architecture, packed: Mapping[str, Float32], dtype: str) -> dict[str, Any]:
    """Members of a `dtype` file from those of a float32 file.

    Raises CheckpointError for a weight that rounds to infinity.
    """
    import numpy as np

    made: dict[str, Any] = dict(packed)
    for layer in _narrowed(network):
        name = f"{layer.name}.weight"
        weight = packed[name]
        if dtype == "float16":
            with np.errstate(over="ignore"):
                half = weight.astype("<f2")
            finite = np.isfinite(half).all()
        else:
            half = to_bfloat16(weight)
            finite = is_finite(half)
        if not finite:
            most = float(np.abs(weight).max())
            limit = f"{_LARGEST_FLOAT16:g}" if dtype == "float16" else "3.39e+38"
            raise CheckpointError(
                f"{name} holds {most:g}, beyond the largest {dtype}, {limit}; "
                f"keep float32{' or take bfloat16' if dtype == 'float16' else ''}"
            )
        made[name] = half if dtype == "float16" else _paired(layer, half)
    return made


def widen(network: Architecture, packed: Mapping[str, NDArray[Any]], dtype: str) -> dict[str, Any]:
    """Members of a float32 file from those of a `dtype` file, which it holds exactly."""
    import numpy as np

    made: dict[str, Any] = dict(packed)
    for layer in _narrowed(network):
        name = f"{layer.name}.weight"
        if dtype == "float16":
            made[name] = packed[name].astype(np.float32)
        else:
            made[name] = from_bfloat16(_unpaired(layer, packed[name]))
    return made


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


def _narrowed(network: Architecture) -> list[Layer]:
    """The layers whose weights have 16 bits."""
    return [layer for layer in layers(network) if layer.kind != WHOLE]


def _segment(layer: Layer, taps: int) -> int:
    """Neighbouring terms of a sum that are paired among themselves."""
    return STEM_KERNEL * IMAGE_CHANNELS if layer.kind == "conv" else taps


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
