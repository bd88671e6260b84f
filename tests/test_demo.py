"""`mnv2 demo`: the bundled photograph, the checkpoint's package, and the kept model file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import mnv2_engine.convert
from mnv2_engine import Engine
from mnv2_engine.cli import demo, demo_models, main
from mnv2_engine.errors import CheckpointError, InputError, MissingExtraError, MnvError
from mnv2_engine.executors.reference import normalise
from mnv2_engine.executors.reference import run as run_reference
from mnv2_engine.model.modelfile import open_model, write_model

Image = pytest.importorskip("PIL.Image")

needs_checkpoint = pytest.mark.skipif(
    find_spec(demo.MODULE) is None, reason=f"needs the package {demo.PACKAGE}"
)

# ImageNet's cats, by WordNet's names.
CATS = {"tabby, tabby cat", "tiger cat", "Persian cat", "Siamese cat, Siamese", "Egyptian cat"}


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MNV2_HOME", str(folder))
    # Processes look for modules here first, and the checkout has no compiled core.
    monkeypatch.chdir(tmp_path)
    return folder


# The photograph


def test_the_photograph_is_small_and_there():
    assert os.path.getsize(demo.PHOTOGRAPH) < 60_000
    with Image.open(demo.PHOTOGRAPH) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (451, 300))


def test_source_and_licence_are_stated():
    text = Path(demo.PHOTOGRAPH).with_name("README.md").read_text(encoding="utf-8")
    assert os.path.basename(demo.PHOTOGRAPH) in text
    assert "CC0" in text


# The cache folder


def test_where_the_model_is_kept(monkeypatch, home, tmp_path):
    assert demo.model_path() == str(home / demo.MODEL_FILE)
    monkeypatch.delenv("MNV2_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert demo_models.cache_folder() == str(tmp_path / "xdg" / "mnv2_engine")
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    expected = str(tmp_path / "someone" / ".cache" / "mnv2_engine")
    for ignored in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert demo_models.cache_folder() == expected
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert demo_models.cache_folder() == expected
    monkeypatch.setenv("MNV2_HOME", "~/models")
    assert demo_models.cache_folder() == str(tmp_path / "someone" / "models")


def test_a_process_without_a_home(monkeypatch):
    for name in ("MNV2_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(InputError, match="set MNV2_HOME"):
        demo_models.cache_folder()


# The checkpoint's package


def fake_package(folder: Path, monkeypatch, content: bytes | None) -> Path:
    """A package in the place of the real one, whose code must not run."""
    package = folder / "a_checkpoint_package"
    path = package / demo.CHECKPOINT
    path.parent.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('its code was run')")
    if content is not None:
        path.write_bytes(content)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(demo, "MODULE", package.name)
    return path


def test_the_checkpoint_is_found_without_running_its_package(tmp_path, monkeypatch):
    path = fake_package(tmp_path, monkeypatch, b"weights")
    monkeypatch.setattr(demo, "SHA256", hashlib.sha256(b"weights").hexdigest())
    assert demo.find_checkpoint() == str(path)


def test_another_checkpoint_is_refused(tmp_path, monkeypatch):
    fake_package(tmp_path, monkeypatch, b"other weights")
    with pytest.raises(CheckpointError, match=f"sha256 is .*, expected {demo.SHA256}.*reinstall"):
        demo.find_checkpoint()


def test_a_package_without_the_checkpoint(tmp_path, monkeypatch):
    fake_package(tmp_path, monkeypatch, None)
    with pytest.raises(CheckpointError, match=r"\.pth: cannot be read: No such file.*reinstall"):
        demo.find_checkpoint()


def test_without_the_package_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(demo, "MODULE", "no_such_package_anywhere")
    with pytest.raises(MissingExtraError, match=r"mnv2-engine\[demo\]"):
        demo.model()
    assert main(["demo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mnv2: error: the demo's checkpoint needs {demo.PACKAGE}")


# The kept model file, with a conversion of a moment


@pytest.fixture
def conversions(tmp_path, monkeypatch, random_weights) -> list[str]:
    """Puts a small network in the place of the checkpoint; lists the conversions that were made."""
    from conftest import PRESETS, small_network

    fake_package(tmp_path, monkeypatch, b"weights")
    monkeypatch.setattr(demo, "SHA256", hashlib.sha256(b"weights").hexdigest())
    made: list[str] = []

    def convert(source: str, out: str, *, preprocess: str, labels: str) -> None:
        assert (preprocess, labels) == ("lite", "imagenet")
        made.append(out)
        network = small_network()
        provenance = {"source": "test", "sha256": demo.SHA256}
        write_model(out, network, random_weights(network), PRESETS["lite"], None, provenance)

    monkeypatch.setattr(mnv2_engine.convert, "convert", convert)
    return made


def test_the_model_is_made_once_and_kept(conversions, home, monkeypatch):
    assert demo.converted_model() is None
    path = demo.model()
    assert path == demo.model() == demo.converted_model() == str(home / demo.MODEL_FILE)
    assert conversions == [path]
    assert os.listdir(home) == [demo.MODEL_FILE]
    # Once it is there, the checkpoint is not needed.
    monkeypatch.setattr(demo, "MODULE", "no_such_package_anywhere")
    assert demo.model() == path


def damages() -> dict[str, Callable[[bytes], bytes]]:
    def flip(data: bytes) -> bytes:  # of a weight, deep inside: only a checksum can tell
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    return {
        "truncated": lambda data: data[: len(data) // 2],
        "empty": lambda data: b"",
        "not a model": lambda data: b"PK\x03\x04 no",
        "a flipped bit": flip,
        "a newer format": lambda data: data.replace(b'"version": 2', b'"version": 9'),
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_model_is_made_again(conversions, damage):
    path = Path(demo.model())
    good = path.read_bytes()
    bad = damages()[damage](good)
    assert bad != good
    path.write_bytes(bad)
    assert demo.model() == str(path)
    assert len(conversions) == 2
    assert path.read_bytes() == good


def test_a_model_of_another_checkpoint_is_made_again(conversions, small_model, home):
    home.mkdir()
    shutil.copy(small_model(), home / demo.MODEL_FILE)
    with open_model(demo.model()) as model:
        assert model.provenance["sha256"] == demo.SHA256
    assert len(conversions) == 1


def test_a_folder_that_cannot_be_made(conversions, home, capsys):
    home.write_text("a file in the way")
    with pytest.raises(InputError, match=r"cannot be kept there.*set MNV2_HOME to a folder"):
        demo.model()
    assert main(["demo"]) == 2
    assert "MNV2_HOME" in capsys.readouterr().err
    assert conversions == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(conversions, home):
    home.mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"permission denied.*set MNV2_HOME to a folder"):
        demo.model()


def test_a_full_disk(conversions, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise MnvError("cannot be written") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mnv2_engine.convert, "convert", full)
    with pytest.raises(InputError, match=r"No space left on device; set MNV2_HOME to a folder"):
        demo.model()


def test_the_report_shortens_the_home_folder(monkeypatch):
    report = demo.Report("a/cat.jpg", [], "/some/one/m.npz", "net", "c", 1, 2, 3, 0.1, 0.2, 21)
    monkeypatch.setenv("HOME", "/some")
    assert str(report).splitlines()[-1].split() == ["model", "~/one/m.npz"]
    monkeypatch.setenv("HOME", "/som")
    assert str(report).splitlines()[-1].split() == ["model", "/some/one/m.npz"]


# The real thing


@pytest.fixture(scope="module")
def real_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


@needs_checkpoint
def test_the_demo_sees_a_cat(real_home, monkeypatch, capsys):
    monkeypatch.setenv("MNV2_HOME", str(real_home))
    assert main(["demo", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    report = json.loads(out)
    assert report["predictions"][0]["label"] in CATS
    assert len(report["predictions"]) == 5
    probabilities = [each["probability"] for each in report["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert report["arena_bytes"] < report["unfused_bytes"]
    assert report["run_ms"] > 0
    assert report["decode_ms"] > 0
    # Again, from what was kept, and for people.
    monkeypatch.setattr(demo, "MODULE", "no_such_package_anywhere")
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    for expected in (report["predictions"][0]["label"], "memory", "unfused", "ms", str(real_home)):
        assert expected in text
    assert main(["classify", demo.PHOTOGRAPH, "--top-k", "1"]) == 0
    assert report["predictions"][0]["label"] in capsys.readouterr().out


@needs_checkpoint
def test_the_logits_of_the_photograph(real_home, monkeypatch):
    from mnv2_engine.images.preprocess import load_image, pixels_for

    monkeypatch.setenv("MNV2_HOME", str(real_home))
    with open_model(demo.model()) as model, Engine.load(demo.model()) as engine:
        pixels = pixels_for(load_image(demo.PHOTOGRAPH), model.input_spec, (224, 224))
        image = np.frombuffer(pixels, np.uint8).reshape(1, 224, 224, 3)
        x = normalise(model.input_spec, image, np.float64)
        expected = run_reference(model.network, model.weights(), x, np.float64).logits
        assert np.abs(engine.logits(image) - expected).max() <= 1e-4


@needs_checkpoint
def test_two_processes_at_once(home):
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "mnv2_engine", "demo", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    first, second = (json.loads(out)["predictions"] for out, _ in answers)
    assert first == second
    assert os.listdir(home) == [demo.MODEL_FILE]
