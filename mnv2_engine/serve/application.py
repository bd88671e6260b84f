"""The ASGI application: which request is answered by what, and how many at once.

A body is read while others run, as far as `Limits.held_bytes` allows; then it waits for one of
`concurrency` places, and is decoded and run in a thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any

from ..accounting import Stats
from ..engine import Engine
from ..errors import InputError, ModelFileError, UnsupportedError
from .bodies import Held, read_body
from .endpoints import ENDPOINTS
from .images import check_image, image_of
from .limits import Limits, decoders
from .metrics import Metrics
from .models import Models
from .request import (
    Gone,
    Receive,
    Refused,
    busy,
    header,
    query_of,
)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes, str]  # status, body, content type

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_log = logging.getLogger("mnv2_engine.serve")


def app(
    engine: Engine | Mapping[str, Engine],
    limits: Limits | None = None,
    *,
    metrics: Metrics | None = None,
    loader: Callable[[str], Engine] | None = None,
    watch_seconds: float = 2.0,
) -> Application:
    """An ASGI application that serves an engine, or several by name, the first being the default.

    It runs by itself (``uvicorn module:app``) or mounted into Starlette or FastAPI. Files that are
    replaced are looked for every `watch_seconds` while requests come; 0: never.
    """
    engines = {"default": engine} if isinstance(engine, Engine) else dict(engine)
    if loader is None:
        origin = {name: each.reloaded for name, each in engines.items()}

        def loader(name: str) -> Engine:
            return origin[name]()

    return Application(Models(engines, loader), limits or Limits(), metrics, watch_seconds)


class Application:
    """See `app`."""

    def __init__(
        self, models: Models, limits: Limits, metrics: Metrics | None, watch_seconds: float
    ) -> None:
        self.models = models
        self.limits = limits.checked()
        self._formats = decoders(self.limits.formats)
        self.metrics = metrics or Metrics()
        self.ready = True
        self._watch_seconds = watch_seconds
        self._looked = perf_counter()
        self._held = Held(self.limits.held_bytes, self.limits.max_bytes)
        self._places = asyncio.Semaphore(self.limits.concurrency)
        self._let_in = self._running = 0
        self._threads: ThreadPoolExecutor | None = None
        self._seen: dict[str, tuple[Engine, Stats]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI's entry."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._threads is not None:
                    self._threads.shutdown(wait=False)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers: dict[str, str] = {}
        kind: str | None = None
        counted = False
        try:
            path = _path(scope)
            counted = path.rpartition("/")[2] in ENDPOINTS
            status, body, content_type = await self._answer(scope, path, receive)
        except Refused as error:
            status, kind, headers = error.status, error.kind, error.headers
            body, content_type = _error(error.reason, kind), JSON
        except Gone:
            self.metrics.answered(499, "gone")
            return
        except Exception:
            # Of what went wrong inside, the log is told and the client is not.
            _log.exception("a request failed")
            status, kind = 500, "internal"
            body, content_type = _error("an error inside the service; see its log", kind), JSON
        self.metrics.answered(status, kind, perf_counter() - started if counted else None)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type.encode()),
                    (b"content-length", b"%d" % len(body)),
                    *((key.encode(), value.encode()) for key, value in headers.items()),
                ],
            }
        )
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: dict[str, Any], path: str, receive: Receive) -> Answer:
        name = None
        if path.startswith("/models/") and path.count("/") == 3:
            _, _, name, last = path.split("/")
            path = f"/{last}" if last else path
        if path[1:] in ENDPOINTS:
            _allow(scope, "POST")
            return await self._image(path[1:], scope, receive, name or self.models.default)
        if path in _GETS and name is None:
            _allow(scope, "GET", "HEAD")
            return _GETS[path](self, scope)
        posts = [path for each in ENDPOINTS for path in (f"/{each}", f"/models/NAME/{each}")]
        known = ", ".join([*posts, *_GETS])
        raise Refused(404, "not_found", f"{path[:80]}: expected one of {known}")

    # What is asked for

    async def _image(
        self, endpoint: str, scope: dict[str, Any], receive: Receive, name: str
    ) -> Answer:
        given = ENDPOINTS[endpoint].read(query_of(scope), self.limits)
        if self.models.get(name) is None:
            known = ", ".join(self.models.names())
            raise Refused(404, "not_found", f"no model {name[:80]!r}: expected one of {known}")
        if self._let_in >= self.limits.concurrency + self.limits.waiting:
            raise busy(f"{self._let_in} requests are before this one")
        self._look()
        self._let_in += 1
        held = 0
        try:
            body = await read_body(scope, receive, self.limits, self._held)
            held = len(body)
            file, image = image_of(header(scope, b"content-type"), body)
            del body
            check_image(image, self.limits)
            started = perf_counter()
            await self._place(receive)
            self._running += 1
            try:
                found = await self._run(name, partial(ENDPOINTS[endpoint].run, **given), image)
            finally:
                self._running -= 1
                self._places.release()
        finally:
            self._let_in -= 1
            self._held.give_back(held)
            self._show()
        answer = {
            "file": file,
            "model": name,
            **found,
            "ms": round((perf_counter() - started) * 1e3, 3),
        }
        return 200, json.dumps(answer, allow_nan=False).encode(), JSON

    async def _place(self, receive: Receive) -> None:
        """Wait for one of the places, but not for ever, nor for a client who has left."""
        if not self._places.locked():
            await self._places.acquire()
            return
        self._show()
        place = asyncio.ensure_future(self._places.acquire())
        left = asyncio.ensure_future(receive())
        try:
            await asyncio.wait(
                (place, left),
                timeout=self.limits.wait_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        except BaseException:
            if place.done():
                self._places.release()
            place.cancel()
            left.cancel()
            raise
        if place.done():
            left.cancel()
            return
        place.cancel()
        if left.done():
            raise Gone
        left.cancel()
        raise busy(f"no turn within {self.limits.wait_seconds:g} seconds")

    async def _run(
        self, name: str, run: Callable[..., dict[str, Any]], image: memoryview
    ) -> dict[str, Any]:
        for attempt in (1, 2):
            engine = self.models.get(name)
            assert engine is not None
            self._begin_to_count(name, engine)
            try:
                bounds = {"max_pixels": self.limits.max_pixels, "formats": self._formats}
                return await self._in_thread(partial(run, engine, image, **bounds))
            except InputError as error:
                raise Refused(422, "undecodable", str(error)) from None
            except UnsupportedError as error:
                raise Refused(404, "not_found", str(error)) from None
            except ModelFileError as error:
                # The file was overwritten under the engine. What is there now may be sound.
                _log.error("%s", error)
                if attempt == 2 or not await self.reload(only_changed=True):
                    raise Refused(
                        503, "model", "the model file was changed", **{"retry-after": "5"}
                    ) from None
            except MemoryError:
                raise busy("no memory is left") from None
            finally:
                self._count(name, engine)
        raise AssertionError

    def _models(self, _: dict[str, Any]) -> Answer:
        listed = []
        for name in self.models.names():
            engine = self.models.get(name)
            assert engine is not None
            info = engine.info
            listed.append(
                {
                    "name": name,
                    "architecture": info.network.name,
                    "classes": info.network.classes,
                    "dtype": info.dtype,
                    "identity": engine.identity,
                }
            )
        return 200, json.dumps({"models": listed}).encode(), JSON

    def _healthz(self, _: dict[str, Any]) -> Answer:
        return 200, b"ok\n", TEXT

    def _readyz(self, _: dict[str, Any]) -> Answer:
        if not self.ready:
            return 503, b"stopping\n", TEXT
        return 200, b"ready\n", TEXT

    def _metrics(self, _: dict[str, Any]) -> Answer:
        self._show()
        return 200, self.metrics.text(self.models.identities()).encode(), PROMETHEUS

    def _openapi(self, scope: dict[str, Any]) -> Answer:
        from .. import __version__
        from .description import openapi

        names, root = self.models.names(), scope.get("root_path", "")
        document = openapi(__version__, self.limits, self.models.default, names, root)
        return 200, json.dumps(document).encode(), JSON

    # Replacing models

    def _look(self) -> None:
        """Look for replaced files, now and then and beside the request."""
        now = perf_counter()
        if self._watch_seconds and now - self._looked >= self._watch_seconds:
            self._looked = now
            task = asyncio.ensure_future(self.reload(only_changed=True))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def reload(self, only_changed: bool = False) -> bool:
        """Load the models again, all or those whose files changed: whether any was replaced. One
        that is not sound is said in the log and leaves the old one in place."""
        replaced = False
        for name, problem in await self.models.reload(not only_changed, _in_a_thread_of_its_own):
            self.metrics.add("reloads" if problem is None else "failed_reloads")
            if problem is None:
                replaced = True
                _log.warning("model %s: loaded again", name)
            else:
                _log.error("model %s: not loaded again: %s", name, problem)
        return replaced

    # Threads and counters

    async def _in_thread(self, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.limits.concurrency, "mnv2")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function)

    def _show(self) -> None:
        self.metrics.set("running", self._running)
        self.metrics.set("waiting", self._let_in - self._running)
        self.metrics.set("held_bytes", self._held.bytes)

    def _begin_to_count(self, name: str, engine: Engine) -> None:
        if name not in self._seen or self._seen[name][0] is not engine:
            self._seen[name] = engine, engine.stats()

    def _count(self, name: str, engine: Engine) -> None:
        """Add what the engine did since it was looked at last."""
        seen, before = self._seen[name]
        now = engine.stats()
        if seen is not engine:  # it was replaced meanwhile
            return
        self._seen[name] = engine, now
        for field in ("images", "image_seconds", "network_seconds"):
            self.metrics.add(field, getattr(now, field) - getattr(before, field))
        self.metrics.set("arenas", now.arenas)
        self.metrics.raise_to("most_arenas", now.most_arenas)


_GETS: dict[str, Callable[[Application, dict[str, Any]], Answer]] = {
    "/models": Application._models,
    "/healthz": Application._healthz,
    "/readyz": Application._readyz,
    "/metrics": Application._metrics,
    "/openapi.json": Application._openapi,
}


async def _in_a_thread_of_its_own(function: Callable[..., Any], *arguments: Any) -> Any:
    """Not one of those that answer: a load waits for the disk."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _path(scope: dict[str, Any]) -> str:
    """The path below where the application is mounted. Older servers have cut that off already."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path or "/"


def _allow(scope: dict[str, Any], *methods: str) -> None:
    if scope["method"] not in methods:
        raise Refused(
            405,
            "method",
            f"{str(scope['method'])[:20]}: expected {' or '.join(methods)}",
            allow=", ".join(methods),
        )


def _error(reason: str, kind: str) -> bytes:
    return json.dumps({"error": reason, "kind": kind}).encode()
