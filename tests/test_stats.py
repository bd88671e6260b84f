"""engine.stats(): what an engine has done, counted right from many threads and after a fork."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from mnv2_engine import Engine, InputError


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)


def test_what_is_counted(small_model, pixels, tmp_path):
    engine = Engine.load(small_model())
    assert engine.stats() == (0, 0, 0, engine.memory_plan().arena_bytes, 0.0, 0.0)
    engine.predict(pixels)
    engine.predict([pixels, pixels])
    engine.logits(np.array([pixels, pixels]))
    engine.embed(pixels)
    found = engine.stats()
    assert (found.images, found.arenas, found.most_arenas) == (6, 0, 1)
    assert found.network_seconds > 0
    with pytest.raises(InputError):
        engine.predict(None)
    assert engine.stats()._replace(image_seconds=0) == found._replace(image_seconds=0)
    image = pytest.importorskip("PIL.Image", reason="Pillow (the extra cli) is absent")
    image.new("RGB", (900, 700)).save(tmp_path / "photo.png")
    engine.predict(tmp_path / "photo.png")
    assert engine.stats().image_seconds > found.image_seconds


def test_arenas_of_calls_that_overlap(small_model, pixels, monkeypatch):
    engine = Engine.load(small_model())
    executor, gate = engine._executor, threading.Barrier(3)
    run = executor.run

    def together(*arguments, **outputs):
        gate.wait(20)
        run(*arguments, **outputs)
        gate.wait(20)

    monkeypatch.setattr(executor, "run", together)
    callers = [threading.Thread(target=engine.predict, args=(pixels,)) for _ in range(2)]
    for caller in callers:
        caller.start()
    gate.wait(20)
    assert engine.stats().arenas == 2
    gate.wait(20)
    for caller in callers:
        caller.join()
    assert (engine.stats().arenas, engine.stats().most_arenas) == (0, 2)


def test_an_error_of_the_executor_leaves_no_arena_in_use(small_model, pixels, monkeypatch):
    engine = Engine.load(small_model())

    def failing(*arguments, **outputs):
        raise MemoryError

    monkeypatch.setattr(engine._executor, "run", failing)
    with pytest.raises(MemoryError):
        engine.predict(pixels)
    assert engine.stats().arenas == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_counts_from_zero(small_model, pixels):
    engine = Engine.load(small_model())
    engine.predict(pixels)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            before = engine.stats().images
            engine.predict(pixels)
            status = 0 if (before, engine.stats().images) == (0, 1) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert engine.stats().images == 1
