"""All backends that a test may run on, each instruction set of the C core being one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

from mnv2_engine.executors.native import isas

HAS_NUMBA = find_spec("numba") is not None

needs_numba = pytest.mark.skipif(not HAS_NUMBA, reason="Numba (the extra jit) is absent")


class Backend(NamedTuple):
    """A backend, and for the C core its instruction set."""

    name: str
    isa: str | None = None

    def __str__(self) -> str:
        return f"{self.name}-{self.isa}" if self.isa else self.name


def backends(precision: str = "float32") -> list[Any]:
    """A parameter for each backend that computes in `precision`; those that this CPU or this
    environment does not have are skipped, with the reason."""
    found = []
    for isa, supported in isas(precision).items():
        skip = pytest.mark.skipif(not supported, reason=f"this CPU has no {isa}")
        found.append(pytest.param(Backend("c", isa), marks=skip, id=f"c-{isa}"))
    if precision != "bfloat16":
        found.append(pytest.param(Backend("numba"), marks=needs_numba, id="numba"))
        found.append(pytest.param(Backend("numpy"), id="numpy"))
    return found


def fused_backends() -> list[Any]:
    """A parameter for each backend that runs plans, by its name."""
    return ["c", pytest.param("numba", marks=needs_numba)]
