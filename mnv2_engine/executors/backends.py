"""Who runs a network: the compiled C core, the Numba kernels, or NumPy as the last resort.

``auto`` takes the first of them that is there and can compute the network. That the C core is
absent is never passed over in silence: the logger ``mnv2_engine`` says at level WARNING what is
used instead, and for NumPy, which is slow, there is a RuntimeWarning; each once per process.
"""

from __future__ import annotations

import os

from ..errors import InputError, MissingExtraError, MnvError, UnsupportedError, missing_extra
from ..untyped import TYPE_CHECKING
from . import Order, natural_precision

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from ..plan.steps import Plan
    from .executor import Executor

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


def found(backend: str, precision: str, finds_boxes: bool = False) -> str:
    """The backend that computes in `precision`: the `backend` itself, or for ``auto`` the best that
    is there; of a detector, which `finds_boxes`, one that runs those.

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
        backend = _instead(absent, finds_boxes)
    if backend == "numba":
        problem = numba_problem()
        if problem is not None:
            raise problem
    if precision == "bfloat16":
        raise UnsupportedError(
            f"precision 'bfloat16': the {backend} backend computes in float32; leave the "
            "precision out"
        )
    return backend


def fastest_precision(backend: str, dtype: str) -> str:
    """What weights of `dtype` are computed in the fastest, within what docs/bfloat16.md states."""
    if dtype == "bfloat16" and backend in ("auto", "c") and has_core():
        from .native import is_fast

        if is_fast("bfloat16", dtype):
            return "bfloat16"
    return natural_precision(dtype)


def cpu_family(backend: str = "c") -> str:
    """The family of CPUs (plan/cpu_costs.py) that plans of a backend that was `found` are made for:
    that of this CPU, where it is the C core's to run them and it is there."""
    if backend != "c" or not has_core():
        from ..plan.cpu_costs import ANY

        return ANY
    from .native import cpu_family

    return cpu_family()


def executor(backend: str, model: ModelFile, plan: Plan | Order) -> Executor:
    """The executor of a plan of `model`, or of what is yet to be planned, in a backend that was
    `found`."""
    if backend != "c" and plan.batch > 1:
        raise UnsupportedError(
            f"batch {plan.batch}: the {backend} backend runs one image at a time; leave it out"
        )
    if backend == "c":
        from .native import NativeExecutor

        made = NativeExecutor(model, plan)
        if made.is_slow:
            _log(
                f"precision {plan.precision!r}: this CPU computes float32 faster; leave the "
                'precision out, or ask for precision="fastest"'
            )
        return made
    if isinstance(plan, Order):
        plan = plan.plan(model.network)
    if backend == "numba":
        from . import jit

        return jit.executor_of(model, plan)
    if model.dtype == "int8":
        from .integer import IntegerExecutor

        return IntegerExecutor(model, plan)
    from .reference import ReferenceExecutor

    return ReferenceExecutor(model, plan)


def has_core() -> bool:
    """Whether the C core can be imported."""
    return _without_core() is None


def _without_core() -> ImportError | None:
    """Why the C core cannot be imported, or None where it can."""
    try:
        import mnv2_engine._core  # noqa: F401
    except ImportError as error:
        tree = _source_tree()
        if tree is None:
            return error
        return ImportError(
            f"{error}: this is the source tree {tree}, where nothing is compiled; to use the "
            "installed package, start Python in another folder"
        )
    return None


def _source_tree() -> str | None:
    """The checkout that this package was imported from, or None where it was installed."""
    tree = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    marks = ("pyproject.toml", "kernels")
    return tree if all(os.path.exists(os.path.join(tree, mark)) for mark in marks) else None


def numba_problem() -> MnvError | None:
    """What keeps Numba from running networks here, or None."""
    try:
        import numba
    except ModuleNotFoundError as error:
        if error.name == "numba":
            return missing_extra("numba", "jit", "the numba backend")
        return _broken(error)
    except ImportError as error:  # it is not made for this NumPy, say
        return _broken(error)
    if numba.config.DISABLE_JIT:
        return UnsupportedError(
            "the numba backend needs its kernels compiled, and NUMBA_DISABLE_JIT forbids it; "
            "unset it"
        )
    return None


def _broken(error: ImportError) -> MnvError:
    return MissingExtraError(
        f"the numba backend needs numba, which cannot be imported ({error}); "
        'run: pip install --upgrade "mnv2-engine[jit]"'
    )


def _instead(core: ImportError, finds_boxes: bool) -> str:
    """What runs without the C core, and says so."""
    problem: MnvError | None = UnsupportedError("a detector")  # which Numba does not run
    if not finds_boxes:
        problem = numba_problem()
    if problem is None:
        _log(f"the C core cannot be imported ({core}); using Numba, on one thread")
        return "numba"
    _log(f"the C core cannot be imported ({core}); using NumPy")
    text = (
        f"the C core cannot be imported ({core}); using NumPy, which is many times slower and "
        "needs the memory of an unfused run; install the package with a C compiler or from a wheel"
    )
    if isinstance(problem, MissingExtraError):
        text += ', or run: pip install "mnv2-engine[jit]"'
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
