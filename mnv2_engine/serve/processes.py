"""`mnv2 serve`: uvicorn around the application, in one process or in workers.

Workers are forked from a parent that has loaded the models, so they share weights, code and the
interpreter's own objects (gc.freeze keeps the collector from writing into those). All accept from
one socket. The parent starts a worker anew that has died, and passes SIGTERM and SIGHUP on.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ..engine import Engine
from ..errors import MnvError, missing_extra
from .application import app
from .limits import Limits
from .metrics import Metrics
from .models import warm_up

TOO_SOON = 1.0  # seconds of life below which a worker counts as one that cannot start
MOST_FAILED_STARTS = 5
BACKLOG = 2048  # connections that the system keeps for workers to take
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD) if os.name != "nt" else ()
MAX_HEADER = 64 << 10  # bytes of a request's header


class Service(NamedTuple):
    """What to serve, and how."""

    engines: Mapping[str, Engine]
    limits: Limits
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    watch_seconds: float = 2.0
    stop_seconds: float = 30.0  # for requests to end after SIGTERM


def run(service: Service, say: Callable[[str], object]) -> int:
    """Serve until SIGTERM or SIGINT: the exit code. `say` is told the address and what happens.
    Raises MissingExtraError without uvicorn, MnvError for an address that cannot be had."""
    try:
        import uvicorn  # noqa: F401
    except ImportError:
        raise missing_extra("uvicorn", "serve", "mnv2 serve") from None
    limits = service.limits.checked()
    for engine in service.engines.values():
        warm_up(engine)
    listener = _listener(service.host, service.port)
    host, port = listener.getsockname()[:2]
    at = f"[{host}]" if ":" in host else host
    metrics = Metrics(service.workers)
    say(
        f"serving {', '.join(service.engines)} on http://{at}:{port}, "
        f"{service.workers} worker{'s' if service.workers > 1 else ''}"
    )
    if service.workers == 1:
        return _serve(service, limits, listener, metrics, 0)
    if not hasattr(os, "fork"):
        raise MnvError("--workers needs fork, which this system lacks; start several processes")
    return _Parent(service, limits, listener, metrics, say).run()


def _listener(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise MnvError(
            f"{host}:{port}: cannot be listened on: {error.strerror or error}; choose another "
            "--host or --port"
        ) from None
    return listener


# --- one process --------------------------------------------------------------------------


def _serve(
    service: Service,
    limits: Limits,
    listener: socket.socket,
    metrics: Metrics,
    worker: int,
    parent: int | None = None,
) -> int:
    metrics.become(worker)
    asyncio.run(_served(service, limits, listener, metrics, parent))
    return 0


async def _served(
    service: Service,
    limits: Limits,
    listener: socket.socket,
    metrics: Metrics,
    parent: int | None,
) -> None:
    import uvicorn

    application = app(service.engines, limits, metrics=metrics, watch_seconds=0)
    config = uvicorn.Config(
        application,
        http=_bounded_protocol(limits.header_seconds),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(service.stop_seconds),
        limit_concurrency=4096,
        backlog=1,  # connections that a worker takes in one go; the others are for the others
    )

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Any:
            yield  # they are ours

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            listener.listen(BACKLOG)  # which asyncio has set to its own

    server = Server(config)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.force_exit = server.should_exit  # the second time
        server.should_exit = True
        application.ready = False

    def load_again() -> None:
        tasks.append(asyncio.ensure_future(application.reload()))

    async def watch() -> None:
        await application.reload(only_changed=True)  # since the parent loaded
        while True:
            await asyncio.sleep(min(1.0, service.watch_seconds or 1.0))
            if parent is not None and os.getppid() != parent:
                stop()  # who is no one's worker is no one's to stop
            if service.watch_seconds:
                await application.reload(only_changed=True)

    with suppress(NotImplementedError, AttributeError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, stop)
        if parent is None:
            loop.add_signal_handler(signal.SIGINT, stop)
        loop.add_signal_handler(signal.SIGHUP, load_again)
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(watch())]
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()


def _bounded_protocol(header_seconds: float) -> type:
    """uvicorn's HTTP protocol, which closes a connection whose request's header does not arrive in
    time, or is too long."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class Bounded(base):  # type: ignore[misc]
        _timer: Any = None
        _header_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._start()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:  # a header is complete
                self._stop()
            elif before is None or before.response_complete:
                self._header_bytes += len(data)
                if self._header_bytes > MAX_HEADER:
                    self.transport.close()
                elif self._timer is None:
                    self._start()

        def connection_lost(self, error: Any) -> None:
            self._stop()
            super().connection_lost(error)

        def _start(self) -> None:
            self._timer = self.loop.call_later(header_seconds, self._expire)

        def _stop(self) -> None:
            self._header_bytes = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _expire(self) -> None:
            self._timer = None
            if self.transport is not None and not self.transport.is_closing():
                self.transport.close()

    return Bounded


# --- the parent of workers ----------------------------------------------------------------


class _Worker(NamedTuple):
    number: int
    started: float
    answers: float  # of its row, when it was started


class _Parent:
    def __init__(
        self,
        service: Service,
        limits: Limits,
        listener: socket.socket,
        metrics: Metrics,
        say: Callable[[str], object],
    ) -> None:
        self._service, self._limits, self._listener = service, limits, listener
        self._metrics, self._say = metrics, say
        self._workers: dict[int, _Worker] = {}  # by process
        self._failed_starts = 0
        self._stopping = False

    def run(self) -> int:
        """Until told to stop, or no worker can start."""
        import uvicorn.protocols.http.auto  # noqa: F401  imported once, shared by all

        gc.collect()
        gc.freeze()
        self._listen_to_signals()
        for number in range(self._service.workers):
            self._start(number)
        stop_by = None
        while self._workers:
            for got in self._signals(1.0 if stop_by is None else 0.1):
                if got == signal.SIGHUP:
                    self._tell(signal.SIGHUP)
                elif got != signal.SIGCHLD:
                    self._stopping = True
                    stop_by = time.monotonic() + self._service.stop_seconds + 5
                    self._tell(signal.SIGTERM)
            if stop_by is not None and time.monotonic() > stop_by:
                self._tell(signal.SIGKILL)
            self._bury()
            if self._failed_starts >= MOST_FAILED_STARTS and not self._stopping:
                self._say(f"workers end as soon as they start, {MOST_FAILED_STARTS} in a row")
                self._stopping = True
                stop_by = time.monotonic() + self._service.stop_seconds
                self._tell(signal.SIGTERM)
        return 2 if self._failed_starts >= MOST_FAILED_STARTS else 0

    def _listen_to_signals(self) -> None:
        """Their numbers arrive in a pipe: macOS has no sigtimedwait."""
        self._told, self._tells = os.pipe()
        os.set_blocking(self._told, False)
        os.set_blocking(self._tells, False)
        signal.set_wakeup_fd(self._tells, warn_on_full_buffer=False)
        for each in HANDLED:
            signal.signal(each, lambda *_: None)

    def _signals(self, seconds: float) -> bytes:
        """Numbers of the signals that came, after so long at most."""
        ready, _, _ = select.select([self._told], [], [], seconds)
        return os.read(self._told, 64) if ready else b""

    def _start(self, number: int) -> None:
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # until the child has handlers of its own
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                os.close(self._told)
                os.close(self._tells)
                for each in (signal.SIGTERM, signal.SIGCHLD):
                    signal.signal(each, signal.SIG_DFL)
                # The parent passes SIGINT on as SIGTERM; a worker that begins looks at its files.
                for each in (signal.SIGINT, signal.SIGHUP):
                    signal.signal(each, signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
                _serve(self._service, self._limits, self._listener, self._metrics, number, parent)
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                with suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        answers = self._metrics.answers_of(number)
        self._workers[pid] = _Worker(number, time.monotonic(), answers)

    def _tell(self, number: int) -> None:
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _bury(self) -> None:
        """Workers that have ended; each is started anew."""
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            number, started, answers = self._workers.pop(pid)
            if self._stopping:
                continue
            code = os.waitstatus_to_exitcode(status)
            self._say(f"worker {number} (process {pid}) ended with {code}; starting another")
            # One that has answered can start: it was killed, however soon.
            has_answered = self._metrics.answers_of(number) > answers
            if time.monotonic() - started < TOO_SOON and not has_answered:
                self._failed_starts += 1
            else:
                self._failed_starts = 0
            if self._failed_starts < MOST_FAILED_STARTS:
                self._start(number)
