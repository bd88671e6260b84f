"""What clients send, read within bounds; and what went wrong with it, as an HTTP status."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import shown
from .limits import Limits

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Refused(Exception):
    """A request that gets an error's status."""

    def __init__(self, status: int, kind: str, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, shown(reason)
        self.headers = headers


class Gone(Exception):
    """The client left before its answer."""


class Held:
    """The bytes of all bodies that are held at once, of one process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0

    def take(self, count: int) -> None:
        """Counts bytes in; raises Refused where too many would be held."""
        if self.bytes + count > self.limit:
            raise busy(f"{self.limit} bytes of other requests are waiting")
        self.bytes += count

    def give_back(self, count: int) -> None:
        """Counts bytes out."""
        self.bytes -= count


def busy(why: str) -> Refused:
    """The refusal of a request that may be tried again."""
    return Refused(503, "busy", f"busy: {why}; try again", **{"retry-after": "1"})


def header(scope: dict[str, Any], name: bytes) -> bytes:
    """The value of a header, empty where there is none."""
    for key, value in scope["headers"]:
        if key.lower() == name:
            return bytes(value)
    return b""


async def read_body(
    scope: dict[str, Any], receive: Receive, limits: Limits, held: Held
) -> bytearray:
    """The body. What it adds to `held`, len(body), is the caller's to give back; upon an error
    nothing is."""
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > limits.max_bytes:
        raise _too_large(limits)
    body = bytearray()

    async def arrive() -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > limits.max_bytes:
                raise _too_large(limits)
            held.take(len(chunk))
            body.extend(chunk)
            more = message.get("more_body", False)

    try:
        await asyncio.wait_for(arrive(), limits.body_seconds)
    except asyncio.TimeoutError:
        held.give_back(len(body))
        why = f"the body did not arrive within {limits.body_seconds:g} seconds"
        raise Refused(408, "slow", why, connection="close") from None
    except BaseException:
        held.give_back(len(body))
        raise
    return body


def _too_large(limits: Limits) -> Refused:
    return Refused(
        413,
        "too_large",
        f"more than {limits.max_bytes} bytes: send a smaller image",
        connection="close",
    )


def top_k_of(text: str, most: int) -> int:
    """The number of answers that a request asks for."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise Refused(400, "malformed", f"top_k {text!r:.40}: expected a number from 1 to {most}")
    return int(text)


def query_of(scope: dict[str, Any]) -> dict[str, str]:
    """The query's parameters; Refused for one that is given twice."""
    raw = bytes(scope.get("query_string", b""))
    if not raw:
        return {}
    from urllib.parse import parse_qsl

    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        raise Refused(400, "malformed", "the query cannot be read") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused(400, "malformed", "the query names a parameter twice")
    return found
