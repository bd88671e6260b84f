"""A client of ASGI applications, in the process of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def request(
    app: Any,
    method: str,
    path: str,
    body: bytes = b"",
    kind: str | None = None,
    *,
    receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    root: str = "",
    full_path: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    path, _, query = path.partition("?")
    sent: list[dict[str, Any]] = []
    bodies = [{"type": "http.request", "body": body, "more_body": False}]

    async def whole() -> dict[str, Any]:
        if bodies:
            return bodies.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": full_path or path,
        "root_path": root,
        "query_string": query.encode(),
        "headers": [(key.encode(), value.encode()) for key, value in given.items() if value],
    }
    await app(scope, receive or whole, send)
    if not sent:
        return Response(0, {}, b"")
    start, content = sent
    found = {key.decode(): value.decode() for key, value in start["headers"]}
    assert int(found["content-length"]) == len(content["body"]) or method == "HEAD"
    return Response(start["status"], found, content["body"])


def call(app: Any, *arguments: Any, **named: Any) -> Response:
    return asyncio.run(request(app, *arguments, **named))


def form(*files: tuple[str, str | None, bytes], boundary: str = "limit") -> tuple[bytes, str]:
    """A multipart body of (name, filename, content), and its content type."""
    body = b""
    for name, filename, content in files:
        said = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        body += f"--{boundary}\r\nContent-Disposition: {said}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
