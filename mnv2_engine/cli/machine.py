"""What an installation can do on the machine that it is on: `mnv2 info` without a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..errors import InputError, UnsupportedError

REFUSED = (
    "the system does not give this process its registers; a thread's alternate signal stack is too "
    "small for them, or a sandbox forbids the question (docs/backends.md)"
)


class Machine(NamedTuple):
    """The facts. `str()` is a table for people, `to_json()` for programs."""

    version: str  # of mnv2_engine
    python: str
    system: str  # operating system and CPU's kind, "Linux x86_64"
    backends: dict[str, str | None]  # best first: why it cannot be used, None where it can
    backend: str | None  # what backend="auto" takes
    isas: dict[str, bool]  # that the C core was built for, best first: whether this CPU has it
    refused: list[str]  # of those that the CPU has: the system refuses them to this process
    # Which of them computes in a precision, MNV2_ISA considered; None where none does.
    chosen_isas: dict[str, str | None]
    slow: list[str]  # precisions in which the chosen one is slower than in float32
    threads: int  # what threads="auto" takes
    photographs: dict[str, str]  # what decodes which format
    cache: str | None  # folder of the demo's model; None without a home folder

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return self._asdict()

    def __str__(self) -> str:
        absent = [n for n, there in self.isas.items() if not (there or n in self.refused)]
        rows = [
            ("version", f"mnv2_engine {self.version}, Python {self.python}, {self.system}"),
            ("backend", self.backend or "none can be used"),
            *((f"  {name}", problem or "can be used") for name, problem in self.backends.items()),
        ]
        if self.isas:
            chosen = (f"{isa or 'none'} for {name}" for name, isa in self.chosen_isas.items())
            rows += [
                ("built for", ", ".join(self.isas)),
                ("CPU lacks", ", ".join(absent) or "none of them"),
                *(("refused", f"{name}: {REFUSED}") for name in self.refused),
                ("chosen", ", ".join(chosen)),
                *(("slow", f"{name}: this CPU computes float32 faster") for name in self.slow),
            ]
        rows += [
            *((name, text) for name, text in self.photographs.items()),
            ("threads", f"{self.threads} with --threads auto"),
            ("cache", self.cache or "none: there is no home folder; set MNV2_HOME to one"),
        ]
        return "\n".join(f"{key:<14}{value}" for key, value in rows)


def machine() -> Machine:
    """This machine's facts. Raises what loading a model would for a bad MNV2_ISA: InputError for a
    name that is unknown, UnsupportedError for one that this CPU does not have."""
    import platform

    from .. import __version__
    from ..executors.cpus import usable_cpus

    backends = {name: problem() for name, problem in PROBLEMS.items()}
    isas, refused, chosen = _isas() if backends["c"] is None else ({}, [], {})
    return Machine(
        __version__,
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
        backends,
        next((name for name, problem in backends.items() if problem is None), None),
        isas,
        refused,
        chosen,
        [name for name, isa in chosen.items() if isa and not _is_fast(name)],
        usable_cpus(),
        _photographs(),
        _cache(),
    )


def _core_problem() -> str | None:
    try:
        from .. import _core  # noqa: F401
    except ImportError as error:
        return f"the C core cannot be imported ({error}); install from a wheel or with a C compiler"
    return None


def _numpy_problem() -> str | None:
    # Not imported: some builds of it kill a process on an old CPU, which is no time to say nothing.
    from importlib.util import find_spec

    return None if find_spec("numpy") else "NumPy is not installed; run: pip install numpy"


def _numba_problem() -> str | None:
    from ..executors.backends import numba_problem

    problem = numba_problem()
    return None if problem is None else str(problem)


# Best first.
PROBLEMS: dict[str, Callable[[], str | None]] = {
    "c": _core_problem,
    "numba": _numba_problem,
    "numpy": _numpy_problem,
}


def _isas() -> tuple[dict[str, bool], list[str], dict[str, str | None]]:
    """Those that were built, those of them that are refused, and which one computes in each
    precision."""
    from ..executors.native import built_isas, chosen_isa, refused_isas

    # Every set computes in float32: what is wrong here is wrong with MNV2_ISA.
    chosen: dict[str, str | None] = {"float32": chosen_isa("float32", "float32")}
    for precision in ("bfloat16", "int8"):
        try:
            chosen[precision] = chosen_isa(precision, precision)
        except UnsupportedError:
            chosen[precision] = None
    return built_isas(), refused_isas(), chosen


def _is_fast(precision: str) -> bool:
    from ..executors.native import is_fast

    return is_fast(precision, precision)


def _photographs() -> dict[str, str]:
    """What decodes which format, and how to get what does it in less memory."""
    from importlib.util import find_spec

    from ..images.decoded import FORMATS, decoders

    here = decoders()
    pillow = "Pillow" if find_spec("PIL") else 'nothing; run: pip install "mnv2-engine[cli]"'
    packages = {"JPEG": "libjpeg62-turbo-dev", "PNG": "libpng-dev"}
    said = {}
    for form in FORMATS.values():
        if form in here:
            said[form] = f"{here[form]}, line by line; rare kinds: {pillow}"
        else:
            said[form] = (
                f"{pillow}; for line by line: apt install {packages[form]}, then build this "
                "package from source"
            )
    return {**said, "other formats": pillow}


def _cache() -> str | None:
    from .demo_models import cache_folder

    try:
        return cache_folder()
    except InputError:
        return None
