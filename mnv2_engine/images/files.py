"""Opening the file of an image: regular ones only, and nothing that waits."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError
from ..untyped import BinaryIO


@contextmanager
def opened(source: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, str]]:
    """The open file and its name. Raises InputError for one that cannot be read."""
    name = os.fsdecode(source)
    try:
        file = open(source, "rb", opener=_without_waiting)  # noqa: SIM115  # for the errors
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: cannot be read: {reason}") from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{name}: not a regular file; read it yourself and give its bytes")
        yield file, name


def _without_waiting(name: str, flags: int) -> int:
    """Opens a FIFO without waiting for someone who writes to it."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
