"""From tensors with names to a network: the trunk by its scheme, the classifier by its shape."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ...errors import CheckpointError, UnsupportedError
from ..checkpoint import Checkpoint, fold_batch_norm
from ..recognise import Identity, check_names, listed, recognise
from .beside import Beside
from .schemes import SCHEMES, Part, Scheme, scheme_of
from .state import Tensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"  # of the training
_SQUEEZE = re.compile(r"(^|\.)(_?se|_se_reduce|_se_expand|squeeze_excite|fc[12]_se)(\.|_|$)")


class _Dense(NamedTuple):
    """A dense layer of the classifier, found by its shape."""

    weight: str
    bias: str | None
    shape: tuple[int, int]  # (out, in)


# What its detectors' heads are called.
_TORCHVISION_DETECTOR = ("head.classification_head.", "head.regression_head.")


def read(
    tensors: Tensors,
    beside: Beside | None = None,
    padding: str | None = None,
    hidden: str | None = None,
) -> Checkpoint:
    """The canonical weights of `tensors`; `beside` is what lies beside the file, `padding` and
    `hidden` (the activation between dense layers) what the options say.

    Raises CheckpointError if names are missing or unknown, UnsupportedError for a network that
    this engine does not know.
    """
    what, beside = tensors.what, beside or Beside()
    shapes = {
        name: shape for name, shape in tensors.shapes.items() if name.split(".")[-1] != _COUNTER
    }
    if any(name.startswith(_TORCHVISION_DETECTOR) for name in shapes):
        raise UnsupportedError(
            f"{what}: torchvision's ssdlite320_mobilenet_v3_large or a kin of it: a detector on "
            "MobileNetV3, whose hard-swish and squeeze-and-excitation this engine does not run; "
            "use SSDLite on MobileNetV2 from TensorFlow's detection API (docs/detect.md)"
        )
    found = scheme_of(shapes)
    if found is None:
        raise CheckpointError(
            f"{what}: its names ({listed(sorted(shapes))}) are not those of a network that is "
            "known: " + "; ".join(f"{scheme.name} has {scheme.mark}" for scheme in SCHEMES)
            + "; export the network to ONNX, whose graph says what it is"
        )  # fmt: skip
    scheme, prefix = found
    squeeze = sorted(name for name in shapes if _SQUEEZE.search(name) or "._se_" in name)
    if squeeze:
        raise UnsupportedError(
            f"{what}: {squeeze[0][:80]}: squeeze-and-excitation, which EfficientNet-B has and "
            "EfficientNet-Lite has not: its gate mixes all channels, which this engine does not "
            "run; train EfficientNet-Lite or MobileNetV2 instead"
        )
    inside = {name.removeprefix(prefix) for name in shapes if name.startswith(prefix)}
    parts = scheme.layers(inside)
    trunk: dict[str, tuple[int, ...]] = {}
    due = []
    for part in parts:
        due += [f"{prefix}{part.weights}.weight"]
        due += [f"{prefix}{part.batch_norm}.{each}" for each in _BATCH_NORM]
    consumed = set(due)
    others = {name: shape for name, shape in shapes.items() if name not in consumed}
    missing = [name for name in due if name not in shapes]
    if missing:
        check_names(shapes, [*due, *_heads(others)], what, f"the names of {scheme.name}")
    for part in parts:
        trunk[f"{part.canonical}.weight"] = shapes[f"{prefix}{part.weights}.weight"]
        trunk[f"{part.canonical}.bias"] = shapes[f"{prefix}{part.batch_norm}.bias"]
    features = trunk[f"{parts[-1].canonical}.weight"][0]
    dense, notes = _classifier(others, features, scheme, prefix, what)
    for i, layer in enumerate(dense):
        name = "classifier" if i == len(dense) - 1 else f"dense{i}"
        trunk[f"{name}.weight"], trunk[f"{name}.bias"] = layer.shape, layer.shape[:1]
    identity = recognise(trunk, what, _families(scheme, beside))
    paddings = _paddings(scheme, beside, identity)
    taken = padding or (paddings[0] if len(paddings) == 1 else None)
    epsilon = beside.epsilon
    if epsilon is None:
        epsilon = scheme.epsilons[taken or "symmetric"]
    weights = _weights(tensors, prefix, scheme, parts, dense, epsilon)
    if prefix and prefix not in ("model.", "mobilenet_v2.", "mobilenet_v1."):
        notes.append(f"the prefix {prefix[:80]!r} before its names was left out")
    return Checkpoint(
        f"{tensors.container}, names of {scheme.name}",
        lambda size, pad, answer: identity.network(size, pad, answer, hidden),
        identity.classes,
        weights,
        identity.own_resolution,
        paddings if len(paddings) == 1 else (),
        beside.resolution,
        beside.normalisation,
        geometry=beside.geometry,
        labels=beside.labels,
        labels_by="config.json",
        hidden=len(identity.dense) > 1 and identity.hidden is None,
        notes=tuple(notes),
    )


def _families(scheme: Scheme, beside: Beside) -> tuple[str, ...]:
    """The beginnings of the labels that may be meant."""
    return scheme.families


def _paddings(scheme: Scheme, beside: Beside, identity: Identity) -> tuple[str, ...]:
    """The paddings that the network may have; several where nothing says which."""
    if beside.padding is not None:
        return (beside.padding,)
    if scheme.name == "timm" and identity.label.startswith("efficientnet_lite"):
        # timm keeps TensorFlow's weights (tf_efficientnet_lite0) under the same names as its own.
        return ("same", "symmetric")
    return scheme.paddings


def _heads(others: dict[str, tuple[int, ...]]) -> list[str]:
    """What is not unknown: matrices and their biases."""
    heads = [name for name, shape in others.items() if len(shape) == 2]
    return [
        name for each in heads for name in (each, each.removesuffix("weight") + "bias")
        if name in others
    ]  # fmt: skip


def _classifier(
    others: dict[str, tuple[int, ...]], features: int, scheme: Scheme, prefix: str, what: str
) -> tuple[list[_Dense], list[str]]:
    """The dense layers among the tensors that are not the trunk's, in the order of the run.

    A name does not matter where the shape leaves no doubt: the first takes the features, each
    next one what the one before gives. Raises CheckpointError where two would do, or where a
    tensor is left over.
    """
    left = dict(others)
    chain: list[_Dense] = []
    channels = features
    while True:
        fitting = sorted(
            name for name, shape in left.items()
            if _matrix(shape) is not None and _matrix(shape)[1] == channels  # type: ignore[index]
        )  # fmt: skip
        if not fitting:
            break
        if len(fitting) > 1:
            # Numbered ones come in their order where each takes the same as the last gives.
            square = all(_matrix(left[name]) == (channels, channels) for name in fitting[:-1])
            if not square:
                raise CheckpointError(
                    f"{what}: {listed(fitting)} could each be the classifier; remove all but one "
                    "from the state_dict, or export the network to ONNX"
                )
        name = fitting[0]
        shape = _matrix(left.pop(name))
        assert shape is not None
        bias: str | None = name.removesuffix("weight") + "bias"
        if bias not in left:
            bias = None
        elif left.pop(bias) != shape[:1]:
            raise CheckpointError(
                f"{what}: {bias} has shape {others[bias]}: expected {shape[:1]}, as {name} is "
                f"{shape}"
            )
        chain.append(_Dense(name, bias, shape))
        channels = shape[0]
        if len(chain) > 8:
            break
    if left:
        norms = [name for name in left if name.endswith("running_mean")]
        if norms:
            raise UnsupportedError(
                f"{what}: {norms[0].removesuffix('.running_mean')[:80]} is a batch-norm in the "
                "head, whose place a state_dict does not say; export the network to ONNX"
            )
        raise CheckpointError(
            f"{what} has the unknown {listed(sorted(left))}; expected the names of {scheme.name} "
            f"and a classifier of {features} features"
        )
    notes = []
    usual = f"{prefix}{scheme.classifier}.weight"
    if not chain:
        notes.append("no classifier: the network gives its pooled features")
    elif chain[0].weight not in (usual, f"{scheme.classifier}.weight"):
        names = ", ".join(layer.weight.removesuffix(".weight")[:80] for layer in chain)
        notes.append(f"its classifier is {names}, by its shape")
    return chain, notes


def _matrix(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(out, in) of a matrix, or of a 1×1 convolution of pooled features."""
    if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)):
        return shape[0], shape[1]
    return None


def _weights(
    tensors: Tensors,
    prefix: str,
    scheme: Scheme,
    parts: list[Part],
    dense: list[_Dense],
    epsilon: float,
) -> dict[str, Float32]:
    import numpy as np

    weights: dict[str, Float32] = {}
    for part in parts:
        norm = f"{prefix}{part.batch_norm}"
        convolution = tensors.load(f"{prefix}{part.weights}.weight")
        gamma, beta, mean, variance = (tensors.load(f"{norm}.{each}") for each in _BATCH_NORM)
        weight, bias = fold_batch_norm(
            convolution,
            gamma,
            beta,
            mean,
            variance,
            epsilon,
            f"{tensors.what}: {norm}",
        )
        weights[f"{part.canonical}.weight"], weights[f"{part.canonical}.bias"] = weight, bias
    for i, layer in enumerate(dense):
        name = "classifier" if i == len(dense) - 1 else f"dense{i}"
        weights[f"{name}.weight"] = tensors.load(layer.weight).reshape(layer.shape)
        weights[f"{name}.bias"] = (
            np.zeros(layer.shape[0], np.float32) if layer.bias is None else tensors.load(layer.bias)
        )
    return weights
