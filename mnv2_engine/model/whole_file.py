"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import InputError, MnvError
from ..untyped import BinaryIO

SECONDS_TO_LOCK = 60  # that a writer has, between making its file and locking it


def write_whole(
    name: str, what: str, size: int | None, write: Callable[[BinaryIO], object]
) -> None:
    """Make the file `name`, `what` for people, of about `size` bytes (None: it is not known before)
    that `write` writes.

    It appears under its name by one rename, after it was flushed to disk; upon any error an older
    file of that name stays as it was and nothing is left beside it. What writers of that name left
    that were killed is removed. Raises InputError where something other than a file has that name,
    and MnvError if the file cannot be written.
    """
    if os.path.exists(name) and not os.path.isfile(name):
        raise InputError(f"{name}: cannot be replaced by {what}, it is no regular file")
    folder, base = os.path.split(name)
    _remove_abandoned(folder, base)
    temporary = os.path.join(folder, f".{base[:100]}.{os.urandom(6).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            _lock(file)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, name)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, (OSError, ValueError)) and not isinstance(error, MnvError):
            room = "room" if size is None else f"{size} bytes to spare"
            raise MnvError(
                f"{name}: cannot be written: {error}; choose a folder that is writable and has "
                f"{room}"
            ) from error
        raise


def _remove_abandoned(folder: str, base: str) -> None:
    """Remove temporary files of `base` whose writers are gone: they have lost their locks."""
    pattern = re.compile(re.escape(f".{base[:100]}.") + r"[0-9a-f]{12}\.tmp")
    with suppress(OSError):
        for name in filter(pattern.fullmatch, os.listdir(folder or os.curdir)):
            path = os.path.join(folder, name)
            with suppress(OSError), open(path, "rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > SECONDS_TO_LOCK:
                    _lock(file)
                    os.unlink(path)


def _lock(file: BinaryIO) -> None:
    """Hold `file` as long as it is open, in this process. Raises OSError where another does."""
    with suppress(ImportError):  # Windows removes no open file anyway
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            if "w" not in file.mode and "x" not in file.mode:
                raise
