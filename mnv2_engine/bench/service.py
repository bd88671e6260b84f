"""Memory of a service by the worker: this engine and others in the same application.

Each engine runs in a fresh process, which forks workers as a prefork server does. They load before
the fork or after it, each answers photographs through the ASGI application of `mnv2 serve`, and
while all of them wait their proportional set sizes (PSS) are read: shared pages count in parts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MnvError, UnsupportedError

if TYPE_CHECKING:
    from ..engine import Engine

WORKERS = (1, 8, 32)
PHOTOGRAPHS = 3  # that each worker answers
OURS = "mnv2"


class WorkerMemory(NamedTuple):
    """Of one engine in so many workers."""

    engine: str
    workers: int
    preloaded: bool  # before the fork
    megabytes: float  # a worker, proportional, the parent's share left out


class ServiceMemory(NamedTuple):
    """A table. `str()` of it is for people."""

    model: str
    photograph: str
    rows: tuple[WorkerMemory, ...]

    def __str__(self) -> str:
        engines = list(dict.fromkeys(row.engine for row in self.rows))
        found = {(row.engine, row.workers, row.preloaded): row.megabytes for row in self.rows}
        lines = [
            f"{self.model}: MB of proportional memory (PSS) a worker that has answered "
            f"{PHOTOGRAPHS} photographs of {self.photograph}",
            f"{'workers':>8} {'loaded':<16}" + "".join(f"{name:>14}" for name in engines),
        ]
        for workers in dict.fromkeys(row.workers for row in self.rows):
            for preloaded in (False, True):
                cells = (found.get((name, workers, preloaded)) for name in engines)
                when = "before the fork" if preloaded else "after the fork"
                lines.append(
                    f"{workers:>8} {when:<16}"
                    + "".join(f"{'–' if cell is None else f'{cell:.1f}':>14}" for cell in cells)
                )
        return "\n".join(lines)

    def markdown(self) -> str:
        """The same as a table for documentation."""
        engines = list(dict.fromkeys(row.engine for row in self.rows))
        found = {(row.workers, row.preloaded, row.engine): row.megabytes for row in self.rows}
        lines = [
            f"{self.model}, {PHOTOGRAPHS} photographs of {self.photograph} a worker, MB:",
            "",
            f"| workers | loaded | {' | '.join(engines)} |",
            f"|---|---|{'---|' * len(engines)}",
        ]
        for workers, preloaded in dict.fromkeys((workers, early) for workers, early, _ in found):
            cells = (found.get((workers, preloaded, name)) for name in engines)
            shown = " | ".join("–" if cell is None else f"{cell:.1f}" for cell in cells)
            when = "before the fork" if preloaded else "after the fork"
            lines.append(f"| {workers} | {when} | {shown} |")
        return "\n".join(lines)


BEGIN, END = "<!-- mnv2 bench --service: begin -->\n", "\n<!-- mnv2 bench --service: end -->"


def put_table(path: str, table: ServiceMemory) -> None:
    """Replace the table of a page, which lies between BEGIN and END."""
    from ..model.whole_file import write_whole

    try:
        with open(path, encoding="utf-8") as file:
            page = file.read()
    except OSError as error:
        raise MnvError(f"{path}: cannot be read: {error.strerror or error}") from None
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MnvError(f"{path}: expected the lines {BEGIN.strip()!r} and {END.strip()!r}")
    made = before + begin + table.markdown() + end + after
    write_whole(path, "the page", None, lambda file: file.write(made.encode()))


def service_memory(
    model: str, against: Sequence[str], workers: Sequence[int] = WORKERS
) -> ServiceMemory:
    """The table of `model` and of the peers `against`, which run it as it is exported for them.
    Raises UnsupportedError where the system does not say what is needed."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        raise UnsupportedError("memory by the worker is read in Linux's /proc, which is not here")
    from ..model.modelfile import open_model
    from ..peers import PEERS, peer_and_file
    from .exported import peer_file
    from .python import answer_of

    files = {OURS: model}
    with open_model(model) as opened:
        name = f"{opened.network.name} {opened.dtype}"
        for text in against:
            peer, path = peer_and_file(text)
            files[peer.name] = path or peer_file(opened, PEERS[peer.name])
    rows = []
    for count in workers:
        for engine, path in files.items():
            for preloaded in (False, True):
                task = {
                    "engine": engine,
                    "path": path,
                    "model": model,
                    "workers": count,
                    "preloaded": preloaded,
                }
                script = (
                    "from mnv2_engine.bench.service import measured; "
                    f"print(measured({json.dumps(task)!r}))"
                )
                rows.append(WorkerMemory(engine, count, preloaded, float(answer_of(script))))
    return ServiceMemory(name, "0.2 MP", tuple(rows))


class _PeerInfo(NamedTuple):
    network: Any
    path: str


class PeerEngine:
    """A peer behind the calls that the application makes of an Engine: one session, one call at a
    time. It has no decoder, so images are decoded and resized by Pillow, as its users do."""

    def __init__(self, engine: str, path: str, model: str) -> None:
        from _thread import allocate_lock

        from ..accounting import Account
        from ..model.modelfile import open_model
        from ..peers import PEERS

        with open_model(model) as opened:
            self._spec, self._network = opened.input_spec, opened.network
            self._labels = list(opened.labels or map(str, range(self._network.classes)))
        self._session: Any = PEERS[engine].load(path, 1, self._network.resolution)
        self._lock, self._account = allocate_lock(), Account(0)
        self.identity = path
        self.info = _PeerInfo(self._network, path)

    def predict(self, source: Any, top_k: int = 5, **_: object) -> list[Any]:
        """As `Engine.predict`, of one encoded image."""
        import numpy as np

        from ..engine import Prediction

        is_pixels = memoryview(source).ndim == 3  # as to warm up
        framed = source if is_pixels else _framed(source, self._spec, self._network.resolution)
        pixels = np.asarray(framed)
        suited = self._session.input.suited(pixels, self._spec.mean, self._spec.std)
        with self._lock:
            logits = np.array(self._session.run(suited), np.float64).reshape(-1)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-logits, kind="stable")[:top_k]
        return [Prediction(self._labels[i], int(i), float(shares[i])) for i in best]

    def stats(self) -> Any:
        """As `Engine.stats`."""
        return self._account.stats()

    def stale(self) -> bool:
        """Never: a peer's file is not replaced here."""
        return False

    def verify(self) -> None:
        """Nothing: a peer's file has no checksums of ours."""

    def reloaded(self) -> PeerEngine:
        """Itself."""
        return self


def _framed(data: Any, spec: Any, resolution: tuple[int, int]) -> Any:
    """Pillow's image of the network's size: squashed, or covering it with the centre cut out."""
    import io

    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    height, width = resolution
    size = round(width / spec.crop_fraction), round(height / spec.crop_fraction)
    resample = Image.Resampling.__members__[spec.resample.partition("-")[0].upper()]
    squashes = spec.fit == "squash"
    covered = image.resize(size, resample) if squashes else ImageOps.fit(image, size, resample)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return covered.crop((left, top, left + width, top + height))


def engine_of(task: dict[str, Any]) -> Engine:
    """The engine of a task, or a peer that looks like one."""
    if task["engine"] == OURS:
        from ..engine import Engine

        return Engine.load(task["path"])
    peer: Any = PeerEngine(task["engine"], task["path"], task["model"])
    return peer  # type: ignore[no-any-return]


def measured(text: str) -> float:
    """Megabytes a worker of a task, in this process, which has nothing else to do."""
    import gc

    import uvicorn.protocols.http.auto  # noqa: F401  as `mnv2 serve` does before it forks

    from ..serve import app  # noqa: F401  shared, too

    task = json.loads(text)
    photograph = _photograph()
    engine = engine_of(task) if task["preloaded"] else None
    gc.collect()
    gc.freeze()
    told, tell = os.pipe()
    waiting, release = os.pipe()
    workers = []
    for _ in range(task["workers"]):
        pid = os.fork()
        if pid == 0:
            os.close(release)
            try:
                _work(task, engine, photograph)
                os.write(tell, b"!")
                os.read(waiting, 1)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(0)
        workers.append(pid)
    os.close(tell)
    ready = b""
    while len(ready) < len(workers) and (letters := os.read(told, 64)):
        ready += letters
    found = [_pss(pid) for pid in workers] if len(ready) == len(workers) else []
    os.close(release)
    for pid in workers:
        os.waitpid(pid, 0)
    if not found:
        raise MnvError(f"{task['engine']}: a worker ended before it had answered")
    return sum(found) / len(found) / 1e6


def served(text: str) -> int:
    """Serve a task's engine until SIGTERM, as `mnv2 serve` does; for benches/service_load.py."""
    from ..serve.limits import Limits
    from ..serve.processes import Service, run

    task = json.loads(text)
    service = Service(
        {task["engine"]: engine_of(task)},
        Limits(concurrency=1, wait_seconds=300),  # late is late, and no error
        port=0,
        workers=task["workers"],
        watch_seconds=0,
    )
    return run(service, lambda line: print(line, flush=True))


def _work(task: dict[str, Any], engine: Engine | None, photograph: bytes) -> None:
    """What a worker does: load, unless the parent has, and answer photographs."""
    import asyncio

    from ..serve import app

    async def post(application: Any) -> None:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": photograph}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/classify", "headers": []}
        await application(scope, receive, send)
        if sent[0]["status"] != 200:
            sys.stderr.write(f"{sent[1]['body']!r}\n")
            os._exit(1)

    async def all_of_them() -> None:
        application = app({"m": engine or engine_of(task)})
        for _ in range(PHOTOGRAPHS):
            await post(application)

    asyncio.run(all_of_them())


def _photograph() -> bytes:
    """A JPEG of 0.2 MP, the same in every process."""
    import random

    from PIL import Image

    with tempfile.TemporaryFile() as file:
        noise = random.Random(0).randbytes(50 * 38 * 3)
        picture = Image.frombytes("RGB", (50, 38), noise).resize((500, 380))
        picture.save(file, "jpeg", quality=90)
        file.seek(0)
        return file.read()


def _pss(pid: int) -> float:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return float(line.split()[1]) * 1024
    raise MnvError(f"/proc/{pid}/smaps_rollup has no Pss")
