"""Whether an upload is an image that is let in: by its first bytes and its header."""

from __future__ import annotations

import io

from ..errors import missing_extra
from .limits import Limits, format_of
from .request import Refused


def checked_image(data: memoryview, limits: Limits) -> None:
    """Raises Refused for a format that is not allowed and for too many pixels, before any pixel
    is decoded."""
    found = format_of(data)
    if found not in limits.formats:
        what = "no image" if found is None else f"a {found.upper()} image"
        raise Refused(415, "format", f"{what}: expected {', '.join(limits.formats)}")
    width, height = _size(data)
    if width * height > limits.max_pixels:
        raise Refused(
            413,
            "too_large",
            f"{width}×{height} pixels: expected at most {limits.max_pixels} in all",
        )


def _size(data: memoryview) -> tuple[int, int]:
    try:
        import PIL.Image
    except ImportError:
        raise missing_extra("Pillow", "serve", "decoding images") from None
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                return width, height
    except PIL.Image.DecompressionBombError as error:
        raise Refused(413, "too_large", str(error)) from None
    except PIL.UnidentifiedImageError:
        raise Refused(422, "undecodable", "cannot be decoded: its header is damaged") from None
    except Exception as error:  # whatever a damaged header makes Pillow raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Refused(422, "undecodable", f"cannot be decoded: {reason}") from None
