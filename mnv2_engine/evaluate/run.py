"""An evaluation: image after image through a model, and through another if one is given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import __version__
from ..engine import Engine
from ..errors import InputError, UnsupportedError
from ..images.preprocess import load_image, pixels_for
from ..model.modelfile import ModelFile, open_model
from ..network.layer import IMAGE_CHANNELS
from .answers import answer, difference
from .classes import ModelClasses
from .dataset import Sample, survey
from .other import Other, open_other
from .record import Journal, file_sha256
from .report import Report
from .tally import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Watcher(Protocol):
    """Is told how a run goes."""

    def note(self, text: str) -> None:
        """Something that the results should be read with."""

    def begin(self, total: int, done: int) -> None:
        """So many images, of which `done` are in the file of results already."""

    def unreadable(self, reason: str) -> None:
        """An image was skipped."""

    def advance(self) -> None:
        """An image is done, and written."""


class _Nobody:
    def note(self, text: str) -> None: ...
    def begin(self, total: int, done: int) -> None: ...
    def unreadable(self, reason: str) -> None: ...
    def advance(self) -> None: ...


def evaluate(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    against: str | None = None,
    classes: str = "auto",
    index_offset: int | None = None,
    out: str | None = None,
    force: bool = False,
    limit: int | None = None,
    strict: bool = False,
    threads: int | str = 1,
    precision: str | None = None,
    watcher: Watcher | None = None,
) -> Report:
    """Accuracy of a model file on a folder of images, and its agreement with another model.

    `against` is a model file, or a peer and its file, ``litert:FILE.tflite``,
    ``onnxruntime:FILE.onnx``, ``openvino:FILE.xml``, ``openvino-bf16:...``. `classes` says where
    the true classes are: ``folder``, ``prefix``, ``none``, ``auto``, or the path of a CSV;
    `index_offset` is added where they are indices. `out` is a file of results that is written
    line by line; if it is there already, the run goes on where it stopped, unless `force`.
    `limit` takes so many images, evenly spread. `strict` raises InputError for an image that
    cannot be read and for a class that is not the model's, instead of leaving them out.
    `threads` and `precision` are as for `Engine.load`.

    Raises InputError for a folder without images, classes that do not fit the model, another run's
    `out`; MissingExtraError for an absent peer or Pillow; MnvError where `out` cannot be written.
    """
    watcher = watcher or _Nobody()
    opened = open_model(model)
    path, folder = opened.path, os.fspath(folder)
    if opened.network.detection is not None:
        opened.close()
        raise UnsupportedError(
            f"{opened.network.name} is a detector: `mnv2 evaluate MODEL FOLDER --coco FILE.json` "
            "measures it (docs/detect.md)"
        )
    labels, count = opened.labels, opened.network.classes
    named = ModelClasses(labels, count, index_offset)
    dataset = survey(folder, classes, named, limit)
    notes = list(dataset.notes)
    if strict and dataset.unmatched:
        raise InputError(f"{folder}: {notes[0]}; --strict refuses that")
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(opened, threads, precision=precision))
        other = open_other(against, opened, threads) if against else None
        if other is None and not dataset.with_truth:
            raise InputError(
                f"{folder}: nothing to measure: {'; '.join(notes) or 'no true classes'}; and no "
                "other model is given to agree with (--against)"
            )
        for note in (*notes, *(other.notes if other else ())):
            watcher.note(note)
        run = _Run(engine, opened, other)
        tally = Tally(count)
        samples: Iterator[Sample] = islice(dataset.samples(), dataset.size)
        journal = None
        if out is not None:
            pinned = {
                "package": __version__,
                "model": {"sha256": file_sha256(path), "precision": engine.info.precision},
                "images": {"count": dataset.images, "limit": limit, "sha256": dataset.digest},
                "classes": {
                    "by": os.path.basename(dataset.truth.source),
                    "sha256": dataset.truth.digest,
                    "index_offset": index_offset,
                },
                "against": other.pinned if other else None,
            }
            journal = stack.enter_context(Journal(out, pinned, force))
            _replay(journal, samples, tally)
        watcher.begin(dataset.size, tally.answered + tally.unreadable)
        for sample in samples:
            record = run.record(sample)
            if "error" in record:
                if strict:
                    raise InputError(f"{record['error']}; --strict refuses that")
                watcher.unreadable(record["error"])
            if journal is not None:
                journal.add(record)
            tally.add(record)
            watcher.advance()
        return Report(
            f"{path}, {opened.network.name}, {engine.info.precision}",
            folder,
            dataset.truth.source,
            dataset.size,
            tally.answered,
            tally.unreadable,
            tally.unreadable_files,
            tally.with_class,
            dataset.unmatched,
            tally.accuracy(),
            tally.comparison(other.name) if other else None,
            tally.ms(),
            tally.slowest(),
            labels,
        )


def _replay(journal: Journal, samples: Iterator[Sample], tally: Tally) -> None:
    """Take in the records that are there, each of which has to be of the next image."""
    for number, record in enumerate(journal.kept(), 2):
        sample = next(samples, None)
        if sample is None or record.get("file") != sample.name:
            raise journal.damaged(number)
        try:
            tally.add(record)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise journal.damaged(number) from None


class _Run:
    """What happens to each image."""

    def __init__(self, engine: Engine, model: ModelFile, other: Other | None) -> None:
        self._engine, self._other = engine, other
        self._spec, self._size = model.input_spec, model.network.resolution

    def record(self, sample: Sample) -> dict[str, Any]:
        """What is kept of an image: its answers, or why there are none."""
        record: dict[str, Any] = {"n": sample.number, "file": sample.name}
        try:
            if sample.problem is not None:
                raise InputError(sample.problem)
            return {**record, "truth": sample.truth, **self._answers(sample)}
        except InputError as error:
            reason = str(error)
            if not reason.startswith(sample.path):
                reason = f"{sample.path}: {reason}"
            return {**record, "error": reason}

    def _answers(self, sample: Sample) -> dict[str, Any]:
        started = perf_counter()
        image = load_image(sample.path)
        decoded = perf_counter()
        framed = pixels_for(image, self._spec, self._size)
        pixels = np.frombuffer(framed, np.uint8).reshape(*self._size, IMAGE_CHANNELS)
        resized = perf_counter()
        logits: NDArray[np.float32] = self._engine.logits(pixels)[0]
        ended = perf_counter()
        times = [("decode", decoded - started), ("resize", resized - decoded)]
        times.append(("network", ended - resized))
        found = answer(logits, sample.truth)
        if self._other is not None:
            started = perf_counter()
            theirs = self._other.logits(image, pixels)
            times.append(("other", perf_counter() - started))
            found["other"] = {**answer(theirs, sample.truth), **difference(logits, theirs)}
        found["ms"] = {stage: round(seconds * 1e3, 3) for stage, seconds in times}
        return found
