"""The image of an upload, and whether it is let in: by its first bytes and its header, with
nothing imported for it."""

from __future__ import annotations

import os

from ..errors import shown
from .limits import Limits, format_of
from .multipart import boundary_of, parts_of
from .request import Refused

MAX_SEGMENTS = 1000  # of a JPEG that are passed over to find its size


def image_of(content_type: bytes, body: bytearray) -> tuple[str | None, memoryview]:
    """The name and the bytes of the one image of a request."""
    whole = memoryview(body)
    if not content_type.lower().lstrip().startswith(b"multipart/"):
        return None, whole
    if not content_type.lower().lstrip().startswith(b"multipart/form-data"):
        raise Refused(415, "format", "expected an image, or multipart/form-data with one")
    parts = parts_of(body, boundary_of(content_type))
    files = [part for part in parts if part.filename is not None] or [
        part for part in parts if part.name in ("image", "file")
    ]
    if len(files) != 1:
        raise Refused(400, "malformed", f"multipart: {len(files)} files; expected one image")
    (part,) = files
    name = None if part.filename is None else shown(os.path.basename(part.filename))[:255]
    return name, whole[part.start : part.end]


def check_image(data: memoryview, limits: Limits) -> None:
    """Raises Refused for a format that is not allowed and for too many pixels, before any pixel
    is decoded. Damaged headers are left to the decoder, which has the same limit."""
    found = format_of(data)
    if found not in limits.formats:
        what = "no image" if found is None else f"a {found.upper()} image"
        raise Refused(415, "format", f"{what}: expected {', '.join(limits.formats)}")
    width, height = size_of(data, found)
    if width * height > limits.max_pixels:
        raise Refused(
            413,
            "too_large",
            f"{width}×{height} pixels: expected at most {limits.max_pixels} in all",
        )


def size_of(data: memoryview, form: str) -> tuple[int, int]:
    """Width and height by the header; zeros where it does not say them."""
    if form == "jpeg":
        return _size_of_jpeg(data)
    head = bytes(data[:30])
    if form == "png" and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if form == "gif" and len(head) >= 10:
        return _little(head, 6, 2), _little(head, 8, 2)
    if form == "bmp" and len(head) >= 26:
        if _little(head, 14, 4) == 12:  # the header of OS/2
            return _little(head, 18, 2), _little(head, 20, 2)
        height = _little(head, 22, 4)  # negative: from the top
        return _little(head, 18, 4), min(height, (1 << 32) - height)
    if form == "webp" and len(head) >= 30:
        if head[12:16] == b"VP8X":
            return _little(head, 24, 3) + 1, _little(head, 27, 3) + 1
        if head[12:16] == b"VP8L":
            bits = _little(head, 21, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if head[12:16] == b"VP8 ":
            return _little(head, 26, 2) & 0x3FFF, _little(head, 28, 2) & 0x3FFF
    return 0, 0


def _little(head: bytes, at: int, width: int) -> int:
    return int.from_bytes(head[at : at + width], "little")


def _size_of_jpeg(data: memoryview) -> tuple[int, int]:
    """Of the first frame header that follows the segments in front."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        while at < len(data) and data[at] == 0xFF and bytes(data[at + 1 : at + 2]) == b"\xff":
            at += 1  # fill bytes
        if at + 9 > len(data) or data[at] != 0xFF:
            break
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return (
                int.from_bytes(data[at + 7 : at + 9], "big"),
                int.from_bytes(data[at + 5 : at + 7], "big"),
            )
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a segment
            at += 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0
