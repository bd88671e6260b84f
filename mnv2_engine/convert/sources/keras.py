"""Keras files: .h5 and .keras, whole models and weights alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from ...errors import CheckpointError, UnsupportedError
from ...model.meta import printable
from ..checkpoint import Checkpoint
from ..from_graph import from_graph
from ..graph import Constant
from . import hdf5, names
from .archive import Archive
from .state import Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..options import Options

_VARIABLES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
}


def read_hdf5(handle: BinaryIO, what: str, given: Options) -> Checkpoint:
    """An HDF5 file: a whole model, or weights under the names of keras.applications."""
    file = hdf5.File(handle, what)
    graph = hdf5.read_h5(file)
    if graph is not None:
        return from_graph(graph, graph.format, given.weights)
    return names.read(_tensors(file), None, given.padding, given.hidden)


def read_archive(archive: Archive, given: Options) -> Checkpoint:
    """The checkpoint of a `.keras` archive."""
    graph = hdf5.read_archive(archive)
    return from_graph(graph, graph.format, given.weights)


def _tensors(file: hdf5.File) -> Tensors:
    """Weights alone, as names.py takes them: in the canonical order, `layer.weight`."""
    found: dict[str, Constant] = {}
    layers: dict[str, list[tuple[str, Constant]]] = {}
    for layer, variable, constant in hdf5.weight_names(file):
        known = layers.setdefault(layer, [])
        if any(variable == each for each, _ in known):
            raise UnsupportedError(
                f"{file.what}: two layers named {printable(layer[:80])!r} have weights, and a file "
                "of weights does not say which is which; save the whole model: "
                "model.save('model.keras')"
            )
        known.append((variable, constant))
    for layer, variables in layers.items():
        for name, constant in _named(variables):
            found[f"{layer}.{name}"] = constant
    if not found:
        raise CheckpointError(
            f"{file.what}: an HDF5 file without a Keras model or its weights; save the model "
            "again: model.save('model.keras')"
        )

    def load(name: str) -> NDArray[Any]:
        return found[name].load().astype("f4")

    return Tensors(
        file.what,
        "Keras weights",
        {name: constant.shape for name, constant in found.items()},
        load,
    )


def _named(variables: list[tuple[str, Constant]]) -> list[tuple[str, Constant]]:
    made = []
    numbered = all(variable.isdecimal() for variable, _ in variables)
    for index, (variable, constant) in enumerate(variables):
        if numbered:
            norm = ("weight", "bias", "running_mean", "running_var")
            name = norm[index] if index < len(norm) else variable
        else:
            name = _VARIABLES.get(variable, variable)
        if len(constant.shape) == 4:
            depthwise = variable == "depthwise_kernel" or (
                constant.shape[3] == 1 and constant.shape[2] != 1
            )
            constant = constant.reordered((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        elif len(constant.shape) == 2:
            constant = constant.reordered((1, 0))
        made.append((name, constant))
    return made
