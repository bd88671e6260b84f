"""Writing answers to standard output, complaints and progress to standard error; and what may be
overwritten."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from ..errors import InputError, shown

BAR_FROM = 5  # units of work; fewer are done before a bar would help


def progress(total: int | None, unit: str = "image") -> Any:
    """tqdm's bar as a context manager, or None in one where a bar would only be noise. A `total`
    of None is one that is large and not known."""
    if (total is None or total >= BAR_FROM) and sys.stderr is not None and sys.stderr.isatty():
        with suppress(ImportError):  # an ornament: without tqdm there is none
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no thread of its own, which a fork would not like
            return tqdm(total=total, unit=unit, file=sys.stderr)
    return nullcontext()


def say(text: str, bar: Any = None) -> None:
    """Print an answer now, above the progress bar if there is one."""
    text = "\n".join(shown(line) for line in text.split("\n"))
    if bar is None:
        print(text, flush=True)
    else:
        bar.write(text, file=sys.stdout)
        sys.stdout.flush()


def complain(text: str, bar: Any = None) -> None:
    """Print a line about what went wrong, to standard error if anyone reads it."""
    line = f"mnv2: {shown(text)}"
    with suppress(OSError):
        if bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            bar.write(line, file=sys.stderr)


@contextmanager
def shown_log(backend: str | None) -> Iterator[None]:
    """Shows what the engine logs meanwhile, such as that it compiles, if a `backend` is asked for
    that may have something to say. The C core has not, and needs no logging to be imported."""
    from ..executors.backends import has_core, requested

    if requested(backend) != "numba" and has_core():
        yield
        return
    import logging

    class Complaints(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complain(record.getMessage())

    logger, handler = logging.getLogger("mnv2_engine"), Complaints()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def as_json(value: object) -> str:
    """`value` as one line of JSON."""
    import json

    return json.dumps(plain(value), allow_nan=False)


def plain(value: Any) -> Any:
    """`value` in JSON's own types: named tuples become objects."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: plain(part) for key, part in value._asdict().items()}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list, range)):
        return [plain(part) for part in value]
    return value


def may_write(path: str, force: bool, source: str, what: str, name: str) -> None:
    """Raise InputError where `path` would replace its own source, or any file without --force."""
    if not os.path.exists(path):
        return
    if os.path.exists(source) and os.path.samefile(source, path):
        raise InputError(f"{path}: is {what}; choose another {name}")
    if not force:
        raise InputError(f"{path}: exists already; give --force to replace it")


def abandon_output() -> None:
    """Point the standard streams at nothing, lest the interpreter fail once more when it ends."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
            continue
        with suppress(OSError, ValueError, AttributeError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
