"""Jobs done by several processes, their answers in the order of the jobs.

Each worker decodes and runs its own photographs, so one decodes while another runs the network.
A few jobs wait in each worker's pipe, and no more than `AHEAD` a worker are answered before their
turn: memory does not grow with the number of jobs. A worker that ends is replaced and its jobs are
done again; a job that ends `MOST_DEATHS` workers is given up.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from ..errors import MnvError

J = TypeVar("J")
A = TypeVar("A")

WAITING = 4  # jobs that a worker has, the one at work included
AHEAD = 64  # answers a worker that may wait for their turn
MOST_DEATHS = 3  # of workers, before the job that they were at is given up
MOST_FAILED_STARTS = 3  # of workers in a row, before any has answered
SECONDS_TO_END = 5.0


def in_order(
    jobs: Iterable[J],
    answer: Callable[[J], A],
    workers: int,
    lost: Callable[[J, str], A],
    *,
    own: Callable[[J], bool] = lambda job: False,
    say: Callable[[str], object] = lambda text: None,
    method: str | None = None,
) -> Iterator[A]:
    """`answer` of every job, in their order, by up to `workers` processes.

    `jobs` are taken one by one, shortly before their turn. Those for which `own` is true are
    answered in this process. An MnvError of `answer` is raised here. `lost(job, reason)` stands in
    for the answer of a job whose workers end. `say` is told of each worker that ended. `method` is
    multiprocessing's, ``fork`` or ``spawn``; by default fork on Linux where this process has no
    other threads, else spawn. For spawn `answer` and the jobs must pickle.
    """
    crew = _Crew(answer, workers, method or start_method(), say)
    queue: _Queue[J, A] = _Queue(jobs, workers * AHEAD)
    done = False
    try:
        while True:
            _hand_out(queue, crew, answer, own)
            yield from queue.in_turn()
            if queue.is_done():
                break
            for number, result in crew.receive():
                if isinstance(result, _Death):
                    queue.again(number, result, lost)
                elif isinstance(result, MnvError):
                    raise result
                else:
                    queue.answered(number, result)
        done = True
    finally:
        crew.end(at_once=not done)


def start_method() -> str:
    """How workers are started: by fork where that is safe and the system's habit."""
    if sys.platform == "linux" and threading.active_count() == 1:
        return "fork"
    return "spawn"


def _hand_out(
    queue: _Queue[J, A], crew: _Crew, answer: Callable[[J], A], own: Callable[[J], bool]
) -> None:
    """Give jobs to whoever has room for them, to each worker one before any has two."""
    while crew.has_room() and (found := queue.take()) is not None:
        number, job = found
        if own(job):
            queue.answered(number, answer(job))
        else:
            crew.give(number, job)


class _Death:
    """A worker ended while it had a job."""

    def __init__(self, reason: str, was_at_it: bool) -> None:
        self.reason = reason
        self.was_at_it = was_at_it  # or the job still waited behind another


class _Queue(Generic[J, A]):
    """Jobs by their numbers, and answers that wait for their turn."""

    def __init__(self, jobs: Iterable[J], ahead: int) -> None:
        self._jobs = iter(jobs)
        self._ahead = ahead
        self._next = self._turn = 0  # the job to take, and the answer to give
        self._again: deque[int] = deque()
        self._out: dict[int, J] = {}  # taken, and not answered
        self._ready: dict[int, A] = {}
        self._deaths: dict[int, int] = {}
        self._has_more = True

    def take(self) -> tuple[int, J] | None:
        """A job to do now, if there is one."""
        if self._again:
            number = self._again.popleft()
            return number, self._out[number]
        if not self._has_more or self._next - self._turn >= self._ahead:
            return None
        try:
            job = next(self._jobs)
        except StopIteration:
            self._has_more = False
            return None
        number = self._next
        self._next += 1
        self._out[number] = job
        return number, job

    def answered(self, number: int, answer: A) -> None:
        del self._out[number]
        self._deaths.pop(number, None)
        self._ready[number] = answer

    def again(self, number: int, death: _Death, lost: Callable[[J, str], A]) -> None:
        """Do a job of a worker that ended once more, or give it up."""
        deaths = self._deaths.get(number, 0) + death.was_at_it
        if deaths >= MOST_DEATHS:
            reason = f"{deaths} processes that answered it ended, the last {death.reason}"
            self.answered(number, lost(self._out[number], reason))
            return
        self._deaths[number] = deaths
        self._again.append(number)

    def in_turn(self) -> Iterator[A]:
        """The answers whose turn it is."""
        while self._turn in self._ready:
            yield self._ready.pop(self._turn)
            self._turn += 1

    def is_done(self) -> bool:
        return not (self._has_more or self._out or self._ready)


class _Worker:
    def __init__(self, process: Any, connection: Connection[Any, Any]) -> None:
        self.process, self.connection = process, connection
        self.jobs: deque[int] = deque()  # in the order in which they were given


class _Crew:
    """The processes, as many as there is work for."""

    def __init__(
        self, answer: Callable[..., Any], most: int, method: str, say: Callable[[str], object]
    ) -> None:
        self._answer, self._most, self._say = answer, most, say
        self._context: Any = multiprocessing.get_context(method)
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def has_room(self) -> bool:
        return len(self._workers) < self._most or any(
            len(worker.jobs) < WAITING for worker in self._workers
        )

    def give(self, number: int, job: object) -> None:
        """Give a job to the worker that has the fewest, or to a new one where all have some."""
        worker = min(self._workers, key=lambda each: len(each.jobs), default=None)
        if worker is None or (worker.jobs and len(self._workers) < self._most):
            worker = self._start()
        worker.jobs.append(number)
        with suppress(OSError):  # it has ended; `receive` will find out
            worker.connection.send((number, job))

    def receive(self) -> Iterator[tuple[int, Any]]:
        """Wait for answers; for each job of a worker that ended, its _Death."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                number, result = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._bury(worker)
                continue
            self._failed_starts = 0
            worker.jobs.remove(number)
            yield number, result

    def end(self, at_once: bool) -> None:
        """Let the workers go, which end when their pipe does; `at_once`: whatever they are at."""
        for worker in self._workers:
            worker.connection.close()
            if at_once:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(SECONDS_TO_END)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        # A forked child has our ends of all pipes. While it holds them, no worker would see this
        # process end.
        inherited: list[Any] = []
        if self._context.get_start_method() == "fork":
            inherited = [*(worker.connection for worker in self._workers), ours]
        process = self._context.Process(
            target=_work, args=(theirs, inherited, self._answer), daemon=True
        )
        with _interrupts_later():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _bury(self, worker: _Worker) -> Iterator[tuple[int, _Death]]:
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join(SECONDS_TO_END)
        if worker.process.exitcode is None:  # it closed its pipe, and lives
            worker.process.kill()
            worker.process.join()
        reason = _ending(worker.process.exitcode)
        self._failed_starts += 1
        if self._failed_starts > MOST_FAILED_STARTS:
            raise MnvError(
                f"worker processes end before they have answered anything, the last {reason}; "
                "use --workers 1 to see why, or give the process more memory"
            )
        self._say(
            f"worker process {worker.process.pid} ended {reason}; another does its photographs"
        )
        for place, number in enumerate(worker.jobs):
            yield number, _Death(reason, place == 0)


def _ending(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Ctrl-C goes to a terminal's whole group. Until a worker ignores it, it is kept waiting."""
    mask = getattr(signal, "pthread_sigmask", None)  # not on Windows
    if mask is None:
        yield
        return
    before = mask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, before)


def _work(
    connection: Connection[Any, Any], inherited: list[Any], answer: Callable[[Any], Any]
) -> None:
    """What a worker does until its pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's affair, which ends the pipe
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for each in inherited:
        each.close()
    with suppress(EOFError, OSError):
        while True:
            number, job = connection.recv()
            try:
                result = answer(job)
            except MnvError as error:
                result = error
            connection.send((number, result))
