"""What a packed member of a model file is; packing.py says how weights become them."""

from __future__ import annotations

from ..untyped import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..network.layer import Layer

PANEL = 16
# Of a model file's weights, each with its bytes.
PLAIN_DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
# What the classifier's weights alone may be where all others are float32: packing_classifier.py.
CLASSIFIERS = ("float16", "bfloat16", "int8")
DTYPES = {**PLAIN_DTYPES, **{f"float32+{each}": 4 for each in CLASSIFIERS}}
FLOAT_DTYPES = tuple(each for each in DTYPES if each != "int8")  # of networks not quantised


def classifier_dtype(dtype: str) -> str | None:
    """What the classifier's weights are where all others are float32: of "float32+int8", int8."""
    _, mixed, classifier = dtype.partition("+")
    return classifier if mixed else None


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


def packed_layer(layer: Layer) -> dict[str, Packed]:
    """The packed members of one float32 layer by name, its weight first."""
    panels = -(-layer.out_channels // PANEL)
    return {
        f"{layer.name}.weight": Packed("<f4", (panels, reduction(layer), PANEL)),
        f"{layer.name}.bias": Packed("<f4", (panels * PANEL,)),
    }


def reduction(layer: Layer) -> int:
    """Length of the sum that makes one output value."""
    inputs = 1 if layer.operation == "depthwise" else layer.in_channels
    return inputs * layer.kernel * layer.kernel
