"""safetensors files: a header of JSON and the tensors behind it, read by their offsets.

Eight bytes say how long the header is; each entry in it names a tensor, its type, its shape and
where its bytes begin and end. Nothing is executed and nothing has to be installed.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

from ...errors import CheckpointError
from .state import FLOATS, Tensors, decoded

MAX_HEADER_BYTES = 16 << 20
_MAX_TENSORS = 1 << 14
_MAX_RANK = 8
# numpy's names, and their bytes; "bfloat16" is ours.
_DTYPES = {
    "F32": ("f4", 4), "F64": ("f8", 8), "F16": ("f2", 2), "BF16": ("bfloat16", 2),
    "I64": ("i8", 8), "I32": ("i4", 4), "I16": ("i2", 2), "I8": ("i1", 1), "U8": ("u1", 1),
    "BOOL": ("u1", 1),
}  # fmt: skip


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that begins with `head` may be one."""
    return head[8:9] == b"{" and head[5:8] == bytes(3) and head[:8] != bytes(8)


def read(handle: BinaryIO, what: str) -> Tensors:
    """The tensors of an open file. Raises CheckpointError where its header lies."""
    size = handle.seek(0, 2)
    handle.seek(0)
    (length,) = struct.unpack("<Q", handle.read(8).ljust(8, b"\0"))
    if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
        raise CheckpointError(
            f"{what}: its safetensors header is said to take {length} of {size} bytes: expected at "
            f"most {MAX_HEADER_BYTES}; the file was cut short or altered: download it again"
        )
    try:
        header = json.loads(handle.read(length))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{what}: its safetensors header is no JSON ({str(error)[:120]}); download it again"
        ) from None
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise CheckpointError(f"{what}: its safetensors header is not a list of tensors")
    header.pop("__metadata__", None)
    start = 8 + length
    entries: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for name, stated in header.items():
        entries[name] = _entry(name, stated, size - start, what)
    _check_apart(entries, what)

    def load(name: str) -> Any:
        dtype, shape, begin, end = entries[name]
        if dtype not in FLOATS:
            raise CheckpointError(
                f"{what}: {name[:80]} holds {dtype} elements: expected floating point; dequantise "
                "the model first"
            )
        handle.seek(start + begin)
        content = handle.read(end - begin)
        if len(content) != end - begin:
            raise CheckpointError(f"{what}: the data of {name[:80]} were cut short")
        return decoded(content, dtype, "<").reshape(shape)

    shapes = {name: entry[1] for name, entry in entries.items()}
    return Tensors(what, "safetensors", shapes, load)


def _entry(name: str, stated: Any, room: int, what: str) -> tuple[str, tuple[int, ...], int, int]:
    try:
        dtype, width = _DTYPES[stated["dtype"]]
        shape = stated["shape"]
        begin, end = stated["data_offsets"]
        numbers = [*shape, begin, end]
        if not all(type(each) is int and 0 <= each < 1 << 48 for each in numbers):
            raise ValueError("numbers that are not whole, or out of bounds")
        if len(shape) > _MAX_RANK:
            raise ValueError(f"{len(shape)} axes")
        due = width
        for extent in shape:
            due *= extent
        if end - begin != due or end > room:
            raise ValueError(f"bytes {begin} to {end} of {room} for {due}")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{what}: its safetensors header describes {name[:80]!r} wrongly ({str(error)[:80]}); "
            "the file was cut short or altered: download it again"
        ) from None
    return dtype, tuple(shape), begin, end


def _check_apart(entries: dict[str, tuple[str, tuple[int, ...], int, int]], what: str) -> None:
    """Tensors that overlap would let a small file become any number of weights."""
    last = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2]):
        if begin < last:
            raise CheckpointError(f"{what}: {name[:80]!r} shares its bytes with another tensor")
        last = max(last, end)
