"""Refusals that were caught on their way by what looks for Python's errors in damaged files."""

from __future__ import annotations

import re

_OURS = re.compile(r"\b(Mnv|ModelFile|Checkpoint|Input|Unsupported|MissingExtra)Error\b")


def taken_for_damage(message: str) -> bool:
    """Whether a message holds another, by the name of its class: it gives two pieces of advice, of
    which the outer one is wrong."""
    return _OURS.search(message) is not None
