"""What both demos report, for people to read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Protocol

from ..plan.shown.table import kib
from .demo_models import from_home

Row = tuple[str, str, str]  # what, how much, a note


class Figures(Protocol):
    """What a demo knows of its run."""

    @property
    def photograph(self) -> str:
        """Its path."""

    @property
    def model(self) -> str:
        """Path of the model file."""

    @property
    def network(self) -> str:
        """Its name."""

    @property
    def backend(self) -> str:
        """The backend and its instruction set."""

    @property
    def arena_bytes(self) -> int:
        """What a run needs."""

    @property
    def unfused_bytes(self) -> int:
        """What it would need if every layer wrote its whole output."""

    @property
    def weight_bytes(self) -> int:
        """What is mapped from the model file."""


def written(figures: Figures, found: Iterable[str], times: Iterable[Row]) -> list[str]:
    """The lines of a report: what was `found`, the `times` that it took, and the memory."""
    share = figures.arena_bytes / figures.unfused_bytes
    rows = (
        *times,
        ("memory", kib(figures.arena_bytes), f"all that a run needs: {share:.0%} of unfused"),
        ("unfused", kib(figures.unfused_bytes), "if every layer wrote its whole output"),
        ("weights", kib(figures.weight_bytes), "mapped from the model file, read only"),
    )
    title = f"{os.path.basename(figures.photograph)}, by {figures.network} ({figures.backend})"
    lines = [title, "", *(f"  {line}" for line in found)]
    lines += ["", *(f"  {name:9}{amount:>14}   {note}" for name, amount, note in rows)]
    return [*lines, "", f"  model      {from_home(figures.model)}"]
