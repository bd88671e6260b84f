"""A contestant of a race: an engine in a process of its own that runs when it is told to.

Processes of their own, since the thread pools of several engines in one process disturb each
other: they go on spinning when a run has ended. For the same reason a contestant is stopped
(SIGSTOP) for as long as another one runs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from measure import milliseconds, pin

Make = Callable[..., Callable[[], Any]]


class Contestant:
    """`make(*arguments)`, called in the new process, gives the callable that is timed there."""

    def __init__(self, make: Make, arguments: tuple[Any, ...], threads: int, inner: int) -> None:
        # Spawned: a fork would take along what this process has loaded.
        context = multiprocessing.get_context("spawn")
        self._inner = inner
        self._pipe, theirs = context.Pipe()
        # Not a daemon: those are ended by SIGTERM, which a stopped process does not take.
        self._process = context.Process(target=_serve, args=(theirs, make, arguments, threads))
        self._process.start()
        theirs.close()
        try:
            self.output = self._answer()  # of the first run
        except BaseException:
            self.end()
            raise

    def __call__(self) -> float:
        """Milliseconds of a run, the mean of `inner`, after one that is not counted: it finds the
        caches as others left them."""
        os.kill(self._pid, signal.SIGCONT)
        self._pipe.send(self._inner)
        return float(self._answer())

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise SystemExit(f"a contestant ended by itself, exit code {code}") from None
        os.kill(self._pid, signal.SIGSTOP)
        return answer


@contextmanager
def contestants(
    made: list[tuple[Make, tuple[Any, ...], int]], inner: int
) -> Iterator[list[Contestant]]:
    """Starts (make, arguments, threads) one after the other, and ends them all."""
    # So that `timeout` does not leave stopped processes behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started: list[Contestant] = []
    try:
        for make, arguments, threads in made:
            started.append(Contestant(make, arguments, threads, inner))
        yield started
    finally:
        for contestant in started:
            contestant.end()


def _serve(pipe: Any, make: Make, arguments: tuple[Any, ...], threads: int) -> None:
    pin(threads)
    run = make(*arguments)
    pipe.send(run())
    while True:
        try:
            inner = pipe.recv()
        except EOFError:  # the race is over, or its process is
            return
        run()
        pipe.send(milliseconds(run, inner))
