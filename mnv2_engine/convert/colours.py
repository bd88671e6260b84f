"""Networks that were given blue, green, red, or grey: folded into the stem's weights.

The engine gives every network red, green and blue. A network that takes them in another order has
its stem's input channels turned round, which changes no answer. A network that takes grey three
times over, or once, as one channel, gets the weights of grey: luma = 0.299 red + 0.587 green +
0.114 blue (ITU-R BT.601, as Pillow's "L", OpenCV and JPEG have it). Luma that a tool rounds to 8
bits before the network lies up to half a step from ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..network.layer import IMAGE, Network
from .checkpoint import Checkpoint
from .entrance import Normalisation
from .walk import Affine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.input_spec import InputSpec

COLOURS = ("rgb", "bgr", "grey")
LUMA = (0.299, 0.587, 0.114)


def is_grey(checkpoint: Checkpoint) -> bool:
    """Whether the network takes one channel."""
    stem = checkpoint.weights.get("stem.weight") if checkpoint.quantization is None else None
    return stem is not None and stem.ndim == 4 and stem.shape[1] == 1


def stated_in_rgb(checkpoint: Checkpoint, colours: str | None) -> Checkpoint:
    """What a source says of its channels, said of red, green and blue. Presets say it of colours
    already."""
    if colours != "bgr":
        return checkpoint
    stated, entrance = checkpoint.normalisation, checkpoint.entrance
    if stated is not None:
        stated = Normalisation(_turned(stated.mean), _turned(stated.std), stated.stated_by)
    if entrance is not None:
        entrance = Affine(_turned(entrance.scale), _turned(entrance.shift))
    return checkpoint._replace(normalisation=stated, entrance=entrance)


def weights_in_rgb(
    checkpoint: Checkpoint,
    network: Network,
    spec: InputSpec,
    colours: str | None,
    what: str,
) -> Mapping[str, NDArray[Any]]:
    """The weights of the same network for red, green and blue.

    Raises InputError where grey cannot be folded: into integers, and where the three channels are
    not normalised alike; and for other `colours` than a network of one channel has."""
    import numpy as np

    if is_grey(checkpoint):
        if colours not in (None, "grey"):
            raise InputError(
                f"{what}: colours {colours!r} contradict the checkpoint, whose network takes one "
                "channel, grey; leave the option out"
            )
        colours = "grey"
    if colours in (None, "rgb"):
        return checkpoint.weights
    made = dict(checkpoint.weights)
    for layer in network.layers:
        if layer.inputs != (IMAGE,):
            continue
        name = f"{layer.name}.weight"
        weight = made[name]
        if colours == "bgr":
            made[name] = np.ascontiguousarray(weight[:, ::-1])
            continue
        if checkpoint.quantization is not None:
            raise InputError(
                f"{what}: colours 'grey' change the first layer's weights, and weights 'int8' keep "
                "them; leave weights out, and make an int8 model file of the result with: mnv2 "
                "quantize"
            )
        if len({*spec.mean}) > 1 or len({*spec.std}) > 1:
            raise InputError(
                f"{what}: colours 'grey' need one mean and one deviation for all three channels: "
                f"the means are {spec.mean}, the deviations {spec.std}; a network that was "
                "given grey was normalised by one of each: give preprocess accordingly"
            )
        grey = weight.astype(np.float64).sum(1, keepdims=True)
        luma = np.array(LUMA).reshape(1, 3, 1, 1)
        made[name] = (grey * luma).astype(np.float32)
    return made


def _turned(three: tuple[float, ...]) -> tuple[float, float, float]:
    first, second, third = three
    return third, second, first
