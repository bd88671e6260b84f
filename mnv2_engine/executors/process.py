"""What belongs to this process, and not to one that is forked from it."""

from __future__ import annotations

import os
from _thread import allocate_lock


class Process:
    """A process, by identity: a forked child has another one, with a lock that is free."""

    def __init__(self) -> None:
        self.lock = allocate_lock()  # held for moments: to count, to start a pool


_here = Process()


def here() -> Process:
    """The process that runs this."""
    return _here


def _forked() -> None:
    # In the child, before it can have a second thread. A lock that another thread of the parent
    # held would stay locked for ever.
    global _here
    _here = Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
