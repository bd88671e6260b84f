"""What `--ray` reads: folders, globs, Parquet files and WebDataset tars, in chunks.

A chunk is what is written, checked and committed at once. The order of a source is fixed, so that
chunk 7 of a job that is taken up again is chunk 7 of the job that was ended.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ..errors import InputError
from ..images.image_files import find_images

# WebDataset's names of photographs, in one sample of a tar.
IN_TARS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
ROWS_OF_A_BLOCK = 64  # what one task of an actor answers
BYTES_OF_A_PHOTOGRAPH = 100_000  # to guess how many a tar holds


class Chunk(NamedTuple):
    """A part of a source."""

    kind: str  # "files", "parquet" or "tars"
    names: Sequence[str]  # photographs, or the files that hold them
    rows: int | None  # photographs, None where only reading tells


def chunks(sources: Sequence[str], most: int) -> Iterator[Chunk]:
    """The chunks of `sources`, each of about `most` photographs. Raises InputError for a source
    that is not there."""
    kinds: dict[str, list[str]] = {}
    for source in sources:
        kinds.setdefault(kind_of(source), []).append(source)
    if "parquet" in kinds:
        yield from _of_files(_named(kinds["parquet"], ".parquet"), "parquet", _rows_of, most)
    if "tars" in kinds:
        yield from _of_files(_named(kinds["tars"], ".tar"), "tars", _guessed, most)
    if "files" in kinds:
        names = _photographs(kinds["files"])
        while found := list(islice(names, most)):
            yield Chunk("files", found, len(found))


def kind_of(source: str) -> str:
    """How a source is read: by its ending, a folder by the endings of what it holds."""
    if "://" in source:
        raise InputError(
            f"{source}: expected a path that all nodes have; for a store of objects call "
            "ray.data.read_binary_files and mnv2_engine.ray.Classifier (docs/many-machines.md)"
        )
    first = source
    if glob.has_magic(source) and not os.path.exists(source):
        first = next(glob.iglob(source, recursive=True), "")
        if not first:
            raise InputError(f"{source}: no file has such a name")
    elif os.path.isdir(source):
        with os.scandir(source) as entries:
            first = next((e.name for e in entries if e.name.endswith((".parquet", ".tar"))), "")
    if first.endswith(".parquet"):
        return "parquet"
    return "tars" if first.endswith(".tar") else "files"


def dataset(chunk: Chunk, column: str | None) -> Any:
    """The rows of a chunk as Ray reads them, with the column `file` that names each, and the
    columns that hold the photographs."""
    import pyarrow as pa
    import ray

    small = {"num_cpus": 0.25}
    if chunk.kind == "files":
        # Names alone: an actor opens its photographs, and reports those that cannot be read.
        blocks = [
            pa.table({"file": list(chunk.names[at : at + ROWS_OF_A_BLOCK])})
            for at in range(0, len(chunk.names), ROWS_OF_A_BLOCK)
        ]
        return ray.data.from_arrow(blocks), ("file",)
    if chunk.kind == "parquet":
        found = ray.data.read_parquet(
            list(chunk.names), include_paths=True, ray_remote_args=small
        ).rename_columns({"path": "source"})
        return found, column and (column,)
    found = ray.data.read_webdataset(
        list(chunk.names), decoder=None, suffixes=list(IN_TARS), include_paths=True
    )
    return found.map_batches(_named_samples, batch_format="pyarrow", **small), IN_TARS


def _named_samples(table: Any) -> Any:
    """Samples of tars with `file`, their tar and key, in the place of WebDataset's own columns."""
    import pyarrow as pa

    tars, keys = table.column("path").to_pylist(), table.column("__key__").to_pylist()
    names = [f"{tar}/{key}" for tar, key in zip(tars, keys, strict=True)]
    kept = table.select([name for name in table.column_names if name in IN_TARS])
    return kept.append_column("file", pa.array(names, pa.string()))


def _photographs(sources: Iterable[str]) -> Iterator[str]:
    for source in sources:
        found = [source]
        if glob.has_magic(source) and not os.path.exists(source):
            found = sorted(glob.iglob(source, recursive=True))
        for image in find_images(found):
            yield os.path.abspath(image.name)


def _named(sources: Iterable[str], ending: str) -> Iterator[str]:
    for source in sources:
        if os.path.isdir(source):
            inside = sorted(name for name in os.listdir(source) if name.endswith(ending))
            yield from (os.path.abspath(os.path.join(source, name)) for name in inside)
        elif glob.has_magic(source) and not os.path.exists(source):
            yield from map(os.path.abspath, sorted(glob.iglob(source, recursive=True)))
        elif os.path.isfile(source):
            yield os.path.abspath(source)
        else:
            raise InputError(f"{source}: is not there")


def _of_files(names: Iterator[str], kind: str, count: Any, most: int) -> Iterator[Chunk]:
    """Whole files until they hold enough."""
    held: list[str] = []
    rows = 0
    for name in names:
        held.append(name)
        rows += count(name)
        if rows >= most:
            yield Chunk(kind, held, rows if kind == "parquet" else None)
            held, rows = [], 0
    if held:
        yield Chunk(kind, held, rows if kind == "parquet" else None)


def _rows_of(name: str) -> int:
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(name).num_rows)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read as Parquet: {error}") from error


def _guessed(name: str) -> int:
    return os.path.getsize(name) // BYTES_OF_A_PHOTOGRAPH
