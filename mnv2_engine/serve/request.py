"""What a request says, and what is wrong with it, as an HTTP status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import shown

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Refused(Exception):
    """A request that gets an error's status."""

    def __init__(self, status: int, kind: str, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, shown(reason)
        self.headers = headers


class Gone(Exception):
    """The client left before its answer."""


def busy(why: str) -> Refused:
    """The refusal of a request that may be tried again."""
    return Refused(503, "busy", f"busy: {why}; try again", **{"retry-after": "1"})


def header(scope: dict[str, Any], name: bytes) -> bytes:
    """The value of a header, empty where there is none."""
    for key, value in scope["headers"]:
        if key.lower() == name:
            return bytes(value)
    return b""


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
