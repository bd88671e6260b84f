"""`mnv2 bench`: who takes part, what they are given, and a whole bench of a small network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from conftest import small_network
from detector_network import seeded_weights as detector_weights
from detector_network import small_detector
from int8_network import random_int8

from mnv2_engine import cli
from mnv2_engine.bench import bench, comparison, contest, entrants, exported, fresh
from mnv2_engine.bench.contestant import Contestant, contestants
from mnv2_engine.bench.entrants import CONTROL, OURS, Options, own
from mnv2_engine.bench.machine import UNKNOWN, machine, versions
from mnv2_engine.bench.networks import model_file, named_network, rewritten, seeded_weights
from mnv2_engine.bench.python import answer_of
from mnv2_engine.bench.turns import alternate, busy_with_others, pin
from mnv2_engine.cli.options import parser
from mnv2_engine.errors import InputError, MissingExtraError, MnvError, UnsupportedError
from mnv2_engine.executors.native import ISA_VARIABLE, isas
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.ssdlite import ssdlite
from mnv2_engine.peers import PEERS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MNV2_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def int8_model(tmp_path):
    network = small_network()
    weights, quantization = random_int8(network)
    path = str(tmp_path / "int8.npz")
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    return path


# --- networks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [mobilenet_v2(1.4, 224), mobilenet_v2(0.35, 96), efficientnet_lite(2)],
    ids=lambda network: network.name,
)
def test_networks_are_found_by_their_names(network):
    assert named_network(network.name) == network


def test_a_model_that_is_neither_file_nor_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file, nor a network's name"):
        model_file("absent.npz", str(tmp_path))


def test_a_model_is_rewritten_with_other_weights(small_model, tmp_path):
    with open_model(small_model()) as model:
        assert rewritten(model, "float32", str(tmp_path)) == model.path
        with open_model(rewritten(model, "float16", str(tmp_path))) as half:
            assert (half.dtype, half.network) == ("float16", model.network)
            expected = model.weights()["head.weight"].astype(np.float16)
            np.testing.assert_array_equal(half.weights()["head.weight"], expected)


def test_a_model_is_quantised_and_an_int8_one_gives_a_seeded_one(small_model, tmp_path):
    path = model_file(str(small_model()), str(tmp_path), "int8")
    with open_model(path) as model:
        assert (model.dtype, model.network) == ("int8", small_network())
        assert rewritten(model, "int8", str(tmp_path)) == path
        with open_model(rewritten(model, "float16", str(tmp_path))) as half:
            expected = seeded_weights(small_network())["stem.weight"].astype(np.float16)
            np.testing.assert_array_equal(half.weights()["stem.weight"], expected)


# --- turns --------------------------------------------------------------------------------


def test_every_turn_runs_everyone_and_every_other_one_backwards():
    order = []
    found = alternate([lambda: order.append("a") or 1, lambda: order.append("b") or 2], 2, 0)
    assert order == ["a", "b", "b", "a"]
    assert found == [[1, 1], [2, 2]]


def test_the_warm_up_is_not_counted_and_time_ends_the_rounds():
    counted, done = iter(range(100)), []
    found = alternate([lambda: next(counted)], 50, 2, enough_seconds=0, advance=done.append)
    assert found == [[2, 3, 4, 5, 6, 7]]  # the fewest that say anything
    assert done[-1] == 6


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_more_threads_than_cpus_are_refused():
    with pytest.raises(InputError, match="ask for fewer threads"):
        pin(1000)
    assert 0 <= busy_with_others(0.01) <= 1


# --- who takes part -----------------------------------------------------------------------


def gathered(path, against, folder, **options):
    with open_model(path) as model:
        return entrants.entrants(model, model, against, Options(**options), str(folder))


def test_this_engine_comes_first_and_runs_against_itself(small_model, tmp_path):
    found, absent = gathered(small_model(), ["self:float16"], tmp_path, isa="baseline")
    assert [each.name for each in found] == [OURS, CONTROL, "mnv2_engine, float16"]
    assert found[0]._replace(name="") == found[1]._replace(name="")
    assert {each.environment[ISA_VARIABLE] for each in found} == {"baseline"}
    assert found[0].in_float32
    assert not found[2].in_float32
    assert found[2].file_bytes < found[0].file_bytes
    assert absent == []


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("tensorrt", "expected one of the peers litert"),
        ("self", "the control is that already"),
        ("self:absent.npz", "neither a file nor one of float32"),
        ("self:OTHER", r"takes images of \(48, 48\), not \(32, 32\)"),
    ],
)
def test_who_cannot_be_asked_for_is_told_why(against, message, small_model, tmp_path):
    path = small_model()
    other = small_model(mobilenet_v2(0.1, 48, 5, divisor=4), name="other.npz")
    with pytest.raises(InputError, match=message):
        gathered(path, [against.replace("OTHER", str(other))], tmp_path)


def test_a_missing_peer_is_named_with_how_to_get_it(small_model, tmp_path, monkeypatch):
    gone = PEERS["onnxruntime"]._replace(module="no_such_module")
    monkeypatch.setitem(PEERS, "onnxruntime", gone)
    found, absent = gathered(small_model(), ["onnxruntime"], tmp_path)
    assert [each.name for each in found] == [OURS, CONTROL]
    assert absent[0].name == "onnxruntime"
    assert absent[0].asked_for
    assert 'pip install "mnv2-engine[bench]"' in absent[0].reason


def test_bfloat16_is_raced_against_bfloat16():
    assert "openvino-bf16" in entrants.default_peers(Options(precision="bfloat16"))
    assert "openvino-bf16" not in entrants.default_peers(Options())


@pytest.mark.parametrize(
    ("precision", "peer", "expected"),
    [(None, "litert", True), ("bfloat16", "litert", False), (None, "openvino-bf16", False)],
)
def test_only_float32_has_to_give_the_same_logits(precision, peer, expected, small_model):
    with open_model(small_model()) as model:
        ours = own(model, Options(precision=precision))
    assert ours.in_float32 == (precision is None)
    assert entrants.rival(ours, PEERS[peer], "file", True).in_float32 == expected


def test_a_model_is_exported_once(small_model, cache, tmp_path):
    pytest.importorskip("onnx")
    with open_model(small_model()) as model:
        path = exported.peer_file(model, PEERS["onnxruntime"])
        assert os.path.dirname(path) == str(cache / "exported")
        before = os.stat(path).st_mtime_ns
        assert exported.peer_file(model, PEERS["openvino"]) == path
        assert os.stat(path).st_mtime_ns == before
    with open_model(small_model(seed=1, name="other.npz")) as other:
        assert exported.peer_file(other, PEERS["onnxruntime"]) != path


def test_ncnn_needs_its_converter_and_floats(small_model, int8_model, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(exported, "PNNX", "no-such-converter")
    with open_model(small_model()) as model, pytest.raises(MissingExtraError, match="run: pip"):
        exported.peer_file(model, PEERS["ncnn"])
    with open_model(int8_model) as model, pytest.raises(UnsupportedError, match="by itself"):
        exported.peer_file(model, PEERS["ncnn"])


def test_ncnn_runs_the_same_network(small_model):
    pytest.importorskip("ncnn", reason="ncnn (the extra bench)")
    pytest.importorskip("onnx")
    if shutil.which(exported.PNNX) is None:
        pytest.skip("ncnn's converter pnnx is not on the PATH")
    found = bench(small_model(), ["ncnn"], rounds=6, processes=False)
    assert found.absent == ()
    assert found.rows[1].difference.largest < 1e-3 * found.rows[1].difference.of


def test_files_that_cannot_be_kept_name_the_variable(small_model, cache):
    cache.write_text("a file where the folder should be")
    with open_model(small_model()) as model, pytest.raises(MnvError, match="set MNV2_HOME"):
        exported.peer_file(model, PEERS["onnxruntime"])


# --- the contest --------------------------------------------------------------------------


def rival(path, **fields):
    with open_model(path) as model:
        return own(model, Options())._replace(**fields)


def test_a_contestant_answers_with_its_logits_and_times(small_model):
    from mnv2_engine import Engine

    path = small_model()
    contestant = Contestant(rival(path))
    try:
        pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
        np.testing.assert_array_equal(contestant.logits, Engine.load(path).logits(pixels)[0])
        contestant.settle()
        assert contestant() > 0
        assert contestant.ms > 0
        assert contestant.waited_ms >= 0
    finally:
        contestant.end()
    contestant.end()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no signals here")
def test_no_stopped_process_is_left_behind(small_model):
    before, running = signal.getsignal(signal.SIGTERM), []

    def ended() -> None:
        with contestants() as start:
            running.append(start(rival(small_model())))
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)  # the signal comes first

    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        ended()
    assert running[0]._process.poll() is not None
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_stops_a_contestant_is_told(small_model):
    with pytest.raises(MnvError, match="precision 'float8'"):
        Contestant(rival(small_model(), engine={"precision": "float8"}))
    with pytest.raises(MnvError, match=r"ended by itself, exit code 1\\n.*KeyError"):
        Contestant(rival(small_model(), peer="no such peer"))


def test_a_peer_that_computes_something_else_takes_no_part(small_model):
    ours, other = small_model(), small_model(seed=1, name="other.npz")
    same, half = rival(ours, name="same"), rival(other, name="half", in_float32=False)
    wrong, free = rival(other, name="wrong"), rival(other, name="free", same_weights=False)
    classes = small_model(small_network(7), name="classes.npz")
    fewer = rival(classes, name="fewer", in_float32=False)
    everyone = [rival(ours), rival(ours, name=CONTROL), same, half, wrong, free, fewer]
    found, unable = contest.held(everyone, 6, 0)
    assert [each.name for each in found.entrants] == [OURS, CONTROL, "same", "half", "free"]
    assert list(unable) == ["wrong", "fewer"]
    assert "does not compute the same network" in unable["wrong"]
    assert "7 numbers, not 5" in unable["fewer"]
    assert {len(samples) for samples in found.samples} == {6}
    assert contest.difference(found.logits[0], found.logits[2]).largest == 0


def test_logits_that_are_no_numbers_are_no_match(small_model):
    entrant = rival(small_model())
    ours = np.array([1, 2], np.float32)
    assert contest.another_network(entrant, ours, ours + np.float32(1e-4)) == ""
    assert contest.another_network(entrant, ours, ours + np.float32(1e-2))
    assert contest.another_network(entrant, ours, ours * np.float32(np.nan))


# --- fresh processes ----------------------------------------------------------------------


def test_fresh_processes_have_the_package_and_say_what_failed():
    assert answer_of("import mnv2_engine; print(mnv2_engine.__version__)").strip()
    with pytest.raises(MnvError, match="ZeroDivisionError"):
        answer_of("1 / 0")


def test_a_process_without_numpy_needs_less(small_model):
    without, with_numpy = fresh.cases(rival(small_model()))
    assert not without.with_numpy
    assert with_numpy.with_numpy
    starts = fresh.cold_starts([without, with_numpy], rounds=2)
    assert [start.beyond_numpy is None for start in starts] == [True, False]
    if not os.path.exists(fresh.ROLLUP):
        pytest.skip(f"needs Linux's {fresh.ROLLUP}")
    least, more = (fresh.memory(case, rounds=1) for case in (without, with_numpy))
    bare = fresh.bare_memory(fresh.NOTHING, rounds=1)
    assert bare.peak < least.peak < more.peak
    assert bare.anonymous < least.anonymous < more.anonymous


def test_facts_of_the_machine():
    found = machine()
    assert found.cpus >= 1
    assert found.python.endswith(".".join(map(str, sys.version_info[:3])))
    assert all(found)
    assert set(versions()) >= {"mnv2_engine", "litert", "onnxruntime", "openvino", "ncnn"}
    assert UNKNOWN


# --- the whole ----------------------------------------------------------------------------


def test_a_small_network_against_onnxruntime(small_model, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    monkeypatch.setattr(comparison, "cold_starts", partial(fresh.cold_starts, rounds=2))
    monkeypatch.setattr(comparison, "memory", partial(fresh.memory, rounds=1))
    arguments = ["--against", "onnxruntime", "--pairs", "6", "--json"]
    code = cli.main(["bench", str(small_model()), *arguments])
    found = json.loads(capsys.readouterr().out)
    ours, peer = found["rows"]
    assert (ours["name"], peer["name"]) == (OURS, "onnxruntime")
    assert found["absent"] == []
    assert found["rounds"] == 6
    assert peer["difference"]["largest"] < 1e-3 * peer["difference"]["of"]
    assert ours["ratio"] is None
    assert 0 < peer["ratio"]["low"] <= peer["ratio"]["median"] <= peer["ratio"]["high"]
    assert [each["with_numpy"] for each in ours["cold_starts"]] == [False, True]
    if os.path.exists(fresh.ROLLUP):
        assert ours["memory"][0]["peak"] < peer["memory"][0]["peak"]
    assert peer["file_bytes"] > 1e5
    assert peer["package_bytes"] > ours["package_bytes"] > 0
    assert code == 0 or peer["ratio"]["verdict"] in ("rough", "refused")


def test_an_int8_network_against_onnxruntime(int8_model, small_model):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    isa = next(name for name, supported in isas("int8").items() if supported)
    against = ["onnxruntime", f"self:{small_model()}"]
    found = bench(int8_model, against, Options(isa=isa), rounds=6, processes=False)
    assert found.title == "mobilenet_v2_0.1_32, int8 weights, 1 thread"
    assert found.backend == f"c, {isa}"
    _, peer, other = found.rows
    # In steps of their own, but the same network.
    assert peer.difference.largest < peer.difference.of
    assert other.difference is None
    text = str(found)
    assert "onnxruntime" in text
    assert "not compared: its own file" in text
    assert "against itself" in text


def test_a_detector_against_others(tmp_path):
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("tflite")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    network = small_detector()
    path = str(tmp_path / "detector.npz")
    write_model(path, network, detector_weights(network), PRESETS["tf"], None, {})
    found = bench(path, ["litert", "onnxruntime", "self:float16"], rounds=6, processes=False)
    assert found.absent == ()
    assert found.answer == "boxes and scores"
    assert "boxes and scores" in str(found)
    for row in found.rows[1:3]:
        assert row.difference.largest < 1e-4 * row.difference.of
    assert 0 < found.rows[3].difference.largest < 1e-2 * found.rows[3].difference.of


def test_a_detector_has_a_name_and_finds_objects_in_fresh_processes(tmp_path):
    path = model_file("ssdlite_mobilenet_v2_0.35_64", str(tmp_path))
    assert named_network("ssdlite_mobilenet_v2_1.0_300") == ssdlite()
    entrant = rival(path)
    assert entrant.call == "detect"
    for case in fresh.cases(entrant):
        answer_of(f"{case.before}\n{case.script}\nassert isinstance(run(), list)")


def test_affinity_is_as_before(small_model):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no affinity here")
    before = os.sched_getaffinity(0)
    found = bench(small_model(), [], rounds=6, processes=False)
    assert os.sched_getaffinity(0) == before
    assert found.absent == ()
    assert len(found.rows) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one MODEL"),
        (["a.npz", "--models", "b.npz"], "give one MODEL"),
        (["absent.npz"], "no such file, nor a network's name"),
        (["mobilenet_v2_0.1_32", "--pairs", "5"], "expected at least 6"),
        (["mobilenet_v2_0.1_32", "--threads", "64"], "64 threads"),
        (["mobilenet_v2_0.1_32", "--against", "self:float32", "--isa", "mmx"], "MNV2_ISA='mmx'"),
    ],
)
def test_what_cannot_be_benched(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_peers_add_up():
    given = parser("0").parse_args(["bench", "m", "--against", "litert", "--against", "ncnn,self"])
    assert given.against == ["litert", "ncnn", "self"]


def test_importing_the_engine_imports_no_bench():
    script = "import sys, mnv2_engine; print([m for m in sys.modules if 'bench' in m])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
