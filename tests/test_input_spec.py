"""The preprocessing that a model file records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mnv2_engine.errors import ModelFileError
from mnv2_engine.model.input_spec import PRESETS, from_json, to_json


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_survive_json(preset: str) -> None:
    text = json.dumps(to_json(PRESETS[preset]))
    assert from_json(json.loads(text)) == PRESETS[preset]


def test_what_is_usual_is_left_out_for_older_readers() -> None:
    assert "fit" not in to_json(PRESETS["tf"])
    squashed = PRESETS["tf"]._replace(fit="squash", resample="bilinear-no-antialias")
    assert to_json(squashed)["fit"] == "squash"
    assert from_json(json.loads(json.dumps(to_json(squashed)))) == squashed


def test_imagenet_is_the_published_mean_and_deviation() -> None:
    spec = PRESETS["imagenet"]
    assert spec.mean == pytest.approx([255 * x for x in (0.485, 0.456, 0.406)], rel=1e-12)
    assert spec.std == pytest.approx([255 * x for x in (0.229, 0.224, 0.225)], rel=1e-12)


def test_tf_maps_bytes_to_minus_one_to_one() -> None:
    spec = PRESETS["tf"]
    assert [(x - spec.mean[0]) / spec.std[0] for x in (0, 255)] == [-1, 1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", None),
        ("mean", 127.5),
        ("mean", [127.5, 127.5]),
        ("mean", [127.5, 127.5, "127.5"]),
        ("mean", [127.5, 127.5, float("nan")]),
        ("mean", [127.5, 127.5, float("inf")]),
        ("mean", [127.5, 127.5, 10**400]),
        ("mean", [127.5, 127.5, True]),
        ("std", [0.0, 1.0, 1.0]),
        ("std", [-1.0, 1.0, 1.0]),
        ("std", {"r": 1, "g": 1, "b": 1}),
        ("resample", "area"),
        ("resample", ["bilinear"]),
        ("crop_fraction", 0),
        ("crop_fraction", 1.01),
        ("crop_fraction", "0.875"),
        ("crop_fraction", 10**400),
        ("fit", "letterbox"),
        ("fit", None),
        ("fit", ["crop"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_values(key: str, value: Any) -> None:
    document = {**to_json(PRESETS["tf"]), key: value}
    with pytest.raises(ModelFileError, match=rf"^preprocessing: {key} .*: expected"):
        from_json(document)


@pytest.mark.parametrize(
    "document",
    [None, [], "tf", {}, {**to_json(PRESETS["tf"]), "gamma": 2.2}],
    ids=["null", "list", "text", "nothing", "one more"],
)
def test_wrong_keys(document: Any) -> None:
    with pytest.raises(ModelFileError, match=r"expected exactly mean, std, resample, crop_frac"):
        from_json(document)
