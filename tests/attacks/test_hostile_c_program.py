"""The C program reads model files as the Python package does: it refuses what that refuses, with a
message, and gives the same answers for what that accepts. Under sanitizers, which end it if it
touches a byte that it must not."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_program import CProgram
from conftest import make_weights, small_network
from hostile_model_files import LIES, ODD, Fuzzed, Lie, Members
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from int8_network import random_int8

from mnv2_engine import Engine
from mnv2_engine.errors import MnvError
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model

NETWORK = small_network()
LABELS = ["a", "ä", '"\\', "𝄞", "e e"]
# Where C has other words than Python.
OTHER_WORDS = {
    "another_kind_of_file": r"not a \.npz model file: it begins with '\\x89PNG",
    "a_version_that_is_true": "version true",
    "a_dtype_that_is_a_list": "dtype list",
    "layers_that_are_numbers": "operation missing",
    "no_outputs": "outputs list: expected one",
    "an_answer_that_is_a_number": "answer 3: expected one of softmax",
    "an_operation_that_is_a_list": "operation list",
    "an_even_kernel": "4x4",
    "a_stride_that_leaves_no_map": "its outputs reach",
    "an_activation_that_is_a_number": "activation 6",
    "no_provenance": "provenance: null found",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an honest model file of float32, one of int8, and an image."""
    made = tmp_path_factory.mktemp("hostile")
    spec, provenance = PRESETS["tf"], {"source": "seeded random weights"}
    write_model(made / "float32.npz", NETWORK, make_weights(NETWORK), spec, LABELS, provenance)
    weights, quantization = random_int8(NETWORK)
    write_model(made / "int8.npz", NETWORK, weights, spec, LABELS, provenance, quantization)
    np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8).tofile(made / "image.rgb")
    return made


@pytest.fixture(scope="module")
def members(folder: Path) -> Members:
    with zipfile.ZipFile(folder / "float32.npz") as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.mark.parametrize("each", LIES, ids=lambda each: each.name)
def test_a_lie_is_refused(
    each: Lie, members: Members, sanitized_c_program: CProgram, tmp_path: Path
) -> None:
    path = tmp_path / f"{each.name}.npz"
    path.write_bytes(each.make(members))
    answer = sanitized_c_program(path)
    assert (answer.status, answer.out) == (1, "")
    before = f"classify: {path}: "
    assert answer.err.startswith(before)
    message = answer.err[len(before) :]
    assert re.search(OTHER_WORDS.get(each.name, each.message), message)
    assert message.endswith("\n")
    assert len(message) < 1000
    assert message[:-1].isprintable()


def _logits(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    monkeypatch.setenv("MNV2_ISA", "baseline")
    image = np.fromfile(folder / "image.rgb", np.uint8).reshape(32, 32, 3)
    with Engine.load(path) as engine:
        return np.asarray(engine.logits(image)[0])


@pytest.mark.parametrize("make", ODD)
def test_odd_but_honest_files_are_read(
    make: Callable[[Members], bytes],
    members: Members,
    folder: Path,
    sanitized_c_program: CProgram,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(make(members))
    found = sanitized_c_program.logits(path, folder / "image.rgb", "--verify")
    np.testing.assert_array_equal(found, _logits(path, folder, monkeypatch))
    assert sanitized_c_program.description(path)["weights"].endswith("copied")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_that_numpy_saved_again_are_read(
    save: Callable[..., None],
    dtype: str,
    folder: Path,
    sanitized_c_program: CProgram,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "again.npz"
    with np.load(folder / f"{dtype}.npz") as file:
        save(path, **file)
    found = sanitized_c_program.logits(path, folder / "image.rgb")
    np.testing.assert_array_equal(found, _logits(path, folder, monkeypatch))


@pytest.fixture(scope="module", params=["float32", "int8"])
def fuzzed(request: pytest.FixtureRequest, folder: Path) -> Fuzzed:
    return Fuzzed((folder / f"{request.param}.npz").read_bytes())


def _is_accepted(path: Path) -> bool:
    try:
        open_model(path).close()
    except MnvError:
        return False
    return True


def _agrees(program: CProgram, path: Path) -> None:
    answer = program(path)
    assert answer.status == (0 if _is_accepted(path) else 1), answer.err


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_and_cuts_are_refused_by_both_or_by_neither(
    data: st.DataObject, fuzzed: Fuzzed, sanitized_c_program: CProgram, tmp_path: Path
) -> None:
    path = tmp_path / "fuzzed.npz"
    path.write_bytes(fuzzed.altered(data))
    _agrees(sanitized_c_program, path)


# What JSON may hold and may not, by pieces that make it the one or the other.
PIECES = [
    *('"', "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "0", "1", "-", ".", "1e5", "-0", "00"),
    *("1.", ".5", "1e999", "NaN", "Infinity", "true", "null", '"a":1,', "9" * 30, "3.2e1", "\x00"),
    *("\\u00e9", "\\ud800", "\\udc00", "\\ud834\\udd1e", "\\u001f", "\\n", "\\/", "\x7f", "\x85"),
]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["float32", "int8"]),
    edits=st.lists(
        st.tuples(st.integers(0, 1 << 16), st.integers(0, 3), st.sampled_from(["", *PIECES])),
        max_size=3,
    ),
)
def test_altered_json_is_refused_by_both_or_by_neither(
    dtype: str,
    edits: list[tuple[int, int, str]],
    folder: Path,
    sanitized_c_program: CProgram,
    tmp_path: Path,
) -> None:
    with np.load(folder / f"{dtype}.npz") as file:
        arrays = dict(file)
    meta = arrays["meta"].tobytes().decode()
    for at, removed, piece in edits:
        place = at % len(meta)
        meta = meta[:place] + piece + meta[place + removed :]
    arrays["meta"] = np.frombuffer(meta.encode(), np.uint8)
    path = tmp_path / "altered.npz"
    np.savez(path, **arrays)
    _agrees(sanitized_c_program, path)
