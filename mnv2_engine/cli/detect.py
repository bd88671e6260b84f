"""`mnv2 detect`: where things are in photographs."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..detect.answers import checked_threshold, specification
from ..errors import InputError, shown
from .drawing import check_name
from .output import as_json, may_write, say
from .photographs import Answer, answer_all, is_on_ray, loaded, model_of

if TYPE_CHECKING:
    from ..detect.found import Detection
    from ..engine import Engine


def run(args: Namespace) -> int:
    """Answer every photograph, and return whether some could not be read: exit code 0 or 1."""

    def write(answer: Answer, bar: Any) -> None:
        if answer.error is None:
            say(answer.value, bar)
        elif args.json:
            say(as_json({"file": answer.file, "error": answer.error}), bar)

    checked_threshold(args.threshold)
    if is_on_ray(args):
        from .on_ray import run_on_ray

        if args.draw is not None:
            args.refuse("--draw is not for --ray")
        options = {"threshold": args.threshold, "max_objects": args.max_objects}
        return run_on_ray(args, "Detector", options, detects=True)
    if args.out is not None:
        args.refuse("--out is for --ray; redirect standard output: > objects.jsonl")
    if args.draw is not None:
        if len(args.photos) != 1 or os.path.isdir(args.photos[0]):
            raise InputError(f"--draw {args.draw}: expected one photograph, not several")
        check_name(args.draw)
        may_write(args.draw, args.force, args.photos[0], "the photograph itself", "OUT.png")
    args.model = model_of(args.model, detects=True)
    with loaded(args) as engine:
        specification(engine.info.network)
        work = partial(
            _detected,
            threshold=args.threshold,
            most=args.max_objects,
            is_json=args.json,
            draw=args.draw,
        )
        return answer_all(args, engine, work, write)


def _detected(
    engine: Engine,
    source: Any,
    file: str,
    threshold: float,
    most: int | None,
    is_json: bool,
    draw: str | None,
) -> str:
    """What is printed of a photograph."""
    started = perf_counter()
    objects = engine.detect(source, threshold, most)
    ms = round((perf_counter() - started) * 1e3, 3)
    if draw is not None:
        from .drawing import draw_objects

        draw_objects(source, objects, draw)
    if is_json:
        return as_json({"file": file, "objects": objects, "ms": ms})
    return _table(file, objects)


def _table(file: str, objects: Sequence[Detection]) -> str:
    lines = [shown(file)]
    for found in objects:
        left, top, right, bottom = (f"{each:.0f}" for each in found.box)
        place = f"{left:>5},{top:>5}  to {right:>5},{bottom:>5}"
        lines.append(f"  {found.score:7.2%}  {place}  {shown(found.label)}")
    if not objects:
        lines.append("  nothing found")
    return "\n".join(lines)
