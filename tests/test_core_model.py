"""The C core reads model files as Python does: what is said of them, and the plans."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_plans import records_of_struct
from conftest import make_weights, small_network
from detector_network import seeded_weights, small_detector
from int8_network import random_int8

from mnv2_engine import Engine, _core
from mnv2_engine.errors import ModelFileError
from mnv2_engine.executors import Order, natural_precision
from mnv2_engine.executors.core_plan import core_planned
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.model import outline_of
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.model.modelfile import ModelFile, open_model, write_model
from mnv2_engine.model.npz import write_npz
from mnv2_engine.model.packed import FLOAT_DTYPES
from mnv2_engine.network.families import efficientnet_lite

LABELS = ["a", "ä", '"\\', "𝄞", "e e"]
# Numbers that take all digits of a double, and a filter and a fit that are not the usual ones.
SPEC = InputSpec((0.1, 1 / 3, 103.53), (1e-3, 57.12, 2 / 3), "bicubic", 0.7654321, "squash")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, network, origin = tmp_path_factory.mktemp("core"), small_network(), {"source": "x"}
    weights = make_weights(network)
    for dtype in FLOAT_DTYPES:
        path = made / f"{dtype}.npz"
        write_model(path, network, weights, SPEC, LABELS, origin, dtype=dtype)
    integers, quantization = random_int8(network)
    write_model(made / "int8.npz", network, integers, SPEC, None, origin, quantization)
    detector = small_detector()
    tf = PRESETS["tf"]
    write_model(made / "detector.npz", detector, seeded_weights(detector), tf, None, origin)
    lite = efficientnet_lite(0)
    write_model(made / "lite.npz", lite, make_weights(lite), tf, None, origin)
    return made


NAMES = (*FLOAT_DTYPES, "int8", "detector", "lite")


@pytest.mark.parametrize("name", NAMES)
def test_the_core_says_what_python_says(name: str, folder: Path) -> None:
    path = folder / f"{name}.npz"
    with open_model(path, by_core=True) as model, open_model(path) as true:
        assert model.core is not None
        assert model._read is None  # Python has read nothing yet
        assert true.core is None
        for field in (
            *("outline", "dtype", "weight_bytes", "identity", "mapped", "labels", "input_spec"),
            *("network", "version", "provenance", "quantization", "tensors"),
        ):
            assert getattr(model, field) == getattr(true, field), field
        assert model.outline == outline_of(true.network)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [1, 3])
def test_plans_are_those_of_python(name: str, threads: int, folder: Path) -> None:
    """Offsets of weights and all numbers of 8 bits among them."""
    path = folder / f"{name}.npz"
    with open_model(path, by_core=True) as model, open_model(path) as true:
        precisions = {natural_precision(true.dtype), "bfloat16" if name == "bfloat16" else None}
        for precision in filter(None, precisions):
            order = Order(threads, precision, true.dtype, "amx")
            made = _planned(model, order)
            expected = core_planned(_core.ffi, _core.lib, true, true.network, order)
            found, due = (records_of_struct(each) for each in (made, expected.struct))
            if true.network.detection is None:
                for row, block in found:
                    if row.startswith("block"):
                        block["values"] = 0  # which are looked at of a detector's heads alone
            else:  # which has no head of classes
                found, due = ([each for each in rows if each[0] != "head"] for rows in (found, due))
            differing = [(a, b) for a, b in zip(found, due, strict=True) if a != b]
            assert not differing


def _planned(model: ModelFile, order: Order) -> Any:
    executor = NativeExecutor.__new__(NativeExecutor)
    executor._ffi, executor._lib = _core.ffi, _core.lib
    made, executor._kept = executor._planned(model, order)
    model.__dict__["kept"] = executor._kept
    return made


def _mean(number: str) -> Callable[[dict[str, Any]], str]:
    return lambda document: json.dumps(document).replace('"mean": [0.1', f'"mean": [{number}')


# Texts of the same JSON, and of others, with what a reader may take for granted.
METAS: dict[str, Callable[[dict[str, Any]], str]] = {
    "spaces": lambda document: json.dumps(document, indent=3),
    "escapes": lambda document: json.dumps(document).replace("stem", "\\u0073tem"),
    **{
        number: _mean(number)
        for number in ("127.5", "1275e-1", "0.1275E+3", "127.50000000000000000000000000000000001")
    },
    "902 digits": _mean("1" + "0" * 900 + "1e-900"),
    "2001 zeros": _mean("0." + "0" * 2000 + "5e1999"),
    "minus nothing": _mean("-0.0"),
    "too large": _mean("1e999999999999"),
    "a key twice": lambda document: json.dumps(document)[:-1] + ', "dtype": "float32"}',
}


def spec_of(path: Path, by_core: bool) -> str:
    """As text, for -0.0 equals 0.0; or why the file is refused."""
    try:
        with open_model(path, by_core=by_core) as model:
            assert (model.core is not None) == by_core
            return repr(model.input_spec)
    except ModelFileError as error:
        return str(error)


def with_meta(source: Path, path: Path, change: Callable[[dict[str, Any]], str]) -> None:
    """The model file `source` with another meta."""
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}
    content = change(json.loads(arrays.pop("meta").tobytes())).encode()
    members: list[tuple[str, str, tuple[int, ...], Any]] = [
        ("meta", "|u1", (len(content),), content),
        *((key, array.dtype.str, array.shape, array) for key, array in arrays.items()),
    ]
    with path.open("wb") as out:
        write_npz(out, members)


def test_meta_is_read_alike(folder: Path, tmp_path: Path) -> None:
    accepted = 0
    for name, change in METAS.items():
        with_meta(folder / "float32.npz", tmp_path / "m.npz", change)
        found = [spec_of(tmp_path / "m.npz", by_core) for by_core in (False, True)]
        assert found[0] == found[1], name
        accepted += found[0].startswith("InputSpec")
    assert accepted == len(METAS) - 2


def of_version_1(document: dict[str, Any]) -> str:
    del document["network"]
    family = {"family": "mobilenet_v2", "width": 0.1, "divisor": 4}
    size = {"resolution": [32, 32], "classes": 5, "padding": "same"}
    return json.dumps({**document, "version": 1, "architecture": {**family, **size}})


def test_version_1_is_read_by_the_core(folder: Path, tmp_path: Path) -> None:
    with_meta(folder / "float32.npz", tmp_path / "old.npz", of_version_1)
    with open_model(tmp_path / "old.npz", by_core=True) as model:
        assert model.core is not None
        assert model.version == 1
        assert model.outline == outline_of(model.network)


def test_what_numpy_saved_again_is_pythons_to_read(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "float32.npz") as file:
        np.savez_compressed(tmp_path / "again.npz", **file)
    with zipfile.ZipFile(tmp_path / "again.npz") as file:
        assert all(each.compress_type for each in file.infolist())
    with open_model(tmp_path / "again.npz", by_core=True) as model:
        assert model.core is None
        assert not model.mapped


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_answers_are_the_same(backend: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only the C core's engines are read by it."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    engine = Engine.load(folder / "float32.npz", backend=backend)
    assert (engine._model is not None and engine._model.core is not None) == (backend == "c")
    with open_model(folder / "float32.npz") as true:
        by_python = Engine(true, backend=backend)
        assert engine.predict(image) == by_python.predict(image)
        assert str(engine.info) == str(by_python.info)
        assert str(engine.memory_plan()) == str(by_python.memory_plan())
    assert str(folder) in str(engine.info)


def test_layers_of_a_file_that_changed_are_not_read(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes((folder / "float32.npz").read_bytes())
    engine = Engine.load(path)
    with path.open("r+b") as file:
        file.truncate(1000)
    for ask in (engine.memory_plan, lambda: engine.info):
        with pytest.raises(ModelFileError, match="was overwritten"):
            ask()
