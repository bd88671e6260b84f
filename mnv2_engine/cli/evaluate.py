"""`mnv2 evaluate`: accuracy on a folder of images, and agreement with another model."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from .output import as_json, complain, progress, say

if TYPE_CHECKING:
    from ..evaluate import Report


def run(args: Namespace) -> int:
    """Print the report, and return whether some image could not be read: exit code 0 or 1."""
    if args.coco is not None:
        return _evaluate_detector(args)
    with _Progress() as watcher:
        try:
            report = _evaluate(args, watcher)
        except KeyboardInterrupt:
            watcher.stopped(kept=args.out is not None)
            raise
    say(as_json(report.to_json()) if args.json else str(report))
    if report.unreadable:
        complain(f"{report.unreadable} of {report.images} images could not be read")
    return int(report.unreadable > 0)


def _evaluate_detector(args: Namespace) -> int:
    from ..evaluate.coco import evaluate_coco

    report = evaluate_coco(
        args.model,
        args.folder,
        args.coco,
        limit=args.limit,
        threads=args.threads,
        precision=args.precision,
        note=complain,
    )
    say(as_json(report.to_json()) if args.json else str(report))
    return int(report.unreadable > 0)


def _evaluate(args: Namespace, watcher: _Progress) -> Report:
    from ..evaluate import evaluate

    return evaluate(
        args.model,
        args.folder,
        against=args.against,
        classes=args.classes,
        index_offset=args.index_offset,
        out=args.out,
        force=args.force,
        limit=args.limit,
        strict=args.strict,
        threads=args.threads,
        precision=args.precision,
        watcher=watcher,
    )


class _Progress:
    """The watcher of `evaluate`: notes to standard error, and a bar if anyone sees it."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self._context: Any = None
        self._bar: Any = None

    def note(self, text: str) -> None:
        complain(f"note: {text}", self._bar)

    def begin(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        if done:
            complain(f"note: {done:,} of {total:,} images are done already")
        self._context = progress(total - done)
        self._bar = self._context.__enter__()

    def unreadable(self, reason: str) -> None:
        complain(reason, self._bar)

    def advance(self) -> None:
        self.done += 1
        if self._bar is not None:
            self._bar.update()

    def stopped(self, kept: bool) -> None:
        """The run was interrupted; its results are kept or not."""
        if self._bar is not None:
            self._bar.close()
        if not self.total:  # before the first image
            return
        rest = "nothing is kept; with --out FILE.jsonl a run can be taken up again"
        if kept:
            rest = "they are kept, and the same command goes on from there"
        complain(f"stopped after {self.done:,} of {self.total:,} images: {rest}")

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._context is not None:
            self._context.__exit__(*(error or sys.exc_info()))
