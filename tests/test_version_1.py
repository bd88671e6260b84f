"""Model files of version 1 load for ever, and answer with the same bits.

Their files and logits were made by the version that wrote them: MobileNetV2 0.1 at 64, ten
classes, in ../shared/checks/version1.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SHARED

from mnv2_engine import Engine
from mnv2_engine.executors.native import built_isas
from mnv2_engine.model.modelfile import open_model

FOLDER = SHARED / "checks" / "version1"
DTYPES = ("float32", "float16", "bfloat16", "int8")

pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is absent"),
    pytest.mark.skipif(not built_isas().get("avx2"), reason="the logits are those of avx2"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits(dtype, threads, monkeypatch):
    monkeypatch.setenv("MNV2_ISA", "avx2")
    with np.load(FOLDER / "logits.npz") as file:
        pixels, expected = file["pixels"], file[dtype]
    with Engine.load(FOLDER / f"{dtype}.npz", threads=threads, backend="c") as engine:
        np.testing.assert_array_equal(engine.logits(pixels), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_they_are_of_version_1(dtype):
    with open_model(FOLDER / f"{dtype}.npz") as model:
        assert model.version == 1
        model.verify()
