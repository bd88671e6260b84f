"""What the integers of an int8 network stand for, and how its sums become 8 bits again.

The numerics are those of docs/int8.md. Plain data without arrays: loading an engine reads it from
the model file's `meta`.
"""

from __future__ import annotations

from ..errors import InputError, ModelFileError
from ..untyped import TYPE_CHECKING, Any, NamedTuple
from .blocks import match
from .layer import Network

if TYPE_CHECKING:
    from .parts import Parts

FRACTION = 5  # bits that a requantised sum has beyond its unit, unless its multipliers are large
MAX_FRACTION = 6
MULTIPLIER_BITS = 15
MAX_MULTIPLIER = (1 << MULTIPLIER_BITS) - 1
MAX_SHIFT = 31
SPARE_BITS = 3  # that a multiplier may lack of its 15: the other 12 are 1/32 of a step in 255
SHORTCUT_BITS = 9  # shortcut = ratio of scales * 2^(SHORTCUT_BITS + fraction)
MAX_SCALE = 3.4028234663852886e38  # the largest float32
MAX_HIDDEN_SCALE = 6 / 255  # of an output of ReLU6: its largest integer, 255, is at most 6
POOL = "pool"

# What `mnv2 quantize` offers; here because the command's help must not import NumPy.
RANGE_METHODS = ("minmax", "percentile", "mse")  # see quantize.ranges.choose_reach
DEFAULT_RANGE_METHOD = "minmax"
CALIBRATION_LIMIT = 128  # images


class LayerQuantization(NamedTuple):
    """The 8-bit output of a layer: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int  # 0 behind an activation
    fraction: int  # bits of a requantised sum beyond its unit
    shortcut: int = 0  # project layers with a shortcut: what multiplies it; else 0


class PoolQuantization(NamedTuple):
    """The pooled features, and how they follow from the sums over pixels."""

    scale: float
    fraction: int
    bias: int
    multiplier: int
    shift: int


class Quantization(NamedTuple):
    """Of a whole network."""

    layers: dict[str, LayerQuantization]  # all but the dense ones, in the order of execution
    pool: PoolQuantization | None  # None of a detector, which has no pool


def thin_zeros(parts: Parts, quantization: Quantization) -> dict[str, int]:
    """The zero points of the blocks' thin outputs, by the name of the layer that gives each: what
    a depthwise layer that reads one is padded with. Tensors behind an activation have 0."""
    said = quantization.layers
    return {block.output: said[block.project.name].zero_point for block in parts.blocks}


def to_json(quantization: Quantization) -> dict[str, object]:
    """Plain JSON values, the inverse of `from_json`."""
    made: dict[str, object] = {
        "layers": {name: list(layer) for name, layer in quantization.layers.items()}
    }
    if quantization.pool is not None:
        made[POOL] = list(quantization.pool)
    return made


def from_json(obj: object, network: Network) -> Quantization:
    """What parsed JSON says of `network`. Raises ModelFileError unless it is complete, holds
    nothing else and every value is in range."""
    keys = ("layers",) if network.detection is not None else ("layers", POOL)
    if not isinstance(obj, dict) or set(obj) != set(keys):
        raise ModelFileError(f"quantization: expected exactly the keys {' and '.join(keys)}")
    named = obj["layers"]
    quantised = [layer for layer in network.weighted if layer.operation != "dense"]
    names = [layer.name for layer in quantised]
    joined = {block.project.name for block in match(network).blocks if block.residual}
    if not isinstance(named, dict) or list(named) != names:
        raise ModelFileError(
            f"quantization: expected the {len(names)} layers of {network.name} in order, "
            f"{names[0]} to {names[-1]}"
        )
    found = {}
    for layer in quantised:
        scale, zero_point, fraction, shortcut = _numbers(layer.name, named[layer.name], 4)
        most = MAX_HIDDEN_SCALE if layer.activation == "relu6" else MAX_SCALE
        _check(layer.name, "scale", scale, 0, most)
        _check(layer.name, "zero_point", zero_point, 0, 255 if layer.activation == "linear" else 0)
        _check(layer.name, "fraction", fraction, 0, MAX_FRACTION)
        _check(layer.name, "shortcut", shortcut, 0, MAX_MULTIPLIER if layer.name in joined else 0)
        found[layer.name] = LayerQuantization(float(scale), zero_point, fraction, shortcut)
    if POOL not in obj:
        return Quantization(found, None)
    scale, fraction, bias, multiplier, shift = _numbers(POOL, obj[POOL], 5)
    _check(POOL, "scale", scale, 0, MAX_SCALE)
    _check(POOL, "fraction", fraction, 0, MAX_FRACTION)
    _check(POOL, "bias", bias, -(1 << 30), 1 << 30)
    _check(POOL, "multiplier", multiplier, 0, MAX_MULTIPLIER)
    _check(POOL, "shift", shift, 0, MAX_SHIFT)
    pool = PoolQuantization(float(scale), fraction, bias, multiplier, shift)
    return Quantization(found, pool)


def fixed_point(factor: float, fraction: int) -> tuple[int, int]:
    """(multiplier, shift) with multiplier * 2**-shift the nearest to factor * 2**(15 + fraction).

    The shift is the largest that lets the multiplier fit, less the bits that a lesser `fraction`
    leaves over: those are better kept in the shifted sum than in the multiplier. Raises InputError
    for a factor that is negative, not finite, or too large for `fraction`.
    """
    from math import frexp, isfinite

    if not (isfinite(factor) and factor >= 0.0):
        raise InputError(f"requantisation by {factor!r}: expected a finite factor, 0 or more")
    if factor >= 1.0:  # lest it overflow below
        raise InputError(f"requantisation by {factor!r}: expected a factor below 1")
    mantissa, exponent = frexp(factor * 2.0 ** (MULTIPLIER_BITS + fraction))
    shift = min(MULTIPLIER_BITS - exponent, MAX_SHIFT)
    if round(mantissa * 2.0 ** (exponent + shift)) > MAX_MULTIPLIER:  # rounded up to 2**15
        shift -= 1
    if shift < 0:
        raise InputError(f"requantisation by {factor!r}: too large for {fraction} bits of fraction")
    shift = max(shift - min(max(FRACTION - fraction, 0), SPARE_BITS), 0)
    return round(mantissa * 2.0 ** (exponent + shift)), shift


def effective_factor(multiplier: int, shift: int, fraction: int) -> float:
    """What a sum is multiplied by in fact."""
    return float(multiplier) * 2.0 ** -(shift + MULTIPLIER_BITS + fraction)


def fraction_for(largest_factor: float) -> int:
    """The most bits of fraction, up to FRACTION, with which a factor can be represented.

    Raises InputError where there are none.
    """
    for fraction in range(FRACTION, -1, -1):
        if largest_factor * 2.0 ** (MULTIPLIER_BITS + fraction) <= MAX_MULTIPLIER:
            return fraction
    raise InputError(
        f"requantisation by {largest_factor!r}: expected a factor below 1; the layer's output "
        "scale is too small for its input and weights"
    )


def _numbers(name: str, value: object, count: int) -> list[Any]:
    """`count` numbers, of which all but the first are integers."""
    if (
        not isinstance(value, list)
        or len(value) != count
        or not isinstance(value[0], (int, float))
        or not all(isinstance(each, int) for each in value[1:])
        or any(isinstance(each, bool) for each in value)
    ):
        raise ModelFileError(
            f"quantization of {name}: expected a scale and {count - 1} integers; "
            f"found {value!r:.200}"
        )
    return value


def _check(name: str, what: str, value: float, least: int, most: float) -> None:
    """Raise ModelFileError unless `value` is from `least` to `most`; a scale is never 0."""
    if not least <= value <= most or (what == "scale" and value == 0):
        raise ModelFileError(
            f"quantization of {name}: {what} {value!r:.80}: expected {least} to {most:g}"
        )
