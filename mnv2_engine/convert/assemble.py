"""From the layers that a walk found to a network, its names and its canonical weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CheckpointError, InputError, UnsupportedError
from ..network.blocks import match
from ..network.builder import Builder
from ..network.layer import IMAGE, PADDINGS, Network
from .found import Found
from .recognise import label_of
from .walk import Walked

if TYPE_CHECKING:
    from .found import Float32


class Assembled(NamedTuple):
    """A network in the names that model files have, and which layer of the source each is."""

    network: Network
    found: dict[str, Found]  # by name, in the order of execution


def assemble(walked: Walked, answer: str = "softmax") -> Assembled:
    """The network that was found.

    Raises UnsupportedError, with the framework's name and place, for one that no kernel runs.
    """
    what = walked.graph.what
    names = layer_names(walked.layers)
    build = Builder(walked.resolution)
    named = {id(layer): name for layer, name in zip(walked.layers, names, strict=True)}
    for layer, name in zip(walked.layers, names, strict=True):
        sources = [IMAGE if each is None else named[id(each)] for each in layer.inputs]
        try:
            add_layer(build, layer, name, sources)
        except InputError as error:
            raise UnsupportedError(f"{what}: {layer.where}: {error}") from None
    label = label_of(walked.resolution)
    output = named[id(walked.output)]
    found = dict(zip(names, walked.layers, strict=True))
    try:
        network = build.network(label, (output,), answer)
        match(network)
    except (UnsupportedError, InputError) as error:
        text = str(error)
        for name, layer in found.items():
            if text.startswith(f"layer {name!r} "):
                raise UnsupportedError(f"{what}: {layer.where}: {text}") from None
        # A softmax of one class is for an option to mend; the rest is the network's nature.
        kind = InputError if "softmax" in text else UnsupportedError
        raise kind(f"{what}: {text}") from None
    return Assembled(network._replace(name=label_of(walked.resolution, network)), found)


def layer_names(layers: Sequence[Found]) -> list[str]:
    """Names as families.py gives them: stem, block0.expand, …, head, pool, classifier."""
    names: list[str] = []
    operations = [layer.operation for layer in layers]
    following = [*operations[1:], "", ""]
    dense = [i for i, operation in enumerate(operations) if operation == "dense"]
    block = -1
    for i, operation in enumerate(operations):
        before = names[-1] if names else ""
        if i == 0 and operation == "conv":
            name = "stem"
        elif operation == "pointwise" and before == f"block{block}.depthwise":
            name = f"block{block}.project"
        elif operation == "pointwise" and following[i] == "depthwise":
            block += 1
            name = f"block{block}.expand"
        elif operation == "depthwise":
            block += not before.endswith(".expand")
            name = f"block{block}.depthwise"
        elif operation == "add" and before == f"block{block}.project":
            name = f"block{block}.add"
        elif operation == "pointwise" and following[i] == "pool":
            name = "head"
        elif operation == "pool" and "pool" not in names:
            name = "pool"
        elif operation == "dense":
            name = "classifier" if i == dense[-1] else f"dense{dense.index(i)}"
        else:
            name = f"{operation}{i}"
        names.append(name)
    return names


def add_layer(build: Builder, layer: Found, name: str, sources: list[str]) -> None:
    """Add what was found to a network that is being built. Raises InputError as `build` does."""
    source, channels, activation = sources[0], layer.channels, layer.activation
    if layer.operation == "conv":
        build.conv(
            name, source, channels, layer.kernel, layer.stride, layer.pads, activation,
            layer.dilation,
        )  # fmt: skip
    elif layer.operation == "depthwise":
        build.depthwise(
            name, source, layer.kernel, layer.stride, layer.pads, activation, layer.dilation
        )
    elif layer.operation == "pointwise":
        build.pointwise(name, source, channels, activation)
    elif layer.operation == "add":
        # A sum has no order; the project layer first, as families.py has it.
        sources.sort(key=lambda each: each != name.removesuffix(".add") + ".project")
        build.add(name, sources[0], sources[1])
    elif layer.operation == "pool":
        build.pool(name, source)
    else:
        build.dense(name, source, channels, activation)


def canonical_weights(assembled: Assembled, what: str) -> dict[str, Float32]:
    """The weights under the network's names, every batch-norm folded in."""
    weights: dict[str, Float32] = {}
    for name, layer in assembled.found.items():
        if layer.weight is None:
            continue
        weight, bias = layer.folded(what)
        due = tuple(next(e for e in assembled.network.layers if e.name == name).weight_shape)
        grey = layer.inputs == (None,) and weight.shape[1:2] == (1,)  # colours.py gives it colours
        if weight.shape != ((due[0], 1, *due[2:]) if grey else due):
            raise CheckpointError(
                f"{what}: {layer.where}: its weight has shape {weight.shape}: expected {due}"
            )
        weights[f"{name}.weight"], weights[f"{name}.bias"] = weight, bias
    return weights


def paddings_of(network: Network) -> tuple[str, ...]:
    """The paddings that the network's windows have: several where they are the same here, the
    one word "explicit" where neither rule gives them."""
    from ..network.layer import WINDOWED, padding_of

    fitting = []
    for padding in PADDINGS:
        for layer in network.layers:
            if layer.operation not in WINDOWED or layer.kernel == 1:
                continue
            reach = (layer.kernel - 1) * layer.dilation + 1
            due = [padding_of(size, reach, layer.stride, padding)[1:] for size in layer.in_size]
            if [layer.pad_rows, layer.pad_columns] != due and any(layer.pads):
                break
        else:
            fitting.append(padding)
    return tuple(fitting) or ("explicit",)
