"""The C program of examples/c answers photographs, with the package's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_program import CProgram

from mnv2_engine import Engine
from mnv2_engine.images import decoded
from mnv2_engine.images.limits import DEFAULT

Image = pytest.importorskip("PIL.Image")


def photographs(folder: Path) -> list[Path]:
    pixels = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "baseline.jpg", exif=exif)
    picture.save(folder / "progressive.jpg", progressive=True)
    picture.save(folder / "picture.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_photographs_are_answered_as_in_python(
    dtype, shared: Path, c_program: CProgram, tmp_path, monkeypatch
):
    if len(decoded.decoders()) < 2:
        pytest.skip("the C core was built without libjpeg-turbo or libpng")
    monkeypatch.setenv("MNV2_ISA", "baseline")
    model = shared / "checks" / "version1" / f"{dtype}.npz"
    with Engine.load(model, backend="c") as engine:
        size = engine.memory_plan().network.resolution
        for photo in photographs(tmp_path):
            frame = decoded.frame_of(photo, engine.info.input_spec, size, DEFAULT)
            assert frame is not None
            pixels = np.frombuffer(frame, np.uint8).reshape(*size, 3)
            np.testing.assert_array_equal(
                c_program.logits(model, photo), engine.logits(pixels)[0], photo.name
            )


def test_photographs_that_cannot_be_answered(shared: Path, c_program: CProgram, tmp_path):
    model = shared / "checks" / "version1" / "float32.npz"
    whole = photographs(tmp_path)[0].read_bytes()
    broken = tmp_path / "broken.jpg"
    for content in (whole[:-2], whole[: len(whole) // 2], whole[:3], b"\x89PNG\r\n\x1a\n"):
        broken.write_bytes(content)
        answer = c_program(model, broken)
        assert (answer.status, answer.out) == (1, "")
        assert answer.err.startswith(f"classify: {broken}: ")
        assert "convert it to a baseline JPEG" in answer.err
