"""A contestant: an engine in a process of its own that runs when it is told to.

Processes of their own, since the thread pools of several engines in one process disturb each
other: they go on spinning when a run has ended. For the same reason a contestant is stopped
(SIGSTOP) for as long as another one runs.

A contestant and its process exchange lines of JSON: first what to load, then for every turn how
often to run, answered by the time that it took and how long it waited for a CPU meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..errors import MnvError
from .python import started

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .entrants import Entrant

SERVE = "from mnv2_engine.bench.contestant import serve; serve()"
# A turn: long enough for the clock to tell, short enough that all see the same machine.
TURN_MS, LEAST_INNER = 15.0, 3
LAST_LINES = 5  # of what a failed process said


class Contestant:
    """An entrant that has loaded its file and run once. Call it for a turn."""

    def __init__(self, entrant: Entrant) -> None:
        self.name = entrant.name
        self.ms = self.waited_ms = 0.0  # of all turns; and for a CPU that someone else had
        self._inner = LEAST_INNER
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._process = subprocess.Popen(
            **started(
                SERVE,
                environment=entrant.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                encoding="utf-8",
            )
        )
        try:
            ready = self._ask(entrant.task)
        except BaseException:
            self.end()
            raise
        self.settings: list[str] = ready["settings"]
        self._logits: list[float] = ready["logits"]

    @property
    def logits(self) -> NDArray[np.float32]:
        """Of the first run, (classes,)."""
        import numpy as np

        return np.array(self._logits, np.float32)

    def __call__(self) -> float:
        """Milliseconds of a run, the mean of `inner`, after one that is not counted: it finds the
        caches as others left them."""
        self._signal("SIGCONT")
        answer = self._ask(self._inner)
        self.ms += answer["ms"] * self._inner
        self.waited_ms += answer["waited"]
        return float(answer["ms"])

    def settle(self) -> None:
        """Find how many runs make a turn: TURN_MS, or LEAST_INNER where that takes longer."""
        ms = min(self() for _ in range(2))
        self._inner = max(LEAST_INNER, round(TURN_MS / max(ms, 1e-3)))
        self.ms = self.waited_ms = 0.0

    def end(self) -> None:
        """Its process, too. Ending twice is fine."""
        self._process.kill()  # not SIGTERM, which a stopped process does not take
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with suppress(OSError):
                assert stream is not None
                stream.close()

    def _ask(self, question: object) -> Any:
        ask, answers = self._process.stdin, self._process.stdout
        assert ask is not None
        assert answers is not None
        line = ""
        with suppress(BrokenPipeError):
            print(json.dumps(question), file=ask, flush=True)
            line = answers.readline()
        if not line:
            raise MnvError(f"the process of {self.name} ended by itself{self._last_words()}")
        self._signal("SIGSTOP")
        answer = json.loads(line)
        if "error" in answer:
            raise MnvError(answer["error"])
        return answer

    def _signal(self, name: str) -> None:
        if hasattr(signal, name):  # Windows has neither
            os.kill(self._process.pid, getattr(signal, name))

    def _last_words(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        return f", exit code {code}" + "".join(f"\n  {line}" for line in lines)


@contextmanager
def contestants() -> Iterator[Callable[[Entrant], Contestant]]:
    """Gives a function that starts an entrant's process; ends them all."""
    running: list[Contestant] = []

    def start(entrant: Entrant) -> Contestant:
        running.append(Contestant(entrant))
        return running[-1]

    with _ended_by_signals():
        try:
            yield start
        finally:
            for contestant in running:
                contestant.end()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Lets SIGTERM raise SystemExit, so that `timeout` leaves no stopped processes behind."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # in a thread that is not the main one
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- in the contestant's process ----------------------------------------------------------


def serve() -> None:
    """What a contestant's process does until its questions end."""
    from .turns import milliseconds

    # Whatever a peer prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**said: object) -> None:
        print(json.dumps(said), file=answers, flush=True)

    questions = iter(sys.stdin.readline, "")
    try:
        run, real, settings = loaded(json.loads(next(questions)))
        answer(logits=real(run()).tolist(), settings=settings)
    except MnvError as error:
        answer(error=str(error))
        return
    for question in questions:
        inner = json.loads(question)
        run()
        before = _waited_ms()
        ms = milliseconds(run, inner)
        answer(ms=ms, waited=_waited_ms() - before)


def loaded(task: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], Any], list[str]]:
    """(a call that runs the image, its output's logits (classes,), settings) of a task, or of a
    detector's its boxes and scores, one after the other. A task has
    `peer`, "" for this engine; `path`, `threads`, `size` (H, W), `mean` and `std`; and `engine`,
    keyword arguments of Engine.load. The image has seeded pixels, the same for everyone."""
    import numpy as np

    from .turns import pin

    threads, size = task["threads"], tuple(task["size"])
    pin(threads)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    if not task["peer"]:
        from ..engine import Engine

        engine = Engine.load(task["path"], threads=threads, **task["engine"])
        info = engine.info
        settings = [info.backend, *([info.isa] if info.isa else []), info.precision]
        if info.network.detection is not None:
            return (
                lambda: engine.raw_boxes(pixels),
                lambda outputs: np.concatenate([each.reshape(-1) for each in outputs]),
                settings,
            )
        return lambda: engine.logits(pixels), lambda output: output.reshape(-1), settings
    from ..peers import PEERS

    session = PEERS[task["peer"]].load(task["path"], threads, size, as_is=True)
    session.bind(session.input.suited(pixels, task["mean"], task["std"]))
    return session.invoke, session.real, list(session.notes)


def _waited_ms() -> float:
    """How long the threads of this process were ready to run while others had the CPU; 0 where
    the system does not tell."""
    waited = 0
    with suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with suppress(OSError), open(f"/proc/self/task/{task}/schedstat", "rb") as file:
                waited += int(file.read().split()[1])  # nanoseconds
    return waited / 1e6
