"""What pixels a network was trained on: the numbers between an 8-bit image and the stem.

An `InputSpec` is written into every model file, so that a prediction needs no option.
"""

from __future__ import annotations

from ..errors import ModelFileError
from ..untyped import NamedTuple

RESAMPLES = ("bilinear", "bicubic", "nearest", "lanczos", "box", "hamming")

# Bounds on what a model file may say; published networks stay within 0..255.
MAX_MEAN = 65535.0
STD_RANGE = (1e-3, 65535.0)
CROP_RANGE = (0.05, 1.0)


class InputSpec(NamedTuple):
    """How an image becomes the network's input: x = (pixel - mean) / std, per channel, RGB."""

    mean: tuple[float, float, float]  # in pixel units, 0..255
    std: tuple[float, float, float]  # in pixel units
    resample: str  # the Pillow filter's name, one of RESAMPLES
    crop_fraction: float  # shorter side is resized to round(size / crop_fraction), centre cropped


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
    """`spec` as plain JSON values, the inverse of `from_json`."""
    return {
        "mean": list(spec.mean),
        "std": list(spec.std),
        "resample": spec.resample,
        "crop_fraction": spec.crop_fraction,
    }


def from_json(obj: object) -> InputSpec:
    """The InputSpec that parsed JSON describes. Raises ModelFileError unless every key is there,
    nothing else is, and every value is of the right type and in range."""
    if not isinstance(obj, dict) or set(obj) != set(InputSpec._fields):
        found = ", ".join(sorted(map(str, obj))) if isinstance(obj, dict) else type(obj).__name__
        raise ModelFileError(
            f"preprocessing: expected exactly {', '.join(InputSpec._fields)}; found {found[:200]}"
        )
    resample = obj["resample"]
    if not isinstance(resample, str) or resample not in RESAMPLES:
        raise ModelFileError(
            f"preprocessing: resample {resample!r:.80}: expected one of {', '.join(RESAMPLES)}"
        )
    return InputSpec(
        _three("mean", obj["mean"], -MAX_MEAN, MAX_MEAN),
        _three("std", obj["std"], *STD_RANGE),
        resample,
        _number("crop_fraction", obj["crop_fraction"], *CROP_RANGE),
    )


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
