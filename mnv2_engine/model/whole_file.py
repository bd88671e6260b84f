"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

from ..errors import InputError, MnvError


def write_whole(name: str, what: str, size: int, write: Callable[[BinaryIO], object]) -> None:
    """Make the file `name`, `what` for people, of about `size` bytes that `write` writes.

    It appears under its name by one rename, after it was flushed to disk; upon any error an older
    file of that name stays as it was and nothing is left beside it. Raises InputError where
    something other than a file has that name, and MnvError if the file cannot be written.
    """
    if os.path.exists(name) and not os.path.isfile(name):
        raise InputError(f"{name}: cannot be replaced by {what}, it is no regular file")
    folder, base = os.path.split(name)
    temporary = os.path.join(folder, f".{base[:100]}.{os.urandom(6).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, name)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, (OSError, ValueError)) and not isinstance(error, MnvError):
            raise MnvError(
                f"{name}: cannot be written: {error}; choose a folder that is writable and has "
                f"{size} bytes to spare"
            ) from error
        raise
