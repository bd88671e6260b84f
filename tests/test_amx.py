"""AMX's tile registers: the same bits as the oracles, whoever used them before, or not at all."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import emulated_core
import numpy as np
import pytest
from conftest import make_weights
from native_network import BFLOAT16_ISAS, NativeNetwork, image

from mnv2_engine import Engine
from mnv2_engine.executors import bfloat16
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.plan.planner import make_plan

HERE = Path(__file__).parent
AMX = "avx512amx"
needs_amx = pytest.mark.skipif(AMX not in BFLOAT16_ISAS, reason="needs a CPU with AMX")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> Any:
    """tiles.c, built."""
    library = tmp_path_factory.mktemp("tiles") / "tiles.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, "-O1", "-shared", "-fPIC", str(HERE / "tiles.c"), "-o", str(library)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a C compiler")
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.npz"
    network = mobilenet_v2(0.35, 64, 10)
    write_model(path, network, make_weights(network), PRESETS["tf"], None, {}, dtype="bfloat16")
    return path


def run_python(text: str, *arguments: object) -> str:
    command = [sys.executable, "-I", "-c", text, *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "MNV2_ISA"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


def run_networks(*arguments: object) -> None:
    command = [sys.executable, HERE / "tiles_run.py", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5


@needs_amx
def test_networks_have_the_bits_of_the_oracles():
    run_networks()


@pytest.mark.skipif(
    not BFLOAT16_ISAS, reason="needs a CPU with AVX512_BF16 to run what is beside the tiles"
)
def test_emulated_tiles_have_them_too(tmp_path):
    if AMX in BFLOAT16_ISAS and not os.environ.get("MNV2_TEST_EMULATED"):
        pytest.skip("the CPU's own tiles are tested; MNV2_TEST_EMULATED=1 tests both")
    try:
        library = emulated_core.build(tmp_path)
    except FileNotFoundError:
        pytest.skip("needs a C compiler")
    run_networks(library)


def test_the_multiplier_may_be_kept_awake_whatever_the_shapes(tmp_path):
    compiler = shlex.split(os.environ.get("CC", "cc"))
    built = [*compiler, "-std=c11", "-I", HERE.parent / "kernels", HERE / "awake.c", "-lm"]
    program = tmp_path / "awake"
    try:
        subprocess.run([*built, "-o", program], check=True)
    except FileNotFoundError:
        pytest.skip("needs a C compiler")
    subprocess.run([program], check=True)


@pytest.mark.skipif(
    "GenuineIntel" not in Path("/proc/cpuinfo").read_text()
    if os.path.exists("/proc/cpuinfo")
    else True,
    reason="needs Intel's vdpbf16ps: other makes may round its two terms differently",
)
@pytest.mark.skipif("avx512bf16" not in BFLOAT16_ISAS, reason="needs a CPU with AVX512_BF16")
@pytest.mark.parametrize(
    "network",
    [
        mobilenet_v2(0.35, 32, 20),
        mobilenet_v2(0.1, (37, 40), 7, "symmetric", divisor=1),
        efficientnet_lite(0, resolution=(44, 36), classes=10),
    ],
    ids=lambda network: network.name,
)
def test_pairs_have_the_bits_of_their_own_oracle(network):
    weights, x = make_weights(network, seed=3), image(network)
    expected = bfloat16.run(network, weights, x, bfloat16.PAIRS)
    plan = make_plan(network, 1, "bfloat16")
    logits, features = NativeNetwork(network, weights, "avx512bf16", plan)(x)
    np.testing.assert_array_equal(features, expected.features[0])
    np.testing.assert_array_equal(logits, expected.logits[0])
    assert (bfloat16.run(network, weights, x, bfloat16.TILES).logits != expected.logits).any()


@needs_amx
@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_thread_did_to_its_tiles_before_does_not_matter(threads, tiles, model):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with Engine.load(model, threads=threads, precision="bfloat16") as engine:
        assert engine.info.isa == AMX
        expected = engine.logits(pixels)
        assert tiles.tiles_in_use() == 0
        for before in (tiles.leave_tiles, tiles.release_tiles, tiles.leave_tiles):
            before()
            assert (tiles.tiles_in_use() != 0) == (before is tiles.leave_tiles)
            np.testing.assert_array_equal(engine.logits(pixels), expected)
            assert tiles.tiles_in_use() == 0  # nothing to save while the thread does other things


@needs_amx
def test_float32_leaves_the_tiles_of_other_engines_alone(tiles, model):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with Engine.load(model) as engine:
        tiles.leave_tiles()
        engine.logits(pixels)
        assert tiles.tiles_in_use() != 0
        tiles.release_tiles()


@needs_amx
def test_a_forked_child_has_them(model):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with Engine.load(model, threads=2, precision="bfloat16") as engine:
        expected = engine.logits(pixels)
        child = os.fork()
        if child == 0:
            same = False
            try:
                same = bool((engine.logits(pixels) == expected).all())
            finally:
                os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_amx
def test_only_who_computes_with_them_asks_for_them(tiles, model):
    found = run_python(
        "import ctypes, sys\n"
        "from mnv2_engine import Engine\n"
        "tiles = ctypes.CDLL(sys.argv[1])\n"
        "for precision in ('float32', 'bfloat16'):\n"
        "    engine = Engine.load(sys.argv[2], precision=precision)\n"
        "    print(precision, engine.info.isa == 'avx512amx', tiles.tiles_permitted())\n",
        tiles._name,
        model,
    )
    assert found == "float32 False 0\nbfloat16 True 1\n"


@needs_amx
@pytest.mark.skipif("avx512bf16" not in BFLOAT16_ISAS, reason="needs a build with avx512bf16")
def test_where_the_system_refuses_them_the_next_set_runs_and_info_says_so(model):
    """A signal stack of 8 KiB has no room for them."""
    found = run_python(
        "import ctypes, sys\n"
        "class Stack(ctypes.Structure):\n"
        "    _fields_ = [('at', ctypes.c_void_p), ('flags', ctypes.c_int),\n"
        "                ('size', ctypes.c_size_t)]\n"
        "memory = ctypes.create_string_buffer(8192)\n"
        "stack = Stack(ctypes.addressof(memory), 0, 8192)\n"
        "assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0\n"
        "from mnv2_engine import Engine\n"
        "from mnv2_engine.cli.machine import machine\n"
        "print(Engine.load(sys.argv[1], precision='bfloat16').info.isa)\n"
        "print(Engine.load(sys.argv[1], precision='fastest').info.precision)\n"
        "print(machine().refused, machine().slow)\n"
        "print(machine())\n",
        model,
    )
    isa, fastest, facts, *table = found.splitlines()
    assert isa == "avx512bf16"
    is_intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    assert fastest == ("float32" if is_intel else "bfloat16")
    assert facts == f"['{AMX}'] {['bfloat16'] if is_intel else []}"
    said = [line for line in table if line.startswith("refused")]
    assert len(said) == 1
    assert AMX in said[0]
    assert "signal stack" in said[0]
