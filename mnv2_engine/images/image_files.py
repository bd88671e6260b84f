"""Which files are meant where a person names files and folders of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Of a folder, these are taken for images; a file named by itself is always tried.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".avif", ".jp2"),
)


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
            if file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith("."):
                yield ImageFile(os.path.join(place, file))
    for problem in problems:
        yield _unreadable_folder(problem)


def _unreadable_folder(error: OSError) -> ImageFile:
    return ImageFile(str(error.filename), f"cannot be read: {error.strerror}")
