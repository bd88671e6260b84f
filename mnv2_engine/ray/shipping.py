"""The model file on each node, once, whatever the number of actors.

A node that has the file under its path, with the same content, maps that one. Any other writes it
to a folder of its own, from Ray's object store, and all its actors map it there.
"""

from __future__ import annotations

import os
import stat
import tempfile
from hashlib import sha256
from typing import Any

from ..errors import InputError, MnvError
from ..model.whole_file import write_whole


class ShippedModel:
    """A model file that travels with a job. Make one with `ship`."""

    def __init__(self, path: str, digest: str, content: Any) -> None:
        """`content` is a reference to the file's bytes in Ray's object store."""
        self.path = path
        self.digest = digest
        self._content = content

    def local(self) -> str:
        """A path on this node that holds the model."""
        if _digest(self.path) == self.digest:
            return self.path
        path = os.path.join(_own_folder(), f"{self.digest}.npz")
        if _digest(path) != self.digest:
            import ray

            data = ray.get(self._content)
            write_whole(path, "a model file", len(data), lambda file: file.write(data))
        return path


def ship(path: str) -> ShippedModel:
    """Put a model file into Ray's object store. Ray must be running."""
    import ray

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return ShippedModel(os.path.abspath(path), sha256(data).hexdigest(), ray.put(data))


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return sha256(file.read()).hexdigest()
    except OSError:
        return None


def _own_folder() -> str:
    """A folder that no other user can write into."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = os.path.join(tempfile.gettempdir(), f"mnv2_engine-{user}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        raise MnvError(f"{folder}: is not a folder of this user alone; remove it, or set TMPDIR")
    return folder
