"""Canonical weights of an int8 network <-> the packed members of its model file.

Canonical, under the names of the layers and in OIHW (dense (out, in)), as docs/int8.md has them:

- ``<layer>.weight``      int8
- ``<layer>.bias``        int32 (out,)     all constants of the layer folded in
- ``<layer>.multiplier``  int32 (out,)     0 to 32767
- ``<layer>.shift``       int32 (out,)     0 to 31
- of the first dense layer ``<layer>.weight`` int8, ``<layer>.scale`` and ``<layer>.bias`` float32
  (out,); of those behind it ``<layer>.weight`` and ``<layer>.bias``, float32
- ``<project>.values``     float32 (2, out)  of the block's thin output, or of a detector's head:
  real = q * scale + offset; not in files of version 1

Packed, output channels stand in panels of 16 as in packing.py; four terms of a sum stand together,
as many as one instruction adds at once. Lanes past the last channel and terms past the last one
are zero. One layout serves every instruction set.

- conv              (ceil(cout / 16), k * ceil(k * cin / 4), 16, 4): for each kernel row its taps
  kx, channel in groups of four; of the stem nine taps in three groups
- pointwise, dense  (ceil(cout / 16), ceil(cin / 4), 16, 4)
- depthwise         (ceil(c / 16), k * k, 16)
- requantise        (ceil(cout / 16), 2, 16) int32: bias, then multiplier | shift << 16
- dequantise        (ceil(classes / 16), 2, 16) float32: scale, bias of the first dense layer
- later dense layers as in packing.py; values as they are
"""

from __future__ import annotations

from ..errors import CheckpointError
from ..network.blocks import match
from ..network.layer import Layer, Network
from ..network.quantization import MAX_MULTIPLIER, MAX_SHIFT
from ..untyped import TYPE_CHECKING, Any, Mapping
from .packed import PANEL, Packed, packed_layer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 4  # terms of a sum that one instruction adds


def packed_members(network: Network, version: int = 2) -> dict[str, Packed]:
    """Every packed member by name, in the order of execution, each layer's weight first, of a file
    of format `version`."""
    thin = thin_outputs(network) if version > 1 else ()
    small = network.small_dense
    members: dict[str, Packed] = {}
    for layer in network.weighted:
        if layer.name in small:
            members.update(packed_layer(layer))
            continue
        panels = -(-layer.out_channels // PANEL)
        members[f"{layer.name}.weight"] = Packed("|i1", (panels, *_terms(layer)))
        if layer.operation == "dense":
            members[f"{layer.name}.dequantise"] = Packed("<f4", (panels, 2, PANEL))
        else:
            members[f"{layer.name}.requantise"] = Packed("<i4", (panels, 2, PANEL))
        if layer.name in thin:
            members[f"{layer.name}.values"] = Packed("<f4", (2, layer.out_channels))
    return members


def thin_outputs(network: Network) -> tuple[str, ...]:
    """The project layers, whose outputs, shortcuts added, are a network's thin tensors; those of a
    detector's heads, too."""
    parts = match(network)
    blocks = [block.project.name for block in parts.blocks]
    return (*blocks, *(head.project.name for head in parts.heads))


def canonical_members(network: Network) -> dict[str, Packed]:
    """Every canonical array by name: its dtype and shape."""
    thin, small = thin_outputs(network), network.small_dense
    members: dict[str, Packed] = {}
    for layer in network.weighted:
        channels = (layer.out_channels,)
        if layer.name in small:
            members[f"{layer.name}.weight"] = Packed("<f4", layer.weight_shape)
            members[f"{layer.name}.bias"] = Packed("<f4", channels)
            continue
        members[f"{layer.name}.weight"] = Packed("|i1", layer.weight_shape)
        if layer.operation == "dense":
            members[f"{layer.name}.scale"] = Packed("<f4", channels)
            members[f"{layer.name}.bias"] = Packed("<f4", channels)
        else:
            for part in ("bias", "multiplier", "shift"):
                members[f"{layer.name}.{part}"] = Packed("<i4", channels)
        if layer.name in thin:
            members[f"{layer.name}.values"] = Packed("<f4", (2, *channels))
    return members


def pack(network: Network, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Packed members of `network` from its canonical int8 weights.

    Raises CheckpointError for a missing or an unknown name, a wrong shape or dtype, numbers out of
    range, and sums that could pass 32 bits.
    """
    import numpy as np

    from .packing import pack_layer

    _check(network, weights)
    packed: dict[str, NDArray[Any]] = {}
    for layer in network.weighted:
        if layer.name in network.small_dense:
            packed.update(pack_layer(layer, weights))
            continue
        lanes = _lanes(layer.out_channels)
        taps = _taps_last(layer, weights[f"{layer.name}.weight"])
        spread = np.zeros((lanes, *taps.shape[1:]), np.int8)
        spread[: len(taps)] = taps
        panels = spread.reshape(-1, PANEL, *taps.shape[1:])
        # (panels, 16, groups, 4) -> (panels, groups, 16, 4); depthwise (panels, k * k, 16)
        packed[f"{layer.name}.weight"] = np.ascontiguousarray(panels.swapaxes(1, 2))
        table: NDArray[Any]
        if layer.operation == "dense":
            table = np.zeros((2, lanes), np.float32)
            rows = [weights[f"{layer.name}.{part}"] for part in ("scale", "bias")]
        else:
            table = np.zeros((2, lanes), np.int32)
            bias, multiplier, shift = (
                weights[f"{layer.name}.{part}"] for part in ("bias", "multiplier", "shift")
            )
            rows = [bias, multiplier | shift << 16]
        table[:, : layer.out_channels] = rows
        name = "dequantise" if layer.operation == "dense" else "requantise"
        packed[f"{layer.name}.{name}"] = np.ascontiguousarray(
            table.reshape(2, -1, PANEL).swapaxes(0, 1)
        )
        if f"{layer.name}.values" in weights:
            packed[f"{layer.name}.values"] = weights[f"{layer.name}.values"]
    return packed


def unpack(network: Network, packed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Canonical int8 weights, as fresh arrays, from the packed members of `network`."""
    import numpy as np

    from .packing import unpack_layer

    weights: dict[str, NDArray[Any]] = {}
    for layer in network.weighted:
        if layer.name in network.small_dense:
            weights.update(unpack_layer(layer, packed))
            continue
        if f"{layer.name}.values" in packed:
            weights[f"{layer.name}.values"] = np.array(packed[f"{layer.name}.values"])
        channels = layer.out_channels
        member = packed[f"{layer.name}.weight"]
        taps = member.swapaxes(1, 2)
        taps = taps.reshape(-1, *taps.shape[2:])[:channels]
        weights[f"{layer.name}.weight"] = _canonical(layer, taps)
        table_name = "dequantise" if layer.operation == "dense" else "requantise"
        table = packed[f"{layer.name}.{table_name}"].swapaxes(0, 1).reshape(2, -1)[:, :channels]
        if layer.operation == "dense":
            weights[f"{layer.name}.scale"], weights[f"{layer.name}.bias"] = np.array(table)
        else:
            weights[f"{layer.name}.bias"] = np.array(table[0])
            weights[f"{layer.name}.multiplier"] = table[1] & 0xFFFF
            weights[f"{layer.name}.shift"] = table[1] >> 16
    return weights


def _lanes(channels: int) -> int:
    return -(-channels // PANEL) * PANEL


def _terms(layer: Layer) -> tuple[int, ...]:
    """Shape of a panel of the packed weight."""
    if layer.operation == "depthwise":
        return (layer.kernel * layer.kernel, PANEL)
    if layer.operation == "conv":
        return (layer.kernel * -(-layer.kernel * layer.in_channels // GROUP), PANEL, GROUP)
    return (-(-layer.in_channels // GROUP), PANEL, GROUP)


def _taps_last(layer: Layer, weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """(out, groups, 4) with zeros behind the last term; depthwise (out, k * k)."""
    import numpy as np

    channels = layer.out_channels
    if layer.operation == "depthwise":
        return weight.reshape(channels, -1)
    if layer.operation == "conv":
        rows = weight.transpose(0, 2, 3, 1).reshape(channels, layer.kernel, -1)
        padding = -rows.shape[2] % GROUP
        return np.pad(rows, ((0, 0), (0, 0), (0, padding))).reshape(channels, -1, GROUP)
    rows = weight.reshape(channels, -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % GROUP))).reshape(channels, -1, GROUP)


def _canonical(layer: Layer, taps: NDArray[np.int8]) -> NDArray[np.int8]:
    """The inverse of `_taps_last`."""
    import numpy as np

    channels = layer.out_channels
    if layer.operation == "conv":
        row = layer.kernel * layer.in_channels
        rows = taps.reshape(channels, layer.kernel, -1)[:, :, :row]
        shape = (channels, layer.kernel, layer.kernel, layer.in_channels)
        return np.array(rows.reshape(shape).transpose(0, 3, 1, 2), order="C")
    count = layer.kernel * layer.kernel if layer.operation == "depthwise" else layer.in_channels
    return np.array(taps.reshape(channels, -1)[:, :count].reshape(layer.weight_shape))


def _check(network: Network, weights: Mapping[str, NDArray[Any]]) -> None:
    import numpy as np

    expected = canonical_members(network)
    if not any(name.endswith(".values") for name in weights):  # of a file of version 1
        expected = {name: due for name, due in expected.items() if not name.endswith(".values")}
    if set(weights) != set(expected):
        odd = sorted(map(str, set(weights) ^ set(expected)))
        raise CheckpointError(
            f"int8 weights of {network.name} lack, or have too much, {', '.join(odd[:3])[:300]}: "
            f"expected {len(expected)} arrays"
        )
    for name, (descr, shape) in expected.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.dtype(descr):
            raise CheckpointError(
                f"{name} is {array.dtype} {array.shape}: expected {np.dtype(descr)} {shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointError(f"{name} holds NaN or infinity")
        most = {"multiplier": MAX_MULTIPLIER, "shift": MAX_SHIFT}.get(name.rpartition(".")[2])
        if most is not None and not ((array >= 0) & (array <= most)).all():
            raise CheckpointError(f"{name} holds numbers out of range: expected 0 to {most}")
    for layer in network.weighted:
        if layer.name in network.small_dense:
            continue
        weight = weights[f"{layer.name}.weight"].astype(np.int64)
        reach = 255 * np.abs(weight).reshape(layer.out_channels, -1).sum(1)
        if layer.operation != "dense":
            reach += np.abs(weights[f"{layer.name}.bias"].astype(np.int64))
        if (reach >= 1 << 31).any():
            raise CheckpointError(
                f"{layer.name}: channel {int(reach.argmax())} could sum up to {int(reach.max())}: "
                "expected below 2**31"
            )
