"""The resize, defined once: horizontally, then vertically, rounded to 8 bits after each.

Its arithmetic is that of Pillow up to version 12, to the bit, whatever Pillow is installed, also
where a filter is not Pillow's. Lines of a picture are fed as they come; `resizer` gives the C
core's where that is there, else the same in NumPy, which is the definition (docs/photographs.md)
and the tests' oracle.
"""

from __future__ import annotations

import math

from ..errors import InputError
from ..model.input_spec import RESAMPLES
from ..untyped import TYPE_CHECKING, Any, Protocol
from .framing import TURNS, Framing, covering, sliver

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHT_BITS = 22

# Half the width of each filter at a scale of one.
SUPPORT = {
    "box": 0.5,
    "bilinear": 1.0,
    "hamming": 1.0,
    "bicubic": 2.0,
    "lanczos": 3.0,
    "bilinear-no-antialias": 1.0,
    "bilinear-from-corner": 1.0,
}
# Those that take two pixels whatever the scale.
_OF_TWO = ("bilinear-no-antialias", "bilinear-from-corner")


class Resizer(Protocol):
    """Takes a part of the stored picture, line by line."""

    rows: range  # the stored rows that it takes, in order
    columns: range  # the stored columns of which each line consists

    def lines(self, pixels: Any, count: int) -> None:
        """The next `count` rows: a contiguous buffer of [count][columns][3] bytes."""

    def picture(self, pixels: Any) -> None:
        """All rows: a contiguous buffer of the whole stored picture, [height][width][3] bytes."""

    def finish(self) -> bytes:
        """The network's frame: height·width·3 bytes, row by row, interleaved."""


def resizer(framed: Framing) -> Resizer:
    """What resizes a picture into its frame. Raises InputError for a sliver."""
    try:
        from .. import _core
    except ImportError:
        return NumpyResizer(framed)
    return NativeResizer(framed, _core)


class NativeResizer:
    """The C core's resize, in memory of its own."""

    def __init__(self, framed: Framing, core: Any, isa: str | None = None) -> None:
        from ..executors.native import image_isa
        from ..model.open_file import private_memory

        self._ffi, self._lib = core.ffi, core.lib
        self._width = framed.width
        plan = native_plan(core, framed, 3)
        self.rows = range(plan.first_row, plan.first_row + plan.rows)
        self.columns = range(plan.first_column, plan.first_column + plan.columns)
        height, width = framed.frame
        self._out = self._ffi.new("uint8_t[]", height * width * 3)
        self._memory = self._ffi.from_buffer(private_memory(plan.bytes))
        self._resize = self._lib.mnv2_resize_begin(plan, image_isa(isa), self._memory, self._out)

    def lines(self, pixels: Any, count: int) -> None:
        """Takes the next `count` lines."""
        with self._ffi.from_buffer(pixels) as start:
            self._lib.mnv2_resize_lines(self._resize, start, len(self.columns) * 3, count)

    def picture(self, pixels: Any) -> None:
        """Takes a whole picture."""
        first = (self.rows.start * self._width + self.columns.start) * 3
        with self._ffi.from_buffer(pixels) as start:
            self._lib.mnv2_resize_lines(
                self._resize, start + first, self._width * 3, len(self.rows)
            )

    def finish(self) -> bytes:
        """The resized pixels, when all lines were taken."""
        return bytes(self._ffi.buffer(self._out))


def native_plan(core: Any, framed: Framing, pixel_bytes: int) -> Any:
    """The C core's plan of a resize."""
    wanted = native_framing(core, framed, pixel_bytes)
    plan = core.ffi.new("mnv2_resize_plan *")
    status = core.lib.mnv2_resize_plan_for(wanted, plan)
    if status == core.lib.MNV2_SLIVER:
        raise sliver(framed)
    if status != core.lib.MNV2_IMAGE_OK:
        raise InputError(f"the C core does not resize {framed}; its sizes are out of range")
    return plan


def native_framing(core: Any, framed: Framing, pixel_bytes: int) -> Any:
    """A framing as the C core has it."""
    lib = core.lib
    filters = {name: _constant(lib, name) for name in RESAMPLES}
    wanted = core.ffi.new("mnv2_framing *")
    wanted.width, wanted.height = framed.width, framed.height
    wanted.orientation = framed.orientation
    wanted.out_height, wanted.out_width = framed.frame
    wanted.filter, wanted.pixel_bytes = filters[framed.resample], pixel_bytes
    wanted.crop_fraction, wanted.fit = framed.crop_fraction, _constant(lib, framed.fit)
    return wanted


def _constant(lib: Any, name: str) -> int:
    """The C core's number of a filter or a fit."""
    return int(getattr(lib, f"MNV2_{name.upper().replace('-', '_')}"))


# The definition, in NumPy


class Axis:
    """One axis of a resize: of each resampled pixel that the crop keeps, in stored order, the first
    stored pixel that it is made of, and the weights of that and the following ones."""

    def __init__(
        self, extent: int, covering: int, count: int, resample: str, mirrored: bool
    ) -> None:
        scale = extent / covering
        first = round((covering - count) / 2)
        self.starts: list[int] = []
        self.weights: list[list[int]] = []
        nearest = scale * 0.5
        if resample == "nearest":
            for _ in range(first):
                nearest += scale
        for upright in range(first, first + count):
            if resample == "nearest":
                start, weights = min(int(nearest), extent - 1), [1 << WEIGHT_BITS]
                nearest += scale  # added up, and rounded each time
            else:
                start, weights = _window(upright, scale, extent, resample)
            if mirrored:
                start, weights = extent - start - len(weights), weights[::-1]
            self.starts.append(start)
            self.weights.append(weights)
        if mirrored:
            self.starts.reverse()
            self.weights.reverse()
        self.needed = range(self.starts[0], self.starts[-1] + len(self.weights[-1]))


def _window(upright: int, scale: float, extent: int, resample: str) -> tuple[int, list[int]]:
    stretch = 1.0 if resample in _OF_TWO else max(scale, 1.0)
    support = SUPPORT[resample] * stretch
    if resample == "bilinear-from-corner":
        centre = upright * scale + 0.5
    else:
        centre = (upright + 0.5) * scale
    start = max(int(centre - support + 0.5), 0)
    end = min(int(centre + support + 0.5), extent)
    shrink = 1.0 / stretch
    weights = [filter_at(resample, (x - centre + 0.5) * shrink) for x in range(start, end)]
    total = 0.0
    for weight in weights:  # not sum(), which compensates its rounding from Python 3.12 on
        total += weight
    if total != 0.0:
        weights = [weight / total for weight in weights]
    scaled = (weight * (1 << WEIGHT_BITS) for weight in weights)
    return start, [int(x - 0.5 if x < 0.0 else x + 0.5) for x in scaled]


def filter_at(resample: str, x: float) -> float:
    """A filter's value at `x`."""
    far = abs(x)
    if resample == "box":
        return 1.0 if -0.5 < x <= 0.5 else 0.0
    if resample in ("bilinear", *_OF_TWO):
        return max(1.0 - far, 0.0)
    if resample == "hamming":
        if far == 0.0 or far >= 1.0:
            return 1.0 if far == 0.0 else 0.0
        return math.sin(far * math.pi) / (far * math.pi) * (0.54 + 0.46 * math.cos(far * math.pi))
    if resample == "bicubic":
        if far < 1.0:
            return (1.5 * far - 2.5) * far * far + 1.0
        return (((far - 5.0) * far + 8.0) * far - 4.0) * -0.5 if far < 2.0 else 0.0
    if resample == "lanczos":
        return _sinc(x) * _sinc(x / 3.0) if -3.0 <= x < 3.0 else 0.0
    raise InputError(f"resampling filter {resample!r:.80}: expected one of {', '.join(RESAMPLES)}")


def _sinc(x: float) -> float:
    x *= math.pi
    return math.sin(x) / x if x else 1.0


class NumpyResizer:
    """The definition: two passes over the part of the picture that is needed."""

    def __init__(self, framed: Framing) -> None:
        self._width = framed.width
        width, height = covering(framed)
        turned, columns_mirrored, rows_mirrored = TURNS[framed.orientation]
        frame_height, frame_width = framed.frame
        across = (width, frame_width)
        down = (height, frame_height)
        stored_columns, stored_rows = (down, across) if turned else (across, down)
        self._turned, self._mirrored = turned, (rows_mirrored, columns_mirrored)
        self._columns = Axis(framed.width, *stored_columns, framed.resample, columns_mirrored)
        self._rows = Axis(framed.height, *stored_rows, framed.resample, rows_mirrored)
        self.rows, self.columns = self._rows.needed, self._columns.needed
        self._picture = bytearray()

    def lines(self, pixels: Any, count: int) -> None:
        """Takes the next `count` lines."""
        self._picture += memoryview(pixels).cast("B")[: count * len(self.columns) * 3]

    def picture(self, pixels: Any) -> None:
        """Takes a whole picture."""
        flat = memoryview(pixels).cast("B")
        for row in self.rows:
            start = row * self._width + self.columns.start
            self.lines(flat[start * 3 : (start + len(self.columns)) * 3], 1)

    def finish(self) -> bytes:
        """The resized pixels, when all lines were taken."""
        import numpy as np

        shape = (len(self.rows), len(self.columns), 3)
        stored = np.frombuffer(self._picture, np.uint8).reshape(shape)
        passes = [(0, self._rows), (1, self._columns)]
        if not self._turned:
            passes.reverse()
        for at, axis in passes:  # the upright picture's horizontal one first
            stored = _resampled(stored, axis, at)
        for at, mirrored in enumerate(self._mirrored):
            if mirrored:
                stored = np.flip(stored, at)
        return (stored.transpose(1, 0, 2) if self._turned else stored).tobytes()


def _resampled(pixels: NDArray[np.uint8], axis: Axis, at: int) -> NDArray[np.uint8]:
    """`pixels` with their dimension `at` resampled, rounded to 8 bits."""
    import numpy as np

    moved = np.moveaxis(pixels, at, 0)
    out = np.empty((len(axis.starts), *moved.shape[1:]), np.uint8)
    for row, start, weights in zip(out, axis.starts, axis.weights, strict=True):
        part = moved[start - axis.needed.start :][: len(weights)].astype(np.int64)
        sums = np.tensordot(np.array(weights, np.int64), part, 1)
        row[...] = np.clip((sums + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS, 0, 255)
    return np.moveaxis(out, 0, at)
