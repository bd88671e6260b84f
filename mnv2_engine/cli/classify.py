"""`mnv2 classify`: find the images that were asked for, and answer them one by one."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError, shown
from ..images.image_files import ImageFile, find_images
from .options import MODEL_VARIABLE
from .output import as_json, complain, progress, say, shown_log

if TYPE_CHECKING:
    from ..engine import Engine

STDIN = "-"
STDIN_LIMIT = 1 << 29  # bytes; a photograph has some millions


def run(args: Namespace) -> int:
    """Answer every photograph, and return whether some could not be read: exit code 0 or 1."""
    from ..engine import Engine

    if args.photos.count(STDIN) > 1:
        raise InputError("standard input (-) is given twice, but can be read only once")
    unreadable = 0
    with (
        shown_log(args.backend),
        Engine.load(
            _model(args.model),
            threads=args.threads,
            backend=args.backend,
            precision=args.precision,
            max_pixels=args.max_pixels,
            formats=args.formats,
            decode=args.decode,
        ) as engine,
    ):
        photos = list(_photos(args.photos))
        with progress(len(photos)) as bar:
            for photo in photos:
                answer = _answer(engine, photo, args.top_k)
                if "error" in answer:
                    unreadable += 1
                    complain(answer["error"], bar)
                if args.json:
                    say(as_json(answer), bar)
                elif "error" not in answer:
                    say(_table(answer), bar)
                if bar is not None:
                    bar.update()
    if unreadable and len(photos) > 1:
        complain(f"{unreadable} of {len(photos)} could not be answered")
    return int(unreadable > 0)


def _model(given: str | None) -> str:
    from . import demo

    chosen = given or os.environ.get(MODEL_VARIABLE) or demo.converted_model()
    if not chosen:
        raise InputError(
            f"no model: give --model M.npz, or set {MODEL_VARIABLE}, or run `mnv2 demo` once, "
            "whose model is then used"
        )
    return chosen


def _photos(names: Sequence[str]) -> Iterator[ImageFile]:
    """Every image of the command line, folders searched in the order of their names."""
    for name in names:
        if name == STDIN:
            yield ImageFile(name)
        else:
            yield from find_images([name])


def _answer(engine: Engine, photo: ImageFile, top_k: int) -> dict[str, Any]:
    """What --json prints of one image."""
    import time

    started = time.perf_counter()
    try:
        if photo.problem:
            raise InputError(photo.problem)
        predictions = engine.predict(
            _read_stdin() if photo.name == STDIN else photo.name, top_k=top_k
        )
    except InputError as error:
        name = "standard input" if photo.name == STDIN else photo.name
        reason = str(error)
        if not reason.startswith(name):
            reason = f"{name}: {reason}"
        return {"file": photo.name, "error": reason}
    return {
        "file": photo.name,
        "predictions": predictions,
        "ms": round((time.perf_counter() - started) * 1e3, 3),
    }


def _read_stdin() -> bytes:
    data = sys.stdin.buffer.read(STDIN_LIMIT + 1)
    if len(data) > STDIN_LIMIT:
        raise InputError(f"more than {STDIN_LIMIT} bytes: expected one encoded image")
    return data


def _table(answer: dict[str, Any]) -> str:
    lines = [shown(answer["file"])]
    for prediction in answer["predictions"]:
        label = shown(str(prediction.label))
        lines.append(f"  {prediction.probability:7.2%}  {prediction.index:4}  {label}")
    return "\n".join(lines)
