"""The configuration that Hugging Face's and timm's checkpoints have beside them.

`config.json` says which network it is, its padding and its classes; `preprocessor_config.json`
(transformers) or `pretrained_cfg` (timm) how pixels are prepared. Small JSON files, read within
bounds; what they do not say stays unsaid.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ...model.meta import printable
from ..checkpoint import Geometry
from ..entrance import Normalisation

_MAX_BYTES = 8 << 20
# PIL.Image.Resampling, as transformers writes it.
_RESAMPLES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


class Beside(NamedTuple):
    """What the files say; None where they do not."""

    architecture: str | None = None  # "tf_efficientnet_lite0", "MobileNetV2ForImageClassification"
    padding: str | None = None
    epsilon: float | None = None
    resolution: tuple[int, int] | None = None
    normalisation: Normalisation | None = None
    geometry: Geometry | None = None
    labels: tuple[str, ...] | None = None


def read_beside(path: str, what: str) -> Beside:
    """What lies beside the checkpoint at `path`. Raises CheckpointError for damaged JSON."""
    folder = os.path.dirname(path)
    config = _json(os.path.join(folder, "config.json"), what)
    if config is None:
        return Beside()
    said = Beside(
        architecture=_architecture(config),
        labels=_labels(config, what),
    )
    if str(config.get("model_type", "")).startswith("mobilenet_v"):
        padding = {True: "same", False: "symmetric"}.get(config.get("tf_padding", True))
        epsilon = config.get("layer_norm_eps", 0.001)
        preprocessor = _json(os.path.join(folder, "preprocessor_config.json"), what)
        said = said._replace(padding=padding, epsilon=_number(epsilon))
        if preprocessor is not None:
            said = _transformers(said, preprocessor)
        if said.resolution is None and _natural(config.get("image_size")):
            said = said._replace(resolution=(config["image_size"],) * 2)
        return said
    stated = config.get("pretrained_cfg")
    if isinstance(stated, dict) and said.architecture:
        tensorflow = said.architecture.startswith("tf_")
        said = said._replace(padding="same" if tensorflow else "symmetric")
        return _timm(said, stated)
    return said


def _json(path: str, what: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError):
        return None
    name = os.path.basename(path)
    try:
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        parsed = json.loads(content)
        if not isinstance(parsed, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{what}: {name} beside it is damaged ({str(error)[:80]}); download it again, or move "
            "it away and give the options"
        ) from None
    return parsed


def _architecture(config: dict[str, Any]) -> str | None:
    stated = config.get("architecture")
    if stated is None and isinstance(config.get("architectures"), list):
        stated = next(iter(config["architectures"]), None)
    return stated[:80] if isinstance(stated, str) else None


def _labels(config: dict[str, Any], what: str) -> tuple[str, ...] | None:
    """id2label of transformers, label_names of timm."""
    named = config.get("id2label")
    if isinstance(named, dict) and named:
        try:
            byte_number = {int(key): str(value) for key, value in named.items()}
        except ValueError:
            byte_number = {}
        if sorted(byte_number) != list(range(len(named))):
            raise CheckpointError(
                f"{what}: id2label in config.json does not count from 0 to {len(named) - 1}; give "
                "--labels, and move config.json away"
            )
        found = [byte_number[i] for i in range(len(named))]
        if all(label == f"LABEL_{i}" for i, label in enumerate(found)):
            return None  # what transformers writes where nobody gave any
        return tuple(printable(label) for label in found)
    listed = config.get("label_names")
    if isinstance(listed, list) and listed and all(isinstance(each, str) for each in listed):
        return tuple(printable(label) for label in listed)
    return None


def _transformers(said: Beside, stated: dict[str, Any]) -> Beside:
    by = "preprocessor_config.json"
    mean, std = _three(stated.get("image_mean")), _three(stated.get("image_std"))
    factor = _number(stated.get("rescale_factor", 1 / 255))
    if stated.get("do_rescale", True) is False:
        factor = 1.0
    if stated.get("do_normalize", True) is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    normalisation = None
    if mean and std and factor:
        scaled = [tuple(each / factor for each in values) for values in (mean, std)]
        normalisation = Normalisation(_exact(scaled[0]), _exact(scaled[1]), by)
    crop = _size(stated.get("crop_size")) if stated.get("do_center_crop", True) else None
    resized = stated.get("size")
    shortest = resized.get("shortest_edge") if isinstance(resized, dict) else resized
    resolution = crop or _size(resized)
    resample = _RESAMPLES.get(stated.get("resample", 2))
    fraction, fit = None, None
    whole = _size(resized) if isinstance(resized, dict) else None
    if stated.get("do_resize", True) is False:
        resample = None  # it leaves the resize to others
    elif crop and isinstance(shortest, int) and _natural(shortest):
        fraction, fit = min(crop) / shortest, "crop"
    elif whole and resolution and resolution[0] * whole[1] == resolution[1] * whole[0]:
        # Both sides by themselves, whatever the picture's proportions.
        fraction, fit = resolution[0] / whole[0], "squash"
    if fraction is not None and not 0.05 <= fraction <= 1:
        fraction = None
    return said._replace(
        resolution=resolution,
        normalisation=normalisation,
        geometry=Geometry(resample, fraction, by, fit),
    )


def _timm(said: Beside, stated: dict[str, Any]) -> Beside:
    by = "pretrained_cfg in config.json"
    mean, std = _three(stated.get("mean")), _three(stated.get("std"))
    normalisation = None
    if mean and std:
        scaled = [tuple(each * 255 for each in values) for values in (mean, std)]
        normalisation = Normalisation(_exact(scaled[0]), _exact(scaled[1]), by)
    size = stated.get("input_size")
    resolution = None
    if isinstance(size, list) and len(size) == 3 and all(map(_natural, size)):
        resolution = (size[1], size[2])
    fraction = _number(stated.get("crop_pct"))
    resample = stated.get("interpolation")
    known = resample if resample in _RESAMPLES.values() else None
    fit = {"center": "crop", "squash": "squash"}.get(str(stated.get("crop_mode", "center")))
    return said._replace(
        resolution=resolution,
        normalisation=normalisation,
        geometry=Geometry(known, fraction if fraction and 0.05 <= fraction <= 1 else None, by, fit),
    )


def _exact(values: tuple[float, ...]) -> tuple[float, float, float]:
    from ..entrance import shortest

    first, second, third = (shortest(value) for value in values)
    return first, second, third


def _three(stated: object) -> tuple[float, float, float] | None:
    if isinstance(stated, list) and len(stated) == 3:
        first, second, third = (_number(each) for each in stated)
        if first is not None and second is not None and third is not None:
            return first, second, third
    return None


def _size(stated: object) -> tuple[int, int] | None:
    if isinstance(stated, dict):
        height, width = stated.get("height"), stated.get("width")
        if _natural(height) and _natural(width):
            return int(height), int(width)  # type: ignore[arg-type]
        return None
    return (stated, stated) if isinstance(stated, int) and _natural(stated) else None


def _natural(stated: object) -> bool:
    return isinstance(stated, int) and not isinstance(stated, bool) and 0 < stated < 1 << 16


def _number(stated: object) -> float | None:
    if isinstance(stated, (int, float)) and not isinstance(stated, bool):
        return float(stated)
    return None
