"""Which backend runs a network, who decides it, and what is said where it is not the C core."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from conftest import make_weights, small_network
from detector_network import seeded_weights, small_detector
from every_backend import needs_numba
from int8_network import random_int8

from mnv2_engine import Engine, InputError, MissingExtraError, MnvError, UnsupportedError
from mnv2_engine.cli import main
from mnv2_engine.executors import backends
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """As in a new process, whatever the environment says."""
    monkeypatch.setattr(backends, "_said", set())
    monkeypatch.delenv("MNV2_BACKEND", raising=False)


@pytest.fixture
def without_core(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnv2_engine._core", None)


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)


@pytest.fixture
def int8_path(tmp_path):
    path, network = tmp_path / "int8.npz", small_network()
    weights, quantization = random_int8(network)
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    return path


def test_the_c_core_comes_first(small_model, caplog):
    assert Engine.load(small_model()).info.backend == "c"
    assert not caplog.records


@needs_numba
def test_numba_comes_second_and_says_so_once(small_model, without_core, caplog):
    path = small_model()
    with caplog.at_level(logging.WARNING, "mnv2_engine"):
        for threads in (1, 2, "auto"):
            engine = Engine.load(path, threads=threads)
            assert engine.info.backend == "numba"
            assert engine.info.threads == engine.memory_plan().threads == 1
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "C core cannot be imported" in caplog.text
    assert "Numba" in caplog.text


@needs_numba
def test_a_detector_goes_past_numba(tmp_path, without_core):
    """Which refuses it by name where it is asked for."""
    network, path = small_detector(), tmp_path / "detector.npz"
    write_model(path, network, seeded_weights(network), PRESETS["tf"], None, {})
    with pytest.warns(RuntimeWarning, match="using NumPy"):
        engine = Engine.load(path)
    assert engine.info.backend == "numpy"
    with pytest.raises(UnsupportedError, match="runs classifiers; use c or numpy"):
        Engine.load(path, backend="numba")


def test_numpy_comes_last_with_a_warning_once(small_model, without_core, without_numba, caplog):
    path = small_model()
    with pytest.warns(RuntimeWarning, match=r"many times slower.*mnv2-engine\[jit\]") as warned:
        engine = Engine.load(path)
    assert len(warned) == 1
    assert Engine.load(path, threads=2).info.threads == 1  # no other warning, it would be an error
    assert warned[0].filename == __file__
    assert engine.info.backend == "numpy"
    assert [r.levelname for r in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("backend", [pytest.param("numba", marks=needs_numba), "numpy"])
def test_int8_gives_the_same_bits(int8_path, backend):
    with Engine.load(int8_path, backend="c") as core:
        expected, plan = core.logits(PIXELS), core.memory_plan()
    with Engine.load(int8_path, backend=backend) as engine:
        assert engine.info.backend == backend
        np.testing.assert_array_equal(engine.logits(PIXELS), expected)
        assert backend == "numpy" or engine.memory_plan() == plan


def test_bfloat16_is_refused_by_all_but_the_c_core(tmp_path, without_core, without_numba):
    path, network = tmp_path / "bfloat16.npz", small_network()
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {}, dtype="bfloat16")
    with (
        pytest.warns(RuntimeWarning, match="many times slower"),
        pytest.raises(UnsupportedError, match="numpy backend computes in float32"),
    ):
        Engine.load(path, precision="bfloat16")


def test_what_is_absent_says_how_to_get_it(small_model, without_core, without_numba):
    path = small_model()
    with pytest.raises(MnvError, match=r"C core cannot be imported.*compiler"):
        Engine.load(path, backend="c")
    with pytest.raises(MissingExtraError, match=r'pip install "mnv2-engine\[jit\]"'):
        Engine.load(path, backend="numba")


def test_warming_up_without_numba_says_how_to_get_it(without_numba, capsys):
    assert main(["warmup"]) == 2
    assert 'pip install "mnv2-engine[jit]"' in capsys.readouterr().err


@needs_numba
def test_a_numba_that_may_not_compile_is_refused(small_model, monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(UnsupportedError, match="NUMBA_DISABLE_JIT"):
        Engine.load(small_model(), backend="numba")


def test_the_environment_decides_unless_the_argument_does(small_model, monkeypatch):
    path = small_model()
    monkeypatch.setenv("MNV2_BACKEND", "numpy")
    assert Engine.load(path).info.backend == "numpy"
    assert Engine.load(path, backend="c").info.backend == "c"
    assert Engine.load(path, backend="auto").info.backend == "c"
    monkeypatch.setenv("MNV2_BACKEND", "")
    assert Engine.load(path).info.backend == "c"
    monkeypatch.setenv("MNV2_BACKEND", "gpu")
    with pytest.raises(InputError, match="MNV2_BACKEND='gpu': expected one of auto, c, numba, num"):
        Engine.load(path)
    with pytest.raises(InputError, match="backend 'GPU': expected one of auto, c, numba, numpy"):
        Engine.load(path, backend="GPU")


def test_the_command_line_takes_a_backend(small_model, capsys, monkeypatch):
    path = str(small_model())
    assert main(["info", path, "--backend", "numpy"]) == 0
    assert "backend       numpy" in capsys.readouterr().out
    monkeypatch.setenv("MNV2_BACKEND", "numpy")
    assert main(["info", path]) == 0
    assert "backend       numpy" in capsys.readouterr().out


@needs_numba
def test_backends_give_the_same_logits(small_model):
    path = small_model()
    with Engine.load(path, backend="c") as core, Engine.load(path, backend="numba") as engine:
        expected = core.logits(PIXELS)
        np.testing.assert_allclose(engine.logits(PIXELS), expected, rtol=0, atol=2e-5)
        # The same steps only on a CPU of no family: Numba knows none.
        assert engine.memory_plan().arena_bytes == core.memory_plan().arena_bytes
