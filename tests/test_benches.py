"""What the benches rest on, without their peers: names, seeded weights, turns, other plans."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from conftest import small_network
from int8_network import random_int8
from native_network import SUPPORTED_ISAS, NativeNetwork, image

from mnv2_engine import plan, schedules
from mnv2_engine.architecture import efficientnet_lite, mobilenet_v2
from mnv2_engine.input_spec import PRESETS
from mnv2_engine.modelfile import open_model, write_model
from mnv2_engine.plan import make_plan

BENCHES = Path(__file__).resolve().parents[1] / "benches"


@pytest.fixture(autouse=True)
def benches_importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHES)


@pytest.mark.parametrize(
    "network",
    [mobilenet_v2(1.4, 224), mobilenet_v2(0.35, 96), efficientnet_lite(2)],
    ids=lambda network: network.name,
)
def test_networks_are_found_by_their_names(network):
    from models import named_network

    assert named_network(network.name) == network


def test_a_model_that_is_neither_file_nor_name_is_refused(tmp_path):
    from models import model_file

    with pytest.raises(SystemExit, match="no such file, nor a network's name"):
        model_file("absent.npz", str(tmp_path))


def test_a_model_is_rewritten_with_other_weights(small_model, tmp_path):
    from models import rewritten

    with open_model(small_model()) as model:
        assert rewritten(model, "float32", str(tmp_path)) == model.path
        path = rewritten(model, "float16", str(tmp_path))
        with open_model(path) as half:
            assert (half.dtype, half.architecture) == ("float16", model.architecture)
            expected = model.weights()["head.weight"].astype(np.float16)
            np.testing.assert_array_equal(half.weights()["head.weight"], expected)


def test_a_model_is_quantised_and_an_int8_one_gives_a_seeded_one(small_model, tmp_path):
    from models import model_file, rewritten, seeded_weights

    source = str(small_model())
    path = model_file(source, str(tmp_path), "int8")
    with open_model(path) as model:
        assert (model.dtype, model.architecture) == ("int8", small_network())
        assert rewritten(model, "int8", str(tmp_path)) == path
        with open_model(rewritten(model, "float16", str(tmp_path))) as half:
            expected = seeded_weights(small_network())["stem.weight"].astype(np.float16)
            np.testing.assert_array_equal(half.weights()["stem.weight"], expected)


def int8_file(path, network):
    weights, quantization = random_int8(network)
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    return str(path)


def race(*arguments):
    command = [sys.executable, str(BENCHES / "race.py"), *arguments]
    shortest = ["--pairs", "2", "--inner", "1"]
    return subprocess.run([*command, *shortest], capture_output=True, text=True, timeout=120)


def test_an_int8_network_races_its_own_float32():
    done = race("mobilenet_v2_0.1_32", "--weights", "int8", "--against", "self:float32")
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v2_0.1_32, int8 weights, int8, 1 thread" in done.stdout
    assert "ratio to float32" in done.stdout
    assert "logits, float32                 differ by" in done.stdout


def test_an_int8_file_races_for_speed_alone(small_model, tmp_path):
    path = int8_file(tmp_path / "int8.npz", small_network())
    done = race(path, "--against", "self:bfloat16", "--against", f"self:{small_model()}")
    assert done.returncode == 0, done.stderr
    assert "ratio to bfloat16" in done.stdout
    assert "ratio to float32 file" in done.stdout
    assert done.stdout.count("not compared: a race for speed") == 2


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        ("litert", "int8 networks are not exported"),
        ("self:absent.npz", "neither a file nor one of float32"),
        ("self:OTHER", "mobilenet_v2_0.1_48, not mobilenet_v2_0.1_32"),
    ],
)
def test_who_cannot_race_an_int8_file_is_told_why(peer, message, small_model, tmp_path):
    path = int8_file(tmp_path / "int8.npz", small_network())
    other = small_model(mobilenet_v2(0.1, 48, 5, divisor=4), name="other.npz")
    done = race(path, "--against", peer.replace("OTHER", str(other)))
    assert done.returncode == 1
    assert message in done.stderr


def test_outputs_in_8_bits_are_not_compared():
    from race import Entry, difference

    entry = Entry("litert", print, (), 1)
    mine = np.zeros((1, 5), np.float32)
    assert difference(entry, mine, mine + 1).startswith("differ by 1.0e+00")
    assert difference(entry, mine, mine.astype(np.uint8)) == "not compared: uint8 of shape (1, 5)"
    assert difference(entry, mine, mine[:, 1:]) == "not compared: float32 of shape (1, 4)"


def test_a_peer_in_8_bits_is_given_what_its_input_says():
    from peers import levels

    image = np.array([-1, 0, 0.5, 1, 2], np.float32)
    assert levels(image, np.float32, (0.0, 0)) is image
    found = levels(image, np.int8, (1 / 128, -1))
    assert found.dtype == np.int8
    assert found.tolist() == [-128, -1, 63, 127, 127]
    assert levels(image, np.uint8, (1 / 128, 127)).tolist() == [0, 127, 191, 255, 255]


def test_fresh_processes_run_int8_files(shared, tmp_path):
    from processes import ROLLUP, _cases, memory

    if not ROLLUP.exists():
        pytest.skip(f"needs Linux's {ROLLUP}")
    path = int8_file(tmp_path / "int8.npz", mobilenet_v2())
    peer = f"onnxruntime:{shared}/peers/mobilenet_v2_1.0_224_synthetic_int8_qdq.onnx"
    cases = _cases(Namespace(model=path, weights=None, against=[peer]), str(tmp_path))
    assert [case.name for case in cases] == ["mnv2_engine", "mnv2_engine", "onnxruntime"]
    assert memory(cases[0])[2] < memory(cases[-1])[2]


def test_a_spread_ratio_is_called_noisy():
    from measure import ratio

    assert "NOISY" not in ratio([0.70, 0.71, 0.72, 0.73])
    assert "NOISY" in ratio([0.5, 0.6, 0.7, 0.8])


def test_every_turn_runs_everyone_and_every_other_one_backwards():
    from measure import alternate

    order = []
    found = alternate([lambda: order.append("a") or 1, lambda: order.append("b") or 2], 2, 0)
    assert order == ["a", "b", "b", "a"]
    assert found == [[1, 1], [2, 2]]


def test_other_plans_give_the_same_bits_and_leave_the_planner_as_it_was(random_weights):
    from schedules import plans  # of benches/, not of the package

    network = mobilenet_v2(0.35, 96, 10)
    before = plan.ROOM, dict(schedules.STRIP_PIXELS), schedules.LONGEST_CASCADE
    made = plans(network)
    assert before == (plan.ROOM, schedules.STRIP_PIXELS, schedules.LONGEST_CASCADE)
    assert made["default"] == make_plan(network)
    assert len({other.arena_bytes for other in made.values()}) > 3
    weights, x = random_weights(network), image(network)
    logits = [NativeNetwork(network, weights, SUPPORTED_ISAS[0], p)(x)[0] for p in made.values()]
    for row in logits[1:]:
        np.testing.assert_array_equal(row, logits[0])


def test_int8_weights_have_other_plans_too():
    from schedules import plans  # of benches/, not of the package

    network = mobilenet_v2(0.35, 96, 10)
    made = plans(network, "int8")
    assert made["default"] == make_plan(network, 1, "int8")
    assert {other.precision for other in made.values()} == {"int8"}
    assert len({other.arena_bytes for other in made.values()}) > 3


def test_a_constant_that_the_planner_lost_is_named():
    from schedules import constants

    with (
        pytest.raises(SystemExit, match=r"the planner has no plan\.GONE any more"),
        constants({"plan.ROOM": 1, "plan.GONE": 1}),
    ):
        pass
    assert plan.ROOM < 1
