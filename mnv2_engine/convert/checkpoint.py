"""What every reader makes of a source: canonical weights, and which network they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CheckpointError
from ..network.layer import Network
from .entrance import Normalisation
from .walk import Affine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..network.quantization import Quantization

    Float32 = NDArray[np.float32]

# One gibibyte: a state_dict of EfficientNet-Lite4, optimizer state included, is a fifth of it.
MAX_SOURCE_BYTES = 1 << 30


class Geometry(NamedTuple):
    """How a source says that photographs are brought to the network's size."""

    resample: str | None  # None where it does not say
    crop_fraction: float | None
    stated_by: str
    fit: str | None = None


class Checkpoint(NamedTuple):
    """A source, read: what it holds, and what it says about its use."""

    format: str  # "TFLite", "PyTorch zip, torchvision names"
    # The network for a resolution, a padding and an answer; a graph knows its own padding.
    network: Callable[[tuple[int, int], str, str], Network]
    classes: int  # 0 of a network without a classifier
    # Canonical names; OIHW, dense layers (out, in); batch-norm folded. Float32, unless there is a
    # quantization: then those of packing_int8.py.
    weights: Mapping[str, NDArray[Any]]
    own_resolution: int = 224  # pixels, for a source that states none
    paddings: tuple[str, ...] = ()  # those that fit what the source says; none: it does not say
    resolution: tuple[int, int] | None = None
    normalisation: Normalisation | None = None
    entrance: Affine | None = None  # arithmetic in the graph behind what the options must say
    geometry: Geometry | None = None
    labels: tuple[str, ...] | None = None
    labels_by: str = "the file"  # where they were read
    answer: str | None = None  # None where the source ends in plain numbers
    hidden: bool = False  # whether the options must say what is between its dense layers
    notes: tuple[str, ...] = ()
    quantization: Quantization | None = None


def fold_batch_norm(
    weight: NDArray[np.floating],
    gamma: NDArray[np.floating],
    beta: NDArray[np.floating],
    mean: NDArray[np.floating],
    variance: NDArray[np.floating],
    epsilon: float,
    name: str,
) -> tuple[Float32, Float32]:
    """Weight and bias of the convolution that does its batch-norm as well, computed in float64.

    `weight` has its output channels first; the others have one value for each of them. Raises
    CheckpointError if a shape does not fit or a variance is negative or not a number.
    """
    import numpy as np

    due = weight.shape[:1]
    terms = []
    for part, term in (
        ("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)
    ):  # fmt: skip
        if term.shape != due:
            raise CheckpointError(
                f"{name}: its batch-norm's {part} has shape {term.shape}: expected {due}"
            )
        terms.append(term.astype(np.float64))
    gamma64, beta64, mean64, variance64 = terms
    if not (variance64 >= 0).all():
        raise CheckpointError(
            f"{name}: its batch-norm's running_var is negative or NaN in places: the checkpoint "
            "is damaged"
        )
    scale = gamma64 / np.sqrt(variance64 + epsilon)
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite results are refused later
        folded = weight.astype(np.float64) * scale.reshape(-1, *[1] * (weight.ndim - 1))
        bias = beta64 - mean64 * scale
        return folded.astype(np.float32), bias.astype(np.float32)
