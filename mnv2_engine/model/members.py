"""The members of a model file, whatever its weights: which there are, packed and unpacked."""

from __future__ import annotations

from collections.abc import Mapping

from ..network.layer import Network
from ..untyped import TYPE_CHECKING, Any
from .packed import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEWEST = 2  # version of the format


def packed_members(
    network: Network, dtype: str = "float32", version: int = NEWEST
) -> dict[str, Packed]:
    """Every packed member by name, in the order of execution, each layer's weight first, of a file
    whose weights are `dtype`, one of packed.DTYPES."""
    if dtype == "int8":
        from . import packing_int8

        return packing_int8.packed_members(network, version)
    from . import packing

    members: dict[str, Packed] = {}
    for layer in network.weighted:
        members.update(packing.packed_layer(layer))
    if dtype != "float32":
        from . import packing_half

        for layer in network.weighted:
            if packing_half.is_narrowed(network, layer):
                members.update(packing_half.packed_layer(layer, dtype))
    return members


def pack(
    network: Network, weights: Mapping[str, NDArray[Any]], dtype: str = "float32"
) -> dict[str, NDArray[Any]]:
    """Packed members of `network` from its canonical weights, of a file whose weights are `dtype`;
    float32 ones are rounded to float16 or bfloat16.

    Raises CheckpointError for weights that do not fit (see packing.pack, packing_int8.pack), and
    values that `dtype` does not hold as finite numbers.
    """
    if dtype == "int8":
        from . import packing_int8

        return packing_int8.pack(network, weights)
    from . import packing

    packed = packing.pack(network, weights)
    if dtype == "float32":
        return dict(packed)
    from . import packing_half

    return packing_half.narrow(network, packed, dtype)


def unpack(
    network: Network, packed: Mapping[str, NDArray[Any]], dtype: str = "float32"
) -> dict[str, NDArray[Any]]:
    """Canonical weights, as fresh arrays, from the packed members of `network`: integers of int8
    files, float32 of all others."""
    if dtype == "int8":
        from . import packing_int8

        return packing_int8.unpack(network, packed)
    from . import packing

    if dtype != "float32":
        from . import packing_half

        packed = packing_half.widen(network, packed, dtype)
    return dict(packing.unpack(network, packed))
