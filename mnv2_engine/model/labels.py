"""Class names: ImageNet's and COCO's, which come with the package, and lists read from a file."""

from __future__ import annotations

import os

from ..errors import InputError, MnvError
from ..network.families import MAX_CLASSES

IMAGENET_FILE = "data/imagenet_classes.txt"
SYNSETS_FILE = "data/imagenet_synsets.txt"
IMAGENET_CLASSES = 1000
COCO_FILE = "data/coco_classes.txt"
COCO_CLASSES = 90  # ids of COCO's categories, which detectors have as classes
# Of these ids the data sets have no objects; detectors of 80 classes leave them out.
_COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)

BACKGROUND = "background"  # class 0 of TensorFlow's 1001

# Far above any list of class names, far below what would hurt.
MAX_FILE_BYTES = 1 << 25


def imagenet(classes: int = IMAGENET_CLASSES) -> tuple[str, ...]:
    """ImageNet-1k's class names in the order of every published checkpoint (by WordNet id).

    With `classes` 1001, TensorFlow's count, "background" comes first. Raises InputError for any
    count but 1000 and 1001.
    """
    if classes not in (IMAGENET_CLASSES, IMAGENET_CLASSES + 1):
        raise InputError(
            f"ImageNet's labels for {classes} classes: there are {IMAGENET_CLASSES}, or "
            f"{IMAGENET_CLASSES + 1} with background; give the labels of this network as a file"
        )
    names = _packaged(IMAGENET_FILE)
    return names if classes == IMAGENET_CLASSES else (BACKGROUND, *names)


def imagenet_synsets() -> tuple[str, ...]:
    """The WordNet 3.0 ids of ImageNet-1k's classes, such as n01440764, in the order of `imagenet`,
    which is ascending."""
    return _packaged(SYNSETS_FILE)


def coco(classes: int = COCO_CLASSES) -> tuple[str, ...]:
    """COCO's category names by id, 1 to 90, or with `classes` 80 those that have objects.

    Raises InputError for another count.
    """
    names = _packaged(COCO_FILE)
    used = tuple(name for id_, name in enumerate(names, 1) if id_ not in _COCO_UNUSED)
    if classes not in (len(names), len(used)):
        raise InputError(
            f"COCO's labels for {classes} classes: there are {len(used)}, or {len(names)} with the "
            "ids that no object has; give the labels of this network as a file"
        )
    return names if classes == len(names) else used


def _packaged(name: str) -> tuple[str, ...]:
    from pkgutil import get_data  # the package may lie in a zip file

    data = get_data(__package__.split(".")[0], name)
    assert data is not None
    return parse_labels(data, name, MnvError)


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The labels in a text file; see `parse_labels`. Raises InputError for a file that cannot be
    read or is no list of labels."""
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"labels {name}: cannot be read: {reason}") from error
    return parse_labels(data, f"labels {name}", InputError)


def parse_labels(data: bytes, what: str, error: type[MnvError]) -> tuple[str, ...]:
    """The labels in UTF-8 text, one a line, in the order of the classes.

    White space around a label and blank lines at the end are dropped; lines that all begin with a
    number of 0 to N - 1 lose it and are sorted by it ("0  background", "1: tench"). Raises `error`,
    whose message begins with `what`, for anything but UTF-8 text, for a line that is blank or has
    control characters (a blank one would shift every class after it), for numbers from 1, and for
    no label or too many.
    """
    if len(data) > MAX_FILE_BYTES:
        raise error(f"{what}: more than {MAX_FILE_BYTES} bytes is no list of labels")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{what}: expected UTF-8 text ({reason})") from None
    if not text.strip():
        raise error(f"{what}: expected one label a line, found none")
    # Not splitlines(), which also splits at form feeds and the like inside a label.
    labels = [line.strip().replace("\t", " ") for line in text.rstrip().split("\n")]
    if len(labels) > MAX_CLASSES:
        raise error(f"{what}: {len(labels)} labels; expected at most {MAX_CLASSES}")
    for number, label in enumerate(labels, 1):
        if not label or any(c < " " or "\x7f" <= c <= "\x9f" for c in label):
            fault = "not plain text" if label else "blank"
            raise error(f"{what}: line {number} is {fault}; every class needs a label")
    return tuple(_without_numbers(labels, what, error))


def _without_numbers(labels: list[str], what: str, error: type[MnvError]) -> list[str]:
    """Lines that all begin with a number of their own, in the order of these numbers.

    The numbers are a permutation of 0 to N - 1, as in Coral's label files. Raises `error` for
    numbers from 1 to N, which would shift every class.
    """
    parts = [label.replace(":", " ", 1).split(None, 1) for label in labels]
    if not all(len(each) == 2 and each[0].isascii() and each[0].isdecimal() for each in parts):
        return labels
    numbers = [int(each[0][:9]) for each in parts]
    count = len(labels)
    if count == 1 and numbers != [0]:
        return labels  # "3 dogs" is a label
    if sorted(numbers) == list(range(count)):
        named = dict(zip(numbers, (each[1] for each in parts), strict=True))
        return [named[i] for i in range(count)]
    if sorted(numbers) == list(range(1, count + 1)):
        raise error(
            f"{what}: its labels are numbered from 1, and classes count from 0: number them from "
            "0, or take the numbers off if the lines are in the order of the classes"
        )
    return labels
