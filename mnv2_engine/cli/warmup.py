"""`mnv2 warmup`: compile what the numba backend needs before anybody waits for it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..backends import numba_problem
from ..errors import MnvError
from .output import as_json, say, shown, shown_log


def run(args: Namespace) -> int:
    """Compile the kernels, run a model with them if one is given, and tell what that took.

    Raises MnvError where what was compiled cannot be kept: then there was no point in it.
    """
    problem = numba_problem("float32")
    if problem is not None:
        raise problem
    from ..executors.jit import compile_entries

    with shown_log("numba"):
        made = compile_entries()
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


def _first_prediction(path: str) -> dict[str, Any]:
    from time import perf_counter

    from ..engine import Engine

    with Engine.load(path, backend="numba") as engine:
        height, width = engine.info.architecture.resolution
        pixels = memoryview(bytes(height * width * 3)).cast("B", (height, width, 3))
        started = perf_counter()
        engine.predict(pixels)
        return {
            "model": path,
            "network": engine.info.architecture.name,
            "ms": round((perf_counter() - started) * 1e3, 3),
        }


def _table(answer: dict[str, Any]) -> str:
    how = "compiled in" if answer["compiled"] else "taken from the cache in"
    lines = [f"kernels   {how} {answer['seconds']:.1f} s", f"cache     {shown(answer['cache'])}"]
    if "model" in answer:
        lines.append(f"model     {shown(answer['model'])}: {answer['network']}")
        lines.append(f"ran       in {answer['ms']:.1f} ms")
    return "\n".join(lines)
