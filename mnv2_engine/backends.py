"""Who runs a network: the compiled C core, the Numba kernels, or NumPy as the last resort.

``auto`` takes the first of them that is there and can compute the network. That the C core is
absent is never passed over in silence: the logger ``mnv2_engine`` says at level WARNING what is
used instead, and for NumPy, which is slow, there is a RuntimeWarning; each once per process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import InputError, MissingExtraError, MnvError, UnsupportedError, missing_extra

if TYPE_CHECKING:
    from .executors import Executor
    from .modelfile import ModelFile
    from .plan import Plan

BACKENDS = ("auto", "c", "numba", "numpy")
BACKEND_VARIABLE = "MNV2_BACKEND"

_said: set[str] = set()  # what this process was told already


def requested(backend: str | None) -> str:
    """The backend that an argument, or else the environment variable MNV2_BACKEND, asks for.
    Raises InputError for an unknown one."""
    source = "backend "
    if backend is None:
        source, backend = f"{BACKEND_VARIABLE}=", os.environ.get(BACKEND_VARIABLE) or "auto"
    if backend not in BACKENDS:
        raise InputError(f"{source}{backend!r:.80}: expected one of {', '.join(BACKENDS)}")
    return backend


def found(backend: str, dtype: str, precision: str) -> str:
    """The backend that computes weights of `dtype` in `precision`: the `backend` itself, or for
    ``auto`` the best that is there.

    Raises MnvError for one that is not installed, UnsupportedError for one that does not compute
    that.
    """
    if backend in ("auto", "c"):
        absent = _without_core()
        if absent is None:
            return "c"
        if backend == "c":
            raise MnvError(
                f"the C core cannot be imported ({absent}); install the package with a C compiler "
                'or from a wheel, or ask for backend="numba" or backend="numpy"'
            ) from absent
        backend = _instead(absent, dtype)
    if backend == "numba":
        _check_numba(dtype)
    if precision == "bfloat16":
        raise UnsupportedError(
            f"precision 'bfloat16': the {backend} backend computes in float32; leave the "
            "precision out"
        )
    return backend


def executor(backend: str, model: ModelFile, plan: Plan) -> Executor:
    """The executor of a plan in a backend that was `found`."""
    if backend == "c":
        from .executors.native import NativeExecutor

        return NativeExecutor(model, plan)
    if backend == "numba":
        from .executors.jit import NumbaExecutor

        return NumbaExecutor(model, plan)
    if model.dtype == "int8":
        from .executors.integer import IntegerExecutor

        return IntegerExecutor(model)
    from .executors.reference import ReferenceExecutor

    return ReferenceExecutor(model)


def has_core() -> bool:
    """Whether the C core can be imported."""
    return _without_core() is None


def _without_core() -> ImportError | None:
    """Why the C core cannot be imported, or None where it can."""
    try:
        import mnv2_engine._core  # noqa: F401
    except ImportError as error:
        return error
    return None


def _without_numba() -> ImportError | None:
    try:
        import numba  # noqa: F401
    except ImportError as error:  # absent, or not made for this NumPy
        return error
    return None


def _check_numba(dtype: str) -> None:
    absent = _without_numba()
    if isinstance(absent, ModuleNotFoundError) and absent.name == "numba":
        raise missing_extra("numba", "jit", 'backend="numba"') from absent
    if absent is not None:
        raise MissingExtraError(
            f"Numba is installed, but cannot be imported ({absent}); run: "
            'pip install --upgrade "mnv2-engine[jit]"'
        ) from absent
    if dtype == "int8":
        raise UnsupportedError(
            'the numba backend computes float networks only; take backend="c", or "numpy", which '
            "runs int8 networks slowly"
        )


def _instead(core: ImportError, dtype: str) -> str:
    """What runs without the C core, and says so."""
    numba = _without_numba()
    if numba is None and dtype != "int8":
        _log(f"the C core cannot be imported ({core}); using Numba, on one thread")
        return "numba"
    _log(f"the C core cannot be imported ({core}); using NumPy")
    remedy = "install the package with a C compiler or from a wheel"
    if numba is not None and dtype != "int8":
        remedy += ', or run: pip install "mnv2-engine[jit]"'
    text = (
        f"the C core cannot be imported ({core}); using NumPy, which is many times slower and "
        f"needs the memory of an unfused run; {remedy}"
    )
    if text not in _said:
        import warnings

        _said.add(text)
        warnings.warn(text, RuntimeWarning, stacklevel=5)
    return "numpy"


def _log(text: str) -> None:
    if text not in _said:
        import logging

        _said.add(text)
        logging.getLogger("mnv2_engine").warning("%s", text)
