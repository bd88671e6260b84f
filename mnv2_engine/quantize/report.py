"""What quantisation did: layer by layer, and to the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .folding import Activation

CEILING_DB = 99.0  # what is said of a layer without any error


class LayerReport(NamedTuple):
    """The 8-bit output of a layer beside the float network's, over the calibration images."""

    name: str
    low: float  # the least and the largest value of the float network
    high: float
    scale: float
    zero_point: int
    clipped: float  # share of the float network's values beyond what 8 bits reach, 0 to 1
    snr_db: float  # signal to noise: of the values' variance to the mean square error
    silent: int  # channels that had one value throughout


class Agreement(NamedTuple):
    """The 8-bit network's answers beside the float network's."""

    images: int
    argmax: float  # share of images with the same most probable class, 0 to 1
    logit_error: float  # mean of |difference| over all logits
    held_out: bool = False  # on images that were not calibrated with


class Quantised(NamedTuple):
    """What was made of a model, and how good it is. `str()` of it is for people."""

    name: str  # of the network, such as "mobilenet_v2_1.0_224"
    method: str
    layers: tuple[LayerReport, ...]
    agreement: Agreement  # on images that were held out, or else on the calibration images
    file_bytes: int
    notes: tuple[str, ...]  # a sentence for each thing that was skipped or is odd

    def __str__(self) -> str:
        lines = [
            f"{'layer':<18}{'range':>17}  {'scale':>9} {'zero':>4} {'clipped':>8} {'SNR':>8} "
            f"{'silent':>6}"
        ]
        lines += [
            f"{layer.name:<18}{layer.low:>8.2f} …{layer.high:>7.2f}  {layer.scale:>9.6f} "
            f"{layer.zero_point:>4} {layer.clipped:>8.3%} {layer.snr_db:>5.1f} dB "
            f"{layer.silent or '':>6}"
            for layer in self.layers
        ]
        which = (
            f"on {self.agreement.images} images that were held out"
            if self.agreement.held_out
            else f"on the {self.agreement.images} calibration images, which the network was "
            "corrected on (of 20 and more, a fifth is held out to measure on)"
        )
        same = round(self.agreement.argmax * self.agreement.images)
        lines += [
            "",
            f"{which}: the same first answer as float32 "
            f"on {same} ({self.agreement.argmax:.1%}), logits {self.agreement.logit_error:.3f} "
            "apart on average",
        ]
        return "\n".join(lines)


class Comparison:
    """Gathers a LayerReport, frame by frame."""

    def __init__(self, name: str, target: Activation, factor: Any = 1.0, middle: Any = 0.0) -> None:
        """Of the layer `name`; its real values are middle + factor · what it is given, each a
        number or one a channel."""
        self._name, self._target = name, target
        self._factor, self._middle = factor, middle
        self._count = 0
        self._cut = 0
        self._sums: Any = 0.0  # by channel: of values, of their squares, of squared errors
        self._least: Any = np.inf
        self._most: Any = -np.inf

    def add(self, real: NDArray[Any], integer: NDArray[Any]) -> None:
        """Take in a frame of the float network's output, and the 8-bit one's in real units."""
        scale, zero = self._target
        x = real.reshape(-1, real.shape[-1])
        error = integer.reshape(x.shape) - x
        self._count += len(x)
        self._sums = self._sums + np.array(
            [each.sum(0, dtype=np.float64) for each in (x, x * x, error * error)]
        )
        low, high = (-0.5 - zero) * scale, (255.5 - zero) * scale
        self._cut += int(np.count_nonzero(x < low)) + int(np.count_nonzero(x > high))
        self._least = np.minimum(self._least, x.min(0))
        self._most = np.maximum(self._most, x.max(0))

    def report(self) -> LayerReport:
        """What was found of the layer."""
        values, squares, errors = self._sums
        weight = np.broadcast_to(np.square(self._factor), values.shape)
        noise = float((errors * weight).sum())
        signal = float(((squares - values**2 / self._count) * weight).sum())
        decibels = 10 * np.log10(max(signal, 1e-300) / noise) if noise > 0 else CEILING_DB
        return LayerReport(
            self._name,
            float((self._middle + self._factor * self._least).min()),
            float((self._middle + self._factor * self._most).max()),
            self._target.scale,
            self._target.zero_point,
            self._cut / (self._count * len(values)),
            float(np.clip(decibels, -CEILING_DB, CEILING_DB)),
            int(np.count_nonzero(self._least == self._most)),
        )


def agreement(real: NDArray[Any], integer: NDArray[Any]) -> Agreement:
    """Of logits (N, classes), the float network's and the 8-bit one's."""
    return Agreement(
        len(real),
        float((real.argmax(1) == integer.argmax(1)).mean()),
        float(np.abs(real.astype(np.float64) - integer).mean()),
    )
