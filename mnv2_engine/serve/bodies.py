"""The bodies of requests, read within bounds.

A body that finds no room waits, in turn, and so does its client: nothing more is read from it. So
that half-read bodies cannot wait for each other for ever, the room of one whole body is kept free
for whoever waits first, until its body is there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from .limits import Limits
from .request import Gone, Receive, Refused, busy, header


class Held:
    """The bytes of all bodies that are held at once, of one process."""

    def __init__(self, limit: int, most: int) -> None:
        """At most `limit` bytes of all bodies, and `most` of one."""
        self.limit, self.most = limit, min(limit, most)
        self.bytes = 0
        self._first: object = None  # the body that may use the room that is kept free
        self._waiting: deque[tuple[asyncio.Future[None], object, int]] = deque()

    async def take(self, body: object, count: int, seconds: float) -> None:
        """Room for `count` more bytes of a body. Raises Refused (503) if there is none in time."""
        turn = asyncio.get_running_loop().create_future()
        waiter = (turn, body, count)
        if body is self._first:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        self._admit()
        if turn.done():
            return
        try:
            await asyncio.wait((turn,), timeout=seconds)
        except BaseException:
            if turn.done():
                self.give_back(count)
            turn.cancel()
            raise
        if not turn.done():
            turn.cancel()
            raise busy(f"{self.limit} bytes of other requests are waiting")

    def give_back(self, count: int) -> None:
        """Counts bytes out, and lets in who waits for them."""
        self.bytes -= count
        self._admit()

    def ended(self, body: object) -> None:
        """A body is there, or will not come."""
        if body is self._first:
            self._first = None
        self._admit()

    def _admit(self) -> None:
        """Let those in who wait, in turn, as far as there is room."""
        while self._waiting:
            turn, body, count = self._waiting[0]
            if not turn.done():  # else it was given up
                free = self.limit - self.bytes
                if count > free - self.most and self._first is None:
                    self._first = body
                if count > (free if body is self._first else free - self.most):
                    return
                self.bytes += count
                turn.set_result(None)
            self._waiting.popleft()


async def read_body(
    scope: dict[str, Any], receive: Receive, limits: Limits, held: Held
) -> bytearray:
    """The body. What it adds to `held`, len(body), is the caller's to give back; upon an error
    nothing is."""
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > held.most:
        raise _too_large(held)
    body = bytearray()
    loop = asyncio.get_running_loop()
    left = limits.body_seconds  # for the client: what it waits for room does not count
    more = True
    try:
        while more:
            began = loop.time()
            message = await asyncio.wait_for(receive(), left)
            left -= loop.time() - began
            if message["type"] == "http.disconnect":
                raise Gone
            chunk = message.get("body", b"")
            if len(body) + len(chunk) > held.most:
                raise _too_large(held)
            if chunk:
                await held.take(body, len(chunk), limits.wait_seconds)
                body.extend(chunk)
            more = message.get("more_body", False)
    except asyncio.TimeoutError:
        held.give_back(len(body))
        why = f"the body did not arrive within {limits.body_seconds:g} seconds"
        raise Refused(408, "slow", why, connection="close") from None
    except BaseException:
        held.give_back(len(body))
        raise
    finally:
        held.ended(body)
    return body


def _too_large(held: Held) -> Refused:
    return Refused(
        413,
        "too_large",
        f"more than {held.most} bytes: send a smaller image",
        connection="close",
    )
