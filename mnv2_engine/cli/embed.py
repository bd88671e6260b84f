"""`mnv2 embed`: the pooled features of photographs, as lines of JSON or as an array."""

from __future__ import annotations

import os
from argparse import Namespace
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import InputError
from ..model.whole_file import write_whole
from .output import as_json, may_write, say
from .photographs import Answer, answer_all, is_on_ray, loaded

if TYPE_CHECKING:
    from ..engine import Engine

HEADER_BYTES = 128  # of an .npy file: room for any number of rows


def run(args: Namespace) -> int:
    """Embed every photograph: exit code 0, or 1 where one could not be read."""
    if is_on_ray(args):
        from .on_ray import run_on_ray

        return run_on_ray(args, "Embedder", {})
    if args.out is None:
        return _printed(args)
    array, suffix = os.path.splitext(args.out)
    if suffix != ".npy":
        raise InputError(f"{args.out}: expected a name that ends in .npy")
    lines = f"{array}.jsonl"
    for path in (args.out, lines):
        may_write(path, args.force, "", "", "FILE.npy")
    code = 0

    def both(rows: BinaryIO) -> None:
        def with_lines(text: BinaryIO) -> None:
            nonlocal code
            code = _written(args, rows, text)

        write_whole(lines, "a list of photographs", None, with_lines)

    write_whole(args.out, "an array", None, both)
    return code


def _printed(args: Namespace) -> int:
    def write(answer: Answer, bar: Any) -> None:
        if answer.error is None:
            say(answer.value, bar)
        else:
            say(as_json({"file": answer.file, "error": answer.error}), bar)

    with loaded(args) as engine:
        return answer_all(args, engine, _line, write)


def _written(args: Namespace, rows: BinaryIO, lines: BinaryIO) -> int:
    """Row i of the array is line i of the list, NaN where there is an error."""
    with loaded(args) as engine:
        channels = engine.info.network.features
        unknown = _nan_row(channels)
        rows.write(bytes(HEADER_BYTES))
        count = 0

        def write(answer: Answer, _: Any) -> None:
            nonlocal count
            count += 1
            said = {"file": answer.file}
            if answer.error is not None:
                said["error"] = answer.error
            rows.write(unknown if answer.error is not None else answer.value)
            lines.write(as_json(said).encode() + b"\n")

        code = answer_all(args, engine, _row, write)
        rows.seek(0)
        rows.write(_header(count, channels))
    return code


def _line(engine: Engine, source: Any, file: str) -> str:
    started = perf_counter()
    features = engine.embed(source)
    ms = round((perf_counter() - started) * 1e3, 3)
    return as_json({"file": file, "features": features.tolist(), "ms": ms})


def _row(engine: Engine, source: Any, file: str) -> bytes:
    return engine.embed(source).astype("<f4").tobytes()


def _nan_row(channels: int) -> bytes:
    import struct

    return struct.pack("<f", float("nan")) * channels


def _header(rows: int, channels: int) -> bytes:
    """Of NumPy's format 1.0, padded to `HEADER_BYTES`."""
    said = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {channels}), }}"
    room = HEADER_BYTES - 10
    return b"\x93NUMPY\x01\0" + room.to_bytes(2, "little") + said.ljust(room - 1).encode() + b"\n"
