"""Weights to int8: a scale for each output channel, and which way each weight is rounded.

Rounded to nearest, the errors of a channel's weights add up at random. Here each weight's error is
passed on to those that are not yet rounded, as far as their inputs vary together (the optimal
brain quantiser in the form of GPTQ, Frantar et al., arXiv 2210.17323), which makes the error of
the sum least, not that of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

LEVELS = 127
DAMPING = 0.01  # of the mean variance, added to each: calibration has not seen everything
CLIPPING = np.linspace(1.0, 0.6, 21)  # scales that are tried, as parts of the largest weight
BLOCK = 64  # terms whose errors are passed on at once


def weight_scales(weight: Float64, variance: Float64) -> Float64:
    """The scale of each row of `weight` (out, terms) with which its sums err least when rounded
    to nearest; `variance`, (out or 1, terms), is that of the inputs."""
    largest = np.abs(weight).max(1)
    # A row of zeros has any scale; one that stands out would coarsen the layer's output.
    largest = np.where(largest > 0, largest, largest.max() or 1.0)
    importance = variance + 1e-3 * variance.mean(-1, keepdims=True) + 1e-12
    best: Float64 = np.full(len(weight), np.inf)
    scales = largest / LEVELS
    for part in CLIPPING:
        tried = (largest * part / LEVELS)[:, None]
        error = (np.square(_nearest(weight, tried) * tried - weight) * importance).sum(1)
        better = error < best
        best[better] = error[better]
        scales[better] = tried[better, 0]
    return scales


def round_to_nearest(weight: Float64, scales: Float64) -> NDArray[np.int8]:
    """`weight` (out, terms) in steps of `scales`, each weight for itself."""
    return _nearest(weight, scales[:, None]).astype(np.int8)


def round_jointly(weight: Float64, scales: Float64, covariance: Float64) -> NDArray[np.int8]:
    """`weight` (groups, out, terms) in steps of `scales` (groups, out), so that the sums over
    inputs of `covariance` (groups, terms, terms) err little."""
    rest = np.array(weight)
    terms = rest.shape[2]
    damped = np.array(covariance)
    variances = np.einsum("gtt->gt", damped)  # a view of the diagonals
    variances += DAMPING * variances.mean(1, keepdims=True) + 1e-12
    # Terms that vary most come first, while there are others to make up for their errors.
    order = np.argsort(-variances.mean(0), kind="stable")
    rest, damped = rest[:, :, order], damped[:, order][:, :, order]
    # The upper factor of the inverse: row t says how the terms after t make up for t's error.
    upper = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(1, 2)
    rounded = np.empty(rest.shape, np.int8)
    for start in range(0, terms, BLOCK):
        end = min(start + BLOCK, terms)
        errors: Float64 = np.empty((*scales.shape, end - start))
        for t in range(start, end):
            nearest = _nearest(rest[:, :, t], scales)
            rounded[:, :, t] = nearest
            error = (rest[:, :, t] - nearest * scales) / upper[:, None, t, t]
            errors[:, :, t - start] = error
            rest[:, :, t + 1 : end] -= error[:, :, None] * upper[:, None, t, t + 1 : end]
        rest[:, :, end:] -= errors @ upper[:, start:end, end:]
    made = np.empty_like(rounded)
    made[:, :, order] = rounded
    return made


def _nearest(weight: Float64, scales: Float64) -> Float64:
    nearest: Float64 = np.clip(np.rint(weight / scales), -LEVELS, LEVELS)
    return nearest
