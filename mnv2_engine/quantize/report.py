"""What quantisation did: layer by layer, and to the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..detect.decoding import converted, decoded
from ..detect.suppression import overlaps, suppressed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..detect.suppression import Kept
    from ..executors.reference import Outputs
    from ..network.detection import Detection
    from ..network.layer import Network
    from .folding import Activation

OVERLAP = 0.8  # intersection over union with which two boxes are of one object
OBJECT_SCORE = 0.5
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

    def __str__(self) -> str:
        same = round(self.argmax * self.images)
        return (
            f"the same first answer as float32 on {same} ({self.argmax:.1%}), logits "
            f"{self.logit_error:.3f} apart on average"
        )


class FoundAgreement(NamedTuple):
    """The 8-bit detector's objects beside the float detector's."""

    images: int
    objects: int  # that the float detector finds, of score 0.5 and more
    found: float  # share of them that the 8-bit one finds, 0 to 1: of the same class, see OVERLAP
    others: int  # objects that only the 8-bit one finds
    logit_error: float  # mean of |difference| over all scores before their conversion
    held_out: bool = False  # on images that were not calibrated with

    def __str__(self) -> str:
        if not self.objects:
            return f"no objects in float32, {self.others} in int8"
        found = round(self.found * self.objects)
        return (
            f"of {self.objects} objects in float32 {found} ({self.found:.1%}) found, at "
            f"{OVERLAP:.0%} overlap and more, {self.others} others; logits "
            f"{self.logit_error:.3f} apart on average"
        )


class Quantised(NamedTuple):
    """What was made of a model, and how good it is. `str()` of it is for people."""

    name: str  # of the network, such as "mobilenet_v2_1.0_224"
    method: str
    layers: tuple[LayerReport, ...]
    agreement: Agreement | FoundAgreement  # on held-out images, or else on the calibration images
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
        lines += ["", f"{which}: {self.agreement}"]
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


def agreement_of(
    network: Network, anchors: NDArray[Any] | None, real: Outputs, integers: Outputs
) -> Agreement | FoundAgreement:
    """Of what both networks gave for the same images; `anchors` are a detector's."""
    if network.detection is not None:
        assert anchors is not None
        return found_agreement(network.detection, anchors, real, integers)
    if network.classes:
        return agreement(real.logits, integers.logits)
    return agreement(real.features, integers.features)


def found_agreement(
    detection: Detection, anchors: NDArray[Any], real: Outputs, integers: Outputs
) -> FoundAgreement:
    """Of two detectors' codes and scores. An object is found where the other one has one of its
    class that overlaps it by OVERLAP; none is found twice."""
    assert real.scores is not None
    assert integers.scores is not None
    objects = found = others = 0
    for i in range(len(real.scores)):
        true, rest = (_objects(detection, anchors, each, i) for each in (real, integers))
        objects += len(true)
        for each in true:
            boxes = np.array([other.box for other in rest], np.float32).reshape(-1, 4)
            near = overlaps(np.array(each.box, np.float32), boxes)
            near *= np.array([other.index == each.index for other in rest], np.float32)
            if len(near) and near.max() >= OVERLAP:
                found += 1
                del rest[int(near.argmax())]
        others += len(rest)
    return FoundAgreement(
        len(real.scores),
        objects,
        found / objects if objects else 1.0,
        others,
        float(np.abs(real.scores.astype(np.float64) - integers.scores).mean()),
    )


def _objects(detection: Detection, anchors: NDArray[Any], given: Outputs, image: int) -> list[Kept]:
    assert given.boxes is not None
    assert given.scores is not None
    return suppressed(
        decoded(given.boxes[image], anchors, detection.box_coding),
        converted(given.scores[image], detection.score_conversion, detection.background),
        max(detection.score_threshold, OBJECT_SCORE),
        detection.iou_threshold,
        detection.max_per_class,
        detection.max_objects,
    )


def agreement(real: NDArray[Any], integer: NDArray[Any]) -> Agreement:
    """Of logits (N, classes), the float network's and the 8-bit one's."""
    return Agreement(
        len(real),
        float((real.argmax(1) == integer.argmax(1)).mean()),
        float(np.abs(real.astype(np.float64) - integer).mean()),
    )
