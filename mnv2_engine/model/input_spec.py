"""What pixels a network was trained on: the numbers between an 8-bit image and the stem.

An `InputSpec` is written into every model file, so that a prediction needs no option.
"""

from __future__ import annotations

from ..errors import ModelFileError
from ..untyped import NamedTuple

# Pillow's filters, which widen as a picture shrinks, and the bilinear ones of TensorFlow and
# OpenCV, which take two pixels whatever the scale: counted from the middle of a pixel, or from the
# corner of the picture, as TensorFlow 1 does.
RESAMPLES = (
    "bilinear",
    "bicubic",
    "nearest",
    "lanczos",
    "box",
    "hamming",
    "bilinear-no-antialias",
    "bilinear-from-corner",
)
# How a picture of other proportions fills the frame: its middle is cut out, or its sides are scaled
# each by itself.
FITS = ("crop", "squash")

# Bounds on what a model file may say; published networks stay within 0..255.
MAX_MEAN = 65535.0
STD_RANGE = (1e-3, 65535.0)
CROP_RANGE = (0.05, 1.0)


class InputSpec(NamedTuple):
    """How an image becomes the network's input: x = (pixel - mean) / std, per channel, RGB."""

    mean: tuple[float, float, float]  # in pixel units, 0..255
    std: tuple[float, float, float]  # in pixel units
    resample: str  # one of RESAMPLES
    crop_fraction: float  # shorter side is resized to round(size / crop_fraction), centre cropped
    fit: str = "crop"  # one of FITS; squash: both sides are resized so


PRESETS: dict[str, InputSpec] = {
    # x / 127.5 - 1: TF-slim, Keras
    "tf": InputSpec((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "bilinear", 0.875),
    # ImageNet's mean and deviation, .485 .456 .406 and .229 .224 .225 of 255: torchvision, timm
    "imagenet": InputSpec((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "bilinear", 0.875),
    # (x - 127) / 128: EfficientNet-Lite
    "lite": InputSpec((127.0, 127.0, 127.0), (128.0, 128.0, 128.0), "bicubic", 0.875),
    # x / 255
    "unit": InputSpec((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), "bilinear", 0.875),
}


def to_json(spec: InputSpec) -> dict[str, object]:
    """`spec` as plain JSON values, the inverse of `from_json`. What is usual is left out, so that
    older readers read it."""
    said: dict[str, object] = {
        "mean": list(spec.mean),
        "std": list(spec.std),
        "resample": spec.resample,
        "crop_fraction": spec.crop_fraction,
    }
    return said if spec.fit == "crop" else {**said, "fit": spec.fit}


def from_json(obj: object) -> InputSpec:
    """The InputSpec that parsed JSON describes. Raises ModelFileError unless every key is there
    (fit may be left out), nothing else is, and every value is of the right type and in range."""
    if not isinstance(obj, dict) or {*obj, "fit"} != {*InputSpec._fields}:
        found = ", ".join(sorted(map(str, obj))) if isinstance(obj, dict) else type(obj).__name__
        raise ModelFileError(
            f"preprocessing: expected exactly {', '.join(InputSpec._fields[:-1])}, and where it "
            f"is not crop fit; found {found[:200]}"
        )
    return InputSpec(
        _three("mean", obj["mean"], -MAX_MEAN, MAX_MEAN),
        _three("std", obj["std"], *STD_RANGE),
        _choice("resample", obj["resample"], RESAMPLES),
        _number("crop_fraction", obj["crop_fraction"], *CROP_RANGE),
        _choice("fit", obj.get("fit", "crop"), FITS),
    )


def _choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ModelFileError(
            f"preprocessing: {name} {value!r:.80}: expected one of {', '.join(choices)}"
        )
    return value


def _three(name: str, value: object, low: float, high: float) -> tuple[float, float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise ModelFileError(
            f"preprocessing: {name} {value!r:.80}: expected three numbers, for red, green and blue"
        )
    red, green, blue = (_number(name, each, low, high) for each in value)
    return red, green, blue


def _number(name: str, value: object, low: float, high: float) -> float:
    # The comparison also refuses NaN, and integers too large for a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ModelFileError(
            f"preprocessing: {name} {value!r:.80}: expected a number from {low:g} to {high:g}"
        )
    return float(value)
