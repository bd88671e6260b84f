"""Writes the C source of the extension module `mnv2_engine._core` (cffi, API mode, abi3).

usage: generate_ffi.py mnv2.h OUT.c

The declarations that Python sees are those of mnv2.h itself, so the two cannot drift apart.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cffi import FFI


def declarations(header: str) -> str:
    """mnv2.h without what cffi does not parse: conditionals, includes and the C++ guard."""
    without_comments = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    without_guard = re.sub(r"#ifdef __cplusplus.*?#endif", "", without_comments, flags=re.DOTALL)
    lines = [
        line
        for line in without_guard.splitlines()
        if not line.startswith("#") or re.match(r"#define \w+ \d+$", line)
    ]
    return "\n".join(lines)


def main() -> None:
    header, out = map(Path, sys.argv[1:])
    ffi = FFI()
    ffi.cdef(declarations(header.read_text()))
    ffi.set_source("mnv2_engine._core", '#include "mnv2.h"')
    ffi.emit_c_code(str(out))


if __name__ == "__main__":
    main()
