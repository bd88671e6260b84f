"""A float32 model file whose classifier alone is stored in 16 or 8 bits, and what that changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..executors import backends
from ..model.modelfile import open_model, write_model
from ..model.packed import CLASSIFIERS
from ..model.packing_classifier import classifier_of
from ..network.layer import IMAGE_CHANNELS
from ..network.quantization import CALIBRATION_LIMIT
from ..plan.planner import make_plan
from .frames import Frames, calibration_frames, without_copies
from .origin import check_output, origin_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Narrowed(NamedTuple):
    """What was made of a model, and how far its answers are from the model's. `str()` of it is for
    people."""

    name: str  # of the network
    classifier: str  # how its weights are stored now
    file_bytes: int
    was_bytes: int  # of the file that it was made of
    images: int  # that both were run on; 0: nothing was measured
    argmax: float  # share of images with the same most probable class, 0 to 1
    mean_error: float  # mean of |difference| over all logits
    largest_error: float
    spread: float  # standard deviation of the logits, to compare with
    notes: tuple[str, ...]  # a sentence for each image that was skipped

    def __str__(self) -> str:
        if not self.images:
            return (
                "the error was not measured: give photographs with --calibrate, or run "
                "mnv2 evaluate OUT.npz photos/ --against MODEL.npz"
            )
        same = round(self.argmax * self.images)
        return (
            f"on {self.images} photographs: the same first answer on {same} ({self.argmax:.1%}), "
            f"logits {self.mean_error:.2g} apart on average and {self.largest_error:.2g} at most, "
            f"of logits that spread by {self.spread:.2g}"
        )


def narrow_classifier(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    classifier: str,
    photographs: object = None,
    *,
    limit: int = CALIBRATION_LIMIT,
) -> Narrowed:
    """Make `out` of the float32 model file `model`: the same weights, but for the classifier's,
    which become `classifier`, one of float16, bfloat16 and int8. `out` appears whole or not at all.

    `photographs`, as `quantize` takes them, are run through both files, and the result says how far
    the logits are apart; they change nothing in the file.

    Raises InputError for a model of other weights or without a classifier, and for other arguments;
    CheckpointError for weights that 16 bits do not hold; and ModelFileError or MnvError where a
    file cannot be read or written.
    """
    if classifier not in CLASSIFIERS:
        raise InputError(f"classifier {classifier!r:.80}: expected one of {', '.join(CLASSIFIERS)}")
    with open_model(model) as source:
        if source.dtype != "float32":
            raise InputError(
                f"{source.path}: has {source.dtype} weights: a classifier is narrowed in files of "
                "float32 weights; give the model file that it was made of"
            )
        classifier_of(source.network)
        check_output(out, source.path)
        network, spec = source.network, source.input_spec
        frames = Frames(np.empty((0, *network.resolution, IMAGE_CHANNELS), np.uint8), ())
        if photographs is not None:
            frames = without_copies(
                calibration_frames(photographs, spec, network.resolution, limit)
            )
        source.verify()
        provenance = origin_of(source, f"classifier {classifier}")
        was = _logits(source, frames.pixels)
        weights = source.weights()
        write_model(
            out, network, weights, spec, source.labels, provenance, dtype=f"float32+{classifier}"
        )
        was_bytes = source.file_bytes
    with open_model(out) as made:
        now = _logits(made, frames.pixels)
        file_bytes = made.file_bytes
    made_of = (network.name, classifier, file_bytes, was_bytes, len(was))
    if not len(was):
        return Narrowed(*made_of, 0.0, 0.0, 0.0, 0.0, frames.skipped)
    apart = np.abs(now - was)
    same = float((now.argmax(1) == was.argmax(1)).mean())
    mean, most, spread = float(apart.mean()), float(apart.max()), float(was.std())
    return Narrowed(*made_of, same, mean, most, spread, frames.skipped)


def _logits(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, classes), by whoever runs the model here."""
    made = np.zeros((len(pixels), model.network.classes), np.float32)
    if len(pixels):
        found = backends.found(backends.requested(None), "float32")
        plan = make_plan(model.network, 1, "float32", model.dtype)
        executor = backends.executor(found, model, plan)
        for image, row in zip(pixels, made, strict=True):
            executor.run(image, False, logits=row)
    return made.astype(np.float64)
