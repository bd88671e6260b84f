"""`mnv2 warmup`: compile what the numba backend needs before anybody waits for it."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import MnvError, UnsupportedError, shown
from ..executors import natural_precision
from ..executors.backends import numba_problem
from ..model.modelfile import open_model
from .output import as_json, say, shown_log

if TYPE_CHECKING:
    from ..executors.jit import Compilation

PRECISIONS = ("float32", "int8")  # that the numba backend computes in


def run(args: Namespace) -> int:
    """Compile all kernels, or those of a model, which is run with them; tell what that took.

    Raises MnvError where what was compiled cannot be kept: then there was no point in it.
    """
    problem = numba_problem()
    if problem is not None:
        raise problem
    precisions: tuple[str, ...] = PRECISIONS
    if args.model is not None:
        with open_model(args.model) as model:
            if model.network.detection is not None:
                raise UnsupportedError(
                    f"{args.model}: {model.network.name} is a detector, which the backend numba "
                    "does not run; the C core needs no warm-up"
                )
            precisions = (natural_precision(model.dtype),)
    with shown_log("numba"):
        made = _compiled(precisions)
    answer: dict[str, Any] = {
        "compiled": made.compiled,
        "seconds": round(made.seconds, 3),
        "cache": made.folder,
    }
    if args.model is not None:
        answer |= _first_prediction(args.model)
    if made.folder is None:
        raise MnvError(
            f"compiled in {made.seconds:.1f} s, but not kept, as no cache folder can be written: "
            "every process will compile anew; set NUMBA_CACHE_DIR to a folder that can be written"
        )
    say(as_json(answer) if args.json else _table(answer))
    return 0


def _compiled(precisions: Sequence[str]) -> Compilation:
    from ..executors.jit import compile_kernels

    made = [compile_kernels(precision) for precision in precisions]
    folders = [each.folder for each in made if each.folder is not None]
    return made[0]._replace(
        seconds=sum(each.seconds for each in made),
        compiled=any(each.compiled for each in made),
        folder=os.path.commonpath(folders) if len(folders) == len(made) else None,
    )


def _first_prediction(path: str) -> dict[str, Any]:
    from time import perf_counter

    from ..engine import Engine

    with Engine.load(path, backend="numba") as engine:
        height, width = engine.info.network.resolution
        pixels = memoryview(bytes(height * width * 3)).cast("B", (height, width, 3))
        started = perf_counter()
        engine.predict(pixels)
        return {
            "model": path,
            "network": engine.info.network.name,
            "ms": round((perf_counter() - started) * 1e3, 3),
        }


def _table(answer: dict[str, Any]) -> str:
    how = "compiled in" if answer["compiled"] else "taken from the cache in"
    lines = [f"kernels   {how} {answer['seconds']:.1f} s", f"cache     {shown(answer['cache'])}"]
    if "model" in answer:
        lines.append(f"model     {shown(answer['model'])}: {answer['network']}")
        lines.append(f"ran       in {answer['ms']:.1f} ms")
    return "\n".join(lines)
