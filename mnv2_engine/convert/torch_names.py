"""The names under which PyTorch projects keep a network, and what these names imply.

torchvision's MobileNetV2 pads symmetrically and its batch-norm has an epsilon of 1e-5;
efficientnet-lite-pytorch follows TensorFlow: SAME padding and 1e-3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CheckpointError, UnsupportedError
from .checkpoint import Checkpoint, check_names, fold_batch_norm, recognise

if TYPE_CHECKING:
    from .checkpoint import Float32
    from .torch_file import StateDict

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_IGNORED = ".num_batches_tracked"  # a counter of the training


class _Layer(NamedTuple):
    """Where a scheme keeps one canonical layer; the classifier has a bias and no batch-norm."""

    canonical: str
    weights: str
    batch_norm: str | None


class Scheme(NamedTuple):
    """A project's names for the layers, and what goes without saying where they are used."""

    name: str
    mark: str  # a name that only this scheme has
    epsilon: float  # of its batch-norm
    padding: str
    layers: Callable[[Collection[str]], list[_Layer]]  # the layers due, given the names there are


def read(state: StateDict) -> Checkpoint:
    """The canonical weights in a state_dict under one of the known schemes.

    Raises CheckpointError if names are missing or unknown, UnsupportedError for a network that
    this engine does not know.
    """
    what = state.what
    names = {name for name in state.tensors if not name.endswith(_IGNORED)}
    scheme = next((scheme for scheme in SCHEMES if scheme.mark in names), None)
    if scheme is None:
        shown = ", ".join(sorted(name[:80] for name in names)[:6])
        raise CheckpointError(
            f"{what}: its names ({shown}, …) are not those of a network that is known: "
            + "; ".join(f"{scheme.name} has {scheme.mark}" for scheme in SCHEMES)
        )
    squeeze = [name for name in names if "._se_" in name]
    if squeeze:
        raise UnsupportedError(
            f"{what}: {sorted(squeeze)[0][:80]}: squeeze-and-excitation, which EfficientNet-B has "
            "and EfficientNet-Lite has not; only Lite is supported"
        )
    layers = scheme.layers(names)
    due = [f"{layer.weights}.weight" for layer in layers]
    for layer in layers:
        if layer.batch_norm is None:
            due.append(f"{layer.weights}.bias")
        else:
            due += [f"{layer.batch_norm}.{part}" for part in _BATCH_NORM]
    check_names(dict.fromkeys(sorted(names)), due, what, f"the names of {scheme.name}")

    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        shapes[f"{layer.canonical}.weight"] = state.tensors[f"{layer.weights}.weight"].shape
        biased = layer.weights if layer.batch_norm is None else layer.batch_norm
        shapes[f"{layer.canonical}.bias"] = state.tensors[f"{biased}.bias"].shape
    identity = recognise(shapes, what)

    weights: dict[str, Float32] = {}
    for layer in layers:
        weight = state.array(f"{layer.weights}.weight")
        if layer.batch_norm is None:
            bias = state.array(f"{layer.weights}.bias")
        else:
            gamma, beta, mean, variance = (
                state.array(f"{layer.batch_norm}.{part}") for part in _BATCH_NORM
            )
            name = f"{what}: {layer.batch_norm}"
            weight, bias = fold_batch_norm(
                weight, gamma, beta, mean, variance, scheme.epsilon, name
            )
        weights[f"{layer.canonical}.weight"] = weight
        weights[f"{layer.canonical}.bias"] = bias
    return Checkpoint(
        f"{state.container}, names of {scheme.name}", identity, weights, (scheme.padding,)
    )


def _count(pattern: str, names: Collection[str]) -> int:
    """How many numbers from 0 the pattern's group has, without a gap."""
    found = {int(match[1]) for match in map(re.compile(pattern).match, names) if match}
    count = 0
    while count in found:
        count += 1
    return count


def _torchvision(names: Collection[str]) -> list[_Layer]:
    """`features.0` is the stem, `features.1` to `.17` the blocks, `features.18` the head."""
    last = _count(r"features\.([0-9]{1,4})\.", names) - 1
    layers = [_Layer("stem", "features.0.0", "features.0.1")]
    for i in range(last - 1):
        inside = f"features.{i + 1}.conv"
        steps = ["depthwise"] if f"{inside}.1.weight" in names else ["expand", "depthwise"]
        for n, step in enumerate(steps):
            layers.append(_Layer(f"block{i}.{step}", f"{inside}.{n}.0", f"{inside}.{n}.1"))
        n = len(steps)
        layers.append(_Layer(f"block{i}.project", f"{inside}.{n}", f"{inside}.{n + 1}"))
    layers.append(_Layer("head", f"features.{last}.0", f"features.{last}.1"))
    layers.append(_Layer("classifier", "classifier.1", None))
    return layers


def _efficientnet_lite(names: Collection[str]) -> list[_Layer]:
    """Batch-norms are numbered within a block: 0 after expand, 1 depthwise, 2 project."""
    layers = [_Layer("stem", "_conv_stem", "_bn0")]
    for i in range(_count(r"_blocks\.([0-9]{1,4})\.", names)):
        inside = f"_blocks.{i}"
        if f"{inside}._expand_conv.weight" in names:
            layers.append(_Layer(f"block{i}.expand", f"{inside}._expand_conv", f"{inside}._bn0"))
        layers.append(_Layer(f"block{i}.depthwise", f"{inside}._depthwise_conv", f"{inside}._bn1"))
        layers.append(_Layer(f"block{i}.project", f"{inside}._project_conv", f"{inside}._bn2"))
    layers.append(_Layer("head", "_conv_head", "_bn1"))
    layers.append(_Layer("classifier", "_fc", None))
    return layers


SCHEMES = (
    Scheme("torchvision", "features.0.0.weight", 1e-5, "symmetric", _torchvision),
    Scheme("efficientnet-lite-pytorch", "_conv_stem.weight", 1e-3, "same", _efficientnet_lite),
)
