"""What an engine has done so far, in numbers. Counting costs less than a microsecond an image."""

from __future__ import annotations

from .executors.process import Process, here
from .untyped import NamedTuple


class Stats(NamedTuple):
    """Of one engine in this process; a forked child counts from zero."""

    images: int  # answered
    arenas: int  # in use now: calls that run the network at this moment
    most_arenas: int  # in use at once, at most
    arena_bytes: int  # of each
    image_seconds: float  # decoding, resizing and cropping: from what was given to pixels
    network_seconds: float  # from pixels to logits, summed over calls that overlap


class Account:
    """Gathers an engine's Stats. Usable from many threads."""

    def __init__(self, arena_bytes: int) -> None:
        self._arena_bytes = arena_bytes
        self._begin(here())

    def _begin(self, process: Process) -> None:
        self._process = process
        self._images = self._arenas = self._most = 0
        self._image_seconds = self._network_seconds = 0.0

    def enter(self, image_seconds: float) -> None:
        """A run begins, of an image that took so long to become pixels."""
        process = here()
        with process.lock:
            if self._process is not process:
                self._begin(process)
            self._image_seconds += image_seconds
            self._arenas += 1
            if self._arenas > self._most:
                self._most = self._arenas

    def leave(self, network_seconds: float, images: int = 1) -> None:
        """It has ended, after so long, and so many images are answered."""
        with self._process.lock:  # that of `enter`: no fork returns from within a run
            self._images += images
            self._arenas -= 1
            self._network_seconds += network_seconds

    def stats(self) -> Stats:
        """What was counted so far."""
        process = here()
        with process.lock:
            if self._process is not process:
                self._begin(process)
            return Stats(
                self._images,
                self._arenas,
                self._most,
                self._arena_bytes,
                self._image_seconds,
                self._network_seconds,
            )
