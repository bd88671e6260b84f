"""The images that a network is calibrated with: read, framed, and looked at for what they lack."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..images.image_files import find_images
from ..images.pixels import encoded_pixels
from ..network.layer import IMAGE_CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.input_spec import InputSpec

MOSAICS = (2, 3)  # pictures across and down
NEEDED = (
    "give a folder of photographs such as the network will see, some dozens; without them the "
    "ranges of the activations are not known"
)


class Frames(NamedTuple):
    """Pixels of the network's own size, and what was left out."""

    pixels: NDArray[np.uint8]  # (N, height, width, 3)
    skipped: tuple[str, ...]  # a sentence for each image that could not serve


def calibration_frames(
    source: object, spec: InputSpec, resolution: tuple[int, int], limit: int
) -> Frames:
    """At most `limit` frames of `source`: a path of an image or a folder, several of them, or
    uint8 pixels (N, height, width, 3) of the network's own size.

    More images than that are thinned out evenly. Raises InputError where nothing is left to
    calibrate with.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"limit {limit!r}: expected a number of images, 1 or more")
    if isinstance(source, np.ndarray):
        frames = _of_array(source, resolution, limit)
    else:
        frames = _of_files(_names(source), spec, resolution, limit)
    if not len(frames.pixels):
        found = "; ".join(frames.skipped[:3]) or "no image was given"
        raise InputError(f"no image to calibrate with ({found}): {NEEDED}")
    return frames


def without_copies(frames: Frames) -> Frames:
    """Each picture once: a copy says nothing new, and would be measured on what it was made for."""
    seen: dict[bytes, int] = {}
    for i, frame in enumerate(frames.pixels):
        seen.setdefault(sha256(frame).digest(), i)
    copies = len(frames.pixels) - len(seen)
    if not copies:
        return frames
    note = f"{copies} of {len(frames.pixels)} images are copies of others, and were left out"
    return Frames(frames.pixels[list(seen.values())], (*frames.skipped, note))


def with_mosaics(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`pixels` (N, height, width, 3), and, for a detector, some of them made small: mosaics of
    MOSAICS by as many pictures, N / 4 of each, at least one.

    A head sees objects of one size alone. Where calibration has none of it, the channels that
    tell one from nothing are silent, and nothing says how they have to be rounded.
    """
    random = np.random.default_rng(0)
    made = [pixels]
    for across in MOSAICS:
        count = max(len(pixels) // 4, 1)
        chosen = random.permutation(np.resize(np.arange(len(pixels)), count * across * across))
        made.append(np.stack([_mosaic(pixels[part]) for part in np.split(chosen, count)]))
    return np.concatenate(made)


def _mosaic(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A square number of pictures in one of the same size: each pixel a mean. What is left of the
    edges repeats the last pixel."""
    across = round(len(pictures) ** 0.5)
    _, height, width, channels = pictures.shape
    rows, columns = max(height // across, 1), max(width // across, 1)
    cut = pictures[:, : rows * across, : columns * across]
    small = cut.reshape(-1, rows, cut.shape[1] // rows, columns, cut.shape[2] // columns, channels)
    means = np.rint(small.mean((2, 4))).astype(np.uint8)
    grid = means.reshape(across, across, rows, columns, channels).swapaxes(1, 2)
    whole = grid.reshape(across * rows, across * columns, channels)[:height, :width]
    missing = (0, height - whole.shape[0]), (0, width - whole.shape[1]), (0, 0)
    return np.pad(whole, missing, "edge")


def _names(source: object) -> list[str]:
    if isinstance(source, (str, os.PathLike)):
        return [os.fsdecode(source)]
    if isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray)):
        names = list(source)
        if all(isinstance(name, (str, os.PathLike)) for name in names):
            return [os.fsdecode(name) for name in names]
    raise InputError(
        f"calibration images: got {type(source).__name__}, expected a folder, image files or "
        "uint8 pixels (N, height, width, 3)"
    )


def _of_files(names: list[str], spec: InputSpec, resolution: tuple[int, int], limit: int) -> Frames:
    skipped: list[str] = []
    files: list[str] = []
    for image in find_images(names):
        if image.problem is None:
            files.append(image.name)
        else:
            skipped.append(f"{image.name}: {image.problem}")
    made = []
    for name in _thinned(files, limit):
        try:
            pixels = encoded_pixels(name, spec, resolution)
        except InputError as error:
            reason = str(error)
            skipped.append(reason if reason.startswith(name) else f"{name}: {reason}")
            continue
        frame = np.frombuffer(pixels, np.uint8).reshape(*resolution, IMAGE_CHANNELS)
        if _one_colour(frame):
            skipped.append(f"{name}: is of one colour, which says nothing of photographs")
        else:
            made.append(frame)
    stacked = np.stack(made) if made else np.empty((0, *resolution, IMAGE_CHANNELS), np.uint8)
    return Frames(stacked, tuple(skipped))


def _of_array(pixels: NDArray[Any], resolution: tuple[int, int], limit: int) -> Frames:
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (*resolution, IMAGE_CHANNELS):
        raise InputError(
            f"calibration images {pixels.dtype} {pixels.shape}: expected uint8 pixels "
            f"(N, {resolution[0]}, {resolution[1]}, 3)"
        )
    chosen = _thinned(list(range(len(pixels))), limit)
    flat = {i for i in chosen if _one_colour(pixels[i])}
    kept = [i for i in chosen if i not in flat]
    return Frames(pixels[kept], tuple(f"image {i}: is of one colour" for i in sorted(flat)))


def _one_colour(frame: NDArray[np.uint8]) -> bool:
    return bool((frame == frame[0, 0]).all())


def _thinned(values: list[Any], limit: int) -> list[Any]:
    """At most `limit` of `values`, spread evenly: the first of a sorted folder may be alike."""
    if len(values) <= limit:
        return values
    return [values[i * len(values) // limit] for i in range(limit)]
