"""Photographs that are to be refused, and small ones to cut short, for whatever decodes them."""

from __future__ import annotations

import io
import zlib
from typing import Any

import pytest

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

SIDE = 65_500  # the most that libjpeg takes


def noise(width: int, height: int, seed: int, bands: int = 3, coarse: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    size = (max(height // coarse, 1), max(width // coarse, 1), bands)
    pixels = rng.integers(0, 256, size, np.uint8)
    image = Image.fromarray(pixels[..., 0] if bands == 1 else pixels)
    return image.resize((width, height), Image.Resampling.NEAREST)


def encoded(image: Any, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def huge_png(width: int = SIDE, height: int = SIDE) -> bytes:
    """A header alone."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        )

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def huge_jpeg(progressive: bool) -> bytes:
    """A small file that says to be the largest."""
    made = bytearray(encoded(noise(16, 16, 1), "JPEG", progressive=progressive))
    at = made.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    made[at : at + 4] = SIDE.to_bytes(2, "big") * 2
    return bytes(made)


def progressive_bomb(scans: int) -> bytes:
    """A file whose luminance's mean is sent again and again, as no encoder would."""
    whole = encoded(noise(16, 16, 5, 1), "JPEG", progressive=True)
    first = whole.index(b"\xff\xda")
    second = whole.index(b"\xff", first + 10)
    return whole[:first] + whole[first:second] * scans + whole[first:]


def huge() -> list[bytes]:
    return [huge_png(), huge_jpeg(False), huge_jpeg(True)]


def small() -> list[bytes]:
    """Whole and sound: a baseline and a progressive JPEG and a PNG."""
    image = noise(23, 21, 3)
    return [
        encoded(image, "JPEG", quality=40),
        encoded(image, "JPEG", quality=40, progressive=True),
        encoded(image, "PNG"),
    ]
