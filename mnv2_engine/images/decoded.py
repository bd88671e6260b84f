"""Encoded photographs by the C core: JPEG and PNG, line by line, no picture in memory.

`frame_of` gives the network's frame of a file in memory or a path, or None where the C core leaves
it to Pillow: other formats, rare kinds, and files that are not wholly sound.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError
from ..model.input_spec import InputSpec
from ..untyped import Any, NamedTuple
from .files import opened
from .framing import framing
from .limits import Borrow, Decoding, checked

FORMATS = {1: "JPEG", 2: "PNG"}  # mnv2_photo_format

# A larger file is mapped, a smaller one is read.
MAPPED_FROM = 1 << 18


class Look(NamedTuple):
    """What a file's headers say."""

    photo: Any  # the C core's mnv2_photo
    status: int
    format: str | None
    width: int  # as stored; 0 where it is not known
    height: int


def core() -> Any:
    """The C core, or None."""
    try:
        from .. import _core
    except ImportError:
        return None
    return _core


def decoders() -> dict[str, str]:
    """What decodes which format here, without Pillow: the C core's libraries."""
    found = core()
    if found is None:
        return {}
    return {
        name: found.ffi.string(found.lib.mnv2_photo_library(number)).decode()
        for number, name in FORMATS.items()
        if found.lib.mnv2_photo_formats() & 1 << number
    }


def look(native: Any, data: Any, size: int) -> Look:
    """The headers of a file in memory, `data` its bytes as the C core takes them."""
    photo = native.ffi.new("mnv2_photo *")
    status = native.lib.mnv2_photo_look(data, size, photo)
    return Look(photo, status, FORMATS.get(photo.format), photo.width, photo.height)


def frame_of(
    source: Any,
    spec: InputSpec,
    resolution: tuple[int, int],
    decoding: Decoding,
    borrow: Borrow | None = None,
    upright: list[tuple[int, int]] | None = None,
) -> Any | None:
    """The network's frame, a buffer of height·width·3 bytes, of an encoded image or a path; None
    where it is left to Pillow. `upright`, if given, receives (width, height) of a picture with a
    frame when it is upright. Raises InputError for what the limits of `decoding` forbid and for
    a file that cannot be read."""
    native = core()
    if native is None:
        return None
    with contents(source) as (content, name), native.ffi.from_buffer(content) as data:
        seen = look(native, data, len(content))
        if seen.status == native.lib.MNV2_PHOTO_BOMB:
            raise InputError(
                f"{name}: a JPEG of more than {native.lib.MNV2_MAX_SCANS} scans, which takes "
                "hours to decode; save it again as a baseline JPEG"
            )
        if seen.format is not None and seen.width:
            checked(name, seen.format, seen.width, seen.height, decoding)
        if seen.status != native.lib.MNV2_IMAGE_OK:
            return None
        frame = _decode(native, data, len(content), seen, spec, resolution, decoding, borrow)
    if frame is not None and upright is not None:
        turn = seen.photo.orientation
        upright.append(framing(seen.width, seen.height, turn, spec, resolution).upright)
    return frame


def _decode(
    native: Any,
    data: Any,
    size: int,
    seen: Look,
    spec: InputSpec,
    resolution: tuple[int, int],
    decoding: Decoding,
    borrow: Borrow | None,
) -> Any | None:
    from ..executors.native import image_isa

    ffi, lib = native.ffi, native.lib
    plan = planned(native, seen, spec, resolution, decoding)
    height, width = resolution
    out = ffi.new("uint8_t[]", height * width * 3)
    used, isa = ffi.new("int64_t *"), image_isa()
    while True:
        with (borrow or _fresh)(plan.bytes) as memory, ffi.from_buffer("char[]", memory) as room:
            status = lib.mnv2_photo_decode(data, size, seen.photo, plan, isa, room, out, used)
        # A library newer than the bound wants more; no file makes it want this much.
        if status != lib.MNV2_PHOTO_NO_ROOM or plan.library_bytes > 1 << 26:
            break
        plan.bytes += plan.library_bytes
        plan.library_bytes *= 2
    return ffi.buffer(out) if status == lib.MNV2_IMAGE_OK else None


def planned(
    native: Any, seen: Look, spec: InputSpec, resolution: tuple[int, int], decoding: Decoding
) -> Any:
    """The C core's plan of decoding and resizing what was seen. Raises InputError for a sliver."""
    from .framing import sliver
    from .resize import native_framing

    framed = framing(seen.width, seen.height, seen.photo.orientation, spec, resolution)
    plan = native.ffi.new("mnv2_photo_plan *")
    wanted = native_framing(native, framed, 3)
    status = native.lib.mnv2_photo_plan_for(seen.photo, wanted, decoding.decode == "reduced", plan)
    if status != native.lib.MNV2_IMAGE_OK:
        raise sliver(framed)
    return plan


@contextmanager
def _fresh(size: int) -> Iterator[Any]:
    from ..model.open_file import private_memory

    memory = private_memory(size)
    try:
        yield memory
    finally:
        memory.close()


@contextmanager
def contents(source: Any) -> Iterator[tuple[Any, str]]:
    """A file's bytes and what to call it: bytes as they are, a large file mapped."""
    if not isinstance(source, (str, os.PathLike)):
        view = memoryview(source).cast("B")
        yield view, f"encoded image of {len(view)} bytes"
        return
    import mmap

    with opened(source) as (file, name):
        size = os.fstat(file.fileno()).st_size
        if size < MAPPED_FROM:
            yield file.read(), name
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped, name
