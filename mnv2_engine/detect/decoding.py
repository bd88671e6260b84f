"""Boxes and scores out of what the heads of a detector give. The definition, in float32.

A box is coded relative to its anchor (SSD, section 2.2): of the four numbers ty, tx, th, tw, each
divided by its scale,

    centre = t · size of the anchor + centre of the anchor,    size = exp(t) · size of the anchor

for rows and columns alike. All coordinates are parts of the picture, 0 to 1.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..untyped import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

SIGMOID, SOFTMAX = "sigmoid", "softmax"


def decoded(codes: NDArray[Any], anchors: NDArray[Any], scales: tuple[float, ...]) -> Float32:
    """Corners (top, left, bottom, right) of `codes`, (N, 4) as (y, x, height, width), relative to
    `anchors`, (N, 4) as (y centre, x centre, height, width). `scales` divide the codes."""
    codes, anchors = np.asarray(codes, np.float32), np.asarray(anchors, np.float32)
    if codes.shape != anchors.shape or codes.ndim != 2 or codes.shape[1] != 4:
        raise InputError(
            f"{codes.shape} codes for {anchors.shape} anchors: expected four numbers of each box "
            "and as many anchors"
        )
    # Numbers that overflow make boxes without end, which `suppressed` leaves out.
    with np.errstate(over="ignore", invalid="ignore"):
        ty, tx, th, tw = (codes / np.asarray(scales, np.float32)).T
        y, x, height, width = anchors.T
        half_height = np.exp(th) * height / np.float32(2)
        half_width = np.exp(tw) * width / np.float32(2)
        y, x = ty * height + y, tx * width + x
        corners = (y - half_height, x - half_width, y + half_height, x + half_width)
        return np.stack(corners, axis=1, dtype=np.float32)


def converted(logits: NDArray[Any], conversion: str, background: bool) -> Float32:
    """Scores of the classes, (N, classes), out of `logits`: each by itself by ``sigmoid``, or all
    of a box by ``softmax``. The first column is dropped if it is the `background`'s."""
    logits = np.asarray(logits, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if conversion == SIGMOID:
            scores = np.float32(1) / (np.float32(1) + np.exp(-logits))
        elif conversion == SOFTMAX:
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores = shares / shares.sum(axis=1, keepdims=True)
        else:
            raise InputError(
                f"score conversion {conversion!r:.80}: expected {SIGMOID} or {SOFTMAX}"
            )
    kept: Float32 = scores[:, 1:] if background else scores
    return kept
