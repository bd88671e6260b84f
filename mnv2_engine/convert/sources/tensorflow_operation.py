"""A node of a TensorFlow graph, in plain values."""

from __future__ import annotations

from typing import Any, NamedTuple


class Operation(NamedTuple):
    """A NodeDef, from protobuf or JSON."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]  # plain values
