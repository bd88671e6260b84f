"""What a caller allows of encoded images: how many pixels, which formats, and how exactly."""

from __future__ import annotations

from ..errors import InputError
from ..untyped import Any, Callable, Iterable, NamedTuple

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")  # as Pillow names them
DECODES = ("exact", "reduced")

# Lends so many bytes of memory, aligned to 64, as a context manager.
Borrow = Callable[[int], Any]


class Decoding(NamedTuple):
    """The limits, checked after a file's header and before a pixel."""

    max_pixels: int = MAX_PIXELS
    formats: tuple[str, ...] = FORMATS
    decode: str = "exact"  # or "reduced": JPEGs at 1/2 to 1/8 where that is twice what is needed

    def but(
        self,
        max_pixels: int | None = None,
        formats: Iterable[str] | None = None,
        decode: str | None = None,
    ) -> Decoding:
        """The same with what is not None in its place. Raises InputError for what cannot be."""
        made = self
        if max_pixels is not None:
            if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
                raise InputError(
                    f"max_pixels {max_pixels!r:.80}: expected a count of pixels, 1 or more"
                )
            made = made._replace(max_pixels=max_pixels)
        if formats is not None:
            names = None if isinstance(formats, str) else tuple(formats)
            if not names or not all(isinstance(each, str) and each for each in names):
                raise InputError(
                    f"formats {formats!r:.80}: expected names of formats, as in {list(FORMATS[:3])}"
                )
            made = made._replace(formats=tuple(each.upper() for each in names))
        if decode is not None:
            if decode not in DECODES:
                raise InputError(f"decode {decode!r:.80}: expected one of {', '.join(DECODES)}")
            made = made._replace(decode=decode)
        return made


DEFAULT = Decoding()


def checked(name: str, form: str, width: int, height: int, decoding: Decoding) -> None:
    """Raise InputError for an image that `decoding` does not allow."""
    allowed = decoding.formats
    if form not in allowed and not (form == "JPEG" and "MPO" in allowed):
        raise InputError(
            f"{name}: {form} is not among the formats that are allowed ({', '.join(allowed)}); "
            "allow it with formats="
        )
    if width * height > decoding.max_pixels:
        raise InputError(
            f"{name}: {width}×{height} pixels: at most {decoding.max_pixels:,} are allowed; scale "
            "it down, or allow more with max_pixels="
        )
