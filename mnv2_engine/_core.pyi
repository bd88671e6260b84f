"""The compiled core, made by cffi from kernels/mnv2.h."""

from typing import Any

ffi: Any
lib: Any
