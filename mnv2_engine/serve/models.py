"""The engines by name, and how one is replaced while requests run.

A new file is loaded, its checksums and weights are checked and it answers one image, all beside the
old engine; then one assignment switches. Calls in flight end on the engine they began with.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..engine import Engine
from ..errors import InputError, MnvError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Models:
    """Named engines; the first is the default."""

    def __init__(
        self, engines: Mapping[str, Engine], loader: Callable[[str], Engine] | None = None
    ) -> None:
        """`loader` loads the file of a name again. Raises InputError for names that do not fit
        into a URL."""
        for name in engines:
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"model name {name!r:.80}: expected letters, digits, '.', '_' and '-', at most "
                    "64; give another as NAME=FILE"
                )
        if not engines:
            raise InputError("no model to serve; give one")
        self._engines = dict(engines)
        self._loader = loader
        self._loading = asyncio.Lock()
        self._refused: dict[str, object] = {}  # files that were not sound

    @property
    def default(self) -> str:
        """The name of the model that answers where none is named."""
        return next(iter(self._engines))

    def names(self) -> list[str]:
        """The models' names, the default first."""
        return list(self._engines)

    def get(self, name: str) -> Engine | None:
        """The engine of a name, None for an unknown one."""
        return self._engines.get(name)

    def identities(self) -> dict[str, str]:
        """What each model is, by its name."""
        return {name: engine.identity for name, engine in self._engines.items()}

    async def reload(self, every: bool, run: Callable[..., Any]) -> list[tuple[str, str | None]]:
        """Replace the engines whose files have changed, or `every`: (name, what went wrong) of
        each that was tried. `run` runs a function in a thread. The old engine stays where the new
        file is not sound."""
        tried: list[tuple[str, str | None]] = []
        if self._loader is None:
            return tried
        async with self._loading:
            for name, engine in list(self._engines.items()):
                file = _state(engine.info.path)
                if not every and (file == self._refused.get(name) or not engine.stale()):
                    continue
                try:
                    self._engines[name] = await run(self._load, name)
                    tried.append((name, None))
                except MnvError as error:
                    self._refused[name] = file  # not to be tried, and complained of, again
                    tried.append((name, str(error)))
        return tried

    def _load(self, name: str) -> Engine:
        assert self._loader is not None
        engine = self._loader(name)
        engine.verify()
        warm_up(engine)
        return engine


def _state(path: str) -> object:
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return "absent"
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def warm_up(engine: Engine) -> None:
    """Answer one black image: the arena is there, and the network runs."""
    network = engine.info.network
    height, width = network.resolution
    image = memoryview(bytes(height * width * 3)).cast("B", (height, width, 3))
    if network.detection is not None:
        engine.detect(image)
    else:
        engine.predict(image)


def name_of(path: str) -> str:
    """The name that a model file is served by: that of the file, without its ending."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(path).removesuffix(".npz")).lstrip(
        "-._"
    )
