"""Canonical weights of an int8 network <-> the packed members of its model file.

Canonical, under the names of the layers and in OIHW (classifier (out, in)), as docs/int8.md has
them:

- ``<layer>.weight``      int8
- ``<layer>.bias``        int32 (out,)     all constants of the layer folded in
- ``<layer>.multiplier``  int32 (out,)     0 to 32767
- ``<layer>.shift``       int32 (out,)     0 to 31
- ``classifier.weight``   int8; ``classifier.scale`` and ``classifier.bias`` float32 (out,)

Packed, output channels stand in panels of 16 as in packing.py; four terms of a sum stand together,
as many as one instruction adds at once. Lanes past the last channel and terms past the last one
are zero. One layout serves every instruction set.

- stem                  (ceil(cout / 16), 9, 16, 4): for each kernel row its nine taps kx, channel
  in three groups of four, of which the last has one
- pointwise, classifier (ceil(cout / 16), ceil(cin / 4), 16, 4)
- depthwise             (ceil(c / 16), k * k, 16)
- requantise            (ceil(cout / 16), 2, 16) int32: bias, then multiplier | shift << 16
- dequantise            (ceil(classes / 16), 2, 16) float32: scale, bias of the classifier
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from ..network.architecture import IMAGE_CHANNELS, STEM_KERNEL, Architecture, Layer, layers
from ..network.quantization import MAX_MULTIPLIER, MAX_SHIFT
from .packed import PANEL, Packed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 4  # terms of a sum that one instruction adds
STEM_ROW_GROUPS = -(-STEM_KERNEL * IMAGE_CHANNELS // GROUP)


def packed_members(network: Architecture) -> dict[str, Packed]:
    """Every packed member by name, in the order of execution, each layer's weight first."""
    members: dict[str, Packed] = {}
    for layer in layers(network):
        panels = -(-layer.out_channels // PANEL)
        members[f"{layer.name}.weight"] = Packed("|i1", (panels, *_terms(layer)))
        if layer.kind == "dense":
            members[f"{layer.name}.dequantise"] = Packed("<f4", (panels, 2, PANEL))
        else:
            members[f"{layer.name}.requantise"] = Packed("<i4", (panels, 2, PANEL))
    return members


def canonical_members(network: Architecture) -> dict[str, Packed]:
    """Every canonical array by name: its dtype and shape."""
    members: dict[str, Packed] = {}
    for layer in layers(network):
        channels = (layer.out_channels,)
        members[f"{layer.name}.weight"] = Packed("|i1", layer.weight_shape)
        if layer.kind == "dense":
            members[f"{layer.name}.scale"] = Packed("<f4", channels)
            members[f"{layer.name}.bias"] = Packed("<f4", channels)
        else:
            for part in ("bias", "multiplier", "shift"):
                members[f"{layer.name}.{part}"] = Packed("<i4", channels)
    return members


def pack(network: Architecture, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Packed members of `network` from its canonical int8 weights.

    Raises CheckpointError for a missing or an unknown name, a wrong shape or dtype, numbers out of
    range, and sums that could pass 32 bits.
    """
    import numpy as np

    _check(network, weights)
    packed: dict[str, NDArray[Any]] = {}
    for layer in layers(network):
        lanes = _lanes(layer.out_channels)
        taps = _taps_last(layer, weights[f"{layer.name}.weight"])
        spread = np.zeros((lanes, *taps.shape[1:]), np.int8)
        spread[: len(taps)] = taps
        panels = spread.reshape(-1, PANEL, *taps.shape[1:])
        # (panels, 16, groups, 4) -> (panels, groups, 16, 4); depthwise (panels, k * k, 16)
        packed[f"{layer.name}.weight"] = np.ascontiguousarray(panels.swapaxes(1, 2))
        table: NDArray[Any]
        if layer.kind == "dense":
            table = np.zeros((2, lanes), np.float32)
            rows = [weights[f"{layer.name}.{part}"] for part in ("scale", "bias")]
        else:
            table = np.zeros((2, lanes), np.int32)
            bias, multiplier, shift = (
                weights[f"{layer.name}.{part}"] for part in ("bias", "multiplier", "shift")
            )
            rows = [bias, multiplier | shift << 16]
        table[:, : layer.out_channels] = rows
        name = "dequantise" if layer.kind == "dense" else "requantise"
        packed[f"{layer.name}.{name}"] = np.ascontiguousarray(
            table.reshape(2, -1, PANEL).swapaxes(0, 1)
        )
    return packed


def unpack(network: Architecture, packed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Canonical int8 weights, as fresh arrays, from the packed members of `network`."""
    import numpy as np

    weights: dict[str, NDArray[Any]] = {}
    for layer in layers(network):
        channels = layer.out_channels
        member = packed[f"{layer.name}.weight"]
        taps = member.swapaxes(1, 2)
        taps = taps.reshape(-1, *taps.shape[2:])[:channels]
        weights[f"{layer.name}.weight"] = _canonical(layer, taps)
        table_name = "dequantise" if layer.kind == "dense" else "requantise"
        table = packed[f"{layer.name}.{table_name}"].swapaxes(0, 1).reshape(2, -1)[:, :channels]
        if layer.kind == "dense":
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
    if layer.kind == "depthwise":
        return (layer.kernel * layer.kernel, PANEL)
    if layer.kind == "conv":
        return (STEM_KERNEL * STEM_ROW_GROUPS, PANEL, GROUP)
    return (-(-layer.in_channels // GROUP), PANEL, GROUP)


def _taps_last(layer: Layer, weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """(out, groups, 4) with zeros behind the last term; depthwise (out, k * k)."""
    import numpy as np

    channels = layer.out_channels
    if layer.kind == "depthwise":
        return weight.reshape(channels, -1)
    if layer.kind == "conv":
        rows = weight.transpose(0, 2, 3, 1).reshape(channels, STEM_KERNEL, -1)
        padding = STEM_ROW_GROUPS * GROUP - rows.shape[2]
        return np.pad(rows, ((0, 0), (0, 0), (0, padding))).reshape(channels, -1, GROUP)
    rows = weight.reshape(channels, -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % GROUP))).reshape(channels, -1, GROUP)


def _canonical(layer: Layer, taps: NDArray[np.int8]) -> NDArray[np.int8]:
    """The inverse of `_taps_last`."""
    import numpy as np

    channels = layer.out_channels
    if layer.kind == "conv":
        row = STEM_KERNEL * IMAGE_CHANNELS
        rows = taps.reshape(channels, STEM_KERNEL, -1)[:, :, :row]
        shape = (channels, STEM_KERNEL, STEM_KERNEL, IMAGE_CHANNELS)
        return np.array(rows.reshape(shape).transpose(0, 3, 1, 2), order="C")
    count = layer.kernel * layer.kernel if layer.kind == "depthwise" else layer.in_channels
    return np.array(taps.reshape(channels, -1)[:, :count].reshape(layer.weight_shape))


def _check(network: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
    import numpy as np

    expected = canonical_members(network)
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
    for layer in layers(network):
        weight = weights[f"{layer.name}.weight"].astype(np.int64)
        reach = 255 * np.abs(weight).reshape(layer.out_channels, -1).sum(1)
        if layer.kind != "dense":
            reach += np.abs(weights[f"{layer.name}.bias"].astype(np.int64))
        if (reach >= 1 << 31).any():
            raise CheckpointError(
                f"{layer.name}: channel {int(reach.argmax())} could sum up to {int(reach.max())}: "
                "expected below 2**31"
            )
