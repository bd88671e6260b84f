"""The Numba kernels against the float64 oracle, within the plan's arena, and how they are kept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_weights, small_network
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from native_network import image, oracle, relative_error
from test_native import SIZES, TOLERANCE, any_network, network_of

from mnv2_engine import Engine, InputError, UnsupportedError
from mnv2_engine.architecture import efficientnet_lite, mobilenet_v2
from mnv2_engine.executors.reference import run
from mnv2_engine.input_spec import PRESETS
from mnv2_engine.modelfile import write_model
from mnv2_engine.plan import make_plan

pytest.importorskip("numba", reason="Numba (the extra jit) is absent")
from jit_network import JitNetwork

from mnv2_engine.executors import jit


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [0.1, 0.35, 1.0, 1.4])
def test_every_width_and_size_agrees_with_the_oracle(width, size, padding):
    network = network_of(width, size, padding)
    weights = make_weights(network, seed=1)
    x = image(network)
    found = JitNetwork(network, weights)(x)
    for answer, truth in zip(found, oracle(network, weights, x), strict=True):
        assert relative_error(answer, truth) <= TOLERANCE


@pytest.mark.parametrize("variant", range(5))
def test_efficientnet_lite_agrees_with_the_oracle(variant):
    network = efficientnet_lite(variant, resolution=(64, 76), classes=10)
    weights = make_weights(network, seed=variant)
    x = image(network)
    found = JitNetwork(network, weights)(x)
    for answer, truth in zip(found, oracle(network, weights, x), strict=True):
        assert relative_error(answer, truth) <= TOLERANCE


@settings(max_examples=60, deadline=None)
@given(network=any_network(), seed=st.integers(0, 1000))
def test_any_channels_strides_and_sizes_agree_with_the_oracle(network, seed):
    weights = make_weights(network, seed)
    x = image(network, seed)
    truth = oracle(network, weights, x)
    # As in test_native.py: the scale is that of the terms, and float32 itself has to reach it.
    limits = [TOLERANCE * max(1.0, np.abs(true).max()) for true in truth]
    float32 = run(network, weights, x[np.newaxis], np.float32)
    for answer, true, limit in zip(float32, truth, limits, strict=True):
        assume(np.abs(answer[0] - true).max() <= limit / 2)
    for answer, true, limit in zip(JitNetwork(network, weights)(x), truth, limits, strict=True):
        assert np.abs(answer - true).max() <= limit


@pytest.mark.parametrize("width", range(1, 60, 7))
def test_pixels_are_normalised_as_the_model_says(width):
    network = mobilenet_v2(0.35, (9, width), 7, "symmetric")
    weights = make_weights(network)
    pixels = np.random.default_rng(width).integers(0, 256, (9, width, 3), np.uint8)
    truth, _ = oracle(network, weights, (pixels.astype(np.float64) - 127.5) / 127.5)
    found, _ = JitNetwork(network, weights)(pixels)
    assert relative_error(found, truth) <= TOLERANCE


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_16_bits_give_what_the_c_core_makes_of_them(dtype, tmp_path):
    network = mobilenet_v2(0.35, (48, 40), 6)
    path = tmp_path / "half.npz"
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {}, dtype=dtype)
    x = np.random.default_rng(3).integers(0, 256, (48, 40, 3), np.uint8)
    with Engine.load(path, backend="numba") as engine, Engine.load(path, backend="c") as core:
        expected = core.logits(x)[0]
        assert relative_error(engine.logits(x)[0], expected) <= TOLERANCE
        assert engine.memory_plan().arena_bytes == core.memory_plan().arena_bytes


def test_nothing_outside_the_planned_bytes_is_touched():
    script = Path(__file__).with_name("guarded_jit.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 12


def test_what_it_does_not_compute_is_refused(small_model):
    path = small_model()
    with pytest.raises(InputError, match="numba backend has none of its own; use 1"):
        Engine.load(path, threads=2, backend="numba")
    engine = Engine.load(path, threads="auto", backend="numba")
    assert engine.info.threads == engine.memory_plan().threads == 1
    network = small_network()
    for plan in (make_plan(network, threads=2), make_plan(network, 1, "bfloat16")):
        with pytest.raises(UnsupportedError, match="numba backend"):
            JitNetwork(network, make_weights(network), plan)


# Compiling

SCRIPT = """
import json, logging, sys, warnings
warnings.simplefilter("error")
lines = []
class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logger = logging.getLogger("mnv2_engine")
logger.addHandler(Lines())
logger.setLevel(logging.INFO)
from mnv2_engine import Engine
from mnv2_engine.executors.jit import compile_entries
folders = [compile_entries().folder]
engine = Engine.load(sys.argv[1], backend="numba")
pixels = memoryview(bytes(32 * 32 * 3)).cast("B", (32, 32, 3))
print(json.dumps([lines, folders[0], engine.predict(pixels)]))
"""


def compiled_in(path, **environment):
    """What a new process logs, where it keeps what it compiles, and what it answers."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_compiled_is_kept_and_a_damaged_cache_is_made_anew(small_model, tmp_path):
    path, cache = small_model(), tmp_path / "cache"
    said, folder, answer = compiled_in(path, NUMBA_CACHE_DIR=str(cache))
    assert folder.startswith(str(cache))
    assert len(said) == 2
    assert said[0].startswith("compiling the Numba kernels")
    assert folder in said[1]
    assert compiled_in(path, NUMBA_CACHE_DIR=str(cache)) == [[], folder, answer]
    kernels = {file.name.split("-")[0]: file for file in cache.rglob("*.nbc")}
    assert len(kernels) == 4
    (damaged,) = (file for name, file in kernels.items() if "classifier" in name)
    damaged.write_bytes(damaged.read_bytes()[:100])
    said, _, again = compiled_in(path, NUMBA_CACHE_DIR=str(cache))
    assert len(said) == 2
    assert again == answer


def test_without_a_folder_to_keep_it_in_there_is_no_error():
    script = """
import warnings
warnings.simplefilter("error")
from numba.core.caching import CacheImpl
CacheImpl._locator_classes = []  # as where none of their folders can be written
from mnv2_engine.executors.jit.compiling import ENTRIES
from mnv2_engine.executors.jit import NumbaExecutor
assert len(ENTRIES) == 4
assert [each.folder for each in ENTRIES] == [None] * 4
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_warming_up_tells_what_it_took(small_model, capsys):
    from mnv2_engine.cli import main

    path = str(small_model())
    assert main(["warmup", path]) == 0
    assert re.search(
        r"kernels   .* s\ncache     .*\nmodel .*\nran       in ", capsys.readouterr().out
    )
    assert main(["warmup", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"compiled", "seconds", "cache"}


def test_warming_up_for_nothing_is_an_error(monkeypatch, capsys):
    from mnv2_engine.cli import main

    monkeypatch.setattr(jit, "compile_entries", lambda: jit.Compilation(1.0, True, None))
    assert main(["warmup"]) == 2
    assert "NUMBA_CACHE_DIR" in capsys.readouterr().err
