"""Images to pixels: decode, orient, flatten to RGB, resize, crop. Pillow does the work.

Two steps, so that each can be used alone: `load_image` turns whatever a caller has into an
upright 8-bit RGB image, and `pixels_for` turns that into the network's own frame.
"""

from __future__ import annotations

import io
import os
import stat
from typing import TYPE_CHECKING, Any

from ..errors import InputError, missing_extra

if TYPE_CHECKING:
    from types import ModuleType

    from PIL.Image import Image

    from ..model.input_spec import InputSpec

EXIF_ORIENTATION = 0x0112

# EXIF's value -> the name of Pillow's transposition that sets the image upright.
UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

# The resized image is four bytes a pixel in memory, so a sliver of 20000×1 pixels that has to
# cover 256×256 would take gigabytes. 256 MiB allow 1024:1 at 224 pixels.
MAX_RESIZED_PIXELS = 1 << 26


def load_image(source: str | os.PathLike[str] | bytes | bytearray | memoryview | Image) -> Image:
    """An upright RGB image out of a path, the bytes of an encoded image, or a Pillow image.

    EXIF orientation is applied (and ignored where the EXIF data is damaged). Transparency is
    flattened over white. 16-bit grey is scaled so that 65535 becomes 255, and 32-bit integers
    (Pillow's mode I) are taken as 16-bit grey. Of an animation, the first frame is used. A Pillow
    image that is upright RGB already is returned itself.

    Raises InputError, naming the source, for a file that cannot be read or decoded, for an image
    without pixels or beyond Pillow's decompression-bomb limit, and for floating-point images,
    whose white no one can know. Raises MissingExtraError without Pillow.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        return _decode(io.BytesIO(data), f"encoded image of {len(data)} bytes")
    if isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        try:
            with open(source, "rb", opener=_without_waiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise InputError(
                        f"{name}: not a regular file; read it yourself and give its bytes"
                    )
                return _decode(file, name)
        except InputError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"{name}: cannot be read: {reason}") from error
    if isinstance(source, _pillow().Image):
        return _upright_rgb(source, f"image of mode {source.mode}")
    raise InputError(
        f"image source of type {type(source).__name__}: expected a path, the bytes of an encoded "
        "image, or a Pillow image"
    )


def pixels_for(image: Image, spec: InputSpec, resolution: tuple[int, int]) -> bytes:
    """The network's frame out of an RGB image: height·width·3 bytes, row by row, interleaved.

    The image is resized to cover `resolution` / `spec.crop_fraction`, sides in proportion (the
    longer one rounded down), and the centre is cut out. An image of exactly `resolution`,
    (height, width) in pixels, is used as it is.

    Raises InputError for a mode other than RGB, for no pixels at all, for an unknown filter, and
    for a sliver that would need more than MAX_RESIZED_PIXELS to cover the frame.
    """
    height, width = resolution
    columns, rows = image.size
    if image.mode != "RGB" or not rows or not columns:
        raise InputError(
            f"image of mode {image.mode}, {columns}×{rows} pixels: expected RGB and at least one "
            "pixel; load_image makes it so"
        )
    if (rows, columns) == (height, width):
        return image.tobytes()
    resampling = _pillow().Resampling.__members__
    if spec.resample.upper() not in resampling:
        known = ", ".join(name.lower() for name in resampling)
        raise InputError(f"resampling filter {spec.resample!r}: expected one of {known}")

    cover_rows = round(height / spec.crop_fraction)
    cover_columns = round(width / spec.crop_fraction)
    if cover_rows * columns >= cover_columns * rows:  # wider than the frame: the height decides
        cover_columns = cover_rows * columns // rows
    else:
        cover_rows = cover_columns * rows // columns
    if cover_rows * cover_columns > MAX_RESIZED_PIXELS:
        raise InputError(
            f"image of {columns}×{rows} pixels: too long and narrow to cover {width}×{height} "
            f"(it would be resized to {cover_columns}×{cover_rows}); crop it first"
        )
    resized = image.resize((cover_columns, cover_rows), resampling[spec.resample.upper()])
    # Python rounds halves to even, as the preprocessing of the published checkpoints does.
    left = round((cover_columns - width) / 2)
    top = round((cover_rows - height) / 2)
    return resized.crop((left, top, left + width, top + height)).tobytes()


def _without_waiting(name: str, flags: int) -> int:
    """Opens a FIFO without waiting for someone who writes to it."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _pillow() -> ModuleType:
    try:
        import PIL.Image
    except ImportError:
        raise missing_extra("Pillow", "cli", "decoding and resizing images") from None
    return PIL.Image


def _decode(file: io.BufferedIOBase, name: str) -> Image:
    pil = _pillow()
    try:
        image = pil.open(file)
    except pil.UnidentifiedImageError:
        if not file.seek(0, os.SEEK_END):
            raise InputError(f"{name}: cannot be decoded: it is empty") from None
        raise InputError(f"{name}: cannot be decoded: not an image that Pillow reads") from None
    except Exception as error:
        raise _undecodable(name, error) from error
    if image.format == "EPS":
        # Pillow would hand it to Ghostscript: a program to run, not a photograph.
        raise InputError(f"{name}: EPS is not an image format that is decoded here")
    return _upright_rgb(image, name)


def _undecodable(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{name}: cannot be decoded: {reason}")


def _upright_rgb(image: Image, name: str) -> Image:
    try:
        image.load()
        flat = _rgb(image, name)
        if not flat.width or not flat.height:
            raise InputError(f"{name}: {flat.width}×{flat.height} pixels: expected at least one")
        turn = UPRIGHT.get(_orientation(image))
        return flat if turn is None else flat.transpose(_pillow().Transpose[turn])
    except InputError:
        raise
    except Exception as error:
        # Damaged files make Pillow's plug-ins raise nearly anything: OSError, SyntaxError,
        # struct.error, KeyError, DecompressionBombError …
        raise _undecodable(name, error) from error


def _orientation(image: Image) -> int:
    """EXIF's orientation. Call it on a loaded image: some formats keep EXIF behind the pixels."""
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF, which must not cost the photograph around it
        return 1


def _rgb(image: Image, name: str) -> Image:
    """`image` as RGB: grey and other colour spaces converted, transparency over white."""
    pil = _pillow()
    if image.mode == "F":
        raise InputError(
            f"{name}: floating-point pixels, whose white is unknown; convert the image to 8 bits "
            "(mode L or RGB) first"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_grey16(image, name)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over_white: Image = pil.new("RGBA", image.size, "white")
        over_white.alpha_composite(image.convert("RGBA"))
        return over_white.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_grey16(image: Image, name: str) -> Image:
    """16-bit grey as RGB, rounded to nearest; Pillow's own conversions clip or drop a byte."""
    grey: Any = image if image.mode == "I" else image.convert("I")
    low, high = grey.getextrema()
    if low < 0 or high > 65535:
        raise InputError(
            f"{name}: 32-bit grey from {low} to {high}: expected 0 to 65535; convert the image "
            "to 8 bits (mode L or RGB) first"
        )
    flat: Image = grey.point([(value * 255 + 32767) // 65535 for value in range(65536)], "L")
    key = image.info.get("transparency")
    if isinstance(key, int):
        transparent = grey.point([255 if value == key else 0 for value in range(65536)], "L")
        flat.paste(255, (0, 0), transparent)
    return flat.convert("RGB")
