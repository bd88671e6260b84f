"""The images of a folder and their true classes, in an order that stays.

A survey counts the images and settles where their classes are said; from then on they are read
from the folder again, one after the other, so that no list of them is kept.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import NamedTuple

from ..errors import InputError
from ..images.image_files import find_images
from .classes import ModelClasses, is_index
from .truth import CsvTruth, FolderTruth, NoTruth, PrefixTruth, Truth

CSV_NAMES = ("classes.csv", "labels.csv")  # in the folder, found by themselves
KEPT_NAMES = 1000  # of classes that could not be matched; of more, the number alone


class Sample(NamedTuple):
    """One image."""

    number: int  # from 0, in the order of the run
    name: str  # its path in the folder, "/" between
    path: str
    problem: str | None  # why it cannot be read, where the search knows already
    truth: int | None  # index of its class


class Dataset(NamedTuple):
    """The images of a folder; iterating reads the folder anew."""

    folder: str
    truth: Truth
    images: int  # before the limit
    limit: int | None
    with_truth: int  # images whose class is one of the model's, before the limit
    unmatched: dict[str, int]  # names of classes that are not the model's: images of each
    digest: str  # of the images' names
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Images of a run."""
        return self.images if self.limit is None else min(self.images, self.limit)

    def samples(self) -> Iterator[Sample]:
        """The images of a run, with a limit spread evenly over the folder."""
        number = 0
        for i, (name, path, problem) in enumerate(_images(self.folder)):
            # The first of every `images / limit`.
            if self.size < self.images and i and _share(self, i) == _share(self, i - 1):
                continue
            yield Sample(number, name, path, problem, self.truth.of(name).found)
            number += 1


def _share(dataset: Dataset, i: int) -> int:
    return i * dataset.size // dataset.images


def survey(folder: str, asked: str, classes: ModelClasses, limit: int | None = None) -> Dataset:
    """Look through `folder`. `asked` is ``auto``, ``folder``, ``prefix``, ``none``, or the path of
    a CSV. Raises InputError for a folder without images, and where the classes that were asked
    for name none of the model's."""
    if not os.path.isdir(folder):
        found = "is a file" if os.path.exists(folder) else "is not there"
        raise InputError(f"{folder}: {found}: expected a folder of images")
    truth, note = _truth(folder, asked, classes)
    dataset = _counted(folder, truth, classes, limit)
    return dataset._replace(notes=(note, *dataset.notes)) if note else dataset


def _truth(folder: str, asked: str, classes: ModelClasses) -> tuple[Truth, str]:
    """What was asked for, and a note where it is less than could be."""
    makers: dict[str, Callable[[], Truth]] = {
        "folder": lambda: FolderTruth(classes),
        "prefix": lambda: PrefixTruth(classes),
        "none": NoTruth,
    }
    if asked in makers:
        return makers[asked](), ""
    if asked != "auto":
        return CsvTruth(asked, classes), ""
    for name in CSV_NAMES:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return CsvTruth(path, classes), ""
    return _detected(folder, classes)


def _detected(folder: str, classes: ModelClasses) -> tuple[Truth, str]:
    """What the names of folders and files show by themselves, and a note where that is nothing.

    Sub-folders are classes if at least half of their names are the model's, beginnings of names
    if all are: photographs of holidays begin with a class now and then. Numbers are no proof.
    """
    prefix = PrefixTruth(classes)
    folders: dict[str, bool] = {}
    images = in_root = by_prefix = 0
    for name, _, _ in _images(folder):
        images += 1
        first, inside, _ = name.partition("/")
        if inside:
            folders[first] = classes.named(first) is not None
        else:
            in_root += 1
        by_prefix += prefix.named(name) is not None
    matching = sum(folders.values())
    if folders and not in_root and matching * 2 >= len(folders):
        return FolderTruth(classes, indices=False), ""
    if by_prefix == images:
        return prefix, ""
    if folders and all(map(is_index, folders)):
        return NoTruth(), (
            "the sub-folders have numbers for names, which may be anything: give --classes folder "
            "where they are the model's indices"
        )
    if matching:
        found = f"{matching} of {len(folders)} sub-folders have the name of a class"
        return NoTruth(), f"no true classes: only {found}; give --classes folder to go by them"
    if by_prefix:
        found = f"{by_prefix} of {images} file names begin with a class"
        return NoTruth(), f"no true classes: only {found}; give --classes prefix to go by them"
    hint = "" if classes.has_labels else ", which has no labels"
    return NoTruth(), (
        "no true classes: neither sub-folders nor the beginnings of file names are classes of the "
        f"model{hint}; --classes says where they are"
    )


def _counted(folder: str, truth: Truth, classes: ModelClasses, limit: int | None) -> Dataset:
    digest = sha256()
    images = matched = named = 0
    unmatched: Counter[str] = Counter()
    for name, _, _ in _images(folder):
        images += 1
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        said = truth.of(name)
        named += said.name is not None
        matched += said.found is not None
        if said.name is not None and said.found is None:
            kept = said.name in unmatched or len(unmatched) < KEPT_NAMES
            unmatched[said.name if kept else "…"] += 1
    if not matched and not isinstance(truth, NoTruth):
        raise InputError(_no_match(truth, unmatched, classes))
    notes = []
    if unmatched:
        notes.append(_unmatched_note(unmatched, named - matched, classes))
    if isinstance(truth, CsvTruth) and len(truth) > named:
        notes.append(f"{truth.source}: {len(truth) - named} of its images are not in the folder")
    if not isinstance(truth, NoTruth) and named < images:
        notes.append(f"images of which no class is said: {images - named} of {images}")
    return Dataset(
        folder, truth, images, limit, matched, dict(unmatched), digest.hexdigest(), tuple(notes)
    )


def _unmatched_note(unmatched: Counter[str], images: int, classes: ModelClasses) -> str:
    some = ", ".join(_why(name, classes) for name, _ in unmatched.most_common(5))
    more = f" and {len(unmatched) - 5} more" if len(unmatched) > 5 else ""
    return (
        "images whose class is none of the model's, and that count towards no accuracy: "
        f"{images} ({some}{more})"
    )


def _why(name: str, classes: ModelClasses) -> str:
    return f"{name[:80]!r}{' (several classes)' if classes.is_ambiguous(name) else ''}"


def _no_match(truth: Truth, unmatched: Counter[str], classes: ModelClasses) -> str:
    where = {"folder": "sub-folders", "prefix": "beginnings of file names"}.get(
        truth.source, truth.source
    )
    if not unmatched:
        return f"{where}: say the class of none of the images; give another --classes"
    some = ", ".join(_why(name, classes) for name, _ in unmatched.most_common(3))
    if not classes.has_labels:
        remedy = "it has no labels: convert it with --labels, or give indices"
    elif not classes.has_ids and any(name.startswith("n0") for name in unmatched):
        remedy = "its labels carry no WordNet ids and are not ImageNet's as this package has them"
    else:
        remedy = "`mnv2 classify` shows its labels"
    return f"{where}: none is a class of the model ({some}); {remedy}"


def _images(folder: str) -> Iterator[tuple[str, str, str | None]]:
    """(name, path, problem) of each image, in the order of the names of folders and files."""
    for path, problem in find_images([folder]):
        if path == folder:
            raise InputError(f"{folder}: {problem}; expected a folder of images")
        yield os.path.relpath(path, folder).replace(os.sep, "/"), path, problem
