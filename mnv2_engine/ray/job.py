"""`mnv2 classify|embed|detect --ray`: a job that can be ended and taken up again.

Chunk after chunk becomes a folder of Parquet files. A chunk is written beside the output, its rows
are compared with what went in, and it appears under its name by one rename: whatever happens to a
worker, a node or the driver, no photograph is missing from the output and none is there twice.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import InputError, MnvError, missing_extra
from ..model.whole_file import write_whole
from .sources import ROWS_OF_A_BLOCK, Chunk, chunks, dataset

PINNED = "_mnv2.json"  # what the output is of; readers pass over names that begin with _
DOING = "_doing"
ROWS_OF_A_FILE = 10_000
ATTEMPTS = 3


class Job(NamedTuple):
    """What is to be done."""

    answers: type[Any]  # Classifier, Embedder or Detector
    model: str
    sources: Sequence[str]
    out: str
    options: dict[str, Any]  # of `answers`
    column: str | None = None  # of the photographs in Parquet
    chunk: int = 50_000  # photographs
    actors: int | None = None  # at most; None: as many as the cluster has CPUs for


class Result(NamedTuple):
    """What was done. `str()` of it is a sentence."""

    photographs: int  # in the output, all runs together
    errors: int  # of these, photographs that could not be read
    done_before: int  # by earlier runs
    seconds: float  # of this run
    actors: int  # at most

    def __str__(self) -> str:
        new = self.photographs - self.done_before
        rate = new / self.seconds if self.seconds else 0.0
        said = f"{self.photographs:,} photographs, {self.errors:,} of them could not be read"
        if self.done_before:
            said += f"; {self.done_before:,} were done before"
        return f"{said}; {new:,} in {self.seconds:.1f} s, {rate:,.1f} images/s"


def start(address: str | None) -> None:
    """Connect to a Ray cluster: the one at `address`, else the one that is running here, else one
    that is started on this machine."""
    import logging

    ray = _ray()
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level="WARNING")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--ray {address}: no cluster answers: {error}") from error


def run(job: Job, said: Callable[[str], object] = lambda text: None) -> Result:
    """Do what is not done yet. Ray must be running. `said` is told of each chunk.

    Raises InputError for an output of another job, UnsupportedError for a model without such
    answers, MnvError where a chunk cannot be completed."""
    _ray()
    from .shipping import ship

    resources = job.answers.ray_remote_args(job.model, **_planned(job.options))
    model = ship(job.model)
    _begin(job, model.digest)
    actors = _actors(job.actors, resources)
    started = time.perf_counter()
    rows = errors = before = 0
    for number, chunk in enumerate(chunks(job.sources, job.chunk)):
        folder = os.path.join(job.out, f"part-{number:06}")
        if os.path.isdir(folder):
            count, bad = _counts(folder)
            before += count
        else:
            since = time.perf_counter()
            count, bad = _complete(job, chunk, folder, (model, resources, actors))
            rate = count / (time.perf_counter() - since)
            said(f"part {number}: {count:,} photographs, {rate:,.1f} images/s")
        rows, errors = rows + count, errors + bad
    return Result(rows, errors, before, time.perf_counter() - started, actors)


def _complete(job: Job, chunk: Chunk, folder: str, how: tuple[Any, ...]) -> tuple[int, int]:
    """Write a chunk, until what is written is what was to be written."""
    doing = os.path.join(job.out, DOING)
    problem = ""
    for _ in range(ATTEMPTS):
        shutil.rmtree(doing, ignore_errors=True)
        _write(job, chunk, doing, *how)
        problem = _difference(chunk, doing)
        if not problem:
            counts = _counts(doing)
            os.rename(doing, folder)
            return counts
    raise MnvError(f"{folder}: {problem}, after {ATTEMPTS} attempts; see Ray's log")


def _write(
    job: Job, chunk: Chunk, doing: str, model: Any, resources: dict[str, Any], actors: int
) -> None:
    ray = _ray()
    rows, column = dataset(chunk, job.column)
    answered = rows.map_batches(
        job.answers,
        fn_constructor_args=(model, column),
        fn_constructor_kwargs=job.options,
        batch_size=ROWS_OF_A_BLOCK,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        **resources,
    )
    answered.write_parquet(
        doing, min_rows_per_file=ROWS_OF_A_FILE, ray_remote_args={"num_cpus": 0.25}
    )


def _difference(chunk: Chunk, folder: str) -> str:
    """What is wrong with the rows of a chunk, nothing if they are right."""
    import pyarrow.dataset

    found = pyarrow.dataset.dataset(folder, format="parquet")
    count = found.count_rows()
    if chunk.rows is not None and count != chunk.rows:
        return f"holds {count} rows of {chunk.rows}"
    if chunk.kind == "parquet":
        return ""
    names = Counter(found.to_table(columns=["file"]).column("file").to_pylist())
    if chunk.kind == "tars":
        names = names - Counter(set(names))  # what is there twice
        return f"holds {next(iter(names))} twice" if names else ""
    if names != Counter(chunk.names):
        return "holds other photographs than were given"
    return ""


def _counts(folder: str) -> tuple[int, int]:
    """Rows, and those with an error."""
    import pyarrow.dataset

    found = pyarrow.dataset.dataset(folder, format="parquet")
    return found.count_rows(), found.count_rows(filter=pyarrow.dataset.field("error").is_valid())


def _begin(job: Job, digest: str) -> None:
    """Make the output folder, or make sure that it is of the same job."""
    pinned = {
        "mnv2": 1,
        "answers": job.answers.__name__,
        "model": digest,
        "sources": [os.path.abspath(source) for source in job.sources],
        "column": job.column,
        "chunk": job.chunk,
        "options": {name: value for name, value in job.options.items() if value is not None},
    }
    path = os.path.join(job.out, PINNED)
    text = json.dumps(pinned, indent=1, default=list).encode()
    if os.path.exists(path):
        with open(path, "rb") as file:
            found = file.read()
        if found != text:
            raise InputError(
                f"{job.out}: holds the answers of another job ({PINNED} differs); choose another "
                "--out, or remove that folder"
            )
        return
    if os.path.exists(job.out) and (not os.path.isdir(job.out) or os.listdir(job.out)):
        raise InputError(f"{job.out}: exists and is no output of this command; choose another")
    os.makedirs(job.out, exist_ok=True)
    write_whole(path, "a description of the job", len(text), lambda file: file.write(text))


def _planned(options: dict[str, Any]) -> dict[str, Any]:
    """Of the options those that change what an actor needs."""
    return {
        name: options[name]
        for name in ("threads", "backend", "precision", "decode")
        if options.get(name) is not None
    }


def _actors(most: int | None, resources: dict[str, Any]) -> int:
    ray = _ray()
    cpus = int(ray.cluster_resources().get("CPU", 1) // resources["num_cpus"])
    return max(1, cpus if most is None else most)


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise missing_extra("ray", "ray", "--ray") from None
    return ray
