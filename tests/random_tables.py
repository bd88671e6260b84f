"""Random tables of layers that the engine runs, and tables that are spoilt."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from detector_network import detection_of

from mnv2_engine.errors import InputError
from mnv2_engine.network.blocks import match
from mnv2_engine.network.builder import Builder
from mnv2_engine.network.detection import BoxMap
from mnv2_engine.network.layer import Network
from mnv2_engine.network.quantization import LayerQuantization, PoolQuantization, Quantization

ACTIVATIONS = ("linear", "relu", "relu6")
KERNELS = (3, 3, 5, 7)


def random_table(choose: random.Random) -> Network:
    """Mixed expansions (t = 1 anywhere), kernels, strides, activations, tails and answers."""
    while True:
        with suppress(InputError):  # a window that does not fit a small map
            return _random_table(choose)


def _random_table(choose: random.Random) -> Network:
    size = (choose.randint(4, 200), choose.randint(4, 200))
    build, pads = Builder(size), choose.choice(("same", "symmetric"))
    channels = choose.choice((5, 8, 16, 24, 32))
    at = build.conv("stem", "image", channels, 3, 2, pads, choose.choice(ACTIVATIONS[1:]))
    for index in range(choose.randint(1, 12)):
        at, channels = _block(choose, build, pads, index, at, channels)
    for index in range(choose.choice((0, 0, 0, 1, 2))):
        kernel, stride = choose.choice((1, 2, 3)), choose.choice((1, 2))
        activation = choose.choice(ACTIVATIONS)
        at = build.conv(f"conv{index}", at, 20, kernel, stride, (0, 0, 0, 0), activation)
    if choose.random() < 0.7:
        at = build.pointwise("last", at, choose.choice((64, 100)), choose.choice(ACTIVATIONS))
    at = build.pool("pool", at)
    layers = choose.choice((0, 1, 1, 2, 4))
    for index in range(layers):
        activation = choose.choice(ACTIVATIONS) if index < layers - 1 else "linear"
        at = build.dense(f"dense{index}", at, choose.choice((1, 2, 10, 100)), activation)
    return build.network("random", (at,), choose.choice(("sigmoid", "linear")))


def _block(
    choose: random.Random, build: Builder, pads: str, index: int, source: str, channels: int
) -> tuple[str, int]:
    stride, out = choose.choice((1, 1, 2)), choose.choice((8, 16, 24, 40, 96))
    if choose.random() < 0.4:
        stride, out = 1, channels
    expansion = choose.choice((1, 2, 3, 6)) if index else 1
    at = source
    if expansion > 1:
        hidden = channels * expansion + choose.choice((0, 0, 4))
        at = build.pointwise(f"block{index}.expand", at, hidden, choose.choice(ACTIVATIONS[1:]))
    activation = choose.choice(ACTIVATIONS[1:])
    at = build.depthwise(
        f"block{index}.depthwise", at, choose.choice(KERNELS), stride, pads, activation
    )
    joins = stride == 1 and out == channels and choose.random() < 0.8
    activation = "linear" if joins else choose.choice(ACTIVATIONS)
    at = build.pointwise(f"block{index}.project", at, out, activation)
    if joins:
        ends = (at, source) if choose.random() < 0.5 else (source, at)
        at = build.add(f"block{index}.add", *ends)
    return at, out


def random_detector(choose: random.Random) -> Network:
    """A chain of blocks, some without a depthwise layer, heads of expanded and of thin tensors with
    and without depthwise layers of their own, and maps in any order."""
    while True:
        with suppress(InputError):
            return _random_detector(choose)


def _random_detector(choose: random.Random) -> Network:
    size = (choose.randint(4, 200), choose.randint(4, 200))
    build, pads = Builder(size), choose.choice(("same", "symmetric"))
    columns, maps = choose.choice((1, 2, 3, 91)), []
    channels = choose.choice((5, 8, 16, 24, 32))
    at = build.conv("stem", "image", channels, 3, 2, pads, choose.choice(ACTIVATIONS[1:]))

    def heads(source: str) -> None:
        index, anchors, names = len(maps), choose.choice((1, 2, 3, 6)), []
        for what, outputs in (("boxes", 4 * anchors), ("scores", columns * anchors)):
            tensor = source
            if choose.random() < 0.6:
                kernel, activation = choose.choice(KERNELS), choose.choice(ACTIVATIONS[1:])
                tensor = build.depthwise(f"{what}{index}.dw", tensor, kernel, 1, "same", activation)
            names.append(build.pointwise(f"{what}{index}", tensor, outputs))
        maps.append(BoxMap(names[0], names[1], anchors))

    count = choose.randint(1, 10)
    for index in range(count):
        thin = at
        kind = choose.choice(("block", "block", "plain", "taps")) if index else "block"
        if kind == "block":
            at, channels = _block(choose, build, pads, index, at, channels)
        else:
            hidden, activation = choose.choice((12, 40, 96)), choose.choice(ACTIVATIONS[1:])
            at = expanded = build.pointwise(f"block{index}.expand", at, hidden, activation)
            if kind == "taps":
                kernel, stride = choose.choice(KERNELS), choose.choice((1, 2))
                name = f"block{index}.depthwise"
                at = build.depthwise(name, at, kernel, stride, pads, choose.choice(ACTIVATIONS[1:]))
            channels = choose.choice((8, 24))
            at = build.pointwise(f"block{index}.project", at, channels, choose.choice(ACTIVATIONS))
            if kind == "taps" and len(maps) < 14:
                heads(expanded)
        is_last = index == count - 1
        if (is_last or choose.random() < 0.2) and len(maps) < 15 and thin != at:
            heads(at)
    choose.shuffle(maps)
    detection = detection_of(maps, columns, background=False)
    return build.network("random", detection.outputs, "boxes", detection)


def some_quantization(network: Network) -> Quantization:
    """One that a model file may say, of any numbers."""
    joined = {block.project.name for block in match(network).blocks if block.residual}
    quantised = [layer for layer in network.weighted if layer.operation != "dense"]
    said = {
        layer.name: LayerQuantization(
            scale=0.02,
            zero_point=i if layer.activation == "linear" else 0,
            fraction=i % 6,
            shortcut=1 + i if layer.name in joined else 0,
        )
        for i, layer in enumerate(quantised)
    }
    pools = network.detection is None
    return Quantization(said, PoolQuantization(0.02, 5, -4, 3, 2) if pools else None)


# --- spoilt ------------------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    *(0, 1, 2, 3, 5, 7, 8, -1, 16, 17, 31, 32, 64, 1 << 20, (1 << 20) + 1, 1 << 31, 1e3, 1.0),
    *(True, False, None, "", "image", "stem", "pool", "relu", "relu6", "linear", "conv", "add"),
    *("dense", "depthwise", "pointwise", "softmax", "sigmoid", "é", "x" * 64, "x" * 65, "a b"),
    *([], [0, 0, 0, 0], [1, 1, 1, 1], ["stem"], ["image"], {}, [224, 224], [0, 1], [4097, 1]),
)


def spoilt(choose: random.Random, network: dict[str, Any]) -> dict[str, Any]:
    """A table as JSON with a few values replaced, removed, doubled or swapped. Some still run."""
    made = copy.deepcopy(network)
    for _ in range(choose.choice((0, 0, 1, 1, 1, 2, 3))):
        places = list(_places(made))
        if places:
            _spoil(choose, made, *choose.choice(places))
    rows = made.get("layers")
    if isinstance(rows, list) and rows and (made == network or choose.random() < 0.3):
        _rewire(choose, rows, choose.choice(rows))
    return made


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) within."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def _spoil(choose: random.Random, whole: Any, holder: Any, key: Any) -> None:
    match choose.randrange(7):
        case 0 | 1:
            holder[key] = copy.deepcopy(choose.choice(_VALUES))
        case 2 if isinstance(holder[key], int):
            holder[key] += choose.choice((-1, 1, 2))
        case 3:
            texts = [h[k] for h, k in _places(whole) if isinstance(h[k], str)]
            holder[key] = choose.choice(texts) if texts else None
        case 4:
            del holder[key]
        case 5 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(choose.choice(holder)))
        case 6 if isinstance(holder, list):
            other = choose.randrange(len(holder))
            holder[key], holder[other] = holder[other], holder[key]
        case _ if isinstance(holder, dict):
            holder["another"] = 1


def _rewire(choose: random.Random, rows: list[Any], row: Any) -> None:
    """Change one layer so that the table stays well formed."""
    if not isinstance(row, dict):
        return
    key = choose.choice(sorted(row))
    other = choose.choice(rows)
    choices: dict[str, Any] = {
        "activation": choose.choice(ACTIVATIONS),
        "kernel": choose.choice((1, 3, 5, 7, 9)),
        "channels": choose.choice((1, 8, 16, 24, 100)),
        "inputs": [other.get("name", "stem")] if isinstance(other, dict) else [],
    }
    if key in choices:
        row[key] = choices[key]
