"""Class names: ImageNet's thousand, which come with the package, and lists read from a file."""

from __future__ import annotations

import os

from .architecture import MAX_CLASSES
from .errors import InputError

IMAGENET_FILE = os.path.join(os.path.dirname(__file__), "data", "imagenet_classes.txt")
IMAGENET_CLASSES = 1000

BACKGROUND = "background"  # class 0 of TensorFlow's 1001

# Far above any list of class names, far below what would hurt.
MAX_FILE_BYTES = 1 << 26


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
    names = read_labels(IMAGENET_FILE)
    return names if classes == IMAGENET_CLASSES else (BACKGROUND, *names)


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The labels in a UTF-8 text file, one a line, in the order of the classes.

    White space around a label and blank lines at the end are dropped; a blank line elsewhere
    would shift every class after it, and raises InputError. So do a file that cannot be read, is
    not UTF-8 or holds no label or too many.
    """
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"labels {name}: cannot be read: {reason}") from error
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"labels {name}: more than {MAX_FILE_BYTES} bytes is no list of labels")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"labels {name}: expected UTF-8 text ({error})") from None
    # Not splitlines(), which also splits at form feeds and the like inside a label.
    lines = text.replace("\r\n", "\n").rstrip().split("\n")
    labels = tuple(line.strip() for line in lines)
    if not text.strip():
        raise InputError(f"labels {name}: expected one label a line, found none")
    if "" in labels:
        raise InputError(
            f"labels {name}: line {labels.index('') + 1} is blank; every class needs a label"
        )
    if len(labels) > MAX_CLASSES:
        raise InputError(f"labels {name}: {len(labels)} labels; expected at most {MAX_CLASSES}")
    return labels
