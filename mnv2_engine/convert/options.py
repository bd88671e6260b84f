"""What a source says of its use, and what the options say: both together must say everything.

Nothing is guessed: what neither says is an error that names the option, and so is an option that
contradicts the source. Only the geometry and, for sources that fix no size, the input size have
defaults, which the notes name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import CheckpointError, InputError, ModelFileError
from ..model.input_spec import FITS, PRESETS, RESAMPLES, InputSpec, from_json, to_json
from ..model.labels import BACKGROUND, IMAGENET_CLASSES, coco, imagenet, read_labels
from ..model.packed import DTYPES
from ..network.layer import ACTIVATIONS, ANSWERS, PADDINGS, Network
from .checkpoint import Checkpoint, Geometry
from .colours import COLOURS, is_grey, stated_in_rgb
from .entrance import GRAPH, Normalisation, composed

PACKAGED = {"imagenet": imagenet, "coco": coco}  # labels that come with the package, by name
NO_LABELS = "none"

# Of a source that states its normalisation alone: 224 of 256 pixels, as for nearly every network.
_RESAMPLE, _CROP_FRACTION = "bilinear", 0.875


class Options(NamedTuple):
    """The options of `convert`; None where one is not given."""

    padding: str | None = None
    preprocess: str | InputSpec | None = None
    labels: str | os.PathLike[str] | None = None
    resolution: int | tuple[int, int] | None = None
    resample: str | None = None
    crop_fraction: float | None = None
    weights: str = "float32"  # dtype of the model file's
    answer: str | None = None
    hidden: str | None = None  # the activation between dense layers
    fit: str | None = None
    colours: str | None = None


class Settled(NamedTuple):
    """Everything that a model file needs besides the weights."""

    network: Network
    input_spec: InputSpec
    labels: tuple[str, ...] | None
    notes: tuple[str, ...]


def check_options(given: Options) -> None:
    """Raise InputError for a value that no source could go with, before the source is read."""
    if given.padding is not None and given.padding not in PADDINGS:
        raise InputError(f"padding {given.padding!r}: expected {_alternatives(PADDINGS)}")
    preset = given.preprocess
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InputError(f"preprocess {preset!r}: expected {_alternatives(PRESETS)}")
    elif preset is not None and not isinstance(preset, InputSpec):
        raise InputError(
            f"preprocess: got {type(preset).__name__}, expected {_alternatives(PRESETS)} or an "
            "InputSpec"
        )
    if given.resample is not None and given.resample not in RESAMPLES:
        raise InputError(f"resample {given.resample!r}: expected {_alternatives(RESAMPLES)}")
    if given.colours is not None and given.colours not in COLOURS:
        raise InputError(f"colours {given.colours!r}: expected {_alternatives(COLOURS)}")
    if given.fit is not None and given.fit not in FITS:
        raise InputError(f"fit {given.fit!r}: expected {_alternatives(FITS)}")
    _checked(
        _with_geometry(
            PRESETS[preset] if isinstance(preset, str) else preset or PRESETS["tf"], given
        )
    )
    if given.answer is not None and given.answer not in ANSWERS:
        raise InputError(f"answer {given.answer!r}: expected {_alternatives(ANSWERS)}")
    if given.hidden is not None and given.hidden not in ACTIVATIONS:
        raise InputError(f"hidden {given.hidden!r}: expected {_alternatives(ACTIVATIONS)}")
    if given.weights not in DTYPES:
        raise InputError(f"weights {given.weights!r}: expected {_alternatives(DTYPES)}")
    if given.labels is not None and not isinstance(given.labels, (str, os.PathLike)):
        raise InputError(
            f"labels: got {type(given.labels).__name__}, expected the path of a file, "
            f"{', '.join(map(repr, PACKAGED))} or {NO_LABELS!r}"
        )


def settle(checkpoint: Checkpoint, given: Options, what: str) -> Settled:
    """The source's word completed by the options, or InputError. `what` names the source."""
    _check_complete(checkpoint, given, what)
    checkpoint = stated_in_rgb(checkpoint, given.colours)
    notes = list(checkpoint.notes)
    padding = _padding(checkpoint, given, what)
    resolution = _resolution(checkpoint, given, what, notes)
    answer = _answer(checkpoint, given, what)
    network = checkpoint.network(resolution, padding, answer)
    spec = _input_spec(checkpoint, given, what, notes)
    labels = _labels(checkpoint, given, network, what, notes)
    return Settled(network, spec, labels, tuple(notes))


def _check_complete(checkpoint: Checkpoint, given: Options, what: str) -> None:
    """Raise one InputError for all that neither the source nor an option says."""
    missing = missing_options(checkpoint, given)
    if missing:
        option = "option" if len(missing) == 1 else "options"
        raise InputError(
            f"{what}: the checkpoint does not say all that is needed; give the {option} "
            + " and ".join(missing)
        )


def missing_options(checkpoint: Checkpoint, given: Options) -> list[str]:
    """The options that are needed beyond those `given`, each with what it can be."""
    missing = []
    if not checkpoint.paddings and given.padding is None:
        missing.append(f"padding ({_alternatives(PADDINGS)})")
    if checkpoint.normalisation is None and given.preprocess is None:
        missing.append(f"preprocess ({_alternatives(PRESETS)})")
    if checkpoint.classes == 1 and checkpoint.answer is None and given.answer is None:
        missing.append(
            "answer (sigmoid, where its one output is the probability of class 1, or linear, where "
            "it is a number)"
        )
    if checkpoint.hidden and given.hidden is None:
        missing.append(f"hidden (what is between its dense layers: {_alternatives(ACTIVATIONS)})")
    if checkpoint.classes and checkpoint.labels is None and given.labels is None:
        packaged = "coco" if checkpoint.answer == "boxes" else "imagenet"
        missing.append(f"labels (a file of one label a line, {packaged}, or {NO_LABELS})")
    return missing


def said_by(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What a source says of its use and where it says so, a sentence each."""
    said = []
    if checkpoint.resolution is not None:
        said.append(f"resolution {checkpoint.resolution[0]}x{checkpoint.resolution[1]}")
    if is_grey(checkpoint):
        said.append("colours grey, one channel")
    if checkpoint.paddings:
        said.append(f"padding {_alternatives(checkpoint.paddings)}")
    stated = checkpoint.normalisation
    if stated is not None:
        said.append(
            f"mean {_numbers(stated.mean)}, deviation {_numbers(stated.std)}, from "
            f"{stated.stated_by}"
        )
    if checkpoint.geometry is not None:
        said.append(f"{_geometry(checkpoint.geometry)}, from {checkpoint.geometry.stated_by}")
    if checkpoint.answer is not None:
        said.append(f"answer {checkpoint.answer}")
    if checkpoint.labels is not None:
        count = len(checkpoint.labels)
        said.append(f"{count} label{'s' * (count != 1)}, from {checkpoint.labels_by}")
    return tuple(said)


def _geometry(stated: Geometry) -> str:
    found = [] if stated.resample is None else [f"resample {stated.resample}"]
    if stated.crop_fraction is not None:
        found.append(f"crop fraction {stated.crop_fraction:g}")
    if stated.fit is not None:
        found.append(f"fit {stated.fit}")
    return ", ".join(found) or "no resize"


def _padding(checkpoint: Checkpoint, given: Options, what: str) -> str:
    fitting = checkpoint.paddings or PADDINGS  # "explicit" is a graph's own, of neither kind
    if given.padding is None:
        return fitting[0]  # where several fit, they are the same at this size
    if given.padding not in fitting:
        raise InputError(
            f"{what}: padding {given.padding!r} contradicts the checkpoint, whose padding is "
            f"{_alternatives(fitting)}; leave the option out"
        )
    return given.padding


def _answer(checkpoint: Checkpoint, given: Options, what: str) -> str:
    """How the outputs become an answer; logits of several classes are for a softmax."""
    stated = checkpoint.answer
    if given.answer is None:
        return stated or "softmax"
    if stated is not None and given.answer != stated:
        raise InputError(
            f"{what}: answer {given.answer!r} contradicts the checkpoint, which ends in a "
            f"{stated}; leave the option out"
        )
    return given.answer


def _resolution(
    checkpoint: Checkpoint, given: Options, what: str, notes: list[str]
) -> tuple[int, int]:
    stated, asked = checkpoint.resolution, given.resolution
    if isinstance(asked, int):
        asked = (asked, asked)
    if stated is None:
        if asked is None:
            own = checkpoint.own_resolution
            notes.append(f"resolution {own}, which is the family's own: the checkpoint states none")
            return own, own
        return asked
    if asked is not None and asked != stated:
        raise InputError(
            f"{what}: resolution {asked!r:.200} contradicts the checkpoint, which was made for "
            f"{stated[0]}x{stated[1]} pixels; leave the option out"
        )
    return stated


def _input_spec(checkpoint: Checkpoint, given: Options, what: str, notes: list[str]) -> InputSpec:
    asked = PRESETS[given.preprocess] if isinstance(given.preprocess, str) else given.preprocess
    if asked is not None and isinstance(given.preprocess, str):
        asked = _as_fed(asked, checkpoint.geometry)
    stated = checkpoint.normalisation
    if stated is None:
        if asked is None:
            raise AssertionError("_check_complete")
        spec = _checked(_with_geometry(asked, given))
        if checkpoint.entrance is not None:
            both = composed(Normalisation(spec.mean, spec.std, ""), checkpoint.entrance, GRAPH)
            notes.append(f"what {GRAPH} does comes behind the preprocessing that was given")
            spec = _checked(spec._replace(mean=both.mean, std=both.std))
        return spec
    if asked is not None and not all(
        math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6)
        for one, other in zip(asked.mean + asked.std, stated.mean + stated.std, strict=True)
    ):
        raise InputError(
            f"{what}: preprocess {given.preprocess!r:.200} contradicts {stated.stated_by}, which "
            f"say that the mean is {_numbers(stated.mean)} and the deviation "
            f"{_numbers(stated.std)}; leave the option out"
        )
    if asked is None:
        said = checkpoint.geometry or Geometry(None, None, "")
        fraction = said.crop_fraction or _CROP_FRACTION
        asked = InputSpec(
            stated.mean, stated.std, said.resample or _RESAMPLE, fraction, said.fit or "crop"
        )
        defaults = []
        if given.resample is None and said.resample is None:
            defaults.append(f"resample {_RESAMPLE}")
        if given.crop_fraction is None and said.crop_fraction is None and given.fit != "squash":
            defaults.append(f"crop fraction {_CROP_FRACTION:g}")
        if defaults:
            notes.append(f"{' and '.join(defaults)} by default: the checkpoint states none")
    # The source's own numbers: a preset's may be rounded otherwise.
    spec = _with_geometry(asked, given)._replace(mean=stated.mean, std=stated.std)
    try:
        return from_json(to_json(spec))
    except ModelFileError as error:
        raise CheckpointError(f"{what}: {stated.stated_by}: {error}") from None


def _as_fed(preset: InputSpec, said: Geometry | None) -> InputSpec:
    """A preset's numbers with the geometry that the source states, such as the whole picture for
    a detector, which a classifier's presets crop."""
    if said is None:
        return preset
    return preset._replace(
        resample=said.resample or preset.resample,
        crop_fraction=said.crop_fraction or preset.crop_fraction,
        fit=said.fit or preset.fit,
    )


def _with_geometry(spec: InputSpec, given: Options) -> InputSpec:
    if given.resample is not None:
        spec = spec._replace(resample=given.resample)
    if given.fit is not None and given.fit != spec.fit:
        # Who squashes wants all of the picture.
        spec = spec._replace(
            fit=given.fit, crop_fraction=1.0 if given.fit == "squash" else spec.crop_fraction
        )
    if given.crop_fraction is not None:
        spec = spec._replace(crop_fraction=given.crop_fraction)
    return spec


def _checked(spec: InputSpec) -> InputSpec:
    """An InputSpec of the caller's, found to be in range."""
    try:
        return from_json(to_json(spec))
    except ModelFileError as error:
        raise InputError(str(error)) from None
    except TypeError:
        raise InputError(
            f"preprocess {spec!r:.200}: expected three numbers each for mean and std"
        ) from None


def _labels(
    checkpoint: Checkpoint, given: Options, network: Network, what: str, notes: list[str]
) -> tuple[str, ...] | None:
    from ..model.meta import label_counts

    stated, classes = checkpoint.labels, network.classes
    counts = label_counts(network)
    if not classes:
        if given.labels not in (None, NO_LABELS):
            raise InputError(f"{what}: it has no classes to be labelled; leave labels out")
        return None
    if stated is not None and len(stated) not in counts:
        reason = f"the {len(stated)} labels in it are not those of its {classes} classes"
        if given.labels is None:
            raise InputError(f"{what}: {reason}; give the option labels")
        notes.append(reason)
        stated = None
    if given.labels is None:
        return stated
    if given.labels == NO_LABELS:
        return None
    packaged = PACKAGED.get(given.labels) if isinstance(given.labels, str) else None
    if packaged is not None:
        asked = packaged(classes)
    else:
        asked = read_labels(given.labels)
        _check_count(asked, counts, classes, what, os.fsdecode(given.labels))
    if stated is not None and asked != stated and len(asked) == len(stated):
        first = next(
            i for i, pair in enumerate(zip(asked, stated, strict=True)) if len({*pair}) > 1
        )
        raise InputError(
            f"{what}: the labels given contradict those in the checkpoint: class {first} is "
            f"{asked[first]!r:.80} and {stated[first]!r:.80}; leave the option out"
        )
    return asked


def _check_count(
    labels: tuple[str, ...], counts: tuple[int, ...], classes: int, what: str, name: str
) -> None:
    if len(labels) in counts:
        return
    reason = f"{name} has {len(labels)} labels, but {what} has {classes} classes"
    if (len(labels), classes) == (IMAGENET_CLASSES, IMAGENET_CLASSES + 1):
        reason += (
            f": TensorFlow's class 0 is the background; put a line {BACKGROUND!r} before the others"
        )
    elif (len(labels), classes) == (IMAGENET_CLASSES + 1, IMAGENET_CLASSES):
        reason += (
            f": its first line, {labels[0]!r:.80}, is likely TensorFlow's background, which this "
            "network has not; remove it"
        )
    else:
        reason += ": expected one line for each class, in their order"
    raise InputError(reason)


def _alternatives(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _numbers(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len({*values}) == 1 else ", ".join(f"{each:g}" for each in values)
