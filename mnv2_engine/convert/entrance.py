"""What a source says about its pixels: scales, metadata, and arithmetic in front of the network."""

from __future__ import annotations

from typing import NamedTuple

from .walk import Affine

GRAPH = "the arithmetic in front of its first layer"


class Normalisation(NamedTuple):
    """x = (pixel - mean) / std per channel, pixels 0 to 255, as a source states it."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stated_by: str  # "the input tensor's scale and zero point"


class Entrance(NamedTuple):
    """What of the preprocessing is known, and the arithmetic that waits for the rest."""

    normalisation: Normalisation | None
    waiting: Affine | None


def entrance_of(stated: Normalisation | None, affine: Affine | None) -> Entrance:
    """The preprocessing of a graph whose input is normalised as `stated`, if that is known, and
    which then does `affine`.

    Arithmetic on a float input whose numbers could be 0 to 255 or 0 to 1 tells which by its own
    constants: a mean above 1 belongs to pixels. Where all of them are at most 1, nobody can know.
    """
    if affine is None:
        return Entrance(stated, None)
    if stated is None:
        pixels = composed(Normalisation((0.0,) * 3, (1.0,) * 3, ""), affine, GRAPH)
        if max(abs(each) for each in (*pixels.mean, *pixels.std)) <= 1:
            return Entrance(None, affine)
        return Entrance(pixels, None)
    return Entrance(composed(stated, affine, f"{stated.stated_by} and {GRAPH}"), None)


def composed(first: Normalisation, affine: Affine, stated_by: str) -> Normalisation:
    """`first` and then `affine`, as one normalisation."""
    means, stds = [], []
    for mean, std, scale, shift in zip(
        first.mean, first.std, affine.scale, affine.shift, strict=True
    ):
        deviation = reciprocal(scale / std)
        stds.append(deviation)
        means.append(shortest(mean - shift * deviation))
    return Normalisation((means[0], means[1], means[2]), (stds[0], stds[1], stds[2]), stated_by)


def shortest(value: float) -> float:
    """The shortest decimal that is the same number in float32."""
    import numpy as np

    for digits in range(8):
        short = round(value, digits)
        if np.float32(short) == np.float32(value):
            return short
    return value


def reciprocal(scale: float) -> float:
    """1 / scale; the shortest decimal whose reciprocal is the same in float32."""
    import numpy as np

    for digits in range(5):
        short = round(1 / scale, digits)
        if short and np.float32(1 / short) == np.float32(scale):
            return short
    return 1 / scale
