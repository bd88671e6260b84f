"""What callers do wrong, and that the advice they get is right; and that no text of theirs forges
a line of a log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from mnv2_engine import Engine, InputError, MnvError, ModelFileError
from mnv2_engine.cli import COMMANDS, main
from mnv2_engine.errors import MissingExtraError, shown
from mnv2_engine.model.whole_file import write_whole


@pytest.fixture
def engine(small_model) -> Engine:
    return Engine.load(small_model())


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)


# Of each dtype: what carries the same picture, and the advice as code on `x`.
SAME_PICTURE = {
    "float64": (lambda x: x / 127.5 - 1, r"x.astype(numpy.float32)"),
    "float16": (lambda x: (x / 127.5 - 1).astype(np.float16), "x.astype(numpy.float32)"),
    "big-endian": (lambda x: (x / 127.5 - 1).astype(">f4"), "x.astype(numpy.float32)"),
    "int8": (
        lambda x: (x.astype(int) - 128).astype(np.int8),
        "(x.astype(numpy.int16) + 128).astype(numpy.uint8)",
    ),
    "uint16": (lambda x: x.astype(np.uint16) * 257, "(x // 257).astype(numpy.uint8)"),
    "int64": (lambda x: x.astype(np.int64), "x.astype(numpy.uint8)"),
    "bool": (lambda x: x > 127, "255 * x.astype(numpy.uint8)"),
}


@pytest.mark.parametrize("dtype", SAME_PICTURE)
def test_who_follows_the_advice_for_logits_gets_the_right_answer(engine, pixels, dtype):
    make, code = SAME_PICTURE[dtype]
    x = make(pixels)
    with pytest.raises(InputError) as error:
        engine.logits(x)
    assert code.removeprefix("x") in str(error.value)
    if "numpy.float32" in code:  # which would make a black image of one that is normalised
        assert "astype(numpy.uint8)" not in str(error.value)
    if dtype == "bool":
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    found = engine.logits(eval(code, {"numpy": np, "x": x}))
    np.testing.assert_allclose(found, engine.logits(pixels), rtol=0, atol=2e-2)


def test_predict_sends_floats_to_logits_or_has_them_rounded(engine, pixels):
    for dtype in (np.float32, np.float64):
        with pytest.raises(InputError, match=r"round\(\).*multiply by 255.*`logits`"):
            engine.predict(pixels.astype(dtype))


def test_complex_numbers_are_no_floats(engine, pixels):
    for call in (engine.predict, engine.logits):
        with pytest.raises(InputError, match=r"complex numbers .*'Zf'"):
            call(pixels.astype(np.complex64))


@pytest.mark.parametrize("given", ["photo.jpg", b"\xff\xd8"])
def test_logits_does_not_offer_what_it_does_not_take(engine, given):
    with pytest.raises(InputError, match=r"`logits` takes pixels.*`predict` takes paths"):
        engine.logits(given)
    with pytest.raises(InputError) as error:
        engine.logits(None)
    assert "path" not in str(error.value)
    assert "(N, height, width, 3)" in str(error.value)


def test_floats_that_are_no_normalised_pixels_are_warned_of_once(small_model, pixels):
    engine = Engine.load(small_model())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.logits(np.zeros((0, 32, 32, 3), np.float32))
        for x in (pixels / 127.5 - 1, pixels / 255, np.full((32, 32, 3), 2.9)):
            engine.logits(x.astype(np.float32))
    with pytest.warns(RuntimeWarning, match=r"from 0 to 255: expected normalised.*-1 to 1.*uint8"):
        engine.logits(pixels.astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.logits(pixels.astype(np.float32))


@pytest.mark.parametrize("kind", [np.int64, np.uint8, int])
def test_top_k_takes_any_integer(engine, pixels, kind):
    assert len(engine.predict(pixels, top_k=kind(3))) == 3


def test_a_bad_image_need_not_cost_the_others(engine, pixels):
    images = [pixels, None, pixels[:0], pixels]
    found = engine.predict(images, errors="return")
    good = engine.predict(pixels)
    assert [found[0], found[3]] == [good, good]
    assert all(isinstance(error, InputError) for error in found[1:3])
    assert engine.predict(np.array([pixels, pixels]), errors="return") == [good, good]
    with pytest.raises(InputError, match="image 1 of the batch"):
        engine.predict(images)
    with pytest.raises(InputError):
        engine.predict(None, errors="return")  # a single image has no list to stand in
    with pytest.raises(InputError, match="'raise' or 'return'"):
        engine.predict(images, errors="ignore")


def test_a_changed_file_is_no_error_of_an_image(small_model, pixels):
    path = small_model()
    engine = Engine.load(path)
    os.truncate(path, 4096)
    with pytest.raises(ModelFileError):
        engine.predict([pixels], errors="return")


# --- what strangers write -----------------------------------------------------------------

FORGED = "a\nERROR root logged in\x1b[2J\u2028b"


@pytest.mark.parametrize("error", [MnvError, InputError, ModelFileError, MissingExtraError])
def test_the_text_of_an_error_is_one_line(error):
    made = error(f"{FORGED}: expected é, 猫 and no more")
    assert str(made) == r"a\nERROR root logged in\x1b[2J\u2028b: expected é, 猫 and no more"
    assert str(error(str(made))) == str(made)
    assert str(error()) == ""


def test_what_is_printable_is_shown_as_it_is():
    assert shown("Grüße, 猫 ∑") == "Grüße, 猫 ∑"
    assert shown("a\ud800") == r"a\ud800"


def test_names_of_files_forge_no_line(engine, tmp_path):
    pytest.importorskip("PIL.Image", reason="Pillow (the extra cli) is absent")
    (tmp_path / FORGED).write_bytes(b"no image")
    for name in (str(tmp_path / FORGED), str(tmp_path / f"{FORGED}.absent")):
        for call in (engine.predict, Engine.load):
            with pytest.raises(MnvError) as error:
                call(name)
            assert str(error.value).isprintable()


@pytest.mark.parametrize("given", [b"PK\3\4" + bytes(100), bytes(50 << 20), "a" * 5000])
def test_content_in_place_of_a_path_is_not_printed(given):
    with pytest.raises(InputError) as error:
        Engine.load(given)
    assert len(str(error.value)) < 200
    assert str(len(given)) in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_not_waited_for(engine, tmp_path):
    pytest.importorskip("PIL.Image", reason="Pillow (the extra cli) is absent")
    path = tmp_path / "fifo.jpg"
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"not a regular file; read it yourself"):
        engine.predict(path)


# --- files that are written ---------------------------------------------------------------


def test_what_a_killed_writer_left_is_removed(tmp_path):
    path = str(tmp_path / "model.npz")
    script = (
        "import os, signal; from mnv2_engine.model.whole_file import write_whole; "
        f"write_whole({path!r}, 'a file', 1, lambda file: os.kill(os.getpid(), signal.SIGKILL))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    others = [tmp_path / ".model.npz.notes.tmp", tmp_path / ".model.npz.0123456789abcdeg.tmp"]
    for each in others:
        each.touch()
    old = time.time() - 3600
    for each in (left, *others):
        os.utime(each, (old, old))
    inner: list[set[str]] = []

    def while_another_writes(file):
        os.utime(file.fileno(), (old, old))
        write_whole(path, "a file", 1, lambda other: other.write(b"1"))
        inner.append({each.name for each in tmp_path.iterdir()})
        file.write(b"2")

    write_whole(path, "a file", 1, while_another_writes)
    assert not left.exists()
    assert len(inner[0]) == 4  # the file, the one that is being written, and the others'
    assert {each.name for each in tmp_path.iterdir()} == {"model.npz", *(o.name for o in others)}


def test_the_command_names_the_file_that_it_cannot_read(monkeypatch, capsys):
    def without_data(_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory", "mnv2_engine/labels.txt")

    monkeypatch.setitem(COMMANDS, "info", without_data)
    monkeypatch.setattr("mnv2_engine.cli.abandon_output", lambda: None)
    assert main(["info"]) == 2
    assert capsys.readouterr().err == (
        "mnv2: error: mnv2_engine/labels.txt: No such file or directory\n"
    )


# --- where the core is absent -------------------------------------------------------------


def test_a_source_tree_says_that_it_is_one(tmp_path):
    package = tmp_path / "checkout" / "mnv2_engine"
    import mnv2_engine

    os.makedirs(tmp_path / "checkout" / "kernels")
    (tmp_path / "checkout" / "pyproject.toml").touch()
    source = os.path.dirname(mnv2_engine.__file__)
    for folder, _, names in os.walk(source):
        for name in names:
            if name.endswith(".py"):
                into = package / os.path.relpath(os.path.join(folder, name), source)
                into.parent.mkdir(parents=True, exist_ok=True)
                into.symlink_to(os.path.join(folder, name))
    script = (
        "import json, logging, warnings; warnings.simplefilter('ignore'); said = []\n"
        "logging.getLogger('mnv2_engine').addHandler(type('H', (logging.Handler,), "
        "{'emit': lambda self, record: said.append(record.getMessage())})())\n"
        "from mnv2_engine.executors import backends\n"
        "backends.found('auto', 'float32'); print(json.dumps(said))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path / "checkout",
        capture_output=True,
        text=True,
        check=True,
    )
    (said,) = json.loads(done.stdout)
    assert f"the source tree {tmp_path / 'checkout'}" in said
    assert "another folder" in said
