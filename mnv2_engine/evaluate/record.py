"""The file of results: a line of JSON for each image, behind a line that pins what was run.

A line is written as soon as its image is done, so that a run that was ended in any way goes on
where it stopped. Nothing half-written is trusted: a last line without its end is dropped.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from types import TracebackType
from typing import Any

from ..errors import InputError, MnvError

FORMAT = "mnv2_evaluate"
FORMAT_VERSION = 1
MAX_LINE = 1 << 20  # bytes; one has some hundreds


class Journal:
    """A file of results that is open for one run."""

    def __init__(self, path: str, pinned: dict[str, Any], force: bool = False) -> None:
        """Opens `path`, which is made if need be. `pinned` are plain JSON values by what they are
        for people; `force` drops what results the file has.

        Raises InputError for a file that is no such file, or of another run, or is being written
        by another process; MnvError where it cannot be written.
        """
        self.path = path
        self._header = _line({FORMAT: FORMAT_VERSION, **pinned})
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError(f"{path}: is no regular file; choose another --out")
        try:
            # Unbuffered: what is written is the system's, even if the process ends now.
            self._file = io.FileIO(path, "r+", opener=_made_if_need_be)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            self._lock()
            self._begin(pinned, force)
        except BaseException:
            self._file.close()
            raise

    def kept(self) -> Iterator[dict[str, Any]]:
        """The records that are there already; to be exhausted before any is added. Raises
        InputError for a line that is whole but no record."""
        end = len(self._header)
        with open(self.path, "rb") as file:
            file.seek(end)
            number = 1
            while line := file.readline(MAX_LINE):
                if not line.endswith(b"\n"):
                    break
                number += 1
                record = _parsed(line)
                if record is None or record.get("n") != number - 2:
                    raise self.damaged(number)
                yield record
                end += len(line)
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, record: dict[str, Any]) -> None:
        """Write a record, whole as far as the process is concerned. Raises MnvError where the disk
        is full or gone."""
        self._write(_line(record))

    def damaged(self, number: int) -> InputError:
        """The error for a line, counted from 1, that is no record of this run."""
        return InputError(
            f"{self.path}: line {number} is no result of this run: the file was altered; delete "
            "that line and all behind it, or give --force to begin anew"
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            os.fsync(self._file.fileno())
        self._file.close()

    def _begin(self, pinned: dict[str, Any], force: bool) -> None:
        first = self._file.read(MAX_LINE) or b""
        line, end, _ = first.partition(b"\n")
        torn = not end and self._header.startswith(line)  # empty, or ended in its first line
        found = _parsed(line) if end else None
        if torn or (force and found is not None and FORMAT in found):
            self._file.seek(0)
            self._file.truncate(0)
            self._write(self._header)
            return
        if line + end == self._header:
            return
        if found is None or FORMAT not in found:  # a photograph, a model file: not even by force
            raise InputError(
                f"{self.path}: exists and holds no results of `mnv2 evaluate`; choose another --out"
            )
        if found[FORMAT] != FORMAT_VERSION:
            raise InputError(
                f"{self.path}: results of format {found[FORMAT]!r:.20}, not {FORMAT_VERSION}; "
                "choose another --out, or give --force to replace it"
            )
        other = [key for key in pinned if found.get(key) != pinned[key]]
        raise InputError(
            f"{self.path}: results of another run: {', '.join(other) or 'the settings'} differ; "
            "choose another --out, or give --force to replace it"
        )

    def _write(self, line: bytes) -> None:
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _lock(self) -> None:
        """Two runs would mix their lines."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.path}: another process is writing to it; wait for its end, or choose "
                "another --out"
            ) from None
        except OSError:  # a file system without locks
            return


def _made_if_need_be(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def file_sha256(path: str) -> str:
    """Of the whole file. Raises InputError where it cannot be read."""
    digest = sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unwritable(path: str, error: OSError) -> MnvError:
    return MnvError(
        f"{path}: cannot be written: {error.strerror or error}; what was written of it is kept"
    )
