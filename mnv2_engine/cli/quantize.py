"""`mnv2 quantize`: a smaller model file, and a report of what that did to the network."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..errors import InputError, shown
from ..network.quantization import DEFAULT_RANGE_METHOD
from .output import as_json, complain, may_write, progress, say


def run(args: Namespace) -> int:
    """Write the model file and print the report."""
    from ..quantize import quantize

    may_write(args.out, args.force, args.model, "the model file itself", "OUT.npz")
    if args.classifier is not None:
        return _narrow_classifier(args)
    with _Bar() as bar:
        made = quantize(
            args.model,
            args.out,
            args.calibrate,
            method=args.method or DEFAULT_RANGE_METHOD,
            limit=args.limit,
            advance=bar.advance,
        )
    for note in made.notes:
        complain(f"note: {note}")
    if args.json:
        say(as_json(made))
    else:
        say(f"{made}\n{shown(args.out)}: {made.name}, int8, {made.file_bytes:,} bytes")
    return 0


def _narrow_classifier(args: Namespace) -> int:
    from ..quantize import narrow_classifier

    if args.method is not None:
        raise InputError("--method is for int8 networks; leave it out with --classifier")
    made = narrow_classifier(
        args.model, args.out, args.classifier, args.calibrate, limit=args.limit
    )
    for note in made.notes:
        complain(f"note: {note}")
    if args.json:
        say(as_json(made))
    else:
        say(
            f"{made}\n{shown(args.out)}: {made.name}, float32 with a classifier of "
            f"{made.classifier}, {made.file_bytes:,} bytes (was {made.was_bytes:,})"
        )
    return 0


class _Bar:
    """A progress bar that appears once it is known how much there is to do."""

    def __init__(self) -> None:
        self._context: Any = None
        self._bar: Any = None

    def advance(self, done: int, total: int) -> None:
        if self._context is None:
            self._context = progress(total, " images × layers")
            self._bar = self._context.__enter__()
        if self._bar is not None:
            self._bar.update(done)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._context is not None:
            self._context.__exit__(*error)
