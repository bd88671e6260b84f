"""The threads of an engine that runs on more than one: started by the first call that needs them,
asleep while there is none, ended with the engine, and begun anew in a forked child."""

from __future__ import annotations

from ..model.open_file import private_memory
from ..untyped import Any, NamedTuple
from .process import Process, here


class _Started(NamedTuple):
    """What a process has started. One value, so that no thread can see half of it."""

    process: Process
    handle: Any  # mnv2_pool *, or NULL where the system gave no threads
    memory: Any  # that the pool lies in


class Pool:
    """`threads` threads of the C core, the caller's among them."""

    def __init__(self, ffi: Any, lib: Any, threads: int, kept: object = None) -> None:
        """`kept` is what its threads may look at as long as there are any."""
        self._ffi, self._lib, self._threads, self._kept = ffi, lib, threads, kept
        self._started: _Started | None = None

    def handle(self) -> Any:
        """The pool as the C core's `mnv2_pool *`; NULL where the system gave no more threads, which
        is said once, by a RuntimeWarning."""
        started, process = self._started, here()
        if started is None or started.process is not process:
            with process.lock:
                started = self._started
                if started is None or started.process is not process:
                    # A parent's pool is let go of, not stopped: its threads are the parent's.
                    started = self._started = self._start()
        return started.handle

    def _start(self) -> _Started:
        memory = private_memory(self._lib.mnv2_pool_bytes(self._threads))
        start = self._ffi.from_buffer(memory, require_writable=True)
        if self._lib.mnv2_pool_start(start, self._threads) == self._lib.MNV2_OK:
            return _Started(here(), self._ffi.cast("mnv2_pool *", start), memory)
        import warnings

        warnings.warn(
            f"the system gave no {self._threads - 1} more threads; one does the work of all. Raise "
            "the limit of processes, or ask for threads=1",
            RuntimeWarning,
            stacklevel=6,
        )
        return _Started(here(), self._ffi.NULL, memory)

    def __del__(self) -> None:
        started = getattr(self, "_started", None)
        if started and started.handle and started.process is here():
            self._lib.mnv2_pool_stop(started.handle)
