"""Every lie is refused by an MnvError that says what is wrong; nothing runs, nothing is left."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_checkpoints import LIES, STATE, WEIGHTS, Lie, npz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nested import taken_for_damage
from torch_files import state_file

from mnv2_engine.convert import convert
from mnv2_engine.errors import MnvError
from mnv2_engine.model.modelfile import open_model

MEMORY = 64 << 20  # bytes that any attack may cost; the largest bomb has 1 GiB
OPTIONS: dict[str, Any] = {
    "padding": "symmetric",
    "preprocess": "unit",
    "labels": "none",
    "resolution": 32,
}


def refused(each: Lie, folder: Path, **options: Any) -> None:
    source = folder / "source"
    source.write_bytes(each.make())
    tracemalloc.start()
    try:
        with pytest.raises(each.error, match=each.message) as error:
            convert(source, folder / "out.npz", **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY
    message = str(error.value)
    assert message.isprintable()
    assert len(message) <= 1500
    assert not taken_for_damage(message)
    # Neither a model file nor the canary of what a pickle would have called.
    assert [path.name for path in folder.iterdir()] == ["source"]


@pytest.mark.parametrize("each", LIES, ids=lambda each: each.name)
def test_lies(each: Lie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(each, tmp_path, **OPTIONS)


def _tflite_lies(name: str) -> list[Any]:
    """One test that says so where the package is missing."""
    try:
        import hostile_tflite
    except ImportError:
        return [pytest.param(None, marks=pytest.mark.skip(reason="needs the package tflite"))]
    return [pytest.param(each, id=each.name) for each in getattr(hostile_tflite, name)]


@pytest.mark.parametrize("each", _tflite_lies("LIES"))
def test_tflite_lies(each: Lie, tmp_path: Path) -> None:
    refused(each, tmp_path, **OPTIONS)


@pytest.mark.parametrize("each", _tflite_lies("INT8_LIES"))
def test_lies_about_integers(each: Lie, tmp_path: Path) -> None:
    refused(each, tmp_path, **OPTIONS, weights="int8")


def honest(kind: str) -> bytes:
    if kind == "npz":
        return npz(WEIGHTS)
    if kind in ("tflite", "int8"):
        pytest.importorskip("tflite", reason="needs the package tflite")
        from hostile_tflite import FLOAT, INTEGER

        return FLOAT if kind == "tflite" else INTEGER
    return state_file(STATE.arrays, kind)


def options_for(kind: str) -> dict[str, Any]:
    return {**OPTIONS, "weights": "int8"} if kind == "int8" else OPTIONS


KINDS = ("npz", "zip", "legacy", "tflite", "int8")
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_the_honest_files_convert(kind: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(honest(kind))
    made = convert(tmp_path / "source", tmp_path / "out.npz", **options_for(kind))
    assert made.network.name == "mobilenet_v2_0.1_32"


@each_kind
def test_every_cut_is_refused(kind: str, tmp_path: Path) -> None:
    content = honest(kind)
    source, out = tmp_path / "source", tmp_path / "out.npz"
    cuts = {*np.linspace(0, len(content) - 1, 25, dtype=int).tolist(), 1, 7, 8, 64, 200}
    if kind not in ("tflite", "int8"):  # whose last bytes may be padding
        cuts.add(len(content) - 1)
    else:
        cuts.discard(len(content) - 1)
    for cut in cuts:
        source.write_bytes(content[:cut])
        with pytest.raises(MnvError):
            convert(source, out, **options_for(kind))
        assert not out.exists()


@pytest.mark.parametrize("kind", [each for each in KINDS if each not in ("int8", "legacy")])
def test_a_signalling_nan_is_refused_without_a_warning(kind: str, tmp_path: Path) -> None:
    """Widened to 64 bits it warns, unlike other NaN."""
    source, out = tmp_path / "source", tmp_path / "out.npz"
    content = bytearray(honest(kind))
    floats = np.frombuffer(content[: len(content) // 4 * 4], "<f4")
    likely = np.flatnonzero((np.abs(floats) > 1e-3) & (np.abs(floats) < 10))
    # The middle of the longest run of numbers that weights may be.
    runs = np.split(likely, np.flatnonzero(np.diff(likely) != 1) + 1)
    longest = max(runs, key=len)
    assert len(longest) > 8
    at = 4 * int(longest[len(longest) // 2])
    content[at : at + 4] = (0x7FA00000).to_bytes(4, "little")
    source.write_bytes(content)
    with pytest.raises(MnvError):
        convert(source, out, **options_for(kind))
    assert not out.exists()


class Fuzzed:
    """A valid file, and where in it there is structure rather than weights."""

    def __init__(self, kind: str) -> None:
        self.content = honest(kind)
        self.options = options_for(kind)
        array = np.frombuffer(self.content, np.uint8)
        if kind in ("tflite", "int8"):
            dull = np.zeros(array.size, bool)
            from hostile_tflite import Open

            model = Open(self.content).model
            start = array.__array_interface__["data"][0]
            for i in range(model.BuffersLength()):
                buffer = model.Buffers(i)
                if buffer.DataLength() > 64:
                    at = buffer._tab.Vector(buffer._tab.Offset(4))
                    dull[at : at + buffer.DataLength()] = True
            assert start
            self.structure = np.flatnonzero(~dull).tolist()
            return
        at = {*range(min(len(self.content), 1 << 15))} if kind != "npz" else set()
        directory = self.content.find(b"PK\x01\x02")
        if directory >= 0:
            at.update(range(directory, len(self.content)))
        for marker in (b"PK\x03\x04", b"\x93NUMPY"):
            found = self.content.find(marker)
            while found >= 0:
                at.update(range(found, found + 100))
                found = self.content.find(marker, found + 1)
        self.structure = sorted(at)


@pytest.fixture(scope="module", params=KINDS)
def fuzzed(request: pytest.FixtureRequest) -> Fuzzed:
    return Fuzzed(request.param)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_altered_bytes_end_in_an_error_or_a_whole_model(
    data: st.DataObject, fuzzed: Fuzzed, tmp_path: Path
) -> None:
    source, out = tmp_path / "source", tmp_path / "out.npz"
    content = bytearray(fuzzed.content)
    for at in data.draw(st.lists(st.sampled_from(fuzzed.structure), min_size=1, max_size=4)):
        content[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    source.write_bytes(content)
    out.unlink(missing_ok=True)
    tracemalloc.start()
    try:
        convert(source, out, **fuzzed.options)
    except MnvError:
        assert not out.exists()
    else:
        with open_model(out) as model:
            model.verify()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= MEMORY
