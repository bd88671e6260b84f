"""`mnv2 classify`: say what photographs show, one by one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..answers import check_answers
from ..errors import shown
from .output import as_json, say
from .photographs import Answer, answer_all, is_on_ray, loaded

if TYPE_CHECKING:
    from ..engine import Engine, Prediction


def run(args: Namespace) -> int:
    """Answer every photograph, and return whether some could not be read: exit code 0 or 1."""
    if is_on_ray(args):
        from .on_ray import run_on_ray

        return run_on_ray(args, "Classifier", {"top_k": args.top_k})
    if args.out is not None:
        args.refuse("--out is for --ray; redirect standard output: > answers.jsonl")

    def write(answer: Answer, bar: Any) -> None:
        if answer.error is None:
            say(answer.value, bar)
        elif args.json:
            say(as_json({"file": answer.file, "error": answer.error}), bar)

    with loaded(args) as engine:
        check_answers(engine.info.network)
        work = partial(_classified, top_k=args.top_k, is_json=args.json)
        return answer_all(args, engine, work, write)


def _classified(engine: Engine, source: Any, file: str, top_k: int, is_json: bool) -> str:
    """What is printed of a photograph."""
    started = perf_counter()
    predictions = engine.predict(source, top_k=top_k)
    ms = round((perf_counter() - started) * 1e3, 3)
    if is_json:
        return as_json({"file": file, "predictions": predictions, "ms": ms})
    return _table(file, predictions)


def _table(file: str, predictions: Sequence[Prediction]) -> str:
    lines = [shown(file)]
    for prediction in predictions:
        label = shown(str(prediction.label))
        lines.append(f"  {prediction.probability:7.2%}  {prediction.index:4}  {label}")
    return "\n".join(lines)
