"""What the sessions of all peers are: an image goes in, logits come out, or of a detector its coded
boxes and scores before their conversion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = 3
HALF_A_STEP = 0.51  # of an 8-bit input; scales are rounded


class Input(NamedTuple):
    """What a file takes."""

    dtype: np.dtype[Any]  # float32, float16, uint8 or int8
    planar: bool  # (1, 3, H, W); else (1, H, W, 3)
    resolution: tuple[int, int]  # height and width in pixels
    quantization: tuple[float, int] | None = None  # real = scale * (stored - zero point)

    def suited(
        self, pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
    ) -> NDArray[Any]:
        """What to bind for `pixels` of a network that is given (pixel - mean) / std: that, or, for
        8-bit inputs that take every pixel for itself, the pixels.

        They do where a pixel and its level lie within half a step, as of scale 1/127.5 and zero
        point 127: to round once more would only lose what the file's author gave it.
        """
        centre, spread = np.array(mean, np.float32), np.array(std, np.float32)
        if self.dtype.kind != "f":
            if self.quantization is None:
                return pixels
            scale, zero_point = self.quantization
            every = np.arange(256)[:, np.newaxis]
            level = (every - centre.astype(np.float64)) / spread / scale + zero_point
            own = every - (128 if self.dtype == np.int8 else 0)
            if np.abs(level - own).max() < HALF_A_STEP:
                return pixels
        normalised: NDArray[Any] = (pixels.astype(np.float32) - centre) / spread
        return normalised

    def prepared(self, image: NDArray[Any]) -> NDArray[Any]:
        """`image`, (H, W, 3) or (1, H, W, 3), as the file takes it.

        Normalised float32 becomes levels of the input's quantisation where it has one. uint8
        pixels are for 8-bit inputs: used as they are, less 128 where those are signed. Raises
        InputError for another shape or dtype.
        """
        expected = (*self.resolution, CHANNELS)
        if image.shape not in (expected, (1, *expected)) or image.dtype not in (
            np.dtype(np.float32),
            np.dtype(np.uint8),
        ):
            raise InputError(
                f"image {image.dtype} {image.shape}: the peer's file takes {expected}, normalised "
                "float32 or uint8 pixels"
            )
        stored = self._pixels(image) if image.dtype == np.uint8 else self._levels(image)
        stored = stored.reshape(1, *expected)
        return stored.transpose(0, 3, 1, 2) if self.planar else stored

    def _pixels(self, image: NDArray[Any]) -> NDArray[Any]:
        if self.dtype == np.uint8:
            return image
        if self.dtype == np.int8:
            return (image ^ 0x80).view(np.int8)
        raise InputError(f"uint8 pixels for a peer's file that takes {self.dtype}: normalise them")

    def _levels(self, image: NDArray[Any]) -> NDArray[Any]:
        if self.dtype.kind == "f":
            return image.astype(self.dtype, copy=False)
        if self.quantization is None:
            raise InputError(
                f"normalised float32 for a peer's file that takes {self.dtype} without saying how "
                "it is quantised: give uint8 pixels"
            )
        return levels(image, self.dtype, self.quantization)


def levels(
    image: NDArray[Any], dtype: np.dtype[Any], quantization: tuple[float, int]
) -> NDArray[Any]:
    """Real values as 8-bit integers of this type, real = scale * (stored - zero point), rounded to
    nearest and cut off where they end."""
    (scale, zero_point), limits = quantization, np.iinfo(dtype)
    stored = np.rint(image / np.float32(scale)) + zero_point
    clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(dtype)
    return clipped


class Session(ABC):
    """A file that a peer has loaded. One image at a time, from one thread at a time."""

    input: Input
    classes: int  # numbers that it answers with
    notes: tuple[str, ...]  # the settings that it runs with, and what was changed in the file

    @abstractmethod
    def bind(self, image: NDArray[Any]) -> None:
        """Copy `image` to where `invoke` finds it: (H, W, 3) or (1, H, W, 3), normalised float32
        or, for files that take 8 bits, uint8 pixels. Raises InputError for another one."""

    @abstractmethod
    def invoke(self) -> list[Any]:
        """Run the bound image: the outputs as the file has them, fresh arrays."""

    def run(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """The logits of `image`, (classes,); of a file that runs as it is, its output; of a
        detector boxes and scores, one after the other."""
        self.bind(image)
        return self.real(self.invoke())

    def real(self, outputs: list[Any]) -> NDArray[np.float32]:
        """What `invoke` gave, in real numbers, in one row."""
        return np.concatenate([output.astype(np.float32).reshape(-1) for output in outputs])


def layout(
    shape: Sequence[int | None], resolution: tuple[int, int] | None, what: str
) -> tuple[bool, tuple[int, int]]:
    """(planar, (height, width)) of an input of this shape, None for an extent that is left open.

    Raises UnsupportedError for an input that is no single RGB image, InputError where its size
    is open and none is given, or is another than the one given.
    """
    extents = list(shape)
    if len(extents) != 4 or extents[0] not in (1, None) or CHANNELS not in (extents[1], extents[3]):
        raise UnsupportedError(
            f"{what}: its input has the shape {_text(extents)}: expected one RGB image, "
            "(1, 3, H, W) or (1, H, W, 3)"
        )
    planar = extents[3] != CHANNELS
    size = extents[2:] if planar else extents[1:3]
    if resolution is None:
        height, width = size
        if height is None or width is None:
            raise InputError(f"{what}: it leaves the image's size open: give a resolution")
        return planar, (height, width)
    if any(found not in (None, asked) for found, asked in zip(size, resolution, strict=True)):
        raise InputError(
            f"{what}: it takes images of {size[0]}×{size[1]}, not {resolution[0]}×{resolution[1]}: "
            "give a file of the same resolution"
        )
    return planar, resolution


def chosen_outputs(names: Sequence[str]) -> list[int]:
    """Which outputs have the answer: the logits, as some files give the pooled features as well; of
    a detector the boxes and the scores, in that order."""
    for wanted in (["logits"], ["boxes", "scores"]):
        if set(wanted) <= set(names):
            return [list(names).index(name) for name in wanted]
    return [0]


def threaded(threads: int) -> str:
    """A number of threads for people."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def _text(shape: Sequence[int | None]) -> str:
    return f"({', '.join('?' if extent is None else str(extent) for extent in shape)})"
