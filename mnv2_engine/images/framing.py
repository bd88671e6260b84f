"""Which part of a picture the network sees, and how large the whole becomes for it.

The picture covers the frame divided by the crop fraction, sides in proportion, and its middle is
cut out; or it is squashed: each side becomes the frame's divided by the crop fraction.
`kernels/image/resize.c` computes the same.
"""

from __future__ import annotations

from ..errors import InputError
from ..model.input_spec import FITS, RESAMPLES, InputSpec
from ..untyped import NamedTuple

# A side of the resized picture; a longer one is a sliver's, whose every pixel is noise.
MOST_COVERING = 1 << 28
# A side of the stored picture.
MOST_STORED = 1 << 28

# EXIF's orientations: are rows and columns exchanged, are stored columns mirrored, are stored rows?
TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class Framing(NamedTuple):
    """A stored picture and the frame that it is to fill."""

    width: int  # of the picture as it is stored
    height: int
    orientation: int  # EXIF's, 1 to 8
    frame: tuple[int, int]  # (height, width) of the network
    resample: str
    crop_fraction: float
    fit: str = "crop"  # one of FITS

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) of the picture when it is upright."""
        turned = TURNS[self.orientation][0]
        return (self.height, self.width) if turned else (self.width, self.height)


def framing(
    width: int, height: int, orientation: int, spec: InputSpec, frame: tuple[int, int]
) -> Framing:
    """The framing of a picture by a model file's input specification. Raises InputError for a
    picture without pixels or beyond MOST_STORED, for an unknown filter and for an unknown fit."""
    if width < 1 or height < 1:
        raise InputError(f"image of {width}×{height} pixels: expected at least one pixel")
    if max(width, height) > MOST_STORED:
        raise InputError(
            f"image of {width}×{height} pixels: expected sides of at most {MOST_STORED:,}; crop it "
            "first"
        )
    if spec.resample not in RESAMPLES:
        known = ", ".join(RESAMPLES)
        raise InputError(f"resampling filter {spec.resample!r:.80}: expected one of {known}")
    if spec.fit not in FITS:
        raise InputError(f"fit {spec.fit!r:.80}: expected one of {', '.join(FITS)}")
    return Framing(width, height, orientation, frame, spec.resample, spec.crop_fraction, spec.fit)


def covering(framed: Framing) -> tuple[int, int]:
    """(width, height) that the upright picture is resized to. Raises InputError for a sliver."""
    columns, rows = framed.upright
    height, width = framed.frame
    if (rows, columns) == framed.frame:
        return columns, rows
    # Python rounds halves to even, as the preprocessing of the published checkpoints does.
    down = round(height / framed.crop_fraction)
    across = round(width / framed.crop_fraction)
    if framed.fit == "squash":
        pass  # as it is
    elif down * columns >= across * rows:  # wider than the frame: the height decides
        across = down * columns // rows
    else:
        down = across * rows // columns
    if max(across, down) >= MOST_COVERING:
        raise sliver(framed)
    return across, down


def sliver(framed: Framing) -> InputError:
    """The error for a picture that is too long and narrow."""
    columns, rows = framed.upright
    height, width = framed.frame
    return InputError(
        f"image of {columns}×{rows} pixels: too long and narrow to cover {width}×{height}; "
        "crop it first"
    )
