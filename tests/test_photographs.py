"""24 photographs × four published checkpoints × every instruction set, against onnxruntime.

The logits beside the photographs were computed elsewhere, from the same checkpoints, for the same
pixels. A wrong padding, a lost clamp or swapped channels move them by far more than the bound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.executors.native import isas

SUPPORTED = [name for name, supported in isas().items() if supported]

# The checkpoint, the name of its reference logits, and what the file itself does not say.
CHECKPOINTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "mobilenet_v2_1.0_224_tfslim_fp32.npz",
        "tfslim_fp32",
        {"padding": "same", "preprocess": "tf"},
    ),
    (
        "mobilenet_v2_1.0_224_symmetric_padding_fp32.npz",
        "symmetric_padding_fp32",
        {"padding": "symmetric", "preprocess": "imagenet"},
    ),
    ("mobilenet_v2_1.0_224_quant.tflite", "quant_dequantised_fp32", {}),
    ("tf2_mobilenet_v2_1.0_224_ptq.tflite", "tf2_ptq_dequantised_fp32", {}),
]


@pytest.fixture(scope="session")
def references(shared: Path) -> dict[str, Any]:
    with np.load(shared / "images" / "references.npz") as file:
        names = ["pixels", *(key for _, key, _ in CHECKPOINTS)]
        return {name: file[name] for name in names}


@pytest.fixture(scope="session", params=CHECKPOINTS, ids=lambda each: each[1])
def checkpoint(
    request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A model file converted from one of the checkpoints, and the name of its references."""
    file, key, options = request.param
    if file.endswith(".tflite"):
        pytest.importorskip("tflite", reason="needs the package tflite")
    out = tmp_path_factory.mktemp("photographs") / f"{key}.npz"
    convert(shared / "checkpoints" / file, out, labels="imagenet", **options)
    return out, key


@pytest.mark.parametrize("isa", SUPPORTED)
def test_logits(isa, checkpoint, references, monkeypatch):
    path, key = checkpoint
    monkeypatch.setenv("MNV2_ISA", isa)
    assert references["pixels"].shape == (24, 224, 224, 3)
    with Engine.load(path, backend="c") as engine:
        assert engine.info.isa == isa
        logits = engine.logits(references["pixels"])
    assert logits.shape == references[key].shape
    assert np.abs(logits - references[key]).max() <= 1e-4
