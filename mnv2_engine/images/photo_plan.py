"""What decoding a photograph takes, in bytes, before it is decoded."""

from __future__ import annotations

from ..errors import InputError, UnsupportedError
from ..model.input_spec import InputSpec
from ..untyped import Any, NamedTuple
from . import decoded
from .limits import DEFAULT, Decoding

SAMPLINGS = {
    "4:4:4": (1, 1),
    "4:2:2": (2, 1),
    "4:4:0": (1, 2),
    "4:2:0": (2, 2),
    "4:1:1": (4, 1),
    "grey": (1, 1),
}
# Scans of a progressive file as libjpeg writes it.
USUAL_SCANS = {"grey": 6}
COLOUR_SCANS = 10


class PhotoPlan(NamedTuple):
    """The bytes of decoding and resizing one photograph. `str()` of it is a table."""

    format: str  # "JPEG" or "PNG"
    width: int  # as stored
    height: int
    reduced: int  # JPEG: decoded at 1 / reduced
    scans: int  # JPEG: that are decoded in step; 1 for baseline
    library_bytes: int  # a bound on what libjpeg or libpng takes
    window_bytes: int  # coefficients of one row of MCUs, for several scans
    line_bytes: int  # one decoded line, and one resampled
    taps_bytes: int  # weights of the resize
    sum_bytes: int  # rows in progress
    bytes: int  # of memory that decoding takes, all of these
    frame_bytes: int  # the network's pixels, which are made besides
    arena_bytes: int  # of the network, which runs afterwards in the same memory

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """What decoding takes, as it lies in memory, from the lowest on."""
        return (
            ("taps", self.taps_bytes),
            ("sums", self.sum_bytes),
            ("lines", self.line_bytes),
            ("window", self.window_bytes),
            (self.library, self.library_bytes),
        )

    @property
    def library(self) -> str:
        """What decodes it."""
        return {"JPEG": "libjpeg", "PNG": "libpng"}[self.format]

    @property
    def picture(self) -> str:
        """What it is, in words."""
        words = f"{self.format}, {self.width}×{self.height} pixels"
        if self.scans > 1:
            words += f", {self.scans} scans in step"
        return words + (f", decoded at 1/{self.reduced}" if self.reduced > 1 else "")

    @property
    def peak_bytes(self) -> int:
        """The most that is in use at any time, frame included. Decoding takes the arena's memory
        where it fits, and memory of its own beside an arena that is there already."""
        beside = 0 if self.bytes <= self.arena_bytes else self.bytes
        return self.frame_bytes + self.arena_bytes + beside

    def __str__(self) -> str:
        place = "in the arena's memory" if self.bytes <= self.arena_bytes else "beside the arena"
        rows = [
            (self.library, self.library_bytes, "at most"),
            ("window", self.window_bytes, "coefficients of one row of MCUs"),
            ("lines", self.line_bytes, ""),
            ("taps", self.taps_bytes, ""),
            ("sums", self.sum_bytes, ""),
            ("decoding", self.bytes, place),
            ("frame", self.frame_bytes, "the network's pixels"),
            ("arena", self.arena_bytes, "the network, afterwards"),
            ("peak", self.peak_bytes, ""),
        ]
        lines = [f"  {name:<10}{count:>12,}  {note}".rstrip() for name, count, note in rows]
        return "\n".join([f"{self.picture}, bytes:", *lines])


def plan_of_file(
    source: Any,
    spec: InputSpec,
    resolution: tuple[int, int],
    arena_bytes: int,
    decoding: Decoding = DEFAULT,
) -> PhotoPlan:
    """The plan of an encoded image or a path. Raises UnsupportedError for what Pillow decodes,
    whose memory no one states."""
    core = _core()
    with decoded.contents(source) as (content, name), core.ffi.from_buffer(content) as data:
        seen = decoded.look(core, data, len(content))
    if seen.status != core.lib.MNV2_IMAGE_OK:
        size = f" of {seen.width}×{seen.height} pixels" if seen.width else ""
        raise UnsupportedError(
            f"{name}: {seen.format or 'a file'}{size} that is left to Pillow, which needs at least "
            "4 bytes a pixel; baseline and progressive JPEGs and 8-bit PNGs have a plan"
        )
    return _made(core, seen, spec, resolution, arena_bytes, decoding)


def plan_of_kind(
    width: int,
    height: int,
    kind: str,
    progressive: bool,
    sampling: str,
    orientation: int,
    spec: InputSpec,
    resolution: tuple[int, int],
    arena_bytes: int,
    decoding: Decoding = DEFAULT,
) -> PhotoPlan:
    """The plan of a photograph that is only described."""
    core = _core()
    numbers = {name: number for number, name in decoded.FORMATS.items()}
    form = str(kind).upper()
    if form not in numbers or sampling not in SAMPLINGS or orientation not in range(1, 9):
        raise InputError(
            f"photograph {kind!r:.40}, sampling {sampling!r:.40}, orientation {orientation!r:.40}: "
            f"expected {' or '.join(numbers)}, one of {', '.join(SAMPLINGS)}, and 1 to 8"
        )
    for side in (width, height):
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 65500:
            raise InputError(f"{width!r:.40}×{height!r:.40} pixels: expected sides of 1 to 65500")
    photo = core.ffi.new("mnv2_photo *")
    photo.format, photo.width, photo.height = numbers[form], width, height
    photo.orientation, photo.scans = orientation, 1
    photo.components = 1 if sampling == "grey" else 3
    photo.depth, photo.color = 8, 2
    if form == "JPEG":
        photo.horizontal, photo.vertical = [1] * 4, [1] * 4
        photo.horizontal[0], photo.vertical[0] = SAMPLINGS[sampling]
        photo.is_progressive = progressive
        if progressive:
            photo.scans = USUAL_SCANS.get(sampling, COLOUR_SCANS)
    seen = decoded.Look(photo, core.lib.MNV2_IMAGE_OK, form, width, height)
    return _made(core, seen, spec, resolution, arena_bytes, decoding)


def _core() -> Any:
    core = decoded.core()
    if core is None:
        raise UnsupportedError(
            "photographs have a plan in the C core alone, which cannot be imported; install the "
            "package with a C compiler or from a wheel"
        )
    return core


def _made(
    core: Any,
    seen: decoded.Look,
    spec: InputSpec,
    resolution: tuple[int, int],
    arena_bytes: int,
    decoding: Decoding,
) -> PhotoPlan:
    plan = decoded.planned(core, seen, spec, resolution, decoding)
    resize = plan.resize
    return PhotoPlan(
        format=str(seen.format),
        width=seen.width,
        height=seen.height,
        reduced=plan.reduced,
        scans=max(seen.photo.scans, 1),
        library_bytes=plan.library_bytes,
        window_bytes=plan.window_bytes,
        line_bytes=plan.line_bytes + resize.line_bytes,
        taps_bytes=resize.taps_bytes,
        sum_bytes=resize.sum_bytes,
        bytes=plan.bytes,
        frame_bytes=resolution[0] * resolution[1] * 3,
        arena_bytes=arena_bytes,
    )
