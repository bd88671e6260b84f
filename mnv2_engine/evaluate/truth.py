"""Where the true class of an image is said: its sub-folder, the beginning of its name, a CSV."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple, Protocol

from ..errors import InputError
from .classes import ModelClasses, is_index, normal

MAX_CSV_BYTES = 1 << 27

# First lines of a CSV that name its columns.
_FILE_COLUMNS = {"file", "filename", "file name", "image", "path", "name"}
_CLASS_COLUMNS = {"class", "label", "category", "target", "truth", "synset", "wnid"}

# Where a file's name may part into its class and the rest.
_CUTS = re.compile(r"[_\- .]")


class Said(NamedTuple):
    """What was found about an image."""

    name: str | None  # of its class, as it is written; None where nothing is said
    found: int | None  # its index; None where that is no class of the model


NOTHING = Said(None, None)


class Truth(Protocol):
    """`of(name)` is what is said of an image, by its path in the folder with "/" between."""

    source: str  # for people
    digest: str  # of what the answers depend on beside the names; "" for nothing

    def of(self, name: str) -> Said:
        """What is said of the image `name`."""


class NoTruth:
    """Where no classes are said."""

    source, digest = "none", ""

    def of(self, name: str) -> Said:
        """What is said of the image `name`."""
        return NOTHING


class FolderTruth:
    """The first sub-folder is the class; one of digits is an index, if those are `indices`."""

    source, digest = "folder", ""

    def __init__(self, classes: ModelClasses, indices: bool = True) -> None:
        self._classes = classes
        self._find = _class_of if indices else ModelClasses.named
        self._known: dict[str, int | None] = {}

    def of(self, name: str) -> Said:
        """What is said of the image `name`."""
        folder, inside, _ = name.partition("/")
        if not inside:
            return NOTHING
        if folder not in self._known:
            self._known[folder] = self._find(self._classes, folder)
        return Said(folder, self._known[folder])


class PrefixTruth:
    """The longest beginning of a file's name that is a class: "tiger_cat_7.jpg" is no tiger."""

    source, digest = "prefix", ""

    def __init__(self, classes: ModelClasses) -> None:
        self._classes = classes

    def of(self, name: str) -> Said:
        """What is said of the image `name`."""
        said = self.named(name)
        if said is not None:
            return said
        beginnings = list(_beginnings(name))
        stem, shortest = beginnings[0], beginnings[-1]
        if shortest != stem and is_index(shortest):
            return Said(shortest, self._classes.numbered(shortest))
        return Said(shortest, None)

    def named(self, name: str) -> Said | None:
        """What is said by names of classes alone, not by indices."""
        for beginning in _beginnings(name):
            for spelt in (beginning, beginning.replace("-", " ")):
                found = self._classes.named(spelt)
                if found is not None:
                    return Said(beginning, found)
        return None


class CsvTruth:
    """A file of two columns, the image's path in the folder and its class."""

    def __init__(self, path: str, classes: ModelClasses) -> None:
        data = _read(path)
        self.source = path
        self.digest = sha256(data).hexdigest()
        self._classes = classes
        self._known: dict[str, int | None] = {}
        self._rows: dict[str, str] = {}
        for number, name, given in _rows(data, path):
            if self._rows.setdefault(name, given) != given:
                raise InputError(
                    f"{path}: line {number}: {name[:200]!r} has the class {given[:80]!r} here and "
                    f"{self._rows[name][:80]!r} before: expected one class an image"
                )

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, name: str) -> Said:
        """What is said of the image `name`."""
        given = self._rows.get(name)
        if given is None:
            return NOTHING
        if given not in self._known:
            self._known[given] = _class_of(self._classes, given)
        return Said(given, self._known[given])


def _class_of(classes: ModelClasses, name: str) -> int | None:
    found = classes.named(name)
    return classes.numbered(name) if found is None else found


def _beginnings(name: str) -> Iterator[str]:
    """The stem of a file's name, then ever shorter beginnings of it; at least one."""
    stem = os.path.splitext(name.rpartition("/")[2])[0]
    yield stem
    bare = stem.rstrip("0123456789")  # "tench12"
    if bare and bare != stem and not _CUTS.match(bare[-1]):
        yield bare
    for cut in reversed([found.start() for found in _CUTS.finditer(stem)]):
        if cut:
            yield stem[:cut]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CSV_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: cannot be read: {reason}; --classes takes folder, prefix, none, auto or a "
            "CSV of images and their classes"
        ) from error
    if len(data) > MAX_CSV_BYTES:
        raise InputError(f"{path}: more than {MAX_CSV_BYTES} bytes is no list of images")
    return data


def _rows(data: bytes, path: str) -> Iterator[tuple[int, str, str]]:
    """(line, image, class) of each row."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text ({error})") from None
    columns = (0, 1)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for first, row in enumerate(reader):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if first == 0 and (named := _columns(cells)) is not None:
                columns = named
                continue
            if len(cells) <= max(columns) or (columns == (0, 1) and len(cells) != 2):
                raise InputError(
                    f"{path}: line {reader.line_num} has {len(cells)} columns: expected an image "
                    "and its class, or a first line that names the columns, file and class"
                )
            name, given = (cells[column] for column in columns)
            if not name or not given:
                raise InputError(
                    f"{path}: line {reader.line_num}: {'class' if name else 'image'} is blank"
                )
            yield reader.line_num, name.replace(os.sep, "/").removeprefix("./"), given
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}") from None


def _columns(cells: list[str]) -> tuple[int, int] | None:
    """The columns of image and class, if these cells are a heading."""
    names = [normal(cell) for cell in cells]
    files = [i for i, name in enumerate(names) if name in _FILE_COLUMNS]
    classes = [i for i, name in enumerate(names) if name in _CLASS_COLUMNS]
    return (files[0], classes[0]) if files and classes else None
