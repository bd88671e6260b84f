"""The packed layout of int8 networks, against the sentences that define it, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_network import random_int8

from mnv2_engine.errors import CheckpointError
from mnv2_engine.model.packed import PANEL
from mnv2_engine.model.packing_int8 import canonical_members, pack, packed_members, unpack
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network

SMALL = mobilenet_v2(0.1, 32, 3, divisor=4)
NETWORKS = {
    "channels of 4, 12, 20": SMALL,
    "odd channels": mobilenet_v2(0.1, 32, 17, "symmetric", divisor=1),
    "width 0.35": mobilenet_v2(0.35, 96, 1001),
    "kernels of 5": efficientnet_lite(0, 32, 10),
}
_PACKED: dict[str, tuple[Any, Any]] = {}

odd_networks = st.builds(
    mobilenet_v2,
    st.sampled_from([0.1, 0.15, 0.25, 0.35]),
    st.just((32, 32)),
    st.integers(1, 40),
    st.sampled_from(["same", "symmetric"]),
    st.sampled_from([1, 2, 3, 4, 8]),
)


def check_roundtrip(network: Network, seed: int) -> None:
    arrays, _ = random_int8(network, seed, extreme=seed % 2 == 0)
    packed = pack(network, arrays)
    members = packed_members(network)
    assert list(packed) == list(members)
    for name, array in packed.items():
        assert (array.dtype.str.lstrip("|<="), array.shape) == (
            members[name].descr.lstrip("|<"),
            members[name].shape,
        )
        assert array.nbytes == members[name].size
        assert array.flags.c_contiguous
    again = unpack(network, packed)
    assert set(again) == set(canonical_members(network))
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype, name
        assert again[name].tobytes() == array.tobytes(), name
        assert again[name].shape == array.shape
        assert again[name].flags.writeable


@settings(max_examples=25)
@given(odd_networks, st.integers(0, 1 << 16))
def test_unpack_is_the_inverse_to_the_bit(network: Network, seed: int) -> None:
    check_roundtrip(network, seed)


@pytest.mark.parametrize("name", NETWORKS)
def test_unpack_is_the_inverse_for_published_networks(name: str) -> None:
    check_roundtrip(NETWORKS[name], 1)


@settings(max_examples=300)
@given(st.data())
def test_every_weight_lies_where_the_layout_says(data: st.DataObject) -> None:
    """Output channel o is lane o % 16 of panel o // 16; terms stand in fours, the stem's nine of a
    kernel row, kx and then channel, in three of them."""
    key = data.draw(st.sampled_from(sorted(NETWORKS)))
    network = NETWORKS[key]
    if key not in _PACKED:
        arrays, _ = random_int8(network, 2)
        _PACKED[key] = arrays, pack(network, arrays)
    arrays, packed = _PACKED[key]
    layer = data.draw(st.sampled_from(network.weighted))
    panels = packed[f"{layer.name}.weight"]
    weight = arrays[f"{layer.name}.weight"]
    o = data.draw(st.integers(0, panels.shape[0] * PANEL - 1))
    panel, lane = divmod(o, 16)
    if layer.operation == "depthwise":
        tap = data.draw(st.integers(0, layer.kernel**2 - 1))
        found = panels[panel, tap, lane]
        ky, kx = divmod(tap, layer.kernel)
        index: tuple[int, ...] | None = (o, 0, ky, kx)
    else:
        group = data.draw(st.integers(0, panels.shape[1] - 1))
        place = data.draw(st.integers(0, 3))
        found = panels[panel, group, lane, place]
        if layer.operation == "conv":
            ky, third = divmod(group, 3)
            kx, channel = divmod(third * 4 + place, 3)
            index = (o, channel, ky, kx) if kx < 3 else None
        else:
            i = group * 4 + place
            index = None if i >= layer.in_channels else (o, i, 0, 0)[: weight.ndim]
    inside = o < layer.out_channels and index is not None
    assert found == (weight[index] if inside else 0)
    table = packed[f"{layer.name}.{'dequantise' if layer.operation == 'dense' else 'requantise'}"]
    first, second = table[panel, :, lane].tolist()
    if o >= layer.out_channels:
        assert (first, second) == (0, 0)
    elif layer.operation == "dense":
        assert first == arrays["classifier.scale"][o]
        assert second == arrays["classifier.bias"][o]
    else:
        bias, multiplier, shift = (
            int(arrays[f"{layer.name}.{part}"][o]) for part in ("bias", "multiplier", "shift")
        )
        assert (first, second) == (bias, multiplier + 65536 * shift)


def test_a_stem_of_one_channel_by_hand() -> None:
    """27 weights 1 to 27 in the order channel, ky, kx."""
    arrays, _ = random_int8(SMALL)
    stem = np.zeros((4, 3, 3, 3), np.int8)
    stem[1] = np.arange(1, 28).reshape(3, 3, 3)
    arrays["stem.weight"] = stem
    for part, value in (("bias", -7), ("multiplier", 20000), ("shift", 3)):
        arrays[f"stem.{part}"][1] = value
    packed = pack(SMALL, arrays)
    assert packed["stem.weight"].shape == (1, 9, 16, 4)
    assert packed["stem.weight"][0, :, 1].tolist() == [
        *([1, 10, 19, 2], [11, 20, 3, 12], [21, 0, 0, 0]),
        *([4, 13, 22, 5], [14, 23, 6, 15], [24, 0, 0, 0]),
        *([7, 16, 25, 8], [17, 26, 9, 18], [27, 0, 0, 0]),
    ]
    assert not packed["stem.weight"][0, :, [0, 2, 3, *range(4, 16)]].any()
    assert packed["stem.requantise"][0, :, 1].tolist() == [-7, 20000 + 3 * 65536]


def test_the_members_of_the_published_network() -> None:
    members = packed_members(mobilenet_v2(classes=1001))
    assert members["stem.weight"] == ("|i1", (2, 9, 16, 4))
    assert members["stem.requantise"] == ("<i4", (2, 2, 16))
    assert members["block1.expand.weight"] == ("|i1", (6, 4, 16, 4))
    assert members["block1.depthwise.weight"] == ("|i1", (6, 9, 16))
    assert members["classifier.weight"] == ("|i1", (63, 320, 16, 4))
    assert members["classifier.dequantise"] == ("<f4", (63, 2, 16))
    assert packed_members(efficientnet_lite())["block3.depthwise.weight"].shape == (9, 25, 16)


Spoil = Callable[[dict[str, Any]], dict[str, Any]]


def _with(name: str, change: Callable[[Any], Any]) -> Spoil:
    def spoil(arrays: dict[str, Any]) -> dict[str, Any]:
        return {**arrays, name: change(arrays[name].copy())}

    return spoil


def _put(name: str, value: Any) -> Spoil:
    def put(array: Any) -> Any:
        array.flat[2] = value
        return array

    return _with(name, put)


def _heaviest(arrays: dict[str, Any]) -> dict[str, Any]:
    """A bias that only just leaves the sum its 31 bits, and then one more."""
    weight = arrays["stem.weight"].astype(int)
    room = 2**31 - 1 - 255 * int(np.abs(weight[2]).sum())
    pack(SMALL, _put("stem.bias", -room)(arrays))
    return _put("stem.bias", -room - 1)(arrays)


WRONG: dict[str, tuple[Spoil, str]] = {
    "lacking": (
        lambda w: {k: v for k, v in w.items() if k != "head.shift"},
        r"lack, or have too much, head\.shift: expected 228 arrays",
    ),
    "nothing": (lambda w: {}, r"block0\.depthwise\.bias, .*: expected"),
    "too much": (lambda w: {**w, "stem.scale": w["stem.bias"]}, r"too much, stem\.scale"),
    "float names": (lambda w: {**w, 3: w["stem.bias"]}, r"too much, 3"),
    "shape": (_with("stem.weight", lambda a: a.T), r"stem\.weight is int8 .*expected int8 \(4, 3"),
    "dtype": (_with("stem.weight", lambda a: a.astype(np.int16)), r"stem\.weight is int16"),
    "unsigned": (_with("head.weight", lambda a: a.view(np.uint8)), r"head\.weight is uint8"),
    "wide bias": (_with("head.bias", lambda a: a.astype(np.int64)), r"head\.bias is int64"),
    "double scale": (
        _with("classifier.scale", lambda a: a.astype(np.float64)),
        r"classifier\.scale is float64 \(3,\): expected float32 \(3,\)",
    ),
    "no number": (_put("classifier.bias", np.nan), r"classifier\.bias holds NaN or infinity"),
    "infinite": (_put("classifier.scale", np.inf), r"classifier\.scale holds NaN or infinity"),
    "negative multiplier": (_put("stem.multiplier", -1), r"stem\.multiplier .* 0 to 32767"),
    "large multiplier": (_put("head.multiplier", 32768), r"head\.multiplier .* 0 to 32767"),
    "negative shift": (_put("stem.shift", -1), r"stem\.shift .* 0 to 31"),
    "large shift": (_put("stem.shift", 32), r"stem\.shift .* 0 to 31"),
    "long sum": (_heaviest, r"stem: channel 2 could sum up to 2147483648: expected below 2\*\*31"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays(name: str) -> None:
    spoil, message = WRONG[name]
    arrays, _ = random_int8(SMALL)
    with pytest.raises(CheckpointError, match=message):
        pack(SMALL, spoil(arrays))
