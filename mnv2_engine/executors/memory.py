"""Memory from the system, without numpy."""

from __future__ import annotations

import mmap
import os


def private_memory(size: int) -> mmap.mmap:
    """`size` bytes of zeroed memory, page-aligned, copied on write after fork."""
    if os.name == "nt":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
