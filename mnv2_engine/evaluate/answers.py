"""What is kept of an image's logits: the first classes, the rank of the true one, and how far the
logits of two models lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .statistics import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT_CLASSES = 5
DIGITS = 7  # of a number that is written: those of float32


def answer(logits: NDArray[np.float32], truth: int | None) -> dict[str, Any]:
    """``top``, the first classes, and ``rank`` of the true one, from 0. Of equal logits, those of
    the lower index come first. Raises InputError for logits that are not finite."""
    if not np.isfinite(logits).all():
        raise InputError("the network's logits are not all finite")
    order = np.argsort(-logits, kind="stable")
    found: dict[str, Any] = {"top": order[:KEPT_CLASSES].tolist()}
    if truth is not None:
        found["rank"] = int(np.flatnonzero(order == truth)[0])
    return found


def difference(mine: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, Any]:
    """How far two rows of logits, (classes,), lie apart: of |mine - other| the ``mean``, ``rms``,
    ``max`` and the class ``at`` which that is, and a ``histogram``; their ``cosine``; and whether
    mine's first class is ``first`` with other, perhaps among equals, as in 8 bits."""
    a, b = mine.astype(np.float64), other.astype(np.float64)
    apart = np.abs(a - b)
    histogram = Histogram()
    histogram.add(apart)
    lengths = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return {
        "mean": _short(apart.mean()),
        "rms": _short(np.sqrt((apart * apart).mean())),
        "max": _short(apart.max()),
        "at": int(apart.argmax()),
        "cosine": _short((a * b).sum() / lengths) if lengths else 1.0,
        "first": bool(b[a.argmax()] == b.max()),
        "histogram": histogram.to_json(),
    }


def _short(value: Any) -> float:
    return float(f"{value:.{DIGITS}g}")
