"""The C program of examples/c answers photographs, with the package's bits."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from c_program import CProgram
from photograph_attacks import huge, progressive_bomb, small
from weightless import no_weights

from mnv2_engine import Engine
from mnv2_engine.images import decoded
from mnv2_engine.images.limits import DEFAULT
from mnv2_engine.network.families import mobilenet_v2

Image = pytest.importorskip("PIL.Image")
needs_both = pytest.mark.skipif(
    len(decoded.decoders()) < 2, reason="the C core was built without libjpeg-turbo or libpng"
)


def photographs(folder: Path) -> list[Path]:
    pixels = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "baseline.jpg", exif=exif)
    picture.save(folder / "progressive.jpg", progressive=True)
    picture.save(folder / "picture.png")
    return sorted(folder.iterdir())


@needs_both
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_photographs_are_answered_as_in_python(
    dtype, shared: Path, c_program: CProgram, tmp_path, monkeypatch
):
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


@needs_both
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


def test_pixels_come_through_a_pipe_whole(shared: Path, c_program: CProgram, tmp_path):
    """As `classify MODEL <(convert …)` gives them: a look at the first bytes would take them."""
    model = shared / "checks" / "version1" / "float32.npz"
    pixels = np.random.default_rng(1).integers(0, 256, 64 * 64 * 3, np.uint8).tobytes()
    (tmp_path / "pixels.rgb").write_bytes(pixels)
    expected = c_program.logits(model, tmp_path / "pixels.rgb")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(pixels,), daemon=True)
    writer.start()
    np.testing.assert_array_equal(c_program.logits(model, pipe), expected)
    writer.join(60)


def refusals(program: CProgram, folder: Path, model: Path, contents: Iterable[bytes]) -> list[str]:
    """What the program says of photographs that it has to refuse."""
    said = []
    for content in contents:
        (folder / "attack").write_bytes(content)
        answer = program(model, folder / "attack")
        assert (answer.status, answer.out) == (1, ""), content[:99]
        said.append(answer.err)
    return said


@needs_both
def test_attacks_are_refused(shared: Path, sanitized_c_program: CProgram, tmp_path, pytestconfig):
    """The same as in tests/test_decoded.py: what the core refuses or leaves to others."""
    model = shared / "checks" / "version1" / "float32.npz"
    for message in refusals(sanitized_c_program, tmp_path, model, huge()):
        assert "65500x65500 pixels: at most 64000000 are decoded" in message
    (message,) = refusals(sanitized_c_program, tmp_path, model, [progressive_bomb(3000)])
    assert "more than 64 scans: convert it to a baseline JPEG" in message
    step = 1 if pytestconfig.getoption("--every") else 17
    for whole in small():
        (tmp_path / "whole").write_bytes(whole)
        assert sanitized_c_program(model, tmp_path / "whole").status == 0
        cuts = (whole[:size] for size in {*range(4, len(whole), step), len(whole) - 1})
        refusals(sanitized_c_program, tmp_path, model, cuts)


@needs_both
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize(("dtype", "most"), [("float32", 700_000), ("int8", 540_000)])
def test_12_megapixels_take_half_a_megabyte(
    dtype: str,
    most: int,
    c_program: CProgram,
    large_photograph: Path,
    peak_of: Callable[..., int],
    tmp_path: Path,
):
    """At the peak, of the process's own. An optimised build takes 12 KiB less of the stack."""
    if not c_program.is_static:
        pytest.skip("needs a static C library: a shared one has data of its own")
    labels = [f"a class numbered {i}" for i in range(1000)]
    path = no_weights(mobilenet_v2(), tmp_path / "model.npz", dtype, labels)
    with Engine.load(path) as engine:
        plan = engine.photo_plan(4032, 3024, "jpeg")
    assert plan.bytes + plan.frame_bytes < peak_of(c_program.path, path, large_photograph) < most
