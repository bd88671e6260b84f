"""multipart/form-data (RFC 7578), as far as an upload of one image needs it.

The body is in memory already and bounded; parts are found by searching for their boundary, so the
time is that of one pass whatever the body holds, and the number of parts is bounded as well.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .request import Refused

MAX_PARTS = 64
MAX_HEADER = 4096  # bytes of a part's headers
MAX_BOUNDARY = 70  # characters, by RFC 2046

_BOUNDARY = re.compile(rb'boundary=(?:"([^"\r\n]{1,256})"|([^\s;,"]{1,256}))', re.IGNORECASE)
_FIELD = re.compile(rb'\b(name|filename)="((?:[^"\\\r\n]|\\.){0,1024})"', re.IGNORECASE)


class Part(NamedTuple):
    """One part of a form."""

    name: str
    filename: str | None  # of a file
    start: int  # in the body
    end: int


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that the header names."""
    match = _BOUNDARY.search(content_type)
    found = (match[1] or match[2]) if match else b""
    if not 1 <= len(found) <= MAX_BOUNDARY:
        raise _malformed(f"the boundary has {len(found)} characters: expected 1 to {MAX_BOUNDARY}")
    return found


def parts_of(body: bytes | bytearray, boundary: bytes) -> list[Part]:
    """The parts of `body`. Raises Refused (400) for anything that is not well-formed."""
    mark = b"\r\n--" + boundary
    if body.startswith(mark[2:]):
        at = len(mark) - 2
    else:
        at = body.find(mark)
        if at < 0:
            raise _malformed("the boundary of its content type does not occur")
        at += len(mark)
    parts: list[Part] = []
    while body[at : at + 2] != b"--":
        if len(parts) == MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        line_end = body.find(b"\r\n", at, at + 256)
        if line_end < 0 or bytes(body[at:line_end]).strip(b" \t"):
            raise _malformed("a boundary is not followed by the end of its line")
        if body[line_end + 2 : line_end + 4] == b"\r\n":  # no headers
            header_end, start = line_end, line_end + 4
        else:
            header_end = body.find(b"\r\n\r\n", line_end, line_end + MAX_HEADER)
            start = header_end + 4
        if header_end < 0:
            raise _malformed(f"the headers of a part do not end within {MAX_HEADER} bytes")
        end = body.find(mark, start - 2)
        if end < 0:
            raise _malformed("its last boundary is missing: it was cut short")
        parts.append(_part(bytes(body[line_end:header_end]), start, max(start, end)))
        at = end + len(mark)
    return parts


def _part(headers: bytes, start: int, end: int) -> Part:
    said = b""
    for line in headers.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            said = value
        elif key.strip().lower() == b"content-transfer-encoding" and value.strip().lower() not in (
            b"binary",
            b"8bit",
            b"7bit",
        ):
            raise _malformed("a part is encoded: send it as it is")
    if not said.strip().lower().startswith(b"form-data"):
        raise _malformed("a part has no content-disposition: form-data")
    fields = {key.lower(): value.decode("utf-8", "replace") for key, value in _FIELD.findall(said)}
    return Part(fields.get(b"name", ""), fields.get(b"filename"), start, end)


def _malformed(why: str) -> Refused:
    return Refused(400, "malformed", f"multipart: {why}")
