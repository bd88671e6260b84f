"""TensorFlow.js models: `model.json` and the files of weights beside it.

Layers models hold a Keras configuration, graph models TensorFlow's nodes. Weights are float32, or
whole numbers of 8 or 16 bits with a scale, or float16. Teachable Machine adds `metadata.json` with
the labels.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import CheckpointError, MnvError, UnsupportedError
from ...model.meta import printable
from ..checkpoint import MAX_SOURCE_BYTES, Checkpoint
from ..from_graph import from_graph
from ..graph import Constant
from .keras_layers import Place, to_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_SHARDS = 1 << 10
_MAX_WEIGHTS = 1 << 14
_MAX_JSON = 64 << 20
_DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "|u1", "uint8": "|u1"}
_QUANTISED = {"uint8": "|u1", "uint16": "<u2", "float16": "<f2"}


class _Piece(NamedTuple):
    """Where a weight's bytes are: in the files of a group, one behind the other."""

    group: int
    start: int
    stored: str  # numpy's dtype
    scale: float | None  # None: the numbers are as they are
    least: float
    shape: tuple[int, ...]


class Weights:
    """The weights of a manifest, by name."""

    def __init__(self, manifest: Any, folder: str, what: str) -> None:
        self.what = what
        self.pieces: dict[str, _Piece] = {}
        self.groups: list[list[tuple[str, int]]] = []
        for group in manifest:
            self._group(group, folder)

    def _group(self, group: Any, folder: str) -> None:
        import numpy as np

        files = []
        for path in group["paths"]:
            if not isinstance(path, str) or path != os.path.basename(path) or "\0" in path:
                raise CheckpointError(
                    f"{self.what}: its weights are in {str(path)[:80]!r}, which is no file beside "
                    "it; download that file too, and put it into the same folder"
                )
            try:
                size = os.stat(os.path.join(folder, path)).st_size
            except OSError as error:
                raise CheckpointError(
                    f"{self.what}: its weights are in {path[:80]!r}, which cannot be read "
                    f"({error.strerror}); put it beside {self.what}"
                ) from None
            files.append((os.path.join(folder, path), size))
        if len(files) > _MAX_SHARDS or sum(size for _, size in files) > MAX_SOURCE_BYTES:
            raise CheckpointError(f"{self.what}: more weights than any network has")
        start = 0
        for weight in group["weights"]:
            name, shape = weight["name"], tuple(int(extent) for extent in weight["shape"])
            said = weight.get("quantization")
            scale, least = None, 0.0
            if said is None:
                stored = _DTYPES[weight["dtype"]]
            else:
                stored = _QUANTISED[said["dtype"]]
                if said["dtype"] != "float16":
                    scale, least = float(said["scale"]), float(said["min"])
            if len(shape) > 8 or any(extent < 0 for extent in shape) or name in self.pieces:
                raise ValueError(f"weight {str(name)[:80]!r} is described wrongly, or twice")
            count = 1
            for extent in shape:
                count *= extent
            self.pieces[name] = _Piece(len(self.groups), start, stored, scale, least, shape)
            start += count * np.dtype(stored).itemsize
            if start > sum(size for _, size in files):
                raise CheckpointError(
                    f"{self.what}: weight {str(name)[:80]!r} ends beyond its files: they were cut "
                    "short; download them again"
                )
        if len(self.pieces) > _MAX_WEIGHTS:
            raise CheckpointError(f"{self.what}: {len(self.pieces)} weights: more than any network")
        self.groups.append(files)

    def constant(self, name: str) -> Constant | None:
        """The weights of that name, None where there are none."""
        piece = self.pieces.get(name)
        if piece is None:
            return None
        return Constant(piece.shape, lambda: self._load(piece))

    def _load(self, piece: _Piece) -> NDArray[Any]:
        import numpy as np

        count = 1
        for extent in piece.shape:
            count *= extent
        content = self._bytes(piece.group, piece.start, count * np.dtype(piece.stored).itemsize)
        values: NDArray[Any] = np.frombuffer(content, piece.stored).reshape(piece.shape)
        if piece.scale is not None:
            return values * piece.scale + piece.least
        return values.astype(np.float64) if values.dtype.kind == "f" else values

    def _bytes(self, group: int, start: int, count: int) -> bytes:
        made = bytearray()
        for path, size in self.groups[group]:
            if start < size and count > 0:
                with open(path, "rb") as file:
                    file.seek(start)
                    taken = file.read(min(count, size - start))
                made += taken
                count -= len(taken)
            start = max(0, start - size)
        if count:
            raise CheckpointError(f"{self.what}: its files of weights were cut short")
        return bytes(made)

    def find(self, place: Place, names: Sequence[Sequence[str]]) -> list[Constant]:
        """The weights of a Keras layer, which are named by it alone or by all models around it."""
        made = []
        for alternatives in names:
            constant = None
            for name in alternatives:
                for depth in range(len(place.names)):
                    key = "/".join((*place.names[-1 - depth :], name))
                    constant = constant or self.constant(key)
            if constant is None:
                raise CheckpointError(
                    f"{self.what}: lacks the {alternatives[0]} of layer {place.shown!r}"
                )
            made.append(constant)
        return made


def looks_like_model(document: object) -> bool:
    """Whether a JSON document is a layers model."""
    return isinstance(document, dict) and "modelTopology" in document


def read(document: dict[str, Any], path: str, what: str, weights: str = "float32") -> Checkpoint:
    """The network that `document`, a parsed model.json at `path`, describes."""
    folder = os.path.dirname(path)
    topology = document["modelTopology"]
    manifest = document.get("weightsManifest")
    if not isinstance(topology, dict) or not isinstance(manifest, list):
        raise CheckpointError(
            f"{what}: a TensorFlow.js model without its list of weights; download model.json again"
        )
    try:
        found = Weights(manifest, folder, what)
    except MnvError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{what}: its list of weights is damaged ({type(error).__name__}: {str(error)[:120]}); "
            "download model.json again"
        ) from None
    said = _metadata(os.path.join(folder, "metadata.json"), what)
    if "node" in topology:
        from .tensorflow_nodes import read_json

        return read_json(document, found.constant, what, weights, said, "metadata.json")
    config = topology.get("model_config", topology)
    graph = to_graph(config, found, what, "TensorFlow.js layers model")
    return from_graph(graph, graph.format, weights, labels=said, labels_by="metadata.json")


def parse(content: bytes, what: str) -> Any:
    """The JSON of a file. Raises CheckpointError for what is none."""
    if len(content) > _MAX_JSON:
        raise UnsupportedError(f"{what}: {len(content)} bytes of JSON: more than any model's")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{what}: it begins as JSON and is none ({str(error)[:120]}); expected a TensorFlow.js "
            "model.json; download it again"
        ) from None


def _metadata(path: str, what: str) -> tuple[str, ...] | None:
    """Teachable Machine's labels."""
    try:
        with open(path, "rb") as file:
            said = json.loads(file.read(1 << 22))
    except (OSError, ValueError, RecursionError):
        return None
    labels = said.get("labels") if isinstance(said, dict) else None
    if isinstance(labels, list) and labels and all(isinstance(each, str) for each in labels):
        return tuple(printable(label) for label in labels)
    return None
