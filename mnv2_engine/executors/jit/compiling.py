"""How the kernels are compiled: for which CPU, when, and where the machine code is kept.

Only the entries are called from Python: one for each kind of step, of floats and of 8 bits.
They are compiled once for one signature, those of a precision from one call, `compile_entries`, and
kept (kept.py). Where no folder for that can be written, every process compiles anew.
"""

from __future__ import annotations

import os
import zlib
from _thread import allocate_lock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numba
from llvmlite import binding
from numba import types
from numba.core import event

from .kept import keep

F = TypeVar("F", bound=Callable[..., Any])

# No counting of references: the caller holds all arrays. Integer division by zero is not checked.
_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}
TYPICAL_SECONDS = 10

INT, BOOL = types.intp, types.boolean
FLOATS = types.Array(types.float32, 1, "C")
WEIGHTS = types.Array(types.float32, 1, "C", readonly=True)
BYTES = types.Array(types.uint8, 1, "C", readonly=True)
MEMORY = types.Array(types.uint8, 1, "C")
NORMALISATION = types.Array(types.float32, 2, "C")
COUNTS = types.Array(INT, 2, "C")


def cpu_has(feature: str) -> bool:
    """Whether the CPU that is compiled for has an extension, by its name in LLVM."""
    chosen = numba.config.CPU_FEATURES  # NUMBA_CPU_FEATURES, and with it NUMBA_CPU_NAME=generic
    if chosen is not None:
        return f"+{feature}" in chosen.split(",")
    return bool(binding.get_host_cpu_features().get(feature))


# Panels of a register tile of 7 pixels: 14 vectors of the 32 of AVX-512, 14 of the 16 of AVX2, 28
# of the 32 of NEON.
TILE_PANELS = 2 if cpu_has("avx512f") else 1


def kernel(function: F) -> F:
    """A function that kernels call: compiled by itself, and inlined by LLVM as it likes."""
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled: F = numba.njit(**_OPTIONS, **wrappers)(function)
    return compiled


def inlined(function: F) -> F:
    """A function that becomes a part of the one that calls it before anything is compiled: half of
    the time that all takes, where LLVM would inline it anyway."""
    compiled: F = numba.njit(**_OPTIONS, inline="always")(function)
    return compiled


class Entry:
    """A function that Python calls."""

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        # Numba's cache knows a function by its name, and when its own file has changed, but not
        # when one of those that it calls has: so its name tells of all of them.
        function.__qualname__ += f"_{_sources():08x}"
        self._function, self._signature = function, signature
        self._dispatcher = numba.njit(**_OPTIONS)(function)
        self._is_kept = True
        keep(self._dispatcher)

    def __call__(self, *arguments: Any) -> None:
        self._dispatcher(*arguments)

    @property
    def folder(self) -> str | None:
        """Where its machine code is kept, if anywhere."""
        return self._dispatcher._cache.cache_path if self._is_kept else None

    def compile(self) -> None:
        """Compiles it or takes it from the cache, unless that is done."""
        if self._dispatcher.signatures:
            return
        if not self._compile_kept(False) and not self._compile_kept(True):
            self._dispatcher = numba.njit(**_OPTIONS)(self._function)
            self._dispatcher.compile(self._signature)
        self._dispatcher.disable_compile()

    def _compile_kept(self, anew: bool) -> bool:
        """Whether it could be compiled with its cache, which is emptied before if `anew`."""
        try:
            if anew:
                self._dispatcher._cache.flush()
            self._dispatcher.compile(self._signature)
            self._is_kept = True
        except Exception:  # whatever a damaged cache or a full disk brings about
            self._is_kept = False
        return bool(self._dispatcher.signatures)  # written or not


ENTRIES: dict[str, list[Entry]] = {"float32": [], "int8": []}  # by what they compute in
_lock = allocate_lock()  # one thread compiles; others find it done


def _forked() -> None:
    global _lock  # which another thread of the parent may have held
    _lock = allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def entry(precision: str, *arguments: Any) -> Callable[[Callable[..., Any]], Entry]:
    """Makes a function of those types an entry."""

    def made(function: Callable[..., Any]) -> Entry:
        ENTRIES[precision].append(Entry(function, types.void(*arguments)))
        return ENTRIES[precision][-1]

    return made


class Compilation(NamedTuple):
    """What it took to have the kernels ready."""

    seconds: float
    compiled: bool  # False: they were ready, or in the cache
    folder: str | None  # where they are kept; None: nowhere, as no folder can be written


def compile_entries(precision: str) -> Compilation:
    """Compiles all entries of a precision, or takes them from the cache; says so, if it takes its
    time, at level INFO of the logger ``mnv2_engine``. Their modules have been imported."""
    started = perf_counter()
    entries = ENTRIES[precision]
    with _lock, _announced(entries, precision) as said:
        for each in entries:
            each.compile()
    folder = None if any(each.folder is None for each in entries) else entries[0].folder
    made = Compilation(perf_counter() - started, bool(said), folder)
    if said:
        kept = f"kept in {folder}" if folder else "not kept, as no cache folder can be written"
        _logger().info("compiled the %s Numba kernels in %.1f s; %s", precision, made.seconds, kept)
    return made


@contextmanager
def _announced(entries: list[Entry], precision: str) -> Iterator[list[str]]:
    """Says it when something is compiled indeed; what it gives is then not empty."""
    said: list[str] = []

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, begun: Any) -> None:
            dispatcher = begun.data["dispatcher"]
            if not said and any(dispatcher is each._dispatcher for each in entries):
                said.append("compiling the %s Numba kernels (once; some %d s)…")
                _logger().info(said[0], precision, TYPICAL_SECONDS)

        def on_end(self, _: object) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield said


def _logger() -> Any:
    import logging

    return logging.getLogger("mnv2_engine")


def _sources() -> int:
    """A checksum of the files of this package."""
    found = 0
    for folder, folders, names in os.walk(os.path.dirname(__file__)):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                with open(os.path.join(folder, name), "rb") as file:
                    found = zlib.crc32(file.read(), found)
    return found
