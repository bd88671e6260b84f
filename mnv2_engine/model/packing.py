"""Canonical weights <-> the packed members of a model file.

Canonical weights are what every checkpoint is converted to: float32, batch-norm folded, under
``<layer>.weight`` (OIHW; dense (out, in); depthwise (C, 1, k, k)) and ``<layer>.bias``.

Packed members are what the kernels read, in the order in which they read it: output channels in
panels of 16 lanes, the reduction outside, so that one step of a multiply-add chain is one
contiguous vector. One layout serves every instruction set, 16 lanes being one AVX-512 register,
two AVX2 ones or four NEON ones. Lanes past the last channel are zero.

- conv              (ceil(cout / 16), k * k * cin, 16), the taps in the order ky, kx, input channel
- pointwise, dense  (ceil(cout / 16), cin, 16)
- depthwise         (ceil(c / 16), k * k, 16)
- bias              (ceil(cout / 16) * 16,)

That is float32; files of float16 and bfloat16 weights are those of packing_half.py, int8 networks
those of packing_int8.py.
"""

from __future__ import annotations

from ..errors import CheckpointError
from ..network.layer import ANCHORS, Layer, Network
from ..untyped import TYPE_CHECKING, Any, Mapping
from .packed import PANEL, reduction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


def canonical_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Name and shape of every canonical weight, in the order of execution, weight before bias."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in network.weighted:
        shapes[f"{layer.name}.weight"] = layer.weight_shape
        shapes[f"{layer.name}.bias"] = (layer.out_channels,)
    if network.detection is not None:
        from ..network.box_maps import anchors_of

        shapes[ANCHORS] = (anchors_of(network.detection, network.layers), 4)
    return shapes


def pack(network: Network, weights: Mapping[str, NDArray[Any]]) -> dict[str, Float32]:
    """Packed members of `network` from its canonical weights.

    Raises CheckpointError for a missing or an unknown name, a wrong shape, values that are not
    floating point, and values that float32 does not hold as finite numbers.
    """
    _check_names(network, weights)
    packed: dict[str, Float32] = {}
    for layer in network.weighted:
        packed.update(pack_layer(layer, weights))
    return packed


def pack_layer(layer: Layer, weights: Mapping[str, NDArray[Any]]) -> dict[str, Float32]:
    """The packed members of one layer. Raises CheckpointError as `pack` does."""
    import numpy as np

    weight = _checked(f"{layer.name}.weight", weights, layer.weight_shape)
    bias = _checked(f"{layer.name}.bias", weights, (layer.out_channels,))
    cout, taps = layer.out_channels, reduction(layer)
    panels = -(-cout // PANEL)
    # (out, in, ky, kx) -> (out, ky, kx, in); dense layers have only (out, in)
    taps_last = weight if weight.ndim == 2 else weight.transpose(0, 2, 3, 1)
    lanes = np.zeros((panels * PANEL, taps), np.float32)
    lanes[:cout] = taps_last.reshape(cout, taps)
    panelled = lanes.reshape(panels, PANEL, taps).transpose(0, 2, 1)
    lane_bias = np.zeros(panels * PANEL, np.float32)
    lane_bias[:cout] = bias
    return {
        f"{layer.name}.weight": np.ascontiguousarray(panelled),
        f"{layer.name}.bias": lane_bias,
    }


def unpack(network: Network, packed: Mapping[str, NDArray[Any]]) -> dict[str, Float32]:
    """Canonical weights, as fresh float32 arrays, from the packed members of `network`."""
    weights: dict[str, Float32] = {}
    for layer in network.weighted:
        weights.update(unpack_layer(layer, packed))
    return weights


def unpack_layer(layer: Layer, packed: Mapping[str, NDArray[Any]]) -> dict[str, Float32]:
    """The canonical weights of one layer."""
    import numpy as np

    cout, taps = layer.out_channels, reduction(layer)
    panelled = packed[f"{layer.name}.weight"]
    canonical = panelled.transpose(0, 2, 1).reshape(-1, taps)[:cout]
    if layer.operation != "dense":
        out, inputs, rows, columns = layer.weight_shape
        canonical = canonical.reshape(out, rows, columns, inputs).transpose(0, 3, 1, 2)
    return {
        f"{layer.name}.weight": np.array(canonical, np.float32, order="C"),
        f"{layer.name}.bias": np.array(packed[f"{layer.name}.bias"][:cout], np.float32),
    }


def _check_names(network: Network, weights: Mapping[str, NDArray[Any]]) -> None:
    expected = canonical_shapes(network)
    missing = [name for name in expected if name not in weights]
    unknown = [str(name) for name in weights if name not in expected]
    for problem, names in (("lack", missing), ("have the unknown", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"weights of {network.name} {problem} {', '.join(names[:3])[:300]}{more}: "
                f"expected {len(expected)} arrays, {next(iter(expected))} to {list(expected)[-1]}"
            )


def _checked(name: str, weights: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Float32:
    import numpy as np

    array = np.asarray(weights[name])
    if array.shape != shape:
        raise CheckpointError(f"{name} has shape {array.shape}: expected {shape}")
    if array.dtype.kind != "f":
        raise CheckpointError(
            f"{name} has dtype {array.dtype}: expected floating point; dequantise it first"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        raise CheckpointError(
            f"{name} holds NaN, infinity or values beyond float32: the checkpoint is damaged"
        )
    return single
