"""How photographs are resized, as the configuration beside a checkpoint says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mnv2_engine.convert.sources.beside import read_beside

PROCESSOR = {
    "size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64},
    "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "rescale_factor": 1 / 255,
}  # fmt: skip
# What transformers' image processors do of it, and (resample, crop fraction, fit).
TRANSFORMERS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({}, ("bilinear", 64 / 73, "crop")),
    ({"size": {"shortest_edge": 64}}, ("bilinear", 1.0, "crop")),
    (
        {"size": {"height": 64, "width": 64}, "do_center_crop": False, "resample": 3},
        ("bicubic", 1.0, "squash"),
    ),
    ({"size": {"height": 128, "width": 128}, "resample": 0}, ("nearest", 0.5, "squash")),
    ({"do_resize": False}, (None, None, None)),
]
TIMM = [
    ({"crop_pct": 0.875, "interpolation": "bicubic"}, ("bicubic", 0.875, "crop")),
    (
        {"crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "squash"},
        ("bilinear", 1.0, "squash"),
    ),
    ({"crop_pct": 1.0, "crop_mode": "border"}, (None, 1.0, None)),
]


def geometry(folder: Any) -> tuple[Any, ...]:
    found = read_beside(str(folder / "model.safetensors"), "model.safetensors").geometry
    assert found is not None
    return found.resample, found.crop_fraction, found.fit


@pytest.mark.parametrize(("said", "due"), TRANSFORMERS)
def test_transformers(said, due, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mobilenet_v2"}')
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **said}))
    assert geometry(tmp_path) == pytest.approx(due)


@pytest.mark.parametrize(("said", "due"), TIMM)
def test_timm(said, due, tmp_path):
    config = {
        "architecture": "mobilenetv2_100",
        "pretrained_cfg": {"input_size": [3, 224, 224], **said},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert geometry(tmp_path) == due
