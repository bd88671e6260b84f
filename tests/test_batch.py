"""Batches: each step over several images before the next one, with the bits of one by one."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network

from mnv2_engine import Engine
from mnv2_engine.bench.networks import rewritten
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.executors.native import isas
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.plan.planner import make_plan

NETWORK = mobilenet_v2(0.35, 64, 21)
SETS = [(name, each) for each in ("float32", "bfloat16", "int8") for name in isas(each)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("batch")
    whole = folder / "float32.npz"
    write_model(whole, NETWORK, make_weights(NETWORK), PRESETS["tf"], None, {})
    with open_model(whole) as model:
        others = {each: rewritten(model, each, str(folder)) for each in ("bfloat16", "int8")}
    return {"float32": whole, **{name: Path(path) for name, path in others.items()}}


def pixels_of(count: int) -> Any:
    return np.random.default_rng(2).integers(0, 256, (count, *NETWORK.resolution, 3), np.uint8)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("isa", "precision"), SETS, ids=str)
def test_a_batch_has_the_bits_of_its_images(isa, precision, threads, files, monkeypatch):
    if not isas(precision)[isa]:
        pytest.skip(f"this CPU has no {isa}")
    monkeypatch.setenv("MNV2_ISA", isa)
    options: dict[str, Any] = {"threads": threads, "precision": precision}
    pixels = pixels_of(7)
    floats = pixels.astype(np.float32) / 127.5 - 1
    with (
        Engine.load(files[precision], **options) as single,
        Engine.load(files[precision], batch=3, **options) as engine,
    ):
        for x in (pixels, floats, pixels[:1], pixels[:0], pixels[0], pixels[::-2]):
            np.testing.assert_array_equal(engine.logits(x), single.logits(x))
        np.testing.assert_array_equal(engine.embed(pixels), single.embed(pixels))
        assert engine.predict(pixels, 3) == single.predict(pixels, 3)
        assert engine.predict(pixels[0]) == single.predict(pixels[0])
        assert engine.predict([pixels[1]]) == single.predict([pixels[1]])


def test_pixels_of_other_sizes_run_one_by_one(files):
    odd = np.random.default_rng(0).integers(0, 256, (3, 80, 70, 3), np.uint8)
    with Engine.load(files["float32"]) as single, Engine.load(files["float32"], batch=2) as engine:
        assert engine.predict(odd) == single.predict(odd)
        np.testing.assert_array_equal(engine.embed(odd), single.embed(odd))


def test_the_plan_states_an_arena_for_each_image(files):
    one = make_plan(NETWORK, cpu=cpu_family()).arena_bytes
    with Engine.load(files["float32"], batch=5) as engine:
        plan = engine.memory_plan()
        assert (plan.batch, plan.arena_bytes) == (5, one)
        assert plan.run_bytes == engine.info.arena_bytes == 5 * one
        assert f"{5 * one / 1024:,.1f} KiB   all that a call needs: 5 arenas" in str(plan)
        engine.logits(pixels_of(12))
        said = engine.stats()
        assert (said.images, said.most_arenas, said.arena_bytes) == (12, 1, 5 * one)
        assert len(engine._executor._arenas[0][0]) == 5 * one
    with Engine.load(files["float32"]) as engine:
        assert "5 arenas" not in str(engine.memory_plan())
        assert engine.memory_plan().run_bytes == engine.memory_plan().arena_bytes == one


def test_values_that_are_not_finite_are_refused(files):
    x = np.zeros((3, *NETWORK.resolution, 3), np.float32)
    x[2, 5, 5, 1] = np.nan
    with Engine.load(files["float32"], batch=2) as engine, pytest.raises(InputError, match="NaN"):
        engine.logits(x)


@pytest.mark.parametrize("batch", [0, -1, 257, True, 2.0, "2"])
def test_other_counts_are_refused(batch, files):
    with pytest.raises(InputError, match="batch"):
        Engine.load(files["float32"], batch=batch)


def test_other_backends_say_that_they_run_one_at_a_time(files):
    with pytest.raises(UnsupportedError, match=r"batch 2: the numpy backend.*leave it out"):
        Engine.load(files["float32"], backend="numpy", batch=2)


def test_copies_keep_the_batch(files):
    with Engine.load(files["float32"], batch=4) as engine:
        for other in (copy.copy(engine), pickle.loads(pickle.dumps(engine)), engine.reloaded()):
            assert other.memory_plan().batch == 4
            other.close()


def test_the_core_refuses_counts_and_arenas_that_it_cannot_run(tmp_path):
    network, path = small_network(), tmp_path / "m.npz"
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {})
    with Engine.load(path, batch=2) as engine:
        executor: Any = engine._executor
        images = np.zeros((2, *network.resolution, 3), np.uint8)
        logits = np.full((2, network.classes), 7, np.float32)
        for count, spare in ((0, 0), (-3, 0), (2, 4)):
            executor._plan.arena_bytes -= spare
            with pytest.raises(Exception, match="refused the plan"):
                executor.run_batch(images, count, False, logits=logits)
            executor._plan.arena_bytes += spare
        assert (logits == 7).all()
