"""Which files are meant where a person names files and folders of images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from ..untyped import NamedTuple

# Of a folder, these are taken for images, the formats that are allowed unless a caller says other
# ones; a file named by itself is always tried.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png"),
    *(".gif", ".bmp", ".webp", ".tif", ".tiff"),
)
# Photographs too, which are not passed over in silence.
UNREAD_SUFFIXES = (".heic", ".heif", ".hif")


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
    problems: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=problems.append):
        while problems:
            yield _unreadable_folder(problems.pop())
        folders.sort()
        for file in sorted(files):
            # A leading dot marks what belongs to the system, such as macOS's ._photo.jpg.
            path = os.path.join(place, file)
            if file.startswith("."):
                continue
            if file.lower().endswith(UNREAD_SUFFIXES):
                yield ImageFile(path, "HEIC is not decoded here; convert it to JPEG")
            elif file.lower().endswith(IMAGE_SUFFIXES) and not _waits(path):
                yield ImageFile(path)
    for problem in problems:
        yield _unreadable_folder(problem)


def _unreadable_folder(error: OSError) -> ImageFile:
    return ImageFile(str(error.filename), f"cannot be read: {error.strerror}")


def _waits(path: str) -> bool:
    """Whether it is a FIFO, a socket or a device, by whatever name."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False  # opening it will say why
