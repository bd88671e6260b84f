"""Tensors by name, whichever file they come from: what names.py makes a network of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOATS = ("f4", "f8", "f2", "bfloat16")


class Tensors(NamedTuple):
    """Named tensors of a file that has no graph, not read yet."""

    what: str  # the file, in messages
    container: str  # "safetensors", "PyTorch zip"
    shapes: dict[str, tuple[int, ...]]
    load: Callable[[str], NDArray[np.float32]]  # reads one, as float32


def decoded(content: bytes, dtype: str, order: str) -> NDArray[Any]:
    """Floating-point numbers of a type in FLOATS, in byte order `order`, as float32."""
    import numpy as np

    if dtype == "bfloat16":  # the upper half of a float32
        halves = np.frombuffer(content, f"{order}u2").astype(np.uint32)
        return (halves << 16).view(np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, refused later
        return np.frombuffer(content, order + dtype).astype(np.float32)
