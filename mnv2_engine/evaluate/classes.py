"""What the name of a class means to a model: its label, a WordNet id, an index; or nothing.

A label matches whole, or by one of its synonyms, "tench" of "tench, Tinca tinca", as long as no
other class has that name: ImageNet has two cranes. Case does not matter, and "_" is a space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InputError
from ..model.labels import IMAGENET_CLASSES, imagenet, imagenet_synsets

# A WordNet id, by itself or at the head of a label: "n01440764 tench".
_WORDNET_ID = re.compile(r"n\d{8}(?!\d)")

_AMBIGUOUS = -1


class ModelClasses:
    """The classes of a model, by every name that they have."""

    def __init__(
        self, labels: Sequence[str] | None, classes: int, index_offset: int | None = None
    ) -> None:
        """`index_offset` is added to indices; None where it was not said."""
        self.classes = classes
        self.has_labels = labels is not None
        self._offset = index_offset
        self._by_name: dict[str, int] = {}
        self._by_id: dict[str, int] = {}
        if labels is None:
            return
        plain = []
        for index, label in enumerate(labels):
            found = _WORDNET_ID.match(label)
            if found:
                self._add(self._by_id, found[0], index)
                label = label[found.end() :].lstrip(" \t,:_-")
            plain.append(label)
        synonyms: dict[str, int] = {}
        for index, label in enumerate(plain):
            self._add(self._by_name, normal(label), index)
            for synonym in label.split(","):
                self._add(synonyms, normal(synonym), index)
        self._by_name = {**synonyms, **self._by_name}
        if not self._by_id and _are_imagenet(plain):
            first = classes - IMAGENET_CLASSES  # 1 where TensorFlow's background comes first
            self._by_id = {name: first + i for i, name in enumerate(imagenet_synsets())}

    @property
    def has_ids(self) -> bool:
        """Whether the labels say, by themselves, which WordNet ids the classes have."""
        return bool(self._by_id)

    def named(self, name: str) -> int | None:
        """The index of the one class of that name or WordNet id; None where there is none, or
        more than one."""
        plain = normal(name)
        index = self._by_name.get(plain)
        if index is None:
            index = self._by_id.get(plain)
        return None if index == _AMBIGUOUS else index

    def is_ambiguous(self, name: str) -> bool:
        """Whether several classes have that name."""
        return self._by_name.get(normal(name)) == _AMBIGUOUS

    def numbered(self, name: str) -> int | None:
        """The class of an index in decimal digits; None for another name.

        Raises InputError for an index that no class has, and, of a network with 1001 classes,
        unless it was said what is to be added: 1 where indices count ImageNet's 1000 classes.
        """
        if not is_index(name):
            return None
        if self._offset is None and self.classes == IMAGENET_CLASSES + 1:
            raise InputError(
                f"the class {name!r} is an index, and the model has 1001 classes, ImageNet's 1000 "
                "and a background: give --index-offset 1 where the indices count the 1000, 0 where "
                "they count all"
            )
        index = int(name) + (self._offset or 0)
        if not 0 <= index < self.classes:
            added = f" (with the offset {self._offset:+}: {index})" if self._offset else ""
            raise InputError(
                f"the class {name!r}{added} is no index of the model's {self.classes} classes, 0 "
                f"to {self.classes - 1}; the ground truth is of another network, or needs another "
                "--index-offset"
            )
        return index

    @staticmethod
    def _add(table: dict[str, int], name: str, index: int) -> None:
        if name:
            table[name] = index if table.get(name, index) == index else _AMBIGUOUS


def normal(name: str) -> str:
    """`name` as it is compared: in one case, "_" and other white space as single spaces."""
    return " ".join(name.replace("_", " ").split()).casefold()


def is_index(name: str) -> bool:
    """Whether a class is named by its number."""
    return name.isascii() and name.isdecimal() and len(name) < 10


def _are_imagenet(labels: Sequence[str]) -> bool:
    if len(labels) not in (IMAGENET_CLASSES, IMAGENET_CLASSES + 1):
        return False
    return all(normal(a) == normal(b) for a, b in zip(labels, imagenet(len(labels)), strict=True))
