"""A classifier of 16 or 8 bits in a float32 file: its members <-> those of a float32 file.

The classifier is the first dense layer, a third of MobileNetV2's weights, each of which is used
once an image: it is bound by reading them. All other layers stay as packing.py has them. Those of
16 bits are packing_half.py's. In 8 bits

- weight        (ceil(cout / 16), cin, 16) int8: q, -127 to 127
- dequantise    (ceil(cout / 16), 2, 16) float32: the scale of each output, its bias

with w = q * scale, and the scale of an output a 127th of its largest weight. Features stay floats,
so the rounding of the weights is all that is lost.
"""

from __future__ import annotations

from ..errors import InputError
from ..network.layer import Layer, Network
from ..untyped import TYPE_CHECKING, Any, Mapping
from . import packing_half
from .packed import PANEL, Packed
from .packed import packed_layer as plain_layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

LARGEST = 127  # of q


def classifier_of(network: Network) -> Layer:
    """The layer that is meant. Raises InputError for a network without one."""
    for layer in network.weighted:
        if layer.operation == "dense":
            return layer
    raise InputError(
        f"{network.name} has no dense layer, so no classifier to narrow; leave the option out"
    )


def packed_layer(layer: Layer, dtype: str) -> dict[str, Packed]:
    """The packed members of a classifier whose weights are `dtype`, one of CLASSIFIERS."""
    if dtype != "int8":
        return packing_half.packed_layer(layer, dtype)
    panels = -(-layer.out_channels // PANEL)
    return {
        f"{layer.name}.weight": Packed("|i1", (panels, layer.in_channels, PANEL)),
        f"{layer.name}.dequantise": Packed("<f4", (panels, 2, PANEL)),
    }


def packed_members(
    network: Network, dtype: str, members: Mapping[str, Packed]
) -> dict[str, Packed]:
    """The members of a float32 file, the classifier's replaced in their place."""
    layer = classifier_of(network)
    replaced = packed_layer(layer, dtype)
    made: dict[str, Packed] = {}
    for name, member in members.items():
        if name == f"{layer.name}.weight":
            made.update(replaced)
        elif name != f"{layer.name}.bias":
            made[name] = member
    return made


def narrow(network: Network, packed: Mapping[str, Float32], dtype: str) -> dict[str, Any]:
    """Members of a file whose classifier alone is `dtype` from those of a float32 file. Raises
    CheckpointError for a weight that rounds to infinity."""
    import numpy as np

    layer = classifier_of(network)
    weight, bias = packed[f"{layer.name}.weight"], packed[f"{layer.name}.bias"]
    made: dict[str, Any] = {n: x for n, x in packed.items() if n not in plain_layer(layer)}
    if dtype != "int8":
        name = f"{layer.name}.weight"
        return {
            **made,
            name: packing_half.narrowed(layer, weight, dtype),
            f"{layer.name}.bias": bias,
        }
    scale = (np.abs(weight).max(1) / LARGEST).astype(np.float32)  # (panels, 16)
    steps = np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
    made[f"{layer.name}.weight"] = np.rint(weight / steps).clip(-LARGEST, LARGEST).astype(np.int8)
    made[f"{layer.name}.dequantise"] = np.stack([scale, bias.reshape(-1, PANEL)], 1)
    return made


def widen(network: Network, packed: Mapping[str, NDArray[Any]], dtype: str) -> dict[str, Any]:
    """Members of a float32 file from those of a file whose classifier alone is `dtype`; of 8 bits
    each product of q and scale is rounded to float32."""
    import numpy as np

    layer = classifier_of(network)
    due = packed_layer(layer, dtype)
    made: dict[str, Any] = {name: array for name, array in packed.items() if name not in due}
    weight = packed[f"{layer.name}.weight"]
    if dtype != "int8":
        made[f"{layer.name}.weight"] = packing_half.widened(layer, weight, dtype)
        made[f"{layer.name}.bias"] = packed[f"{layer.name}.bias"]
        return made
    scale, bias = packed[f"{layer.name}.dequantise"].transpose(1, 0, 2)
    made[f"{layer.name}.weight"] = weight.astype(np.float32) * scale[:, None]
    made[f"{layer.name}.bias"] = np.ascontiguousarray(bias).reshape(-1)
    return made
