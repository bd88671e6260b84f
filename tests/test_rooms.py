"""Arrows between the rooms of the engine point one way; nothing of it imports a tool."""

from __future__ import annotations

import ast
from pathlib import Path

import mnv2_engine

PACKAGE = Path(mnv2_engine.__file__).parent
# Of the engine, each importing only what stands before it; docs/architecture.md draws the same.
ROOMS = (
    *("errors", "network", "model", "plan", "executors", "images", "detect", "answers"),
    *("accounting", "info"),
)
ENGINE = (*ROOMS, "engine")
NO_ROOMS = {"_core", "__version__", "untyped"}


def arrows() -> dict[str, set[str]]:
    """What each room imports of the package, within functions too."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        *folders, name = path.relative_to(PACKAGE).parts
        room = (folders or [name.removesuffix(".py")])[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            above = folders[: len(folders) - node.level + 1]
            target = [*above, *(node.module.split(".") if node.module else [])]
            names = target[:1] or [alias.name for alias in node.names]
            found.setdefault(room, set()).update(set(names) - {room} - NO_ROOMS)
    return found


def test_arrows_of_the_engine_point_one_way() -> None:
    found = arrows()
    assert found["engine"] >= {"model", "plan", "executors"}  # they are found
    for at, room in enumerate(ENGINE):
        assert found.get(room, set()) <= set(ENGINE[:at]), room
