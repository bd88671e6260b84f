"""`mnv2 bench`: this engine beside others, and the report of that."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from contextlib import suppress
from typing import Any

from ..errors import InputError, shown
from .output import as_json, say


def run(args: Namespace) -> int:
    """Measure and print; 1 where someone who was asked for is missing or a ratio is not sound."""
    from ..bench import bench
    from ..bench.comparison import ROUNDS, SECONDS
    from ..bench.entrants import Options
    from ..executors.cpus import thread_count

    if args.service:
        return _service(args)
    if args.report is None and (args.model is None or args.models):
        raise InputError("give one MODEL to bench, or --report DIR with any number of --models")
    options = Options(thread_count(args.threads), args.precision, args.isa, args.backend)
    common: dict[str, Any] = {
        "rounds": args.pairs or ROUNDS,
        "seconds": args.seconds or SECONDS,
    }
    against = args.against
    with _Bar() as bar:
        if args.report is None:
            results = [
                bench(
                    args.model,
                    against,
                    options,
                    weights=args.weights,
                    processes=not args.no_processes,
                    advance=bar.advance,
                    **common,
                )
            ]
        else:
            from ..bench.report import measured, write_report

            models = [*([args.model] if args.model else []), *args.models]
            parts = measured(models, against, options, advance=bar.advance, **common)
            results = [part.result for part in parts]
            written = write_report(args.report, parts, _command())
    if args.json:
        say(as_json(results[0] if args.report is None else results))
    else:
        say("\n\n".join(map(str, results)))
        for path in written if args.report is not None else ():
            say(shown(path))
    return int(not all(result.complete for result in results))


def _service(args: Namespace) -> int:
    from ..bench.service import put_table, service_memory

    if args.model is None:
        raise InputError("give a model file to bench as a service")
    against = ["litert", "onnxruntime"] if args.against is None else args.against
    table = service_memory(args.model, against)
    if args.report is not None:
        put_table(os.path.join(args.report, "serving.md"), table)
    say(as_json(table) if args.json else str(table))
    return 0


def _command() -> str:
    """What was typed, for the report; in which folders files lie is nobody's business."""
    typed = (os.path.basename(each) if os.path.isfile(each) else each for each in sys.argv[1:])
    return shlex.join(["mnv2", *typed])


class _Bar:
    """tqdm's bar of rounds, one a contest, where there is someone to see it."""

    def __init__(self) -> None:
        self._bar: Any = None

    def advance(self, done: int, total: int) -> None:
        """So many rounds of so many are done; those of the warm-up are below 1."""
        if done < 1 or sys.stderr is None or not sys.stderr.isatty():
            return
        if self._bar is None or done < self._bar.n:
            self.__exit__()
            with suppress(ImportError):
                from tqdm import tqdm

                self._bar = tqdm(total=total, unit="round", file=sys.stderr)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
