"""Threads: the same bits for any number of them, from many callers, after fork, and at rest."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import make_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from native_network import SUPPORTED_ISAS, NativeNetwork, image
from test_native import WIDTHS, any_network, network_of

from mnv2_engine import Engine, InputError
from mnv2_engine.executors import cpus
from mnv2_engine.executors.pool import Pool
from mnv2_engine.executors.process import here
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.arena import moves
from mnv2_engine.plan.planner import assemble, every_schedule, make_plan
from mnv2_engine.plan.schedules import Schedule, layers_schedule
from mnv2_engine.plan.shapes import PRECISIONS, Shapes
from mnv2_engine.plan.steps import Plan

NETWORK = mobilenet_v2(0.35, (64, 56), 10)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("threads") / "model.npz")
    write_model(path, NETWORK, make_weights(NETWORK), PRESETS["tf"], None, {})
    return path


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, *NETWORK.resolution, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(model_path, pixels) -> np.ndarray:
    return Engine.load(model_path).logits(pixels)


# --- the same bits ------------------------------------------------------------------------


def outputs_are_equal(network: Network, seed: int, isa: str, plans: list[Plan]) -> bool:
    weights, x = make_weights(network, seed), image(network, seed)
    first = NativeNetwork(network, weights, isa)(x)
    return all(
        np.array_equal(found, expected)
        for plan in plans
        for found, expected in zip(
            NativeNetwork(network, weights, isa, plan)(x), first, strict=True
        )
    )


@pytest.mark.parametrize("isa", SUPPORTED_ISAS)
@pytest.mark.parametrize("size", [32, (61, 96), 224])
@pytest.mark.parametrize("width", WIDTHS)
def test_any_number_of_threads_gives_the_same_bits(width, size, isa):
    network = network_of(width, size, "symmetric" if size == 32 else "same")
    ways = ((2, "any"), (2, "amx"), (3, "amx"), (4, "any"))
    plans = [make_plan(network, threads, cpu=cpu) for threads, cpu in ways]
    assert outputs_are_equal(network, 1, isa, plans)


@pytest.mark.parametrize("variant", [0, 4])
def test_threads_with_kernels_of_five(variant):
    network = efficientnet_lite(variant, (75, 64), 7)
    plans = [make_plan(network, threads) for threads in (2, 4)]
    assert outputs_are_equal(network, 2, SUPPORTED_ISAS[0], plans)


@settings(max_examples=60)
@given(network=any_network(), threads=st.sampled_from([2, 3, 4, 17]))
def test_any_network_in_any_number_of_parts(network, threads):
    for isa in SUPPORTED_ISAS:
        assert outputs_are_equal(network, 3, isa, [make_plan(network, threads)])


def any_schedule(
    network: Network,
    threads: int,
    seed: int,
    precision: str = "float32",
    layers: bool = True,
) -> Plan:
    """A plan of schedules picked at random, not the planner's choice, of all that any family of
    CPUs has; layer by layer too, if `layers`."""
    shapes = Shapes(network, threads, PRECISIONS[precision], cpu="amx")
    choices = every_schedule(shapes)
    pick = random.Random(seed)
    for index, block in enumerate(match(network).blocks):
        if layers and (index or not block.residual):
            choices[index].append(layers_schedule(shapes, index, pick.randint(1, 4)))
    while True:
        chosen: list[tuple[Schedule, bool]] = []
        at, high = 0, False
        while at < len(choices):
            ways = [(s, end) for s in choices[at] for end in moves(s, high)]
            if not ways:
                break  # a tensor at the wrong end
            schedule, high = pick.choice(ways)
            chosen.append((schedule, high))
            at += max(1, len(schedule.blocks))
        else:
            return assemble(shapes, chosen)


@settings(max_examples=60)
@given(
    width=st.sampled_from(WIDTHS),
    size=st.tuples(st.integers(20, 120), st.integers(20, 120)),
    threads=st.sampled_from([1, 2, 3, 4]),
    seed=st.integers(0, 10**6),
)
def test_any_schedule_gives_the_same_bits(width, size, threads, seed):
    network = network_of(width, size, "same" if seed % 2 else "symmetric")
    plan = any_schedule(network, threads, seed)
    assert outputs_are_equal(network, seed, SUPPORTED_ISAS[seed % len(SUPPORTED_ISAS)], [plan])


def test_every_batch_has_the_bits_of_its_images(model_path, pixels, expected):
    for threads in (1, 2):
        engine = Engine.load(model_path, threads=threads)
        for count in range(1, 9):
            np.testing.assert_array_equal(engine.logits(pixels[:count]), expected[:count])
        ((arena, _),) = engine._executor._arenas  # that of one image
        assert len(arena) == engine.memory_plan().arena_bytes


# --- their lives; test_engine.py has many callers share an engine --------------------------


def threads_of_the_process() -> int:
    return len(os.listdir("/proc/self/task"))


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="counts threads in /proc"
)


@needs_proc
def test_threads_start_with_the_first_call_and_end_with_the_engine(model_path, pixels):
    before = threads_of_the_process()
    engine = Engine.load(model_path, threads=4)
    assert threads_of_the_process() == before
    engine.logits(pixels)
    assert threads_of_the_process() == before + 3
    engine.close()
    gc.collect()
    assert threads_of_the_process() == before


@needs_proc
def test_threads_leave_signals_to_the_caller(model_path, pixels):
    engine = Engine.load(model_path, threads=2)
    before = set(os.listdir("/proc/self/task"))
    engine.logits(pixels)
    (worker,) = set(os.listdir("/proc/self/task")) - before
    with open(f"/proc/self/task/{worker}/status") as file:
        blocked = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        assert blocked >> (number - 1) & 1


def test_threads_sleep_between_calls(model_path, pixels):
    engine = Engine.load(model_path, threads=4)
    engine.logits(pixels)
    spent = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - spent < 0.25  # three that spin would spend 0.5 to 1.5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("called_before", [False, True])
def test_a_forked_child_has_threads_of_its_own(model_path, pixels, expected, called_before):
    engine = Engine.load(model_path, threads=3)
    if called_before:
        engine.logits(pixels)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            same = np.array_equal(engine.logits(pixels), expected)
            engine.close()
            gc.collect()
            status = 0 if same else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(engine.logits(pixels), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_threads_that_call_at_once_in_a_forked_child_start_one_pool(model_path, pixels, expected):
    """Each used to see that the pool was the parent's, and to throw away what another had begun:
    a crash, or a call that never ended."""
    engine = Engine.load(model_path, threads=2)
    engine.logits(pixels[0])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(30)
            getpid, start, started = os.getpid, Pool._start, []

            def yielding() -> int:
                found = getpid()
                time.sleep(0.003)
                return found

            def counted(pool: Pool) -> object:
                started.append(pool)
                time.sleep(0.003)
                return start(pool)

            os.getpid, Pool._start = yielding, counted
            wrong, gate = [], threading.Barrier(4)

            def calls() -> None:
                gate.wait()
                for _ in range(5):
                    if not np.array_equal(engine.logits(pixels[0]), expected[:1]):
                        wrong.append(1)

            callers = [threading.Thread(target=calls) for _ in range(4)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            status = 2 if wrong else 0 if len(started) == 1 else 3
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_that_is_held_while_the_process_forks_is_free_in_the_child(model_path, pixels):
    engine = Engine.load(model_path, threads=2)
    with here().lock:  # as by another thread that starts a pool
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(30)
                engine.logits(pixels[0])
                status = 0
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_system_without_more_threads_is_said_and_survived(model_path, pixels, expected):
    engine = Engine.load(model_path, threads=2)
    executor = engine._executor

    class NoThreads:
        MNV2_OK, mnv2_pool_bytes = 0, staticmethod(lambda threads: 64)
        mnv2_pool_start = staticmethod(lambda memory, threads: 2)

    executor._pool = Pool(executor._ffi, NoThreads, 2)
    with pytest.warns(RuntimeWarning, match="gave no 1 more threads"):
        found = engine.logits(pixels)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(engine.logits(pixels), expected)  # and is not said again


# --- how many -----------------------------------------------------------------------------


def test_a_number_of_threads_is_taken_as_it_is(model_path):
    engine = Engine.load(model_path, threads=3)
    assert engine.info.threads == engine.memory_plan().threads == 3
    assert "threads       3" in str(engine.info)
    assert engine.memory_plan().arena_bytes > Engine.load(model_path).memory_plan().arena_bytes


@pytest.mark.parametrize("threads", [0, -1, 65, True, 1.5, "two", None])
def test_bad_numbers_of_threads(model_path, threads):
    with pytest.raises(InputError, match=r'threads .*: expected 1 to 64, or "auto"'):
        Engine.load(model_path, threads=threads)


def test_the_core_allows_as_many_threads(model_path):
    executor = Engine.load(model_path)._executor
    assert executor._lib.MNV2_MAX_THREADS == cpus.MOST_THREADS


def test_the_numpy_backend_has_no_threads(model_path):
    with pytest.raises(InputError, match="numpy backend"):
        Engine.load(model_path, threads=2, backend="numpy")
    assert Engine.load(model_path, threads="auto", backend="numpy").info.threads == 1


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of eight CPUs whose files are those of a test."""

    def files(**texts: str) -> float | None:
        for name, text in texts.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cpus._cgroup_quota(str(tmp_path))

    return files


V1, V2 = "sys__fs__cgroup__cpu", "sys__fs__cgroup"


@pytest.mark.parametrize(
    ("texts", "quota"),
    [
        ({}, None),
        ({"proc__self__cgroup": "0::/\n"}, None),
        ({"proc__self__cgroup": "0::/\n", f"{V2}__cpu_dot_max": "150000 100000\n"}, 1.5),
        ({"proc__self__cgroup": "0::/a/b\n", f"{V2}__a__cpu_dot_max": "max 100000\n"}, None),
        (
            {
                "proc__self__cgroup": "0::/a/b\n",
                f"{V2}__a__b__cpu_dot_max": "400000 100000\n",
                f"{V2}__a__cpu_dot_max": "200000 100000\n",
            },
            2.0,  # the group around it
        ),
        (
            {
                "proc__self__cgroup": "4:cpu,cpuacct:/docker/1\n3:memory:/\n",
                f"{V1}__cpu_dot_cfs_quota_us": "50000\n",
                f"{V1}__cpu_dot_cfs_period_us": "100000\n",
            },
            0.5,  # a container sees its own group at the root
        ),
        (
            {
                "proc__self__cgroup": "4:cpu:/\n",
                f"{V1}__cpu_dot_cfs_quota_us": "-1\n",
                f"{V1}__cpu_dot_cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc__self__cgroup": "0::/\n", f"{V2}__cpu_dot_max": "many 0\n"}, None),
    ],
)
def test_the_quota_of_a_cgroup(machine, texts, quota):
    assert machine(**texts) == quota


@pytest.mark.parametrize(("quota", "count"), [(None, 8), (0.5, 1), (2.9, 2), (100.0, 8)])
def test_auto_is_the_affinity_mask_cut_by_the_quota(monkeypatch, quota, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "_cgroup_quota", lambda: quota)
    assert cpus.thread_count("auto") == count


def test_loading_with_one_thread_imports_nothing_for_more(model_path):
    script = (
        "import sys; from mnv2_engine import Engine; "
        f"Engine.load({model_path!r}); print('mnv2_engine.executors.cpus' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
