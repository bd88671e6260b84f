"""Writes the C source of the extension module `mnv2_engine._core` (cffi, API mode, abi3).

usage: generate_ffi.py HEADER... OUT.c

The declarations that Python sees are those of the headers themselves, so they cannot drift apart.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cffi import FFI


def declarations(header: str) -> str:
    """A header without what cffi does not parse: conditionals, includes and the C++ guard."""
    without_comments = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    without_guard = re.sub(r"#ifdef __cplusplus.*?#endif", "", without_comments, flags=re.DOTALL)
    lines = [
        line
        for line in without_guard.splitlines()
        if not line.startswith("#") or re.match(r"#define \w+ \d+$", line)
    ]
    return "\n".join(lines)


def main() -> None:
    *headers, out = map(Path, sys.argv[1:])
    ffi = FFI()
    for header in headers:
        ffi.cdef(declarations(header.read_text()))
    includes = "\n".join(f'#include "{header.as_posix()}"' for header in headers)
    ffi.set_source("mnv2_engine._core", includes)
    ffi.emit_c_code(str(out))


if __name__ == "__main__":
    main()
