"""Model files of int8 networks: mapped, aligned, copied, verified; and what they may not say."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from int8_network import random_int8

from mnv2_engine import Engine
from mnv2_engine.errors import InputError, ModelFileError, UnsupportedError
from mnv2_engine.executors import integer
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.model.packing_int8 import pack, packed_members
from mnv2_engine.network.families import mobilenet_v2

NETWORK = mobilenet_v2(0.1, 32, 5, divisor=4)
ARRAYS, QUANTIZATION = random_int8(NETWORK)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "int8.npz"
    write_model(made, NETWORK, ARRAYS, PRESETS["tf"], list("abcde"), {}, QUANTIZATION)
    return made


def saved_again(
    path: Path, change: Callable[[dict[str, Any]], None], save: Callable[..., None] = np.savez
) -> Path:
    """The same members after a change, as NumPy writes them."""
    with np.load(path) as file:
        members = dict(file)
    change(members)
    again = path.with_name("again.npz")
    save(again, **members)
    return again


def test_what_is_written_is_read_in_place(path: Path) -> None:
    with open_model(path) as model:
        assert model.mapped
        assert (model.dtype, model.quantization) == ("int8", QUANTIZATION)
        assert list(model.tensors) == list(packed_members(NETWORK))
        for name, array in pack(NETWORK, ARRAYS).items():
            offset, shape, descr = model.tensors[name]
            assert (offset % 64, shape, descr) == (0, *packed_members(NETWORK)[name][::-1])
            assert model.buffer[offset : offset + array.nbytes] == array.tobytes()
            assert model.array(name).dtype == array.dtype
            assert not model.array(name).flags.writeable
        assert model.weight_bytes == sum(model.array(name).nbytes for name in model.tensors)
        for name, array in model.weights().items():
            assert array.tobytes() == ARRAYS[name].tobytes()
        model.verify()


def test_a_file_is_a_quarter_of_float32(tmp_path: Path, random_weights: Callable[..., Any]) -> None:
    network = mobilenet_v2()
    arrays, quantization = random_int8(network)
    for name, content, said in (
        ("int8", arrays, quantization),
        ("float32", random_weights(network), None),
    ):
        write_model(tmp_path / name, network, content, PRESETS["tf"], None, {}, said)
    sizes = [(tmp_path / name).stat().st_size for name in ("int8", "float32")]
    assert sizes[0] < 0.27 * sizes[1]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_saved_again_by_numpy_is_copied(save: Callable[..., None], path: Path) -> None:
    again = saved_again(path, lambda members: None, save)
    with open_model(path) as model, open_model(again) as copy:
        assert not copy.mapped
        assert copy.quantization == model.quantization
        for name in model.tensors:
            assert copy.tensors[name].offset % 64 == 0
            assert copy.array(name).dtype == model.array(name).dtype
            assert copy.array(name).tobytes() == model.array(name).tobytes()
        copy.verify()


def test_equal_networks_are_equal_files(path: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "same", NETWORK, ARRAYS, PRESETS["tf"], list("abcde"), {}, QUANTIZATION)
    assert (tmp_path / "same").read_bytes() == path.read_bytes()


def test_opening_imports_no_numpy(path: Path) -> None:
    code = """
import sys
from mnv2_engine.model.modelfile import open_model
print(open_model(sys.argv[1]).dtype, "numpy" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert (run.stdout, run.stderr) == ("int8 False\n", "")


def test_an_engine_of_numpy_is_the_oracle(path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = integer.run(NETWORK, ARRAYS, QUANTIZATION, PRESETS["tf"], x)
    floats = ((x - 127.5) / 127.5).astype(np.float32)
    with Engine.load(path, backend="numpy") as engine:
        assert (engine.info.backend, engine.info.dtype) == ("numpy", "int8")
        np.testing.assert_array_equal(engine.logits(x), expected.logits)
        np.testing.assert_array_equal(engine.logits(floats), expected.logits)
        np.testing.assert_array_equal(engine.embed(list(x)), expected.features)
        assert engine.predict(x[0])[0].index == expected.logits[0].argmax()


# Headers and meta that do not fit


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "?"])
def test_weights_of_another_dtype(dtype: str, path: Path) -> None:
    def change(members: dict[str, Any]) -> None:
        members["head.weight"] = members["head.weight"].astype(dtype)

    with pytest.raises(ModelFileError, match=r"member 'head\.weight' has the array header .*\|i1"):
        open_model(saved_again(path, change))


@pytest.mark.parametrize("dtype", [">i4", "<u4", "<i8", "<f4"])
def test_a_table_of_another_dtype(dtype: str, path: Path) -> None:
    def change(members: dict[str, Any]) -> None:
        members["stem.requantise"] = members["stem.requantise"].astype(dtype)

    with pytest.raises(ModelFileError, match=r"'stem\.requantise' has .*expected .*<i4"):
        open_model(saved_again(path, change))


@pytest.mark.parametrize("name", ["stem.requantise", "classifier.dequantise"])
def test_a_table_too_many_or_too_few(name: str, path: Path) -> None:
    with pytest.raises(ModelFileError, match=rf"lacks {name}: .* 123 arrays, stem\.weight to"):
        open_model(saved_again(path, lambda members: members.pop(name)))

    def add(members: dict[str, Any]) -> None:
        members["stem.bias"] = np.zeros(16, np.float32)

    with pytest.raises(ModelFileError, match=r"holds the unknown stem\.bias"):
        open_model(saved_again(path, add))


def with_meta(path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    def change(members: dict[str, Any]) -> None:
        document = json.loads(bytes(members["meta"]))
        edit(document)
        members["meta"] = np.frombuffer(json.dumps(document).encode(), np.uint8)

    return saved_again(path, change)


def _without_shortcut(document: dict[str, Any]) -> None:
    rows = document["network"]["layers"]
    at = next(i for i, row in enumerate(rows) if row["name"] == "block0.add")
    rows[at + 1]["inputs"] = ["block0.project"]
    del rows[at]


META: dict[str, tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = {
    "float32 with a quantization": (
        lambda d: d.update(dtype="float32"),
        ModelFileError,
        "meta: expected exactly",
    ),
    "int8 without": (lambda d: d.pop("quantization"), ModelFileError, "meta: expected exactly"),
    "null": (lambda d: d.update(quantization=None), ModelFileError, "quantization: expected"),
    "another width": (
        _without_shortcut,
        ModelFileError,
        r"quantization of block0\.project: shortcut \d+: expected 0 to 0",
    ),
    "a scale of zero": (
        lambda d: d["quantization"]["layers"]["stem"].__setitem__(0, 0),
        ModelFileError,
        "quantization of stem: scale 0",
    ),
    "an endless scale": (
        lambda d: d["quantization"]["pool"].__setitem__(0, 10**400),
        ModelFileError,
        "quantization of pool: scale 1000",
    ),
    "another dtype": (
        lambda d: (d.update(dtype="int4"), d.pop("quantization")),
        UnsupportedError,
        "dtype 'int4': this version reads .*int8",
    ),
}


@pytest.mark.parametrize("name", META)
def test_meta_that_does_not_fit(name: str, path: Path) -> None:
    edit, error, message = META[name]
    with pytest.raises(error, match=message):
        open_model(with_meta(path, edit))


def test_a_quantization_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    stem = QUANTIZATION.layers["stem"]._replace(scale=0.0)
    wrong = QUANTIZATION._replace(layers={**QUANTIZATION.layers, "stem": stem})
    with pytest.raises(InputError, match="quantization of stem: scale"):
        write_model(tmp_path / "wrong.npz", NETWORK, ARRAYS, PRESETS["tf"], None, {}, wrong)
    assert not list(tmp_path.iterdir())


# Contents that only verify() reads


def _set(name: str, index: tuple[int, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(members: dict[str, Any]) -> None:
        members[name][index] = value

    return change


CONTENTS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a multiplier of 32768": (
        _set("stem.requantise", (0, 1, 0), 32768),
        r"stem\.multiplier holds numbers out of range: expected 0 to 32767",
    ),
    "a shift of 32": (
        _set("head.requantise", (1, 1, 5), 32 << 16),
        r"head\.shift holds numbers out of range: expected 0 to 31",
    ),
    "a negative shift": (
        _set("head.requantise", (1, 1, 5), -(1 << 16)),
        r"head\.shift holds numbers out of range",
    ),
    "a bias that passes 31 bits": (
        _set("stem.requantise", (0, 0, 2), -(2**31) + 1),
        r"stem: channel 2 could sum up to \d+: expected below 2\*\*31",
    ),
    "no number": (
        _set("classifier.dequantise", (0, 0, 1), np.nan),
        r"'classifier\.dequantise' holds NaN or infinity",
    ),
    "a lane behind the last channel": (
        _set("stem.weight", (0, 0, 4, 0), 1),
        r"'stem\.weight' holds numbers behind the last channel or term",
    ),
    "a term behind the stem's nine": (
        _set("stem.weight", (0, 2, 0, 1), -1),
        r"'stem\.weight' holds numbers behind the last channel or term",
    ),
    "a shift behind the last channel": (
        _set("stem.requantise", (0, 1, 15), 40 << 16),
        r"'stem\.requantise' holds numbers behind",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_verify_reads_the_integers(name: str, path: Path) -> None:
    change, message = CONTENTS[name]
    with (
        open_model(saved_again(path, change)) as model,
        pytest.raises(ModelFileError, match=rf"again\.npz: {message}"),
    ):
        model.verify()


def test_verify_finds_a_flipped_bit(path: Path) -> None:
    with open_model(path) as model:
        at = model.tensors["block3.expand.requantise"].offset
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with (
        open_model(path) as model,
        pytest.raises(ModelFileError, match=r"'block3\.expand\.requantise' .*checksum"),
    ):
        model.verify()


def test_numpy_and_zipfile_read_it(path: Path) -> None:
    with np.load(path) as file, zipfile.ZipFile(path) as archive:
        assert {file[name].dtype.str for name in file.files} == {"|u1", "|i1", "<i4", "<f4"}
        assert archive.testzip() is None
