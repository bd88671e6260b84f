"""Which files are meant where a person names files and folders of images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from heapq import nsmallest

from ..untyped import NamedTuple

# Of a folder, these are taken for images, the formats that are allowed unless a caller says other
# ones; a file named by itself is always tried.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png"),
    *(".gif", ".bmp", ".webp", ".tif", ".tiff"),
)
# Photographs too, which are not passed over in silence.
UNREAD_SUFFIXES = (".heic", ".heif", ".hif")

MOST_NAMES = 100_000  # of one folder, in memory at once: 15 MB


class ImageFile(NamedTuple):
    """One image that was asked for, or why there is none under that name."""

    name: str
    problem: str | None = None


def find_images(names: Iterable[str]) -> Iterator[ImageFile]:
    """Every image of `names`: files as they are, folders searched in the order of their names."""
    for name in names:
        if not os.path.isdir(name):
            yield ImageFile(name)
            continue
        found = False
        for image in _images_in(name):
            found = True
            yield image
        if not found:
            yield ImageFile(name, f"holds no image ({' '.join(IMAGE_SUFFIXES[:3])} …)")


def _images_in(folder: str) -> Iterator[ImageFile]:
    """Those of a folder, then those of each of its folders; no list of them is kept."""
    waiting = [iter((folder,))]
    while waiting:
        place = next(waiting[-1], None)
        if place is None:
            waiting.pop()
            continue
        try:
            for file in _sorted_names(place, folders=False):
                # A leading dot marks what belongs to the system, such as macOS's ._photo.jpg.
                if file.startswith("."):
                    continue
                path = os.path.join(place, file)
                if file.lower().endswith(UNREAD_SUFFIXES):
                    yield ImageFile(path, "HEIC is not decoded here; convert it to JPEG")
                elif file.lower().endswith(IMAGE_SUFFIXES) and not _waits(path):
                    yield ImageFile(path)
        except OSError as error:
            yield ImageFile(str(error.filename), f"cannot be read: {error.strerror}")
            continue
        waiting.append(_folders_in(place))


def _folders_in(folder: str) -> Iterator[str]:
    """Its folders, but for links to folders, which might lead in circles."""
    with suppress(OSError):  # its files were read: it has gone meanwhile
        for name in _sorted_names(folder, folders=True):
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                yield path


def _sorted_names(folder: str, folders: bool) -> Iterator[str]:
    """The names of its folders, or of all else, sorted. At most `MOST_NAMES` are held at a time:
    a larger folder is read several times."""
    last = ""
    while True:
        with os.scandir(folder) as entries:
            later = (e.name for e in entries if e.name > last and _is_folder(e) == folders)
            names = nsmallest(MOST_NAMES, later)
        yield from names
        if len(names) < MOST_NAMES:
            return
        last = names[-1]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _waits(path: str) -> bool:
    """Whether it is a FIFO, a socket or a device, by whatever name."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False  # opening it will say why
