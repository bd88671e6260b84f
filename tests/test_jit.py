"""The Numba kernels against the float64 oracle, within the plan's arena, and how they are kept."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from conftest import make_weights, small_network
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from int8_network import PackedInt8, pixels, random_int8
from native_network import PackedNetwork, image, oracle, relative_error
from networks import mixed_networks, small_mixed
from test_native import SIZES, TOLERANCE, any_network, network_of
from test_threads import any_schedule

from mnv2_engine import Engine, InputError, UnsupportedError
from mnv2_engine.bench.ablations import plan_by_layers
from mnv2_engine.executors import integer
from mnv2_engine.executors.reference import run
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.plan.planner import make_plan

pytest.importorskip("numba", reason="Numba (the extra jit) is absent")
import numba
from jit_network import JitNetwork, outputs
from numba.core import caching

from mnv2_engine.executors import jit
from mnv2_engine.executors.jit import compiling
from mnv2_engine.executors.jit.int8 import vector
from mnv2_engine.executors.jit.vector import store


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


@settings(max_examples=30, deadline=None)
@given(network=any_network(), seed=st.integers(0, 1000))
def test_any_channels_strides_and_sizes_agree_with_the_oracle(network, seed):
    weights = make_weights(network, seed)
    x = image(network, seed)
    truth = oracle(network, weights, x)
    # As in test_native.py: the scale is that of the terms, and float32 itself has to reach it.
    limits = [TOLERANCE * max(1.0, np.abs(true).max()) for true in truth]
    float32 = run(network, weights, x[np.newaxis], np.float32)
    for answer, true, limit in zip(float32[:2], truth, limits, strict=True):
        assume(np.abs(answer[0] - true).max() <= limit / 2)
    for answer, true, limit in zip(JitNetwork(network, weights)(x), truth, limits, strict=True):
        assert np.abs(answer - true).max() <= limit


def some_taps(data, network):
    """Blocks to tap, and the layers whose values those are."""
    blocks = match(network).blocks
    taps = tuple(i for i in range(len(blocks)) if data.draw(st.booleans(), label=f"tap {i}"))
    return taps, [blocks[i].output for i in taps]


def flat(outputs):
    """Of the one image: logits, features, maps."""
    return [outputs.logits[0], outputs.features[0], *(each[0] for each in outputs.maps)]


def plans_of(network, precision, taps, seed):
    """The planner's plan, then two of any schedules."""
    others = (any_schedule(network, 1, seed + i, precision, layers=False) for i in range(2))
    return [make_plan(network, 1, precision, taps=taps), *others]


@settings(max_examples=40, deadline=None)
@given(network=mixed_networks(), seed=st.integers(0, 1000), data=st.data())
def test_any_mixture_agrees_with_the_oracle(network, seed, data):
    taps, names = some_taps(data, network)
    weights, x = make_weights(network, seed), image(network, seed)
    truth = flat(run(network, weights, x[np.newaxis].astype(np.float64), np.float64, taps=names))
    limits = [TOLERANCE * max(1.0, np.abs(true).max(initial=0)) for true in truth]
    single = flat(run(network, weights, x[np.newaxis], np.float32, taps=names))
    for answer, true, limit in zip(single, truth, limits, strict=True):
        assume(np.abs(answer - true).max(initial=0) <= limit / 2)  # see above
    model, first = PackedNetwork(network, weights), None
    for plan in plans_of(network, "float32", taps, seed):
        found = outputs(jit.executor_of(model, plan), plan, x)
        first = first or found
        for answer, expected in zip(found, first, strict=False):
            np.testing.assert_array_equal(answer, expected)
    for answer, true, limit in zip(first, truth, limits, strict=True):
        assert np.abs(answer - true).max(initial=0) <= limit


@settings(max_examples=40, deadline=None)
@given(network=mixed_networks(), seed=st.integers(0, 1000), extreme=st.booleans(), data=st.data())
def test_any_mixture_in_8_bits_equals_the_oracle(network, seed, extreme, data):
    taps, names = some_taps(data, network)
    weights, quantization = random_int8(network, seed, extreme)
    model, x = PackedInt8(network, weights, quantization), pixels(network, seed)
    spec = model.input_spec
    expected = integer.run(network, weights, quantization, spec, x[np.newaxis], taps=names)
    logits, *exact = flat(expected)
    first = None
    for plan in plans_of(network, "int8", taps, seed):
        found = outputs(jit.executor_of(model, plan), plan, x)
        first = first or found
        for answer, true in zip(found, first, strict=False):
            np.testing.assert_array_equal(answer, true)
    for answer, true in zip(first[1:], exact, strict=True):
        np.testing.assert_array_equal(answer, true)
    if network.small_dense:  # float32, whose sums NumPy rounds in another order
        np.testing.assert_allclose(first[0], logits, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(first[0], logits)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_caller_may_do_without_logits_features_and_maps(precision):
    network = small_mixed()["everything"]
    weights, quantization = random_int8(network, 3)
    if precision == "int8":
        model = PackedInt8(network, weights, quantization)
    else:
        model = PackedNetwork(network, make_weights(network))
    plan, x = make_plan(network, 1, precision, taps=(0, 2)), pixels(network)
    executor = jit.executor_of(model, plan)
    expected = outputs(executor, plan, x)
    features = np.full(network.features, np.nan, np.float32)
    executor.run(x, False, None, features)
    np.testing.assert_array_equal(features, expected[1])
    assert executor.run(x, False) is None


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
    assert len(done.stdout.splitlines()) == 14


def test_what_it_does_not_compute_is_refused(small_model):
    path = small_model()
    with pytest.raises(InputError, match="numba backend has none of its own; use 1"):
        Engine.load(path, threads=2, backend="numba")
    engine = Engine.load(path, threads="auto", backend="numba")
    assert engine.info.threads == engine.memory_plan().threads == 1
    network = small_network()
    others = [make_plan(network, threads=2), make_plan(network, 1, "bfloat16")]
    for plan in [*others, plan_by_layers(mobilenet_v2(0.35, 32))]:
        with pytest.raises(UnsupportedError, match="numba backend"):
            JitNetwork(network, make_weights(network), plan)
    with pytest.raises(UnsupportedError, match="expected an int8 model"):
        jit.executor_of(
            PackedNetwork(network, make_weights(network)), make_plan(network, 1, "int8")
        )


# The one kernel whose code depends on the CPU


@pytest.mark.parametrize("words", [0, 4, 8, 16])
def test_pairs_of_products_are_added_with_any_instruction(monkeypatch, words):
    known = {4: "sse2.pmadd.wd", 8: "avx2.pmadd.wd", 16: "avx512.pmaddw.d.512"}
    if words > (vector.PAIRS.words if vector.PAIRS else 0):
        pytest.skip("this CPU has no such instruction")
    pairs = vector.Pairs(f"llvm.x86.{known[words]}", words) if words else None
    monkeypatch.setattr(vector, "PAIRS", pairs)

    @numba.njit
    def added(x, w, y):
        sums = vector.dot(vector.zeros(3, 1), x, 1, 4, w, 0, 0)
        store(sums, y, 0, 64, 0)

    random = np.random.default_rng(words)
    x = random.choice([0, 1, 127, 128, 255], 13).astype(np.uint8)
    w = random.choice([-128, -1, 0, 1, 127], (16, 4)).astype(np.int8)
    y = np.empty(3 * 64, np.uint8)
    added(x, w.ravel().view(np.uint8), y)
    expected = x[1:].reshape(3, 4).astype(int) @ w.T.astype(int)
    np.testing.assert_array_equal(y.view(np.int32).reshape(3, 16), expected)


# Compiling


def doubled(numbers):
    for i in range(len(numbers)):
        numbers[i] *= 2


@pytest.fixture
def new_process(monkeypatch, tmp_path):
    """Gives the entries of a new process, which is just one function, cached in tmp_path."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def start(precision="int8"):
        function = types.FunctionType(doubled.__code__, globals(), "doubled")
        entry = compiling.Entry(function, numba.void(compiling.FLOATS))
        monkeypatch.setitem(compiling.ENTRIES, precision, [entry])
        return entry

    return start


def doubles(entry):
    numbers = np.arange(3, dtype=np.float32)
    entry(numbers)
    return list(numbers) == [0, 2, 4]


def test_what_is_compiled_is_kept(new_process, tmp_path, caplog):
    caplog.set_level(logging.INFO, "mnv2_engine")
    entry = new_process()
    made = compiling.compile_entries("int8")
    assert made.compiled
    assert made.folder.startswith(str(tmp_path))
    assert doubles(entry)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("compiling the int8 Numba kernels")
    assert made.folder in said[1]
    entry = new_process()
    assert compiling.compile_entries("int8")._replace(seconds=0) == (0, False, made.folder)
    assert doubles(entry)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("damage", [b"", b"no machine code"])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_damaged_cache_is_made_anew(new_process, tmp_path, kind, damage):
    new_process()
    compiling.compile_entries("int8")
    (file,) = tmp_path.rglob(f"*.{kind}")
    file.write_bytes(damage)
    for expected in (True, False):  # it is made anew once
        entry = new_process()
        assert compiling.compile_entries("int8").compiled == expected
        assert doubles(entry)


def test_a_warm_cache_may_be_read_only(new_process, monkeypatch):
    new_process()
    folder = compiling.compile_entries("int8").folder
    monkeypatch.setattr(caching.tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", refused)
    entry = new_process()
    assert compiling.compile_entries("int8")._replace(seconds=0) == (0, False, folder)
    assert doubles(entry)


def refused(*_: object, **__: object) -> None:
    raise PermissionError("read-only")


@pytest.mark.parametrize("where", ["TemporaryFile", "_open_for_write"])
def test_without_a_folder_to_keep_it_in_there_is_no_error(new_process, monkeypatch, caplog, where):
    caplog.set_level(logging.INFO, "mnv2_engine")
    owner = caching.tempfile if where == "TemporaryFile" else caching.IndexDataCacheFile
    monkeypatch.setattr(owner, where, refused)
    entry = new_process()
    assert compiling.compile_entries("int8")._replace(seconds=0) == (0, True, None)
    assert doubles(entry)
    assert "not kept" in caplog.text


def test_a_change_of_any_of_its_files_is_seen(monkeypatch, tmp_path):
    before = compiling._sources()
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "a.py"))
    found = {before, compiling._sources()}
    (tmp_path / "b.py").write_text("changed")
    found.add(compiling._sources())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "c.py").write_text("c")
    assert len(found | {compiling._sources()}) == 4


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_warming_up_tells_what_it_took(small_model, tmp_path, capsys, dtype):
    from mnv2_engine.cli import main

    path = small_model()
    if dtype == "int8":
        path, network = tmp_path / "int8.npz", small_network()
        weights, quantization = random_int8(network)
        write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    assert main(["warmup", str(path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"kernels   .* s\ncache     .*\nmodel .*\nran       in ", out)


def test_warming_up_for_any_model(new_process, capsys, tmp_path):
    from mnv2_engine.cli import main

    for precision in compiling.ENTRIES:
        new_process(precision)
    for expected in (True, False):
        assert main(["warmup", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert set(said) == {"compiled", "seconds", "cache"}
        assert said["compiled"] == expected
        assert said["cache"].startswith(str(tmp_path))
        for precision in compiling.ENTRIES:
            new_process(precision)


def test_warming_up_for_nothing_is_an_error(monkeypatch, capsys):
    from mnv2_engine.cli import main

    monkeypatch.setattr(jit, "compile_kernels", lambda _: jit.Compilation(1.0, True, None))
    assert main(["warmup"]) == 2
    assert "NUMBA_CACHE_DIR" in capsys.readouterr().err
