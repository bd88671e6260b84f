"""The fused schedules in 8 bits: the numerics of docs/int8.md over the same plans, under the names
of the float files beside it."""

from __future__ import annotations

from .executor import Int8Executor

__all__ = ["Int8Executor"]
