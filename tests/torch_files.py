"""Writes PyTorch's zip and legacy files without PyTorch, for the tests: pickle by opcode.

What torch.save itself writes is read in test_with_torch.py.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mnv2_engine.network.blocks import match
from mnv2_engine.network.layer import Network

Array = np.ndarray[Any, Any]

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}


class View(NamedTuple):
    """A tensor as torch describes one: anything may be claimed."""

    storage: str  # the name of its class
    key: str
    elements: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


ORDERED_DICT = named("collections", "OrderedDict") + b")R"


def tensor(view: View, legacy: bool = False) -> bytes:
    """The instructions that make a tensor."""
    storage = (
        b"("
        + text("storage")
        + named("torch", view.storage)
        + text(view.key)
        + text("cpu")
        + number(view.elements)
        + (b"N" if legacy else b"")
        + b"tQ"
    )
    return (
        named("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + number(view.offset)
        + numbers(view.shape)
        + numbers(view.strides)
        + b"\x89"
        + ORDERED_DICT
        + b"tR"
    )


def parameter(view: View, legacy: bool = False) -> bytes:
    return (
        named("torch._utils", "_rebuild_parameter")
        + tensor(view, legacy)
        + b"\x88"
        + ORDERED_DICT
        + b"\x87R"
    )


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    """A state_dict, its entries given as instructions, with the `_metadata` that torch adds."""
    pairs = b"".join(text(name) + value for name, value in entries.items())
    state = b"}" + text("_metadata") + ORDERED_DICT + b"s"
    return ORDERED_DICT + b"(" + pairs + b"u" + state + b"b"


def program(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def views_of(arrays: Mapping[str, Array]) -> dict[str, View]:
    """Each array in a storage of its own."""
    made = {}
    for key, (name, array) in enumerate(arrays.items()):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        storage = STORAGES[array.dtype.name]
        made[name] = View(storage, str(key), array.size, 0, array.shape, strides)
    return made


def zip_file(
    pickled: bytes,
    storages: Mapping[str, bytes],
    folder: str = "archive",
    order: str = "little",
) -> bytes:
    """A zip archive as torch.save writes it, around any pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/byteorder", order)
        for key, content in storages.items():
            archive.writestr(f"{folder}/data/{key}", content)
        archive.writestr(f"{folder}/version", "3\n")
    return made.getvalue()


def legacy_file(pickled: bytes, storages: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A legacy stream around any pickle; a storage is its count of elements and its bytes."""
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": sizes}
    parts = [pickle.dumps(value, 2) for value in (MAGIC, PROTOCOL, system)]
    parts += [pickled, pickle.dumps(list(storages), 2)]
    for elements, content in storages.values():
        parts.append(struct.pack("<q", elements) + content)
    return b"".join(parts)


def state_file(arrays: Mapping[str, Array], container: str = "zip") -> bytes:
    """A state_dict as torch.save writes it, in either container."""
    views = views_of(arrays)
    legacy = container == "legacy"
    pickled = program(dictionary({name: tensor(view, legacy) for name, view in views.items()}))
    contents = {views[name].key: array.tobytes() for name, array in arrays.items()}
    if not legacy:
        return zip_file(pickled, contents)
    counts = {view.key: view.elements for view in views.values()}
    return legacy_file(pickled, {key: (counts[key], contents[key]) for key in sorted(contents)})


# State_dicts of networks with their batch-norm unfolded


class State(NamedTuple):
    arrays: dict[str, Array]
    weights: dict[str, Array]  # what has to come out of them


def torchvision_state(network: Network, seed: int = 0) -> State:
    """As torchvision's MobileNetV2 names its parameters."""
    names: dict[str, tuple[str, str]] = {"stem": ("features.0.0", "features.0.1")}
    for i, block in enumerate(match(network).blocks):
        conv = f"features.{i + 1}.conv"
        depthwise = 0
        if block.expand is not None:
            names[f"block{i}.expand"] = (f"{conv}.0.0", f"{conv}.0.1")
            depthwise = 1
        names[f"block{i}.depthwise"] = (f"{conv}.{depthwise}.0", f"{conv}.{depthwise}.1")
        names[f"block{i}.project"] = (f"{conv}.{depthwise + 1}", f"{conv}.{depthwise + 2}")
    last = len(match(network).blocks) + 1
    names["head"] = (f"features.{last}.0", f"features.{last}.1")
    return _state(network, names, "classifier.1", 1e-5, seed)


def lite_state(network: Network, seed: int = 0) -> State:
    """As efficientnet-lite-pytorch names them."""
    names: dict[str, tuple[str, str]] = {"stem": ("_conv_stem", "_bn0")}
    for i in range(len(match(network).blocks)):
        for part, number_of_norm in (("expand", 0), ("depthwise", 1), ("project", 2)):
            names[f"block{i}.{part}"] = (
                f"_blocks.{i}._{part}_conv",
                f"_blocks.{i}._bn{number_of_norm}",
            )
    names["head"] = ("_conv_head", "_bn1")
    return _state(network, names, "_fc", 1e-3, seed)


def _state(
    network: Network,
    names: Mapping[str, tuple[str, str]],
    classifier: str,
    epsilon: float,
    seed: int,
) -> State:
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    weights: dict[str, Array] = {}

    def normal(shape: tuple[int, ...]) -> Array:
        return random.normal(0, 0.3, shape).astype(np.float32)

    for layer in network.weighted:
        count = layer.out_channels
        if layer.name == "classifier":
            arrays[f"{classifier}.weight"] = normal(layer.weight_shape)
            arrays[f"{classifier}.bias"] = normal((count,))
            weights["classifier.weight"] = arrays[f"{classifier}.weight"]
            weights["classifier.bias"] = arrays[f"{classifier}.bias"]
            continue
        convolution, norm = names[layer.name]
        weight, gamma, beta, mean = (
            normal(shape) for shape in (layer.weight_shape, (count,), (count,), (count,))
        )
        variance = random.uniform(1e-4, 2, count).astype(np.float32)
        arrays[f"{convolution}.weight"] = weight
        for part, array in (
            ("weight", gamma),
            ("bias", beta),
            ("running_mean", mean),
            ("running_var", variance),
        ):
            arrays[f"{norm}.{part}"] = array
        arrays[f"{norm}.num_batches_tracked"] = np.array(7)
        # y = gamma (W x - mean) / sqrt(variance + epsilon) + beta
        exact = [each.astype(np.longdouble) for each in (weight, gamma, beta, mean, variance)]
        deviation = np.sqrt(exact[4] + np.longdouble(epsilon))
        factor = (exact[1] / deviation).reshape(-1, 1, 1, 1)
        weights[f"{layer.name}.weight"] = (exact[0] * factor).astype(np.float32)
        weights[f"{layer.name}.bias"] = (exact[2] - exact[3] * exact[1] / deviation).astype(
            np.float32
        )
    return State(arrays, weights)
