"""The published networks that run, as a table: their sizes, and the arenas that their plans need.

`mnv2 networks` prints it, and docs/networks.md holds it.
"""

from __future__ import annotations

from functools import cache

from ...network.kin import ALIASES, FAMILIES, PUBLISHED, by_name
from ...network.layer import multiply_adds, parameters
from ...untyped import NamedTuple
from ..planner import make_plan
from .table import kib_number

PRECISIONS = ("float32", "int8")


class PublishedNetwork(NamedTuple):
    """A published network and what it needs on one thread."""

    family: str  # the title, "MobileNetV2"
    names: tuple[str, ...]  # all names of it
    resolution: tuple[int, int]
    padding: str
    parameters: int
    multiply_adds: int
    arena_bytes: dict[str, int]  # by precision


@cache
def published_networks() -> tuple[PublishedNetwork, ...]:
    """Every network of network/kin.py, family by family. Plans them all, which takes a second."""
    found = []
    for key, family in FAMILIES.items():
        for name, published in PUBLISHED.items():
            if published.family != key:
                continue
            network = by_name(name)
            others = [alias for alias, of in ALIASES.items() if of == name]
            arenas = {what: make_plan(network, 1, what).arena_bytes for what in PRECISIONS}
            found.append(
                PublishedNetwork(
                    family=family.title,
                    names=(name, *others),
                    resolution=network.resolution,
                    padding=published.padding,
                    parameters=parameters(network),
                    multiply_adds=multiply_adds(network),
                    arena_bytes=arenas,
                )
            )
    return tuple(found)


def families_table() -> str:
    """The families in Markdown: the paper, and where weights are."""
    lines = ["| family | paper | weights |", "|---|---|---|"]
    lines += [f"| {each.title} | {each.paper} | {each.weights} |" for each in FAMILIES.values()]
    return "\n".join(lines)


def networks_table() -> str:
    """The networks in Markdown, a line for each."""
    lines = [
        "| name | pixels | padding | parameters, M | multiply-adds, M | "
        "float32 arena, KiB | int8 arena, KiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in published_networks():
        height, width = each.resolution
        arenas = " | ".join(kib_number(each.arena_bytes[what]) for what in PRECISIONS)
        lines.append(
            f"| {', '.join(f'`{name}`' for name in each.names)} | {height}×{width} | "
            f"{each.padding} | {each.parameters / 1e6:.2f} | {each.multiply_adds / 1e6:,.1f} | "
            f"{arenas} |"
        )
    return "\n".join(lines)
