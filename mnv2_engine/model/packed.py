"""What a packed member of a model file is; packing.py says how weights become them."""

from __future__ import annotations

from ..untyped import NamedTuple

PANEL = 16
# Of a model file's weights, each with its bytes.
DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
FLOAT_DTYPES = ("float32", "float16", "bfloat16")  # those of networks that are not quantised


class Packed(NamedTuple):
    """What a packed member of a model file has to be."""

    descr: str  # NumPy's name of the dtype, such as "<f4"
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of data."""
        size = int(self.descr[-1])
        for extent in self.shape:
            size *= extent
        return size
