"""The C program of examples/c answers as the network says: by softmax, by sigmoid, with numbers or
features; for tables of layers that no family has."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_program import CProgram
from conftest import make_weights
from int8_network import random_int8
from random_tables import random_table

from mnv2_engine import Engine
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.builder import Builder
from mnv2_engine.network.layer import Network


def network_of(outputs: tuple[int, ...], answer: str) -> Network:
    """A small one with such dense layers."""
    build = Builder((20, 24))
    at = build.conv("stem", "image", 8, 3, 2, "same", "relu")
    at = build.depthwise("a.depthwise", at, 7, 1, "same", "relu")
    at = build.pointwise("a.project", at, 12, "relu6")
    at = build.pool("pool", build.pointwise("last", at, 20, "linear"))
    for i, channels in enumerate(outputs):
        activation = "relu" if i < len(outputs) - 1 else "linear"
        at = build.dense(f"dense{i}", at, channels, activation)
    return build.network("small", (at,), answer)


def write(path: Path, network: Network, labels: list[str] | None, dtype: str = "float32") -> Path:
    if dtype == "int8":
        weights, quantization = random_int8(network)
        write_model(path, network, weights, PRESETS["tf"], labels, {}, quantization)
    else:
        weights = make_weights(network)
        write_model(path, network, weights, PRESETS["tf"], labels, {}, dtype=dtype)
    return path


def write_image(path: Path, network: Network) -> np.ndarray[Any, Any]:
    image = np.random.default_rng(1).integers(0, 256, (*network.resolution, 3), np.uint8)
    image.tofile(path)
    return image


def floats(text: str) -> np.ndarray[Any, Any]:
    return np.array([float.fromhex(line) for line in text.split()], np.float32)


@pytest.mark.parametrize(
    ("outputs", "answer", "labels"),
    [
        ((9, 4), "softmax", list("abcd")),
        ((4,), "sigmoid", list("abcd")),
        ((4,), "sigmoid", None),
        ((1,), "sigmoid", ["cat", "dog"]),
        ((7, 1), "sigmoid", ["dog"]),
        ((1,), "sigmoid", None),
    ],
)
def test_classes_are_the_engines(
    outputs: tuple[int, ...],
    answer: str,
    labels: list[str] | None,
    c_program: CProgram,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    network = network_of(outputs, answer)
    path = write(tmp_path / "model.npz", network, labels)
    image = write_image(tmp_path / "image.rgb", network)
    monkeypatch.setenv("MNV2_ISA", "baseline")
    with Engine.load(path) as engine:
        found = engine.predict(image, top_k=5)
    expected = [f"{100 * each.probability:6.2f} %  {each.label}" for each in found]
    assert c_program(path, tmp_path / "image.rgb").out.splitlines() == expected
    assert c_program.description(path)["answer"] == answer


def test_numbers_are_not_classes(c_program: CProgram, tmp_path: Path) -> None:
    network = network_of((3,), "linear")
    path = write(tmp_path / "model.npz", network, None)
    write_image(tmp_path / "image.rgb", network)
    answer = c_program(path, tmp_path / "image.rgb")
    assert (answer.status, answer.out) == (1, "")
    assert "answers with numbers, not with classes; --logits prints them" in answer.err
    assert len(c_program.logits(path, tmp_path / "image.rgb")) == 3


def test_a_network_without_a_classifier_gives_features(
    c_program: CProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = network_of((), "linear")
    path = write(tmp_path / "model.npz", network, None)
    image = write_image(tmp_path / "image.rgb", network)
    for option in ((), ("--logits",)):
        answer = c_program(path, tmp_path / "image.rgb", *option)
        assert (answer.status, answer.out) == (1, "")
        assert "no classifier; --features prints its pooled features" in answer.err
    found = floats(c_program(path, tmp_path / "image.rgb", "--features").out)
    monkeypatch.setenv("MNV2_ISA", "baseline")
    with Engine.load(path) as engine:
        np.testing.assert_array_equal(found, engine.embed(image))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("seed", range(6))
def test_random_tables_give_the_engines_numbers(
    seed: int,
    dtype: str,
    c_program: CProgram,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    network = random_table(random.Random(seed))
    path = write(tmp_path / "model.npz", network, None, dtype)
    image = write_image(tmp_path / "image.rgb", network)
    monkeypatch.setenv("MNV2_ISA", "baseline")
    with Engine.load(path) as engine:
        features = engine.embed(image)
        logits = engine.logits(image)[0] if network.classes else None
    threads = 1 + seed % 3
    shown = c_program(path, tmp_path / "image.rgb", "--features", "--threads", threads, "--verify")
    np.testing.assert_array_equal(floats(shown.out), features)
    if logits is not None:
        found = c_program.logits(path, tmp_path / "image.rgb", "--threads", threads)
        np.testing.assert_array_equal(found, logits)
