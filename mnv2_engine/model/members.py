"""The members of a model file, whatever its weights: which there are, packed and unpacked."""

from __future__ import annotations

from ..errors import CheckpointError, InputError
from ..network.layer import ANCHORS, Network
from ..untyped import TYPE_CHECKING, Any, Mapping
from .packed import Packed, classifier_dtype, packed_layer

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

        return {**packing_int8.packed_members(network, version), **_anchors(network)}
    members: dict[str, Packed] = {}
    for layer in network.weighted:
        members.update(packed_layer(layer))
    if (classifier := classifier_dtype(dtype)) is not None:
        from . import packing_classifier

        members = packing_classifier.packed_members(network, classifier, members)
    elif dtype != "float32":
        from . import packing_half

        for layer in network.weighted:
            if packing_half.is_narrowed(network, layer):
                members.update(packing_half.packed_layer(layer, dtype))
    return {**members, **_anchors(network)}


def _anchors(network: Network) -> dict[str, Packed]:
    """The anchors of a detector, behind the weights: [N][4] float32, whatever those are."""
    if network.detection is None:
        return {}
    from ..network.box_maps import anchors_of

    return {ANCHORS: Packed("<f4", (anchors_of(network.detection, network.layers), 4))}


def pack(
    network: Network, weights: Mapping[str, NDArray[Any]], dtype: str = "float32"
) -> dict[str, NDArray[Any]]:
    """Packed members of `network` from its canonical weights, of a file whose weights are `dtype`;
    float32 ones are rounded to float16 or bfloat16, or the classifier's alone.

    Raises CheckpointError for weights that do not fit (see packing.pack, packing_int8.pack), and
    values that `dtype` does not hold as finite numbers. A detector's `anchors` are one of them.
    """
    if network.detection is not None:
        weights = dict(weights)
        anchors = _checked_anchors(network, weights.pop(ANCHORS, None))
        return {**_pack(network, weights, dtype), ANCHORS: anchors}
    return _pack(network, weights, dtype)


def _pack(
    network: Network, weights: Mapping[str, NDArray[Any]], dtype: str
) -> dict[str, NDArray[Any]]:
    if dtype == "int8":
        from . import packing_int8

        return packing_int8.pack(network, weights)
    from . import packing

    packed = packing.pack(network._replace(detection=None), weights)
    if dtype == "float32":
        return dict(packed)
    if (classifier := classifier_dtype(dtype)) is not None:
        from . import packing_classifier

        return packing_classifier.narrow(network, packed, classifier)
    from . import packing_half

    return packing_half.narrow(network, packed, dtype)


def unpack(
    network: Network, packed: Mapping[str, NDArray[Any]], dtype: str = "float32"
) -> dict[str, NDArray[Any]]:
    """Canonical weights, as fresh arrays, from the packed members of `network`: integers of int8
    files, float32 of all others; of a detector `anchors`, too."""
    if network.detection is not None:
        import numpy as np

        anchors = np.array(packed[ANCHORS], np.float32)
        return {**_unpack(network, packed, dtype), ANCHORS: anchors}
    return _unpack(network, packed, dtype)


def _unpack(
    network: Network, packed: Mapping[str, NDArray[Any]], dtype: str
) -> dict[str, NDArray[Any]]:
    if dtype == "int8":
        from . import packing_int8

        return packing_int8.unpack(network, packed)
    from . import packing

    return dict(packing.unpack(network, widen(network, packed, dtype)))


def widen(network: Network, packed: Mapping[str, NDArray[Any]], dtype: str) -> dict[str, Any]:
    """Members of a float32 file from those of a file whose weights are `dtype`, not int8."""
    if (classifier := classifier_dtype(dtype)) is not None:
        from . import packing_classifier

        return packing_classifier.widen(network, packed, classifier)
    if dtype == "float32":
        return dict(packed)
    from . import packing_half

    return packing_half.widen(network, packed, dtype)


def _checked_anchors(network: Network, anchors: NDArray[Any] | None) -> NDArray[Any]:
    import numpy as np

    from ..network.detection import check_anchors

    due = _anchors(network)[ANCHORS].shape
    if anchors is None or np.shape(anchors) != due or np.asarray(anchors).dtype.kind != "f":
        found = "none" if anchors is None else f"shape {np.shape(anchors)}"
        raise CheckpointError(
            f"{ANCHORS}: {found}: expected floats of shape {due}, (y, x, height, width) of each"
        )
    single = np.ascontiguousarray(anchors, np.float32)
    try:
        check_anchors(single.ravel().tolist())
    except InputError as error:
        raise CheckpointError(f"{ANCHORS}: {error}") from None
    return single
