"""A model file that changes under an engine: never a crash, never another network's answer."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnv2_engine import Engine, InputError, ModelFileError
from mnv2_engine.model.modelfile import open_model


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture
def other(small_model) -> Path:
    """Another network of the same shape, and so a file of the same size."""
    return small_model(seed=9, name="other.npz")


def later(path: Path) -> None:
    """As if a second had passed: a change within a tick of the file system's clock is not seen."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


def overwrite(path: Path, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(content)
    later(path)


CALLS = {
    "logits": lambda engine, pixels: engine.logits(pixels),
    "predict": lambda engine, pixels: engine.predict(pixels),
    "embed": lambda engine, pixels: engine.embed(pixels),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", ["shortened", "overwritten", "longer"])
def test_a_file_that_was_changed_in_place_is_refused(small_model, other, pixels, call, how):
    path = small_model()
    engine = Engine.load(path)
    CALLS[call](engine, pixels)
    if how == "shortened":
        os.truncate(path, 4096)
    elif how == "longer":
        with open(path, "ab") as file:
            file.write(b"more")
    else:
        overwrite(path, other.read_bytes())
    for _ in range(2):
        with pytest.raises(ModelFileError, match=r"overwritten.*mv.*private=True"):
            CALLS[call](engine, pixels)
    with pytest.raises(ModelFileError, match="overwritten"):
        engine.verify()
    assert engine.stale()


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_every_backend_looks(small_model, other, pixels, backend):
    path = small_model()
    engine = Engine.load(path, backend=backend)
    overwrite(path, other.read_bytes())
    with pytest.raises(ModelFileError, match="overwritten"):
        engine.logits(pixels)


def test_a_change_during_a_call_loses_its_answer(small_model, other, pixels, monkeypatch):
    path = small_model()
    engine = Engine.load(path)
    executor = engine._executor
    run = executor.run

    def overwritten_meanwhile(*arguments, **outputs):
        run(*arguments, **outputs)
        overwrite(path, other.read_bytes())

    monkeypatch.setattr(executor, "run", overwritten_meanwhile)
    with pytest.raises(ModelFileError, match="overwritten"):
        engine.logits(pixels)


def test_a_file_that_was_only_touched_is_used_on(small_model, pixels):
    path = small_model()
    engine = Engine.load(path)
    before = engine.logits(pixels)
    later(path)
    np.testing.assert_array_equal(engine.logits(pixels), before)
    assert engine.stale()  # whoever watches the path may load it again
    overwrite(path, path.read_bytes())  # the same bytes
    np.testing.assert_array_equal(engine.logits(pixels), before)


def test_a_file_that_was_renamed_over_or_removed_is_used_on(small_model, other, pixels):
    path = small_model()
    engine = Engine.load(path)
    before = engine.logits(pixels)
    assert not engine.stale()
    os.replace(other, path)
    assert engine.stale()
    np.testing.assert_array_equal(engine.logits(pixels), before)
    path.unlink()
    assert engine.stale()
    np.testing.assert_array_equal(engine.logits(pixels), before)
    engine.verify()


def test_a_private_copy_does_not_care(small_model, other, pixels):
    path = small_model()
    engine = Engine.load(path, private=True)
    assert (engine.info.mapped, engine.info.private) == (False, True)
    assert "private=True" in str(engine.info)
    before = engine.logits(pixels)
    overwrite(path, other.read_bytes())
    os.truncate(path, 100)
    np.testing.assert_array_equal(engine.logits(pixels), before)
    engine.verify()
    assert engine.stale()


def test_a_private_copy_is_checked_when_it_is_made(small_model):
    path = small_model()
    with open_model(path) as model:
        at = model.tensors["head.weight"].offset
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    Engine.load(path)  # reads no weight
    with pytest.raises(ModelFileError, match=r"small\.npz: member 'head\.weight' .*checksum"):
        Engine.load(path, private=True)


def test_descriptors_that_a_daemon_closed_are_not_mistaken(small_model, other, pixels):
    """Daemons close all descriptors when they start; the mapping stays, and so may the engine."""
    path = small_model()
    engine = Engine.load(path)
    before = engine.logits(pixels)
    handle = engine._model._file._handle
    os.close(handle)
    np.testing.assert_array_equal(engine.logits(pixels), before)
    second = Engine.load(path)
    handle = second._model._file._handle
    os.dup2(os.open(other, os.O_RDONLY), handle)  # the number belongs to someone else now
    np.testing.assert_array_equal(second.logits(pixels), before)
    second.close()
    del second
    assert os.fstat(handle).st_ino == other.stat().st_ino  # nor was it closed for them
    os.close(handle)


# --- pickling -----------------------------------------------------------------------------


def test_an_engine_pickles_by_its_path(small_model, pixels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = Engine.load(small_model().name, threads=2, private=True)
    content = pickle.dumps(engine)
    monkeypatch.chdir("/")
    found = pickle.loads(content)
    assert found.info._replace(path="") == engine.info._replace(path="")
    np.testing.assert_array_equal(found.logits(pixels), engine.logits(pixels))
    assert len(content) < 1000


def test_a_pickle_arrives_in_another_process(small_model, pixels):
    engine = Engine.load(small_model())
    script = (
        "import pickle, sys; engine, pixels = pickle.load(sys.stdin.buffer); "
        "sys.stdout.buffer.write(engine.logits(pixels).tobytes())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        input=pickle.dumps((engine, pixels)),
        capture_output=True,
        check=True,
    )
    assert done.stdout == engine.logits(pixels).tobytes()


def test_a_pickle_does_not_take_another_model(small_model, other):
    path = small_model()
    content = pickle.dumps(Engine.load(path))
    shutil.copy(path, path.with_name("same.npz"))
    os.replace(path.with_name("same.npz"), path)
    pickle.loads(content)  # another file of the same content
    os.replace(other, path)
    with pytest.raises(ModelFileError, match=r"another model than when this engine was pickled"):
        pickle.loads(content)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_share_the_file(small_model, pixels, copied):
    path = small_model()
    engine = Engine.load(path)
    before = engine.logits(pixels)
    path.unlink()
    with copied(engine) as second:
        assert second._executor is not engine._executor
        np.testing.assert_array_equal(second.logits(pixels), before)
    np.testing.assert_array_equal(engine.logits(pixels), before)


def test_what_cannot_be_pickled(small_model, other):
    path = small_model()
    engine = Engine.load(path)
    overwrite(path, other.read_bytes())
    with pytest.raises(ModelFileError, match="overwritten"):
        pickle.dumps(engine)
    engine.close()
    with pytest.raises(InputError, match="closed"):
        pickle.dumps(engine)
