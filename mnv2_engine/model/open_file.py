"""An open file, and whether it is still what it was when it was opened.

A mapping follows its file: who overwrites a model file in place gives an engine other weights, and
who shortens it takes the memory away under the kernels. Neither is told to the process. So the
descriptor is kept, and one system call (about a microsecond) says whether the size or the time of
the last change moved. What cannot be seen: a change within the same tick of the file system's clock
(4 ms or so) as the one before it.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys

from ..errors import ModelFileError


class OpenFile:
    """A regular file, open for reading, and its identity at that time."""

    def __init__(self, name: str) -> None:
        """Raises ModelFileError, without the name, for what is not a regular file or is empty."""
        self._handle = -1
        try:
            # Not to wait for a writer if it is a FIFO; O_BINARY exists on Windows only.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            self._handle = os.open(name, flags)
            state = os.fstat(self._handle)
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise ModelFileError(f"cannot open the model file: {reason}") from None
        self.place = os.path.abspath(name)
        self._device, self._inode = state.st_dev, state.st_ino
        self.size, self._time = state.st_size, state.st_mtime_ns
        self._opened = _identity(state)
        if not stat.S_ISREG(state.st_mode) or not self.size:
            self.close()
            what = "an empty file" if stat.S_ISREG(state.st_mode) else "not a regular file"
            raise ModelFileError(f"{what}; expected a .npz model file")

    def map(self) -> mmap.mmap:
        """The whole file, read-only."""
        try:
            if sys.version_info >= (3, 13):  # else it keeps a second descriptor
                return mmap.mmap(self._handle, self.size, access=mmap.ACCESS_READ, trackfd=False)
            return mmap.mmap(self._handle, self.size, access=mmap.ACCESS_READ)
        except (OSError, ValueError, OverflowError) as error:
            raise ModelFileError(f"cannot be mapped into memory: {error}") from None

    def copy(self) -> mmap.mmap:
        """The whole file in private memory, which no one else can change."""
        try:
            made = private_memory(self.size)
            with (
                open(self._handle, "rb", buffering=0, closefd=False) as file,
                memoryview(made) as view,
            ):
                at = 0
                while at < self.size and (count := file.readinto(view[at:])):
                    at += count
        except OSError as error:
            raise ModelFileError(f"cannot be copied into memory: {error}") from None
        if at < self.size or self.change() is not None:
            raise ModelFileError("was changed while it was read; load it again")
        return made

    def change(self) -> str | None:
        """What happened to the open file since, for people; None where nothing did."""
        if self._handle < 0:
            return None
        try:
            state = os.fstat(self._handle)
        except OSError as error:
            from errno import EBADF

            if error.errno == EBADF:  # closed by others, as daemons do at their start
                self._handle = -1
                return None
            return f"cannot be looked at any more ({error.strerror})"  # of a server that is gone
        if state.st_mtime_ns == self._time and state.st_size == self.size:
            return None
        if (state.st_dev, state.st_ino) != (self._device, self._inode):
            self._handle = -1  # closed by others, and the number given to another file
            return None
        if state.st_size != self.size:
            return f"was overwritten: it has {state.st_size} bytes and had {self.size}"
        return "was overwritten in place"

    def only_touched(self) -> None:
        """Take what the file is now for what it was: only the time had changed."""
        self._time = os.fstat(self._handle).st_mtime_ns

    def has_size(self) -> bool:
        """Whether the file is as long as it was."""
        return os.fstat(self._handle).st_size == self.size

    def is_elsewhere(self) -> bool:
        """Whether the file's name now leads to another file, to a changed one, or nowhere."""
        try:
            return _identity(os.stat(self.place)) != self._opened
        except (OSError, ValueError):
            return True

    def close(self) -> None:
        """Let the descriptor go; `change` then sees nothing. Harmless if repeated."""
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        try:
            state = os.fstat(handle)
            if (state.st_dev, state.st_ino) == (self._device, self._inode):
                os.close(handle)
        except (OSError, AttributeError):  # closed by others; or not even opened wholly
            return

    def __del__(self) -> None:
        self.close()


def private_memory(size: int) -> mmap.mmap:
    """`size` bytes of zeroed memory, page-aligned, copied on write after fork: for a copy of a
    file, and for what else takes none from NumPy."""
    if os.name == "nt":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
