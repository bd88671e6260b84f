"""Keras's HDF5 files: whole models and weights, and the same inside .keras archives.

Read by h5py (the extra `keras`); TensorFlow is not needed. An HDF5 file is a small file system;
every name is looked up below the group that it must be in, soft links and links to other files
are refused, and data of another file never read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any, BinaryIO

from ...errors import CheckpointError, MnvError, UnsupportedError, missing_extra
from ..graph import Constant, Graph
from .keras_layers import Place, to_graph

if TYPE_CHECKING:
    from .archive import Archive

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_CONFIG_BYTES = 16 << 20
_MAX_ENTRIES = 1 << 14
_MAX_DEPTH = 24
_MAX_INFLATED = 8 << 20
# What of training lies beside the layers.
_NOT_WEIGHTS = ("optimizer", "compile_metrics", "_metrics", "seed_generator")


class File:
    """An open HDF5 file."""

    def __init__(self, handle: BinaryIO, what: str, of: str = "an HDF5 file") -> None:
        try:
            self.h5py = import_module("h5py")
        except ImportError:
            raise missing_extra("h5py", "keras", f"reading {of}") from None
        self.what = what
        self._inflated = 0  # bytes that data sets take beyond four times what is stored
        handle.seek(0)
        with damaged(what):
            self.root = self.h5py.File(handle, "r")

    def group(self, parent: Any, name: str) -> Any | None:
        """A group inside a group, or None."""
        found = self._inside(parent, name)
        return found if isinstance(found, self.h5py.Group) else None

    def _inside(self, parent: Any, name: str) -> Any | None:
        at = parent
        for part in name.split("/"):
            if not part:
                continue
            if not isinstance(at, self.h5py.Group) or part in (".", ".."):
                return None
            with damaged(self.what):
                if part not in at:
                    return None
                link = at.get(part, getlink=True)
                if not isinstance(link, self.h5py.HardLink):
                    raise CheckpointError(
                        f"{self.what}: {name[:80]!r} is a link to another place, which Keras never "
                        "writes; save the model again"
                    )
                at = at[part]
        return at

    def constant(self, parent: Any, name: str) -> Constant | None:
        """A dataset of floating-point or whole numbers, or None where there is none."""
        found = self._inside(parent, name)
        if not isinstance(found, self.h5py.Dataset):
            return None
        with damaged(self.what):
            kind, size = found.dtype.kind, found.dtype.itemsize
            if found.external or found.is_virtual:
                raise CheckpointError(f"{self.what}: {name[:80]!r} has its data in another file")
            if kind not in "fiu" or size > 8:
                raise CheckpointError(
                    f"{self.what}: {name[:80]!r} holds {found.dtype!s:.40}: expected numbers"
                )
            shape = tuple(int(extent) for extent in found.shape or ())
            stored = int(found.id.get_storage_size())
        due = size
        for extent in shape:
            due *= extent
        # Weights hardly deflate; what would inflate a hundredfold is a bomb, in one or in many.
        self._inflated += max(0, due - 4 * stored)
        if self._inflated > _MAX_INFLATED:
            raise CheckpointError(
                f"{self.what}: {name[:80]!r} would inflate from {stored} bytes to {due}, more than "
                "weights ever do: refused; save the model again without compression"
            )

        def load() -> Any:
            with damaged(self.what):
                values = found[()]
            return values.astype("f8") if kind == "f" else values

        return Constant(shape, load)

    def attribute(self, group: Any, name: str) -> Any | None:
        """A group's attribute, None where it has none of that name."""
        with damaged(self.what):
            if name not in group.attrs:
                return None
            return group.attrs[name]

    def names(self, group: Any, attribute: str) -> list[str]:
        """A list of names; long ones are cut into attributes numbered from 0."""
        found = self.attribute(group, attribute)
        parts = [] if found is None else [found]
        while found is None and len(parts) < 64:
            part = self.attribute(group, f"{attribute}{len(parts)}")
            if part is None:
                break
            parts.append(part)
        made: list[str] = []
        for part in parts:
            for name in part:
                made.append(_text(name))
        if len(made) > _MAX_ENTRIES:
            raise CheckpointError(f"{self.what}: {len(made)} {attribute}: more than any network")
        return made


class damaged:
    """Turns whatever h5py raises about a damaged file into a CheckpointError."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MnvError):
            raise CheckpointError(
                f"{self.what}: the HDF5 file is damaged ({type(error).__name__}: "
                f"{str(error)[:160]}); copy or download it again"
            ) from None


class Named:
    """Weights under the names of layers, as model.save("x.h5") writes them."""

    def __init__(self, file: File, group: Any) -> None:
        self.file, self.what = file, file.what
        self.tops: dict[str, dict[tuple[str, str], tuple[Any, str]]] = {}
        for top in file.names(group, "layer_names"):
            inside = file.group(group, top)
            if inside is None:
                raise CheckpointError(f"{file.what}: lacks the weights of layer {top[:80]!r}")
            found: dict[tuple[str, str], tuple[Any, str]] = {}
            for name in file.names(inside, "weight_names"):
                *path, last = name.split("/")
                key = (path[-1] if path else top, last.partition(":")[0])
                if key in found:
                    raise UnsupportedError(
                        f"{file.what}: two layers named {key[0][:80]!r} have weights; give them "
                        "names of their own and save the model again"
                    )
                found[key] = (inside, name)
            self.tops[top] = found

    def find(self, place: Place, names: Sequence[Sequence[str]]) -> list[Constant]:
        """The arrays of a layer at `place`, by alternatives of their names."""
        top = self.tops.get(place.names[0])
        made = []
        for alternatives in names:
            constant = None
            for name in alternatives:
                key = (place.names[-1], name)
                if top is not None and key in top:
                    constant = self.file.constant(*top[key])
            if constant is None:
                raise CheckpointError(
                    f"{self.what}: lacks the {alternatives[0]} of layer {place.shown!r}"
                )
            made.append(constant)
        return made


class Numbered:
    """Weights under the classes and numbers of layers, as .keras archives have them."""

    _CONTAINERS = ("layers", "_layer_checkpoint_dependencies")

    def __init__(self, file: File) -> None:
        self.file, self.what = file, file.what

    def find(self, place: Place, names: Sequence[Sequence[str]]) -> list[Constant]:
        """The arrays of a layer at `place`, by alternatives of their names."""
        at = self.file.root
        for step in place.numbered:
            inside = None
            for container in self._CONTAINERS:
                inside = inside or self.file.group(at, f"{container}/{step}")
            if inside is None:
                raise CheckpointError(
                    f"{self.what}: lacks the weights of layer {place.shown!r} ({step[:80]})"
                )
            at = inside
        made = []
        for index, alternatives in enumerate(names):
            constant = self.file.constant(at, f"vars/{index}")
            if constant is None:
                raise CheckpointError(
                    f"{self.what}: lacks the {alternatives[0]} of layer {place.shown!r}"
                )
            made.append(constant)
        return made


def read_config(text: str | bytes, what: str) -> Any:
    """A model's configuration. Raises CheckpointError for what is no JSON."""
    if len(text) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{what}: its configuration takes {len(text)} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{what}: the model's configuration is no JSON ({str(error)[:120]}); save it again"
        ) from None


def read_h5(file: File) -> Graph | None:
    """The graph of a whole model in an HDF5 file, or None of a file with weights alone."""
    stated = file.attribute(file.root, "model_config")
    if stated is None:
        return None
    weights = file.group(file.root, "model_weights")
    if weights is None:
        raise CheckpointError(f"{file.what}: it describes a model, but has no model_weights")
    version = file.attribute(file.root, "keras_version")
    form = "Keras HDF5" if version is None else f"Keras {_text(version)[:20]} HDF5"
    with damaged(file.what):
        variables = Named(file, weights)
    return to_graph(read_config(_text(stated), file.what), variables, file.what, form)


def read_archive(archive: Archive) -> Graph:
    """The graph of a .keras archive."""
    what = archive.what
    config = read_config(archive.read("config.json", MAX_CONFIG_BYTES + 1), what)
    version = ""
    if "metadata.json" in archive.members:
        said = read_config(archive.read("metadata.json", 1 << 16), what)
        if isinstance(said, dict):
            version = f" {said.get('keras_version', '')!s:.20}"
    member = "model.weights.h5"
    if member not in archive.members:
        raise CheckpointError(
            f"{what}: lacks {member}; if the model was saved in shards, save it in one file"
        )
    size = archive.size(member)
    if size > max(_MAX_INFLATED, 3 * archive.file_bytes):
        raise CheckpointError(
            f"{what}: {member} would inflate to {size} bytes, more than weights ever do: refused; "
            "save the model again"
        )
    content = archive.read(member, size)
    file = File(io.BytesIO(content), what, "a .keras file")
    return to_graph(config, Numbered(file), what, f"Keras{version} archive")


def weight_names(file: File) -> Iterator[tuple[str, str, Constant]]:
    """(layer, variable, values) of a file with weights alone, in either of Keras's forms."""
    if file.names(file.root, "layer_names"):
        for found in Named(file, file.root).tops.values():
            for (layer, variable), (group, name) in found.items():
                constant = file.constant(group, name)
                if constant is not None:
                    yield layer, variable, constant
        return
    yield from _numbered(file, file.root, 0, count())


def _numbered(
    file: File, group: Any, depth: int, visited: Iterator[int]
) -> Iterator[tuple[str, str, Constant]]:
    """Keras 3's: each layer's group says the layer's name."""
    if depth > _MAX_DEPTH or next(visited) > _MAX_ENTRIES:  # a group may stand in many others
        raise CheckpointError(
            f"{file.what}: groups within groups without end, which Keras never writes; save the "
            "model again"
        )
    with damaged(file.what):
        keys = list(group)[:_MAX_ENTRIES]
    for key in keys:
        inside = file.group(group, key)
        if inside is None or key in _NOT_WEIGHTS:
            continue
        if key == "vars":
            stated = file.attribute(inside, "name") or file.attribute(group, "name")
            with damaged(file.what):
                name = _text(stated) if stated is not None else group.name.rsplit("/", 1)[-1]
                variables = len(inside)
            for index in range(min(variables, 16)):
                constant = file.constant(inside, str(index))
                if constant is not None:
                    yield name, str(index), constant
        else:
            yield from _numbered(file, inside, depth + 1, visited)


def _text(stated: Any) -> str:
    return stated.decode("utf-8", "replace") if isinstance(stated, bytes) else str(stated)
