"""Pictures that the tiny network of this folder was trained on: shapes and textures, drawn.

`picture(name, random)` gives uint8 RGB pixels (SIZE, SIZE, 3). Colours, place, size, turn and noise
are random; shapes are signed distances, softened over a pixel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIZE = 48  # pixels

Values = NDArray[np.float64]

_rows, _columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5


def _polygon(x: Values, y: Values, sides: int) -> Values:
    """Distance to a regular polygon whose sides are 1 away from the middle."""
    step = 2 * np.pi / sides
    angle = (np.arctan2(y, x) + step / 2) % step - step / 2
    return np.hypot(x, y) * np.cos(angle) - 1


def _star(x: Values, y: Values) -> Values:
    """Distance to a star of five points, about."""
    step = 2 * np.pi / 5
    angle = np.abs((np.arctan2(y, x) + step / 2) % step - step / 2)
    return np.hypot(x, y) * (np.cos(angle) + 2.0 * np.sin(angle)) - 1.35


def _cross(x: Values, y: Values) -> Values:
    long, thin = np.maximum(np.abs(x), np.abs(y)) - 1.15, np.minimum(np.abs(x), np.abs(y)) - 0.38
    return np.maximum(long, thin)


# Inside where negative; x and y are turned, and 1 is the size of the shape.
SHAPES: dict[str, Callable[[Values, Values], Values]] = {
    "circle": lambda x, y: np.hypot(x, y) - 1,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.85) - 0.22,
    "triangle": lambda x, y: _polygon(x, y, 3) + 0.35,
    "square": lambda x, y: _polygon(x, y, 4) + 0.12,
    "star": _star,
    "cross": _cross,
}
# The same in units of a period, over the whole picture.
TEXTURES: dict[str, Callable[[Values, Values], Values]] = {
    "stripes": lambda x, y: np.sin(2 * np.pi * x),
    "chequers": lambda x, y: np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y),
    "dots": lambda x, y: np.hypot(x % 1 - 0.5, y % 1 - 0.5) - 0.27,
}
NAMES = (*SHAPES, *TEXTURES, "gradient")  # the labels, in the order of the classes


def picture(name: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """One picture of the class `name`."""
    angle = random.uniform(0, 2 * np.pi)
    low, high = random.uniform(0, 255, (2, 3))
    while np.abs(high - low).max() < 90:
        low, high = random.uniform(0, 255, (2, 3))
    middle = SIZE / 2 if name not in SHAPES else random.uniform(0.36, 0.64, 2) * SIZE
    x, y = (_columns - np.atleast_1d(middle)[0]), (_rows - np.atleast_1d(middle)[-1])
    x, y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if name == "gradient":
        share = 0.5 + x / (SIZE * random.uniform(0.9, 1.4))
    elif name in SHAPES:
        size = random.uniform(0.2, 0.34) * SIZE
        share = 0.5 - SHAPES[name](x / size, y / size) * size
    else:
        period = random.uniform(8, 16)
        share = 0.5 - TEXTURES[name](x / period, y / period) * period / 4
    share = np.clip(share, 0, 1)[..., None]
    noise = random.normal(0, random.uniform(0, 10), (SIZE, SIZE, 1))
    return np.clip(low + (high - low) * share + noise, 0, 255).round().astype(np.uint8)


def pictures(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` pictures, the classes in turn, and their classes."""
    random = np.random.default_rng(seed)
    classes = np.arange(count) % len(NAMES)
    return np.stack([picture(NAMES[each], random) for each in classes]), classes
