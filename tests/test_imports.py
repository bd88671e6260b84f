"""A guest that brings no furniture: what loading and predicting import, and what they do not."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import mnv2_engine
from mnv2_engine.answers import DEFAULT_THRESHOLD
from mnv2_engine.detect.found import Box
from mnv2_engine.plan.steps import Plan

HEAVY = ["numpy", "PIL", "inspect", "dataclasses", "zipfile", "ast", "pathlib", "tqdm", "argparse"]

SCRIPT = """
import json, sys
bare = set(sys.modules)
import mnv2_engine
imported = set(sys.modules) - bare
from mnv2_engine import Engine
engine = Engine.load(sys.argv[1])
pixels = memoryview(bytes(32 * 32 * 3)).cast("B", (32, 32, 3))
assert len(engine.predict(pixels)) == 5
started = set(sys.modules) - bare
engine.memory_plan(), engine.info
predicted = set(sys.modules) - bare
if len(sys.argv) > 2:
    with open(sys.argv[2], "rb") as file:
        data = file.read()
    engine.predict(sys.argv[2])
    engine.predict(data)
    from PIL import Image
    engine.predict(Image.open(sys.argv[2]))
pictured = set(sys.modules) - bare
import numpy
assert engine.logits(numpy.zeros((32, 32, 3), numpy.uint8)).shape == (1, 5)
assert engine.predict(numpy.zeros((32, 32, 3), numpy.uint8)) == engine.predict(
    memoryview(bytes(32 * 32 * 3)).cast("B", (32, 32, 3)))
print(json.dumps([sorted(each) for each in (imported, started, predicted, pictured)]))
"""


def modules(*arguments: str) -> list[set[str]]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [set(names) for names in json.loads(done.stdout)]


def test_importing_brings_only_the_standard_library(small_model):
    imported, started, predicted, _ = modules(str(small_model()))
    known = set(sys.stdlib_module_names) | {"mnv2_engine", "_cffi_backend"}
    for names in (imported, predicted):
        assert {name.split(".")[0] for name in names} <= known
        assert not names & set(HEAVY)
    assert "mnv2_engine._core" in predicted
    # These take milliseconds each (untyped.py).
    assert not imported & {"typing", "collections", "re", "enum", "functools", "json"}
    assert not started & {"contextlib", "functools", "warnings", "mnv2_engine.plan.planner"}
    # Nor what only detectors, Python's planner, Python's reader of model files or several threads
    # need: about 0.2 ms each.
    unused = ("detect", "network", "plan", "model.reading", "model.class_labels", "executors.pool")
    assert not started & {f"mnv2_engine.{name}" for name in unused}
    assert not started & {"struct", "binascii", "_json"}


def test_public_names_are_there_when_asked_for():
    for name in mnv2_engine.__all__:
        assert name in dir(mnv2_engine)
        assert getattr(mnv2_engine, name) is not None
    assert mnv2_engine.Plan is Plan
    assert mnv2_engine.Box is Box
    with pytest.raises(AttributeError, match="no attribute 'Boxes'"):
        _ = mnv2_engine.Boxes


def test_engine_knows_the_threshold_without_importing_it():
    given = inspect.signature(mnv2_engine.Engine.detect).parameters["threshold"]
    assert given.default == DEFAULT_THRESHOLD


def test_a_picture_is_classified_without_numpy(small_model, tmp_path):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow (the extra cli) is absent")
    picture = tmp_path / "picture.png"
    image_module.new("RGB", (50, 40), (10, 200, 30)).save(picture)
    *_, pictured = modules(str(small_model()), str(picture))
    assert "PIL.Image" in pictured
    assert "numpy" not in pictured
