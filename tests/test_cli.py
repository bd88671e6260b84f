"""The command line: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_backend import fused_backends

from mnv2_engine import Engine, __version__
from mnv2_engine.cli import demo, main
from mnv2_engine.cli.machine import machine
from mnv2_engine.cli.output import BAR_FROM
from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.executors.native import isas
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.shown.figures import per_block
from mnv2_engine.plan.shown.picture import draw
from mnv2_engine.plan.shown.table import kib

Image = pytest.importorskip("PIL.Image")

LABELS = ["ant", "bee", "cat", "dog", "eel"]
MNV2 = (sys.executable, "-m", "mnv2_engine")


@pytest.fixture(autouse=True)
def no_model_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MNV2_MODEL", raising=False)
    monkeypatch.setenv("MNV2_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True)
def away_from_the_checkout(monkeypatch, tmp_path):
    """Processes look for modules here first, and the checkout has no compiled core."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(small_model) -> str:
    return str(small_model(labels=LABELS))


def photograph(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, path.suffix[1:].lower().replace("jpg", "jpeg"))
    return path


@pytest.fixture
def photo(tmp_path) -> str:
    return str(photograph(tmp_path / "photo.png"))


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# classify


def test_a_photograph_is_answered(run, model, photo):
    code, out, err = run("classify", photo, "--model", model)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    with Engine.load(model) as engine:
        expected = engine.predict(photo)
    assert lines[0] == photo
    assert len(lines) == 1 + len(expected) == 6
    for line, (label, index, probability) in zip(lines[1:], expected, strict=True):
        percent, shown_index, name = line.split()
        assert float(percent.rstrip("%")) == pytest.approx(100 * probability, abs=0.0051)
        assert (int(shown_index), name) == (index, label)


def test_json_lines(run, model, photo, tmp_path):
    other = photograph(tmp_path / "b.jpg", seed=1)
    code, out, err = run("classify", photo, other, "--model", model, "--json", "--top-k", 2)
    assert (code, err) == (0, "")
    with Engine.load(model) as engine:
        for answer, path in zip(json_lines(out), (photo, str(other)), strict=True):
            assert set(answer) == {"file", "predictions", "ms"}
            assert answer["file"] == path
            expected = [each._asdict() for each in engine.predict(path, top_k=2)]
            assert answer["predictions"] == expected
            assert answer["ms"] > 0


def test_an_answer_is_written_before_the_next_image_is_read(model, tmp_path, monkeypatch):
    photos = [str(photograph(tmp_path / f"{i}.png", i)) for i in range(3)]
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    answered: list[int] = []
    predict = Engine.predict

    def watching(self, source, top_k):
        answered.append(len(written.getvalue().splitlines()))
        return predict(self, source, top_k)

    monkeypatch.setattr(Engine, "predict", watching)
    assert main(["classify", *photos, "--model", model, "--json"]) == 0
    assert answered == [0, 1, 2]


def test_unreadable_images_are_skipped(run, model, photo, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(photo).read_bytes()[:300])
    absent = tmp_path / "absent.jpg"
    arguments = ("classify", broken, photo, absent, "--model", model)
    code, out, err = run(*arguments)
    assert code == 1
    assert out.splitlines()[0] == photo
    assert len(out.splitlines()) == 6
    first, second, last = err.splitlines()
    assert first.startswith(f"mnv2: {broken}: cannot be decoded: ")
    assert second == f"mnv2: {absent}: cannot be read: No such file or directory"
    assert last == "mnv2: 2 of 3 could not be answered"

    code, out, json_err = run(*arguments, "--json")
    assert (code, json_err) == (1, err)
    answers = json_lines(out)
    assert [answer["file"] for answer in answers] == [str(broken), photo, str(absent)]
    assert [set(answer) for answer in answers] == [
        {"file", "error"},
        {"file", "predictions", "ms"},
        {"file", "error"},
    ]
    assert f"mnv2: {answers[0]['error']}" == first


def test_a_sliver_is_named(run, model, tmp_path):
    path = tmp_path / "sliver.png"
    Image.new("L", (20_000_000, 1)).save(path)
    code, out, err = run("classify", path, "--model", model)
    assert (code, out) == (1, "")
    assert err.startswith(f"mnv2: {path}: image of 20000000×1 pixels: too long and narrow")


def test_folders_are_searched(run, model, tmp_path):
    folder = tmp_path / "holidays"
    for name in ("b.png", "a.JPG", "deep/er/c.bmp", "another/d.gif", ".hidden.png"):
        photograph(folder / name)
    (folder / "notes.txt").write_text("no image")
    code, out, err = run("classify", folder, "--model", model, "--json")
    assert (code, err) == (0, "")
    found = [str(Path(answer["file"]).relative_to(folder)) for answer in json_lines(out)]
    assert found == ["a.JPG", "b.png", "another/d.gif", "deep/er/c.bmp"]


def test_a_folder_without_images_is_reported(run, model, photo, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    code, out, err = run("classify", empty, photo, "--model", model)
    assert code == 1
    assert out.startswith(photo)
    assert f"mnv2: {empty}: holds no image (.jpg .jpeg .jpe …)" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_reported(run, model, photo, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    code, _, err = run("classify", closed, photo, "--model", model)
    assert code == 1
    assert f"mnv2: {closed}: cannot be read: Permission denied" in err


def test_standard_input(run, model, photo, monkeypatch):
    data = Path(photo).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    code, out, err = run("classify", "-", "--model", model, "--json")
    assert (code, err) == (0, "")
    (answer,) = json_lines(out)
    with Engine.load(model) as engine:
        assert answer["predictions"] == [each._asdict() for each in engine.predict(photo)]
    assert answer["file"] == "-"


@pytest.mark.parametrize(("data", "reason"), [(b"", "it is empty"), (b"text", "not an image")])
def test_standard_input_that_is_no_image(run, model, monkeypatch, data, reason):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    code, out, err = run("classify", "-", "--model", model)
    assert (code, out) == (1, "")
    assert err.startswith("mnv2: standard input: encoded image")
    assert reason in err


def test_endless_standard_input(run, model, monkeypatch):
    monkeypatch.setattr("mnv2_engine.cli.photographs.STDIN_LIMIT", 1000)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(2000))))
    code, _, err = run("classify", "-", "--model", model)
    assert code == 1
    assert "more than 1000 bytes" in err


def test_standard_input_twice(run, model):
    code, _, err = run("classify", "-", "-", "--model", model)
    assert code == 2
    assert err == "mnv2: error: standard input (-) is given twice, but can be read only once\n"


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (3, 3), (999, 5)])
def test_top_k(run, model, photo, asked, given):
    code, out, _ = run("classify", photo, "--model", model, "--top-k", asked)
    assert code == 0
    assert len(out.splitlines()) == 1 + given


@pytest.mark.parametrize("backend", [*fused_backends(), "numpy", "auto"])
def test_backends_agree(run, model, photo, backend):
    _, expected, _ = run("classify", photo, "--model", model)
    code, out, err = run("classify", photo, "--model", model, "--backend", backend)
    assert (code, out) == (0, expected)
    assert err == "" or (backend == "numba" and "compiling the float32 Numba kernels" in err)


def test_a_model_without_labels(run, small_model, photo):
    code, out, _ = run("classify", photo, "--model", small_model(labels=None), "--top-k", 1)
    assert code == 0
    index = out.split()[-1]
    assert out.splitlines()[1].endswith(f"class {index}")


def test_names_cannot_drive_the_terminal(run, model, tmp_path):
    path = photograph(tmp_path / "red\x1b[31m\nline.png")
    code, out, err = run("classify", path, tmp_path / "\x1babsent", "--model", model)
    assert code == 1
    assert "\x1b" not in out + err
    assert out.splitlines()[0].endswith(r"red\x1b[31m\nline.png")


def test_remarks_of_pillow_are_not_shown(run, model, tmp_path):
    path = tmp_path / "odd.png"
    Image.new("RGB", (40, 40)).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    code, _, err = run("classify", path, "--model", model)
    assert (code, err) == (0, "")


# Which model


def test_the_model_of_the_environment(run, model, photo, monkeypatch):
    monkeypatch.setenv("MNV2_MODEL", model)
    assert run("classify", photo)[0] == 0
    # an option goes before the environment
    monkeypatch.setenv("MNV2_MODEL", "/absent.npz")
    assert run("classify", photo, "--model", model)[0] == 0


def test_the_model_of_the_demo(run, model, photo):
    kept = Path(demo.model_path())
    kept.parent.mkdir(parents=True)
    kept.write_bytes(Path(model).read_bytes())
    assert run("classify", photo)[0] == 0


def test_no_model(run, photo):
    code, out, err = run("classify", photo)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "--model M.npz" in err
    assert "MNV2_MODEL" in err
    assert "mnv2 demo" in err


@pytest.mark.parametrize("command", ["classify", "info", "plan"])
def test_a_bad_model(run, photo, tmp_path, command):
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK no model")
    for path in (bad, tmp_path / "absent.npz"):
        arguments = (photo, "--model", path) if command == "classify" else (path,)
        code, out, err = run(command, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("mnv2: error: ")
        assert path.name in err
        assert len(err.splitlines()) == 1


def test_without_pillow_the_extra_is_named(run, model, tmp_path, monkeypatch):
    photo = tmp_path / "photo.gif"
    Image.new("RGB", (40, 30)).save(photo)
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)
    code, out, err = run("classify", photo, "--model", model)
    assert (code, out) == (2, "")
    assert err.startswith("mnv2: error: ")
    assert "mnv2-engine[cli]" in err


# info and plan


def test_info(run, model):
    code, out, err = run("info", model)
    assert (code, err) == (0, "")
    assert "mobilenet_v2_0.1_32" in out
    with Engine.load(model) as engine:
        assert out == f"{engine.info}\n"
        code, out, _ = run("info", model, "--json")
        (info,) = json_lines(out)
        assert info["path"] == model
        assert info["backend"] == engine.info.backend
        assert info["network"]["resolution"] == [32, 32]
        assert info["input_spec"]["mean"] == [127.5, 127.5, 127.5]
        assert info["provenance"] == {"source": "seeded random weights"}


def test_info_of_the_machine(run):
    code, out, err = run("info")
    assert (code, err) == (0, "")
    found = machine()
    assert out == f"{found}\n"
    assert json_lines(run("info", "--json")[1]) == [found.to_json()]
    code, out, err = run("info", "--precision", "int8")
    assert (code, out) == (2, "")
    assert "--precision" in err


def test_plan(run, model):
    with Engine.load(model) as engine:
        plan = make_plan(engine.info.network, cpu=cpu_family())
    code, out, err = run("plan", model)
    assert (code, err, out) == (0, "", f"{plan}\n")
    code, out, _ = run("plan", model, "--json")
    (found,) = json_lines(out)
    assert found["arena_bytes"] == plan.arena_bytes
    assert found["unfused_bytes"] == plan.unfused_bytes
    assert found["per_block_bytes"] == per_block(plan).arena_bytes
    assert [step["bytes"] for step in found["steps"]] == [step.bytes for step in plan.steps]


def test_plan_for_threads(run, model):
    with Engine.load(model, threads=3) as engine:
        plan = engine.memory_plan()
    assert run("plan", model, "--threads", "3") == (0, f"{plan}\n", "")
    (found,) = json_lines(run("plan", model, "--threads", "3", "--json")[1])
    assert (found["threads"], found["arena_bytes"]) == (3, plan.arena_bytes)
    assert run("plan", model, "--threads", "auto")[0] == 0


def test_precision(run, model, photo, tmp_path):
    half = tmp_path / "half.npz"
    with open_model(model) as whole:
        network, weights, spec = whole.network, whole.weights(), whole.input_spec
    write_model(half, network, weights, spec, LABELS, {}, dtype="bfloat16")
    plan = make_plan(network, 1, "bfloat16", cpu=cpu_family())
    assert run("plan", half, "--precision", "bfloat16") == (0, f"{plan}\n", "")
    assert "bfloat16" in str(plan)
    assert "bfloat16" not in run("plan", model)[1]
    (found,) = json_lines(run("plan", half, "--json")[1])
    assert (found["precision"], found["dtype"]) == ("float32", "bfloat16")
    code, out, err = run("plan", model, "--precision", "bfloat16")
    assert (code, out) == (2, "")
    assert "--weights bfloat16" in err
    assert run("classify", photo, "--model", model, "--precision", "bfloat16")[0] == 2
    if any(isas("bfloat16").values()):
        (info,) = json_lines(run("info", half, "--precision", "bfloat16", "--json")[1])
        assert (info["precision"], info["dtype"]) == ("bfloat16", "bfloat16")
        code, out, err = run("classify", photo, "--model", half, "--precision", "bfloat16")
        assert (code, err) == (0, "")


@pytest.mark.parametrize("threads", ["2", "auto"])
def test_classify_with_threads(run, model, photo, threads):
    expected = run("classify", photo, "--model", model)[1]
    assert run("classify", photo, "--model", model, "--threads", threads) == (0, expected, "")


@pytest.mark.parametrize("threads", ["0", "-1", "two", "65"])
def test_bad_numbers_of_threads(run, model, threads):
    code, out, err = run("plan", model, "--threads", threads)
    assert (code, out) == (2, "")
    assert "expected" in err


def test_plan_svg(run, model, tmp_path):
    path = tmp_path / "plan.svg"
    with Engine.load(model) as engine:
        expected = draw(engine.memory_plan())
    code, out, err = run("plan", model, "--svg", path)
    assert (code, err) == (0, "")
    assert path.read_text("utf-8") == expected
    assert out == f"{path}: mobilenet_v2_0.1_32, {path.stat().st_size:,} bytes\n"


def test_plan_svg_of_a_photograph(run, model, photo, tmp_path):
    pytest.importorskip("mnv2_engine._core")
    from mnv2_engine.images.decoded import decoders

    if "PNG" not in decoders():
        pytest.skip("the C core was built without libpng")
    path = tmp_path / "plan.svg"
    code, _, err = run("plan", model, "--photo", photo, "--svg", path)
    assert (code, err) == (0, "")
    drawn = path.read_text("utf-8")
    with Engine.load(model) as engine:
        plan = engine.photo_plan(50, 40, "png")
    assert f"PNG, {plan.width}×{plan.height} pixels: decoding takes {kib(plan.bytes)}, " in drawn
    assert f"decoding: libpng, {kib(plan.library_bytes)}<" in drawn
    before = Path(photo).read_bytes()
    code, _, err = run("plan", model, "--photo", photo, "--svg", photo, "--force")
    assert code == 2
    assert "is the photograph itself" in err
    assert Path(photo).read_bytes() == before


def test_plan_svg_replaces_a_file_only_if_forced(run, model, tmp_path):
    path = tmp_path / "plan.svg"
    path.write_bytes(b"precious")
    code, out, err = run("plan", model, "--svg", path)
    assert (code, out) == (2, "")
    assert err == f"mnv2: error: {path}: exists already; give --force to replace it\n"
    assert path.read_bytes() == b"precious"
    assert run("plan", model, "--svg", path, "--force")[0] == 0
    assert path.read_bytes().startswith(b"<svg ")


def test_plan_svg_never_replaces_the_model(run, model):
    before = Path(model).read_bytes()
    code, _, err = run("plan", model, "--svg", model, "--force")
    assert code == 2
    assert "is the model file itself" in err
    assert Path(model).read_bytes() == before


def test_plan_svg_that_cannot_be_written(run, model, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for path, reason in (
        (tmp_path / "absent" / "plan.svg", "cannot be written: [Errno 2] No such file"),
        (Path(model) / "plan.svg", "cannot be written: [Errno 20] Not a directory"),
        (tmp_path, "cannot be replaced by a drawing"),
    ):
        code, out, err = run("plan", model, "--svg", path, "--force")
        assert (code, out) == (2, "")
        assert err.startswith(f"mnv2: error: {path}: {reason}")
        assert len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_plan_svg_in_a_folder_that_is_closed(run, model, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, out, err = run("plan", model, "--svg", closed / "plan.svg")
    assert (code, out) == (2, "")
    assert "Permission denied" in err
    assert not list(closed.iterdir())


def test_plan_whose_reader_goes_away(model, tmp_path):
    path = tmp_path / "plan.svg"
    for options in ((), ("--json",), ("--svg", path)):
        # A pipe that no one reads any more.
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [*MNV2, "plan", model, *options], stdout=writing, stderr=subprocess.PIPE, timeout=60
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, b"")
    assert path.read_bytes().endswith(b"</svg>\n")  # what was asked for is there, and whole


def test_plan_on_a_terminal_without_unicode(model):
    done = subprocess.run(
        [*MNV2, "plan", model],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"8\xd78\xd74" in done.stdout


# convert


@pytest.fixture
def checkpoint(tmp_path, random_weights) -> Path:
    from conftest import small_network

    path = tmp_path / "checkpoint.npz"
    np.savez(path, **random_weights(small_network()))
    return path


OPTIONS = ("--padding", "same", "--preprocess", "tf", "--labels", "none", "--resolution", "32")


def test_convert(run, checkpoint, tmp_path, photo):
    out_path = tmp_path / "out.npz"
    code, out, err = run("convert", checkpoint, out_path, *OPTIONS)
    assert (code, err) == (0, "mnv2: read: canonical .npz\n")
    size = out_path.stat().st_size
    assert out == f"{out_path}: mobilenet_v2_0.1_32, 5 classes, {size:,} bytes\n"
    assert run("classify", photo, "--model", out_path)[0] == 0


def test_convert_takes_integers(run, checkpoint, tmp_path):
    pytest.importorskip("tflite", reason="needs the package tflite")
    from conftest import make_weights, small_network
    from tflite_files import Form, model

    network = small_network()
    source, out_path = tmp_path / "model.tflite", tmp_path / "out.npz"
    source.write_bytes(model(network, make_weights(network), Form(types="uint8")).content)
    code, out, err = run(
        "convert", source, out_path, "--labels", "none", "--weights", "int8", "--force"
    )
    assert code == 0
    assert re.search(r"note: \d+ of \d+ output channels keep the file's integers; .* at most", err)
    assert "mobilenet_v2_0.1_32, 5 classes" in out
    code, out, _ = run("info", out_path)
    assert code == 0
    assert re.search(r"weights .* int8, mapped", out)
    code, _, err = run("convert", checkpoint, out_path, *OPTIONS, "--weights", "int8", "--force")
    assert code == 2
    assert "mnv2 quantize" in err


def test_convert_takes_every_option(run, checkpoint, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS), encoding="utf-8")
    out = tmp_path / "out.npz"
    code, _, err = run(
        *("convert", checkpoint, out, "--padding", "symmetric", "--preprocess", "imagenet"),
        *("--labels", labels, "--resolution", "64x96", "--resample", "lanczos"),
        *("--crop-fraction", "0.5", "--weights", "bfloat16"),
    )
    assert (code, err) == (0, "mnv2: read: canonical .npz\n")
    with Engine.load(out) as engine:
        assert engine.info.dtype == "bfloat16"
        info = engine.info
        assert info.network.padding == "symmetric"
        assert info.network.resolution == (64, 96)
        assert info.input_spec.std == pytest.approx((58.395, 57.12, 57.375))
        assert (info.input_spec.resample, info.input_spec.crop_fraction) == ("lanczos", 0.5)
        assert info.labels == 5


def test_inspect(run, checkpoint):
    code, out, err = run("inspect", checkpoint)
    assert (code, err) == (0, "")
    assert "network: mobilenet_v2_0.1_224, 5 classes" in out
    assert "needs: --padding (same or symmetric)" in out
    assert "block0.depthwise   depthwise  112x112x" in out
    code, out, _ = run("inspect", checkpoint, "--json")
    assert [each.split()[0] for each in json.loads(out)["missing"]] == [
        "padding", "preprocess", "labels",
    ]  # fmt: skip
    code, _, err = run("inspect", checkpoint.parent / "nowhere.pt")
    assert code == 2
    assert "cannot open the checkpoint" in err


def test_convert_tells_what_it_took_by_default(run, checkpoint, tmp_path):
    code, out, err = run("convert", checkpoint, tmp_path / "out.npz", *OPTIONS[:6])
    assert code == 0
    assert "mobilenet_v2_0.1_224" in out
    assert err.startswith("mnv2: read: canonical .npz\nmnv2: note: resolution 224")


def test_convert_says_which_option_is_missing(run, checkpoint, tmp_path):
    out_path = tmp_path / "out.npz"
    code, out, err = run("convert", checkpoint, out_path, "--preprocess", "tf")
    assert (code, out) == (2, "")
    assert err.startswith("mnv2: error: ")
    assert "padding" in err
    assert len(err.splitlines()) == 1
    assert not out_path.exists()


def test_convert_replaces_a_file_only_if_forced(run, checkpoint, tmp_path):
    out_path = tmp_path / "out.npz"
    out_path.write_bytes(b"precious")
    code, _, err = run("convert", checkpoint, out_path, *OPTIONS)
    assert code == 2
    assert err == f"mnv2: error: {out_path}: exists already; give --force to replace it\n"
    assert out_path.read_bytes() == b"precious"
    assert run("convert", checkpoint, out_path, *OPTIONS, "--force")[0] == 0
    assert run("info", out_path)[0] == 0


def test_convert_never_replaces_the_checkpoint(run, checkpoint):
    before = checkpoint.read_bytes()
    code, _, err = run("convert", checkpoint, checkpoint, *OPTIONS, "--force")
    assert code == 2
    assert "is the checkpoint itself" in err
    assert checkpoint.read_bytes() == before


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("sing",),
        ("classify",),
        ("classify", "a.jpg", "--top-k", "0"),
        ("classify", "a.jpg", "--top-k", "-1"),
        ("classify", "a.jpg", "--top-k", "five"),
        ("classify", "a.jpg", "--backend", "abacus"),
        ("convert", "only-one"),
        ("convert", "a", "b", "--padding", "round"),
        ("convert", "a", "b", "--resolution", "1x2x3"),
        ("convert", "a", "b", "--resolution", "x"),
        ("convert", "a", "b", "--crop-fraction", "half"),
        ("info", "m.npz", "another"),
        ("plan", "m.npz", "--json", "--svg", "plan.svg"),
        ("plan", "m.npz", "--svg"),
    ],
)
def test_wrong_usage(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "usage: mnv2" in err


@pytest.mark.parametrize("command", ["quantize", "bench", "detect", "serve"])
def test_an_option_that_a_command_has_not_shows_its_usage(run, command):
    code, out, err = run(command, "a", "b", "--no-such-option")
    assert (code, out) == (2, "")
    assert f"usage: mnv2 {command}" in err
    assert "unrecognized arguments:" in err
    assert "--no-such-option" in err


def test_version(run):
    assert run("--version") == (0, f"mnv2 {__version__}\n", "")


@pytest.mark.parametrize(
    "command", ["demo", "convert", "quantize", "evaluate", "classify", "info", "plan"]
)
def test_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "exit codes:" in out
    assert f"  mnv2 {command} " in out.replace("\n", " \n")
    assert command in run("--help")[1]


# Progress


def test_a_bar_only_where_someone_watches(run, model, tmp_path, monkeypatch):
    pytest.importorskip("tqdm")
    many = [photograph(tmp_path / f"{i}.png", i) for i in range(BAR_FROM)]
    _, plain, err = run("classify", *many, tmp_path / "absent", "--model", model, "--json")
    assert err.count("\n") == 2  # the absent one, and the sum
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, out, err = run("classify", *many, tmp_path / "absent", "--model", model, "--json")
    assert code == 1
    assert f"{BAR_FROM + 1}/{BAR_FROM + 1}" in err
    assert "absent: cannot be read" in err

    def answers(text: str) -> list[Any]:
        return [each.get("predictions") for each in json_lines(text)]

    assert answers(out) == answers(plain)
    _, _, err = run("classify", *many[1:], "--model", model)
    assert err == ""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    code, _, err = run("classify", *many, "--model", model)
    assert (code, err) == (0, "")


# Interruptions


def test_ctrl_c(run, model, photo, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "predict", interrupted)
    assert run("classify", photo, "--model", model) == (130, "", "")


def test_a_reader_that_goes_away(model, tmp_path):
    photos = [str(photograph(tmp_path / f"{i}.png", i)) for i in range(3)]
    process = subprocess.Popen(
        [*MNV2, "classify", *photos, "--model", model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    complaints = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), complaints) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(model, photo):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*MNV2, "classify", photo, "--model", model],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == b"mnv2: error: cannot write the answer: No space left on device\n"


# As a process of its own


def test_exit_codes_and_streams_of_the_process(model, photo):
    with open(photo, "rb") as file:
        done = subprocess.run(
            [*MNV2, "classify", "-", "absent.jpg", "--model", model, "--json"],
            stdin=file,
            capture_output=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == ["-", "absent.jpg"]
    assert b"Traceback" not in done.stderr


def test_a_terminal_without_unicode(small_model, photo):
    model = str(small_model(labels=["Löwe"] * 5))
    done = subprocess.run(
        [*MNV2, "classify", photo, "--model", model, "--top-k", "1"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.rstrip().endswith(rb"L\xf6we")


def test_classifying_imports_neither_numpy_nor_tqdm(model, photo):
    script = (
        "import sys\n"
        "from mnv2_engine.cli import main\n"
        "assert not {'numpy', 'PIL', 'tqdm'} & set(sys.modules)\n"
        f"assert main(['classify', {photo!r}, '--model', {model!r}]) == 0\n"
        "assert not {'numpy', 'tqdm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
