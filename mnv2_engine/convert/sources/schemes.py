"""The names under which projects keep a network, and what these names imply.

A scheme turns the names of a state_dict into canonical ones, layer by layer; it knows the padding
and the epsilon of its project. Classifiers are found by shape (names.py), as people rename them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import NamedTuple


class Part(NamedTuple):
    """Where a scheme keeps one canonical layer of the trunk: its weights and its batch-norm."""

    canonical: str
    weights: str
    batch_norm: str


class Scheme(NamedTuple):
    """A project's names for the layers, and what goes without saying where they are used."""

    name: str
    mark: str  # a name that only this scheme has, the first layer's
    epsilons: dict[str, float]  # of its batch-norm, by padding
    paddings: tuple[str, ...]  # those that its networks have; several: the file does not say
    layers: Callable[[Collection[str]], list[Part]]  # the layers due, given the names there are
    classifier: str  # what is usual; another name gets a note
    families: tuple[str, ...] = ()  # beginnings of labels; none: any


def _count(pattern: str, names: Collection[str]) -> int:
    """How many numbers from 0 the pattern's group has, without a gap."""
    found = {int(match[1]) for match in map(re.compile(pattern).match, names) if match}
    count = 0
    while count in found:
        count += 1
    return count


def _torchvision(names: Collection[str]) -> list[Part]:
    """`features.0` is the stem, `features.1` to `.17` the blocks, `features.18` the head."""
    last = _count(r"features\.([0-9]{1,4})\.", names) - 1
    layers = [Part("stem", "features.0.0", "features.0.1")]
    for i in range(last - 1):
        inside = f"features.{i + 1}.conv"
        steps = ["depthwise"] if f"{inside}.1.weight" in names else ["expand", "depthwise"]
        for n, step in enumerate(steps):
            layers.append(Part(f"block{i}.{step}", f"{inside}.{n}.0", f"{inside}.{n}.1"))
        n = len(steps)
        layers.append(Part(f"block{i}.project", f"{inside}.{n}", f"{inside}.{n + 1}"))
    layers.append(Part("head", f"features.{last}.0", f"features.{last}.1"))
    return layers


def _flat(names: Collection[str]) -> list[Part]:
    """tonylins' and d-li14's: a block's layers are numbered without groups, its activations
    counted; the head is `features.18` or `conv`."""
    count = _count(r"features\.([0-9]{1,4})\.", names)
    apart = "conv.0.weight" in names
    layers = [Part("stem", "features.0.0", "features.0.1")]
    for i in range(count - 1 if apart else count - 2):
        inside = f"features.{i + 1}.conv"
        expands = f"{inside}.6.weight" in names
        for n, step in enumerate(["expand", "depthwise"] if expands else ["depthwise"]):
            layers.append(Part(f"block{i}.{step}", f"{inside}.{3 * n}", f"{inside}.{3 * n + 1}"))
        n = 6 if expands else 3
        layers.append(Part(f"block{i}.project", f"{inside}.{n}", f"{inside}.{n + 1}"))
    head = ("conv.0", "conv.1") if apart else (f"features.{count - 1}.0", f"features.{count - 1}.1")
    layers.append(Part("head", *head))
    return layers


def _efficientnet_lite(names: Collection[str]) -> list[Part]:
    """Batch-norms are numbered within a block: 0 after expand, 1 depthwise, 2 project."""
    layers = [Part("stem", "_conv_stem", "_bn0")]
    for i in range(_count(r"_blocks\.([0-9]{1,4})\.", names)):
        inside = f"_blocks.{i}"
        if f"{inside}._expand_conv.weight" in names:
            layers.append(Part(f"block{i}.expand", f"{inside}._expand_conv", f"{inside}._bn0"))
        layers.append(Part(f"block{i}.depthwise", f"{inside}._depthwise_conv", f"{inside}._bn1"))
        layers.append(Part(f"block{i}.project", f"{inside}._project_conv", f"{inside}._bn2"))
    layers.append(Part("head", "_conv_head", "_bn1"))
    return layers


def _timm(names: Collection[str]) -> list[Part]:
    """Stages of blocks; batch-norms are numbered in a block as they come."""
    layers = [Part("stem", "conv_stem", "bn1")]
    n = 0
    for stage in range(_count(r"blocks\.([0-9]{1,4})\.", names)):
        for i in range(_count(rf"blocks\.{stage}\.([0-9]{{1,4}})\.", names)):
            inside = f"blocks.{stage}.{i}"
            if f"{inside}.conv_pwl.weight" in names:
                kinds = [("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl")]
            else:
                kinds = [("depthwise", "conv_dw"), ("project", "conv_pw")]
            for norm, (step, convolution) in enumerate(kinds, 1):
                layers.append(
                    Part(f"block{n}.{step}", f"{inside}.{convolution}", f"{inside}.bn{norm}")
                )
            n += 1
    if "conv_head.weight" in names:
        layers.append(Part("head", "conv_head", "bn2"))
    return layers


def _transformers_v2(names: Collection[str]) -> list[Part]:
    """Hugging Face's MobileNetV2: the stem holds the first block; each layer has both halves."""

    def part(canonical: str, inside: str) -> Part:
        return Part(canonical, f"{inside}.convolution", f"{inside}.normalization")

    layers = [
        part("stem", "conv_stem.first_conv"),
        part("block0.depthwise", "conv_stem.conv_3x3"),
        part("block0.project", "conv_stem.reduce_1x1"),
    ]
    for i in range(_count(r"layer\.([0-9]{1,4})\.", names)):
        for step, name in (
            ("expand", "expand_1x1"), ("depthwise", "conv_3x3"), ("project", "reduce_1x1")
        ):  # fmt: skip
            if f"layer.{i}.{name}.convolution.weight" in names:
                layers.append(part(f"block{i + 1}.{step}", f"layer.{i}.{name}"))
    layers.append(part("head", "conv_1x1"))
    return layers


def _transformers_v1(names: Collection[str]) -> list[Part]:
    """Hugging Face's MobileNetV1: depthwise and pointwise layers take turns."""
    layers = [Part("stem", "conv_stem.convolution", "conv_stem.normalization")]
    for i in range(_count(r"layer\.([0-9]{1,4})\.", names)):
        step = "project" if i % 2 else "depthwise"
        layers.append(
            Part(f"block{i // 2}.{step}", f"layer.{i}.convolution", f"layer.{i}.normalization")
        )
    return layers


def _keras_v2(names: Collection[str]) -> list[Part]:
    """keras.applications.MobileNetV2: the first block has no number, and no expansion."""
    layers = [Part("stem", "Conv1", "bn_Conv1")]
    count = _count(r"block_([0-9]{1,4})_", {"block_0_", *names})
    for i, inside in enumerate(("expanded_conv", *(f"block_{i}" for i in range(1, count)))):
        for step in ("expand", "depthwise", "project"):
            if f"{inside}_{step}.weight" in names or step != "expand":
                layers.append(Part(f"block{i}.{step}", f"{inside}_{step}", f"{inside}_{step}_BN"))
    layers.append(Part("head", "Conv_1", "Conv_1_bn"))
    return layers


def _keras_v1(names: Collection[str]) -> list[Part]:
    """keras.applications.MobileNet: depthwise and pointwise layers, numbered from 1."""
    layers = [Part("stem", "conv1", "conv1_bn")]
    for i in range(_count(r"conv_dw_([0-9]{1,4})\.", {"conv_dw_0.", *names}) - 1):
        for step, name in (("depthwise", "dw"), ("project", "pw")):
            inside = f"conv_{name}_{i + 1}"
            layers.append(Part(f"block{i}.{step}", inside, f"{inside}_bn"))
    return layers


def _keras_numbers(names: Collection[str]) -> list[Part]:
    """Keras 2's .weights.h5: layers are named by their class and numbered in their order. A V2 has
    two full convolutions a block, but for the first, and one at the end; a V1 has one."""
    used = {"conv2d": 0, "depthwise_conv2d": 0, "batch_normalization": 0}

    def numbered(kind: str) -> str:
        number = used[kind]
        used[kind] += 1
        return f"{kind}_{number}" if number else kind

    def part(canonical: str) -> Part:
        kind = "depthwise_conv2d" if canonical.endswith("depthwise") else "conv2d"
        return Part(canonical, numbered(kind), numbered("batch_normalization"))

    blocks = sum(
        re.fullmatch(r"depthwise_conv2d(_[0-9]{1,4})?\.weight", x) is not None for x in names
    )
    is_first_version = f"conv2d_{2 * blocks}.weight" not in names
    layers = [part("stem")]
    for i in range(blocks):
        steps = ("depthwise", "project") if is_first_version or not i else _STEPS
        layers += [part(f"block{i}.{step}") for step in steps]
    return layers if is_first_version else [*layers, part("head")]


_STEPS = ("expand", "depthwise", "project")
_TORCH = {"symmetric": 1e-5, "same": 1e-5}
_TENSORFLOW = {"symmetric": 1e-3, "same": 1e-3}

SCHEMES = (
    Scheme(
        "torchvision", "features.0.0.weight", _TORCH, ("symmetric",), _torchvision, "classifier.1"
    ),
    Scheme(
        "efficientnet-lite-pytorch", "_conv_stem.weight", _TENSORFLOW, ("same",),
        _efficientnet_lite, "_fc",
    ),
    Scheme(
        "timm", "conv_stem.weight", {"symmetric": 1e-5, "same": 1e-3}, ("symmetric",), _timm,
        "classifier",
    ),
    Scheme(
        "transformers (MobileNetV2)", "conv_stem.first_conv.convolution.weight", _TENSORFLOW,
        ("same",), _transformers_v2, "classifier", ("mobilenet_v2",),
    ),
    Scheme(
        "transformers (MobileNetV1)", "conv_stem.convolution.weight", _TENSORFLOW, ("same",),
        _transformers_v1, "classifier", ("mobilenet_v1",),
    ),
    Scheme(
        "keras.applications (MobileNetV2)", "bn_Conv1.weight", _TENSORFLOW, ("same",), _keras_v2,
        "predictions", ("mobilenet_v2",),
    ),
    Scheme(
        "keras.applications (MobileNet)", "conv_dw_1.weight", _TENSORFLOW, ("same",), _keras_v1,
        "conv_preds", ("mobilenet_v1",),
    ),
    Scheme(
        "Keras's classes, numbered", "depthwise_conv2d.weight", _TENSORFLOW, ("same",),
        _keras_numbers, "dense", ("mobilenet_v1", "mobilenet_v2"),
    ),
)  # fmt: skip
FLAT = Scheme(
    "tonylins' and d-li14's MobileNetV2", "features.0.0.weight", _TORCH, ("symmetric",), _flat,
    "classifier",
)  # fmt: skip


def scheme_of(names: Collection[str]) -> tuple[Scheme, str] | None:
    """The scheme of these names and the prefix before all of its own; None where none fits."""
    for scheme in SCHEMES:
        found = sorted(
            (name for name in names if name == scheme.mark or name.endswith(f".{scheme.mark}")),
            key=len,
        )
        if not found:
            continue
        prefix = found[0].removesuffix(scheme.mark)
        if scheme.name == "torchvision":
            block = f"{prefix}features.2.conv."
            if f"{block}3.weight" in names and f"{block}6.weight" in names:
                return FLAT, prefix
        return scheme, prefix
    return None
