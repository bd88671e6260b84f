"""The threads of an engine that runs on more than one: started by the first call that needs them,
asleep while there is none, ended with the engine, and begun anew in a forked child."""

from __future__ import annotations

import os
import warnings
from _thread import allocate_lock
from typing import Any

from .memory import private_memory


class Pool:
    """`threads` threads of the C core, the caller's among them."""

    def __init__(self, ffi: Any, lib: Any, threads: int, kept: object = None) -> None:
        """`kept` is what its threads may look at as long as there are any."""
        self._ffi, self._lib, self._threads, self._kept = ffi, lib, threads, kept
        self._process = os.getpid()
        self._lock = allocate_lock()
        self._memory: Any = None
        self._started: Any = None

    def handle(self) -> Any:
        """The pool as the C core's `mnv2_pool *`; NULL where one thread is enough or the system
        gave no more, which is said once, by a RuntimeWarning."""
        if self._threads == 1:
            return self._ffi.NULL
        if self._process != os.getpid():
            # What there is belongs to the parent: threads, lock and all.
            self._started = self._memory = None
            self._lock = allocate_lock()
            self._process = os.getpid()
        if self._started is None:
            with self._lock:
                if self._started is None:
                    self._started = self._start()
        return self._started

    def _start(self) -> Any:
        self._memory = private_memory(self._lib.mnv2_pool_bytes(self._threads))
        start = self._ffi.from_buffer(self._memory, require_writable=True)
        if self._lib.mnv2_pool_start(start, self._threads) == self._lib.MNV2_OK:
            return self._ffi.cast("mnv2_pool *", start)
        warnings.warn(
            f"the system gave no {self._threads - 1} more threads; one does the work of all. Raise "
            "the limit of processes, or ask for threads=1",
            RuntimeWarning,
            stacklevel=5,
        )
        return self._ffi.NULL

    def __del__(self) -> None:
        started = getattr(self, "_started", None)
        if started and self._process == os.getpid():
            self._lib.mnv2_pool_stop(started)
