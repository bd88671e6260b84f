"""What `mnv2 classify` and `mnv2 embed` have in common: which photographs are meant, and answering
them one after the other, by one process or several."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError
from ..images.image_files import ImageFile, find_images
from .options import MODEL_VARIABLE
from .output import BAR_FROM, complain, progress, shown_log

if TYPE_CHECKING:
    from ..engine import Engine

STDIN = "-"
STDIN_LIMIT = 1 << 29  # bytes; a photograph has some millions
# Of fewer photographs, starting a second process takes longer than it saves.
SEVERAL_FROM = 24
COUNTED = 10_000  # photographs that are looked for ahead, to tell a progress bar how many there are


class Answer(NamedTuple):
    """Of one photograph."""

    file: str
    error: str | None  # why there is none
    value: Any  # what is written: text, or an array's bytes


# Of an engine, a path or encoded bytes, and the photograph's name: what is written.
Work = Callable[["Engine", Any, str], Any]


class Task:
    """What is done with each photograph: picklable, as workers may be started afresh."""

    def __init__(self, engine: Engine, work: Work) -> None:
        self.engine = engine
        self.work = work

    def __call__(self, photo: ImageFile) -> Answer:
        """The answer to one photograph, or why there is none."""
        try:
            if photo.problem:
                raise InputError(photo.problem)
            source = _read_stdin() if photo.name == STDIN else photo.name
            return Answer(photo.name, None, self.work(self.engine, source, photo.name))
        except InputError as error:
            return _failed(photo, str(error))


def is_on_ray(args: Namespace) -> bool:
    """Whether a cluster does the work; a usage error where the options do not fit together."""
    if args.ray is not None:
        return True
    if not args.photos:
        args.refuse("the following arguments are required: PHOTO")
    for option in ("column", "chunk"):
        if getattr(args, option) is not None:
            args.refuse(f"--{option} is for --ray")
    return False


@contextmanager
def loaded(args: Namespace) -> Iterator[Engine]:
    """The engine that the options ask for."""
    from ..engine import Engine

    with (
        shown_log(args.backend),
        Engine.load(
            model_of(args.model),
            threads=args.threads,
            backend=args.backend,
            precision=args.precision,
            max_pixels=args.max_pixels,
            formats=args.formats,
            decode=args.decode,
        ) as engine,
    ):
        yield engine


def model_of(given: str | None, detects: bool = False) -> str:
    """The model file to use: the one given, the environment's, or the demo's."""
    from . import demo, demo_detect

    chosen = given or os.environ.get(MODEL_VARIABLE)
    chosen = chosen or (demo_detect if detects else demo).converted_model()
    if not chosen:
        command = "mnv2 demo --detect" if detects else "mnv2 demo"
        raise InputError(
            f"no model: give --model M.npz, or set {MODEL_VARIABLE}, or run `{command}` once, "
            "whose model is then used"
        )
    return chosen


def answer_all(
    args: Namespace, engine: Engine, work: Work, write: Callable[[Answer, Any], None]
) -> int:
    """Give `write` the answer to every photograph that `args` names, in their order, and the
    progress bar or None. Exit code 0, or 1 where one could not be read."""
    if args.photos.count(STDIN) > 1:
        raise InputError("standard input (-) is given twice, but can be read only once")
    photos = _photos(args.photos)
    first = list(islice(photos, max(BAR_FROM, SEVERAL_FROM)))
    workers = _workers(args, engine.info.threads, len(first))
    total, photos = _counted(first, photos)
    count = failed = 0
    with (
        progress(total) as bar,
        closing(_answers(Task(engine, work), photos, workers, bar)) as answers,
    ):
        for each in answers:
            count += 1
            if each.error is not None:
                failed += 1
                complain(each.error, bar)
            write(each, bar)
            if bar is not None:
                bar.update()
    if failed and count > 1:
        complain(f"{failed} of {count} could not be answered")
    return int(failed > 0)


def _answers(task: Task, photos: Iterable[ImageFile], workers: int, bar: Any) -> Generator[Answer]:
    if workers == 1:
        yield from map(task, photos)
        return
    from ..many.workers import in_order

    yield from in_order(
        photos, task, workers, _failed, own=_is_own, say=lambda text: complain(text, bar)
    )


def _workers(args: Namespace, threads: int, at_least: int) -> int:
    """How many processes answer: those that were asked for, or one a CPU where it pays."""
    if args.workers is not None:
        return int(args.workers)
    if at_least < SEVERAL_FROM:
        return 1
    from ..executors.cpus import usable_cpus

    return max(1, usable_cpus() // threads)


def _counted(
    first: list[ImageFile], rest: Iterator[ImageFile]
) -> tuple[int | None, Iterator[ImageFile]]:
    """How many photographs there are, None where that is not known yet, and all of them. They are
    looked for ahead only if a bar is there to be told."""
    if len(first) < max(BAR_FROM, SEVERAL_FROM):
        return len(first), iter(first)
    ahead: list[ImageFile] = []
    if sys.stderr is not None and sys.stderr.isatty():
        ahead = list(islice(rest, COUNTED))
    total = len(first) + len(ahead) if 0 < len(ahead) < COUNTED else None
    return total, chain(first, ahead, rest)


def _photos(names: Sequence[str]) -> Iterator[ImageFile]:
    """Every image of the command line, folders searched in the order of their names."""
    for name in names:
        if name == STDIN:
            yield ImageFile(name)
        else:
            yield from find_images([name])


def _is_own(photo: ImageFile) -> bool:
    """Whether there is nothing for a worker to open."""
    return photo.name == STDIN or photo.problem is not None


def _failed(photo: ImageFile, reason: str) -> Answer:
    name = "standard input" if photo.name == STDIN else photo.name
    return Answer(photo.name, reason if reason.startswith(name) else f"{name}: {reason}", None)


def _read_stdin() -> bytes:
    data = sys.stdin.buffer.read(STDIN_LIMIT + 1)
    if len(data) > STDIN_LIMIT:
        raise InputError(f"more than {STDIN_LIMIT} bytes: expected one encoded image")
    return data
