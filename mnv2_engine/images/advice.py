"""What to do with an array whose values are of the wrong type: an advice that keeps the picture.

`.astype(numpy.uint8)` makes a black image of one that is normalised, so the advice depends on the
type and on who asks.
"""

from __future__ import annotations

_TYPES = {
    "?": "bool",
    "b": "int8",
    "c": "bytes",
    "h": "int16",
    "H": "uint16",
    "i": "int32",
    "I": "uint32",
    "l": "int64",
    "L": "uint64",
    "q": "int64",
    "Q": "uint64",
    "e": "float16",
    "f": "float32",
    "d": "float64",
    "g": "long double",
}
_PIXELS = "pixels as uint8, 0 to 255"


def advice(form: str, floats: bool) -> str:
    """An error's text about values of the buffer format `form`, for a call that takes uint8, and
    float32 if `floats`."""
    plain = form.lstrip("@=<>!")
    unknown = "complex numbers" if plain.startswith("Z") else "values of an unknown type"
    kind = _TYPES.get(plain, unknown)
    if form[:1] in (">", "!") and kind != "int8":
        kind += " in the other byte order"
    expected = f"{_PIXELS}, or normalised float32" if floats else _PIXELS
    return f"{kind} (buffer format {form!r:.40}): expected {expected}; {_remedy(kind, floats)}"


def _remedy(kind: str, floats: bool) -> str:
    if "float" in kind or "double" in kind:
        if floats:
            return (
                "if they are normalised as `info.input_spec` says: .astype(numpy.float32); pixels "
                "of 0 to 255 are given as uint8"
            )
        return (
            "for values from 0 to 255: .round().astype(numpy.uint8); for 0 to 1: multiply by 255 "
            "first; for input that is already normalised call `logits` with float32"
        )
    if kind == "bool":
        return "for black and white: 255 * x.astype(numpy.uint8)"
    if kind == "int8":
        return "if they are pixels less 128: (x.astype(numpy.int16) + 128).astype(numpy.uint8)"
    if kind.startswith("uint16"):
        return "if they reach 65535: (x // 257).astype(numpy.uint8)"
    if "int" in kind:
        return "if they are from 0 to 255: .astype(numpy.uint8)"
    return "give a NumPy array of such values"
