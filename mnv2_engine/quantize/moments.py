"""What a layer's input looks like, as far as its weights are concerned: means and covariances.

The 8-bit network's input counts, with the errors that all layers before have left in it, and
beside it the float network's mean, for the bias to make up for the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..executors.reference import pad, tap
from ..network.layer import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]
    Float = NDArray[np.floating[Any]]

PIXELS = 784  # of a frame that a depthwise layer's covariances are taken from; 28 by 28


class Moments:
    """Of the terms that make a sum: groups of them, one for each set of weights.

    A depthwise layer has a group for each channel, k·k terms in it; any other layer has one group
    of all its input channels (and taps, in the order ky, kx, channel).
    """

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        depthwise = layer.operation == "depthwise"
        taps = layer.kernel * layer.kernel
        groups, terms = (layer.out_channels, taps) if depthwise else (1, layer.in_channels * taps)
        self._count = 0
        # Subtracted first: squares of values far from 0 would drown their variance in rounding.
        self._origin: Any = None  # (groups, 1, terms)
        self._sums: Float64 = np.zeros((2, groups, terms))
        self._products: Float64 = np.zeros((groups, terms, terms))
        area = layer.out_size[0] * layer.out_size[1]
        self._chosen: Any = slice(None)
        if depthwise and area > PIXELS:
            self._chosen = np.random.default_rng(0).choice(area, PIXELS, replace=False)

    def add(self, real: Float, integer: Float) -> None:
        """Take in a frame of the float network's input, and the 8-bit network's in real units."""
        terms = self._terms(integer)
        if self._origin is None:
            self._origin = terms.mean(1, keepdims=True)
        terms = terms - self._origin
        self._count += terms.shape[1]
        self._sums[0] += (self._terms(real) - self._origin).sum(1, dtype=np.float64)
        self._sums[1] += terms.sum(1, dtype=np.float64)
        self._products += terms.swapaxes(1, 2) @ terms

    @property
    def real_mean(self) -> Float64:
        """(groups, terms), of the float network."""
        mean: Float64 = self._sums[0] / self._count + self._origin[:, 0]
        return mean

    @property
    def mean(self) -> Float64:
        """(groups, terms), of the 8-bit network."""
        mean: Float64 = self._sums[1] / self._count + self._origin[:, 0]
        return mean

    @property
    def covariance(self) -> Float64:
        """(groups, terms, terms), of the 8-bit network."""
        mean = self._sums[1] / self._count  # from the origin
        made: Float64 = self._products / self._count - mean[:, :, None] * mean[:, None, :]
        return made

    def _terms(self, x: Float) -> Float:
        """(groups, pixels, terms) of a frame (1, height, width, channels)."""
        layer = self._layer
        if layer.operation in ("pointwise", "dense"):
            return x.reshape(1, -1, x.shape[-1])
        padded = pad(layer, x)
        taps = np.stack(
            [
                tap(layer, padded, ky, kx).reshape(-1, x.shape[-1])[self._chosen]
                for ky in range(layer.kernel)
                for kx in range(layer.kernel)
            ]
        )  # (taps, pixels, channels)
        if layer.operation == "depthwise":
            return np.ascontiguousarray(taps.transpose(2, 1, 0))
        rows: Float = taps.swapaxes(0, 1).reshape(1, taps.shape[1], -1)
        return rows
