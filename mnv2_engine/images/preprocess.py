"""Images to pixels by way of Pillow: decode, flatten to RGB, turn upright, resize, crop.

`photo_pixels` does all of it with one copy of the picture, whose strips are flattened and resized
one after the other. Two steps of it can be used alone: `load_image` turns whatever a caller has
into an upright 8-bit RGB image, and `pixels_for` turns that into the network's own frame.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from ..errors import InputError, MnvError, missing_extra
from ..model.input_spec import InputSpec
from .files import opened
from .framing import framing
from .limits import DEFAULT, Decoding, checked
from .resize import resizer

if TYPE_CHECKING:
    from types import ModuleType

    from PIL.Image import Image

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

# Of a picture, as much is flattened to RGB at a time.
STRIP_PIXELS = 1 << 17

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "Image"]


def photo_pixels(
    source: Source,
    spec: InputSpec,
    resolution: tuple[int, int],
    decoding: Decoding | None = DEFAULT,
    upright: list[tuple[int, int]] | None = None,
) -> bytes:
    """The network's frame, height·width·3 bytes, of what `load_image` takes; raises as that and
    `pixels_for` do. `upright`, if given, receives (width, height) of the upright picture."""
    with _opened(source, decoding) as (image, name):
        orientation = _orientation(image)
        if upright is not None:
            upright.append(framing(*image.size, orientation, spec, resolution).upright)
        return _pixels(image, orientation, name, spec, resolution)


def load_image(source: Source, decoding: Decoding | None = DEFAULT) -> Image:
    """An upright RGB image out of a path, the bytes of an encoded image, or a Pillow image.

    EXIF orientation is applied (and ignored where the EXIF data is damaged). Transparency is
    flattened over white. 16-bit grey is scaled so that 65535 becomes 255, and 32-bit integers
    (Pillow's mode I) are taken as 16-bit grey. Of an animation, the first frame is used. A Pillow
    image that is upright RGB already is returned itself.

    Raises InputError, naming the source, for a file that cannot be read or decoded, for an image
    without pixels, for what `decoding` does not allow of an encoded one, and for floating-point
    images, whose white no one can know. Raises MissingExtraError without Pillow.
    """
    with _opened(source, decoding) as (image, name), _errors_named(name):
        flat = _rgb(image, name)
        turn = UPRIGHT.get(_orientation(image))
        return flat if turn is None else flat.transpose(_pillow().Transpose[turn])


def pixels_for(image: Image, spec: InputSpec, resolution: tuple[int, int]) -> bytes:
    """The network's frame out of an RGB image: height·width·3 bytes, row by row, interleaved.

    The image is resized to cover `resolution` / `spec.crop_fraction`, sides in proportion (the
    longer one rounded down), and the centre is cut out; nothing else of it is computed. An image of
    exactly `resolution`, (height, width) in pixels, is used as it is.

    Raises InputError for a mode other than RGB, for no pixels at all, for an unknown filter, and
    for a sliver that no frame can be cut out of.
    """
    columns, rows = image.size
    if image.mode != "RGB" or not rows or not columns:
        raise InputError(
            f"image of mode {image.mode}, {columns}×{rows} pixels: expected RGB and at least one "
            "pixel; load_image makes it so"
        )
    return _pixels(image, 1, f"image of mode {image.mode}", spec, resolution)


def _pixels(
    image: Image, orientation: int, name: str, spec: InputSpec, resolution: tuple[int, int]
) -> bytes:
    """The frame of a loaded image, strip by strip."""
    resize = resizer(framing(*image.size, orientation, spec, resolution))
    left, right = resize.columns.start, resize.columns.stop
    step = max(STRIP_PIXELS // len(resize.columns), 1)
    with _errors_named(name):
        _check_range(image, name)
        for top in range(resize.rows.start, resize.rows.stop, step):
            bottom = min(top + step, resize.rows.stop)
            part = _rgb(image.crop((left, top, right, bottom)), name)
            resize.lines(part.tobytes(), bottom - top)
    return resize.finish()


def _pillow() -> ModuleType:
    try:
        import PIL.Image
    except ImportError:
        raise missing_extra("Pillow", "cli", "decoding and resizing images") from None
    return PIL.Image


@contextmanager
def _opened(source: Source, decoding: Decoding | None) -> Iterator[tuple[Image, str]]:
    """The loaded image of a source and what to call it. None allows every format and size that
    Pillow does."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        name = f"encoded image of {len(data)} bytes"
        yield _decoded(io.BytesIO(data), name, decoding), name
    elif isinstance(source, (str, os.PathLike)):
        with opened(source) as (file, name):
            yield _decoded(file, name, decoding), name
    elif isinstance(source, _pillow().Image):
        name = f"image of mode {source.mode}"
        yield _loaded(source, name), name
    else:
        raise InputError(
            f"image source of type {type(source).__name__}: expected a path, the bytes of an "
            "encoded image, or a Pillow image"
        )


def _decoded(file: BinaryIO, name: str, decoding: Decoding | None) -> Image:
    pil = _pillow()
    try:
        image = pil.open(file)
    except pil.UnidentifiedImageError:
        if not file.seek(0, os.SEEK_END):
            raise InputError(f"{name}: cannot be decoded: it is empty") from None
        raise InputError(f"{name}: cannot be decoded: {_not_read(file)}") from None
    except Exception as error:
        raise _undecodable(name, error) from error
    if image.format == "EPS":
        # Pillow would hand it to Ghostscript: a program to run, not a photograph.
        raise InputError(f"{name}: EPS is not an image format that is decoded here")
    if decoding is not None:
        checked(name, str(image.format), image.width, image.height, decoding)
    return _loaded(image, name)


def _not_read(file: BinaryIO) -> str:
    """Why Pillow reads a file as no image."""
    file.seek(0)
    start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        return "it is HEIC, which neither this package nor Pillow reads; convert it to JPEG"
    return "not an image that Pillow reads"


def _loaded(image: Image, name: str) -> Image:
    with _errors_named(name):
        image.load()
        if image.mode == "F":
            raise InputError(
                f"{name}: floating-point pixels, whose white is unknown; convert the image to 8 "
                "bits (mode L or RGB) first"
            )
        if not image.width or not image.height:
            raise InputError(f"{name}: {image.width}×{image.height} pixels: expected at least one")
        return image


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes an InputError. Damaged files make Pillow's plug-ins raise
    nearly anything: OSError, SyntaxError, struct.error, KeyError, DecompressionBombError …"""
    try:
        yield
    except MnvError:
        raise
    except Exception as error:
        raise _undecodable(name, error) from error


def _undecodable(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "truncated" in reason.lower():
        reason += "; the file is not whole: copy or download it again"
    return InputError(f"{name}: cannot be decoded: {reason}")


def _orientation(image: Image) -> int:
    """EXIF's orientation. Call it on a loaded image: some formats keep EXIF behind the pixels."""
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF, which must not cost the photograph around it
        return 1


def _rgb(image: Image, name: str) -> Image:
    """`image` as RGB: grey and other colour spaces converted, transparency over white."""
    pil = _pillow()
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_grey16(image, name)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over_white: Image = pil.new("RGBA", image.size, "white")
        over_white.alpha_composite(image.convert("RGBA"))
        return over_white.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _check_range(image: Image, name: str) -> None:
    """Raise InputError for 32-bit grey that is more than 16-bit grey."""
    if image.mode != "I":
        return
    low, high = image.getextrema()
    if low < 0 or high > 65535:  # type: ignore[operator]
        raise InputError(
            f"{name}: 32-bit grey from {low} to {high}: expected 0 to 65535; convert the image "
            "to 8 bits (mode L or RGB) first"
        )


def _from_grey16(image: Image, name: str) -> Image:
    """16-bit grey as RGB, rounded to nearest; Pillow's own conversions clip or drop a byte."""
    _check_range(image, name)
    grey: Any = image if image.mode == "I" else image.convert("I")
    flat: Image = grey.point([(value * 255 + 32767) // 65535 for value in range(65536)], "L")
    key = image.info.get("transparency")
    if isinstance(key, int):
        transparent = grey.point([255 if value == key else 0 for value in range(65536)], "L")
        flat.paste(255, (0, 0), transparent)
    return flat.convert("RGB")
