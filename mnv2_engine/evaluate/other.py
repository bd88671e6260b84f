"""Whom a model is compared with: another model file, or a peer with a file of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..engine import Engine
from ..errors import InputError
from ..images.preprocess import pixels_for
from ..model.modelfile import ModelFile, open_model
from ..network.layer import IMAGE_CHANNELS
from ..peers import PEERS, Peer, peer_and_file
from .record import file_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image


class Other(Protocol):
    """Gives logits of the same classes."""

    name: str  # for people
    pinned: dict[str, Any]  # what its answers depend on
    notes: tuple[str, ...]

    def logits(self, image: Image, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(classes,) of an upright RGB image, `pixels` as the first model is given them."""


class OtherModel:
    """A model file of ours: with the pixels of the first one if it asks for the same
    preprocessing, else with those of its own."""

    def __init__(self, path: str, model: ModelFile, threads: int | str) -> None:
        opened = open_model(path)
        self._engine = Engine(opened, threads)
        self._spec, self._size = opened.input_spec, opened.network.resolution
        info = self._engine.info
        self.name = f"{path}, {info.network.name}, {info.precision}"
        self.pinned = {"sha256": file_sha256(path), "precision": info.precision}
        _check_classes(path, opened.network.classes, model)
        self._framed = _frame(opened) != _frame(model)
        self.notes = (*_label_notes(opened, model),)
        if self._framed:
            self.notes += (f"{path}: resizes, crops or normalises images otherwise: as it says",)

    def logits(self, image: Image, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The other model's logits of one image."""
        if self._framed:
            own = pixels_for(image, self._spec, self._size)
            pixels = np.frombuffer(own, np.uint8).reshape(*self._size, IMAGE_CHANNELS)
        found: NDArray[np.float32] = self._engine.logits(pixels)[0]
        return found


class OtherPeer:
    """Another engine, given the pixels of the model, normalised as the model says and as its own
    file takes them."""

    def __init__(self, peer: Peer, path: str, model: ModelFile, threads: int) -> None:
        self._session = peer.load(path, threads, model.network.resolution)
        self._spec = model.input_spec
        self.name = f"{path}, {peer.name} {peer.version()}"
        self.pinned = {"peer": peer.name, "version": peer.version(), "sha256": file_sha256(path)}
        weights = os.path.splitext(path)[0] + ".bin"
        if path.endswith(".xml") and os.path.isfile(weights):
            self.pinned["weights sha256"] = file_sha256(weights)
        _check_classes(path, self._session.classes, model)
        self.notes: tuple[str, ...] = (f"{peer.name}: {'; '.join(self._session.notes)}",)

    def logits(self, image: Image, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The other model's logits of one image."""
        given = self._session.input.suited(pixels, self._spec.mean, self._spec.std)
        return self._session.run(given)


def open_other(text: str, model: ModelFile, threads: int | str) -> Other:
    """`text` is the path of a model file or ``PEER:FILE``. Raises InputError for anything else and
    for another number of classes; MissingExtraError for a peer that is not installed."""
    if text.partition(":")[0] not in PEERS:
        if not os.path.exists(text):
            raise InputError(
                f"{text}: no such file; expected a model file, or PEER:FILE with one of the peers "
                f"{', '.join(PEERS)}"
            )
        return OtherModel(text, model, threads)
    peer, path = peer_and_file(text)
    if not path:
        raise InputError(f"{text}: expected its file too, {text}:FILE{peer.suffixes[0]}")
    if threads != 1:
        from ..executors.cpus import thread_count

        threads = thread_count(threads)
    return OtherPeer(peer, path, model, int(threads))


def _check_classes(path: str, classes: int, model: ModelFile) -> None:
    if classes != model.network.classes:
        raise InputError(
            f"{path}: has {classes} classes, {model.path} {model.network.classes}: expected "
            "the same ones; which of them belong together is not guessed"
        )


def _frame(model: ModelFile) -> tuple[object, ...]:
    return model.network.resolution, model.input_spec._replace(mean=(0.0,) * 3, std=(1.0,) * 3)


def _label_notes(other: ModelFile, model: ModelFile) -> list[str]:
    if not other.labels or not model.labels or other.labels == model.labels:
        return []
    if sorted(other.labels) == sorted(model.labels):
        raise InputError(
            f"{other.path}: has the classes of {model.path} in another order; convert one of them "
            "with the labels of the other"
        )
    pairs = enumerate(zip(model.labels, other.labels, strict=True))
    at, (mine, theirs) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
    return [
        f"{other.path}: its labels differ, first class {at}: {mine[:60]!r} and {theirs[:60]!r}; "
        "logits are compared by index"
    ]
