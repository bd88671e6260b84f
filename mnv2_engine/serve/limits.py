"""What a service allows its clients. Each limit is the operator's to set."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import InputError

FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff")


class Limits(NamedTuple):
    """Memory beyond the engines is at most `held_bytes`, and for each of `concurrency` calls an
    arena, a body once more and what decoding an image of `max_pixels` needs."""

    max_bytes: int = 16 << 20  # of a request's body
    max_pixels: int = 50_000_000  # of an image, by its header
    formats: tuple[str, ...] = ("jpeg", "png", "webp", "gif", "bmp")
    concurrency: int = 0  # images that are decoded and run at once; 0: as many as there are CPUs
    waiting: int = 128  # requests beyond them that are let in
    held_bytes: int = 64 << 20  # of all bodies that have arrived and are not answered
    body_seconds: float = 30.0  # for a body to arrive
    wait_seconds: float = 30.0  # for a request's turn
    header_seconds: float = 10.0  # for a request's header to arrive; `mnv2 serve` alone
    top_k: int = 1000  # the most answers that a request may ask for

    def checked(self) -> Limits:
        """The limits with `concurrency` resolved. Raises InputError for those that allow nothing
        or make no sense."""
        for name, value in self._asdict().items():
            if name == "formats":
                unknown = [each for each in value if each not in FORMATS]
                if unknown or not value:
                    raise InputError(
                        f"formats {', '.join(map(str, value))!r:.80}: expected some of "
                        f"{', '.join(FORMATS)}"
                    )
            elif value < 0 or (value == 0 and name not in ("concurrency", "waiting")):
                raise InputError(f"{name} {value!r:.80}: expected a number above 0")
        if self.concurrency:
            return self
        from ..executors.cpus import usable_cpus

        return self._replace(concurrency=usable_cpus())


def decoders(formats: tuple[str, ...]) -> tuple[str, ...]:
    """The formats as the engine names them."""
    found = tuple(each.upper() for each in formats)
    return (*found, "MPO") if "JPEG" in found else found  # a JPEG with more of them behind


def format_of(data: bytes | memoryview) -> str | None:
    """The image format that `data` begins as, by its first bytes."""
    head = bytes(data[:16])
    for name, magics in _MAGICS.items():
        if head.startswith(magics):
            return name
    return "webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


_MAGICS = {
    "jpeg": (b"\xff\xd8\xff",),
    "png": (b"\x89PNG\r\n\x1a\n",),
    "gif": (b"GIF87a", b"GIF89a"),
    "bmp": (b"BM",),
    "tiff": (b"II*\0", b"MM\0*"),
}
