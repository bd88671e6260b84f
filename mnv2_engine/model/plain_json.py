"""JSON by CPython's own scanner alone: the package `json` imports `re` and more, milliseconds of a
cold start. Whatever is not one object, or where there is no such scanner, is left to `json`."""

from __future__ import annotations

from ..untyped import Any, Callable

Pairs = list[tuple[str, Any]]


class _Rules:
    """What the scanner asks of json's decoder."""

    strict, object_hook, parse_float, parse_int = True, None, float, int

    def __init__(self, pairs: Callable[[Pairs], object], constant: Callable[[str], object]) -> None:
        self.object_pairs_hook, self.parse_constant = pairs, constant


def parse(text: str, pairs: Callable[[Pairs], object], constant: Callable[[str], object]) -> object:
    """As json.loads with object_pairs_hook and parse_constant; raises as that does."""
    scanner: Any = None
    try:
        import _json

        scanner = _json.make_scanner
    except (ImportError, AttributeError):  # not CPython
        pass
    if scanner is not None and text.startswith("{"):
        try:
            value, end = scanner(_Rules(pairs, constant))(text, 0)
        except StopIteration:  # json says where
            end = -1
        if end == len(text):
            return value
    import json

    return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
