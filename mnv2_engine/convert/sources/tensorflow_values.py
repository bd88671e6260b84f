"""What a TensorFlow graph computes from constants alone, as TensorFlow would: anchors, sizes.

Numbers are float32 and int32, as in the graphs that are read. Of a tensor that depends on the
image only the size of the batch is known, and it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CheckpointError
from ..graph import MAX_NODES, Constant
from .tensorflow_operation import Operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Value = NDArray[Any]

MAX_VALUES = 1 << 22  # of one tensor; SSD has 2000 anchors, RetinaNet 50,000
_CASTS: dict[int, str] = {1: "float32", 3: "int32", 9: "int64"}
_UNKNOWN_SHAPE = (1, -1, -1, -1)


class Unknown(Exception):
    """A tensor that depends on the image, or on an operation that is not known here."""


class Values:
    """The tensors of a graph by name, computed when asked for."""

    def __init__(
        self,
        operations: Mapping[str, Operation],
        constants: Mapping[str, Constant],
        what: str,
    ) -> None:
        self._operations, self._constants, self._what = operations, constants, what
        self._known: dict[str, list[Value] | None] = {}  # by node; None: depends on the image

    def value(self, tensor: str) -> Value:
        """The tensor "node" or "node:1". Raises Unknown."""
        node, number = split(tensor)
        if node not in self._known:
            self._compute(node)
        made = self._known[node]
        if made is None or number >= len(made):
            raise Unknown(tensor)
        return made[number]

    def numbers(self, tensor: str, most: int = 64) -> list[float] | None:
        """The few numbers of a tensor, or None where it depends on the image."""
        try:
            value = self.value(tensor)
        except Unknown:
            return None
        return None if value.size > most else [float(each) for each in value.reshape(-1)]

    def _compute(self, wanted: str) -> None:
        """Fill in `wanted` and what it needs, without recursion."""
        stack, begun = [wanted], set[str]()
        while stack:
            node = stack[-1]
            if node in self._known:
                stack.pop()
                continue
            if node in self._constants:
                values = self._constants[node].load()
                values = values.astype(np.float32) if values.dtype.kind == "f" else values
                self._known[node] = [values]
                continue
            operation = self._operations.get(node)
            rule = None if operation is None else _RULES.get(operation.op)
            if operation is None or rule is None or len(begun) > MAX_NODES:
                self._known[node] = None
                continue
            needed = [split(each)[0] for each in operation.inputs if not each.startswith("^")]
            missing = [each for each in needed if each not in self._known]
            if missing and node not in begun:
                begun.add(node)
                stack += missing
                continue
            self._known[node] = None  # of a circle, too
            if not missing:
                self._known[node] = self._made(operation, rule)

    def _made(self, operation: Operation, rule: _Rule) -> list[Value] | None:
        given: list[Value] = []
        for each in operation.inputs:
            if each.startswith("^"):
                continue
            node, number = split(each)
            known = self._known[node]
            if known is None or number >= len(known):
                if operation.op == "Shape":
                    return [np.asarray(_UNKNOWN_SHAPE, np.int32)]
                return None
            given.append(known[number])
        try:
            with np.errstate(all="ignore"):
                made = rule(operation, given)
        except (TypeError, ValueError, IndexError, OverflowError, MemoryError) as error:
            raise CheckpointError(
                f"{self._what}: node {operation.name[:80]!r} ({operation.op[:40]}): its inputs "
                f"do not fit ({error!s:.120}); the file is damaged"
            ) from None
        return made


_Rule = Callable[["Operation", "list[Value]"], "list[Value] | None"]


def split(tensor: str) -> tuple[str, int]:
    """A tensor's node and its number among the node's outputs."""
    node, _, number = tensor.lstrip("^").partition(":")
    return node, int(number) if number.isascii() and number.isdecimal() and number else 0


def _limited(count: int) -> None:
    if not 0 <= count <= MAX_VALUES:
        raise ValueError(f"{count} values: expected at most {MAX_VALUES}")


def _of_two(compute: Callable[[Value, Value], Value]) -> _Rule:
    def rule(_: Operation, given: list[Value]) -> list[Value]:
        first, second = given
        _limited(int(np.prod(np.broadcast_shapes(first.shape, second.shape))))
        return [compute(first, second).astype(first.dtype)]

    return rule


def _same(_: Operation, given: list[Value]) -> list[Value]:
    return [given[0]]


def _cast(operation: Operation, given: list[Value]) -> list[Value] | None:
    kind = _CASTS.get(operation.attributes.get("DstT", 0))
    return None if kind is None else [given[0].astype(kind)]


def _range(_: Operation, given: list[Value]) -> list[Value]:
    start, limit, step = (float(each.reshape(())) for each in given)
    if not step:
        raise ValueError("steps of zero")
    _limited(max(int((limit - start) / step), 0))
    return [np.arange(start, limit, step).astype(given[0].dtype)]


def _extents(value: Value) -> list[int]:
    return [int(each) for each in value.reshape(-1)]


def _tile(_: Operation, given: list[Value]) -> list[Value]:
    times = _extents(given[1])
    if len(times) != given[0].ndim or min(times, default=0) < 0:
        raise ValueError(f"tiles {times}")
    _limited(given[0].size * int(np.prod(times, dtype=np.float64)))
    return [np.tile(given[0], times)]


def _fill(_: Operation, given: list[Value]) -> list[Value]:
    shape = _extents(given[0])
    _limited(int(np.prod(shape, dtype=np.float64)))
    return [np.full(shape, given[1].reshape(()), given[1].dtype)]


def _concat(_: Operation, given: list[Value]) -> list[Value]:
    _limited(sum(each.size for each in given))
    return [np.concatenate(given[:-1], int(given[-1].reshape(())))]


def _pack(operation: Operation, given: list[Value]) -> list[Value]:
    _limited(sum(each.size for each in given))
    return [np.stack(given, int(operation.attributes.get("axis") or 0))]


def _unpack(operation: Operation, given: list[Value]) -> list[Value]:
    moved = np.moveaxis(given[0], int(operation.attributes.get("axis") or 0), 0)
    if len(moved) > 64:
        raise ValueError(f"{len(moved)} parts")
    return [np.ascontiguousarray(each) for each in moved]


def _slice(_: Operation, given: list[Value]) -> list[Value]:
    value, begin, size = given
    at = tuple(
        slice(start, None if count < 0 else start + count)
        for start, count in zip(_extents(begin), _extents(size), strict=True)
    )
    return [value[at]]


def _strided_slice(operation: Operation, given: list[Value]) -> list[Value] | None:
    value, *bounds = given
    masks = operation.attributes
    if masks.get("ellipsis_mask") or masks.get("new_axis_mask"):
        return None
    at: list[slice | int] = []
    for axis, (begin, end, step) in enumerate(zip(*map(_extents, bounds), strict=True)):
        bit = 1 << axis
        if (masks.get("shrink_axis_mask") or 0) & bit:
            at.append(begin)
            continue
        first = None if (masks.get("begin_mask") or 0) & bit else begin
        at.append(slice(first, None if (masks.get("end_mask") or 0) & bit else end, step))
    return [np.asarray(value[tuple(at)])]


def _transpose(_: Operation, given: list[Value]) -> list[Value]:
    return [given[0].transpose(_extents(given[1]))]


def _expand(_: Operation, given: list[Value]) -> list[Value]:
    return [np.expand_dims(given[0], int(given[1].reshape(())))]


def _squeeze(operation: Operation, given: list[Value]) -> list[Value]:
    axes = operation.attributes.get("squeeze_dims")
    return [np.squeeze(given[0], tuple(axes) if axes else None)]


_RULES: dict[str, _Rule] = {
    "Identity": _same,
    "Enter": _same,
    "Cast": _cast,
    "Add": _of_two(np.add),
    "AddV2": _of_two(np.add),
    "Sub": _of_two(np.subtract),
    "Mul": _of_two(np.multiply),
    "RealDiv": _of_two(np.divide),
    "Minimum": _of_two(np.minimum),
    "Maximum": _of_two(np.maximum),
    "Sqrt": lambda _, given: [np.sqrt(given[0])],
    "Range": _range,
    "Reshape": lambda _, given: [given[0].reshape(_extents(given[1]))],
    "Tile": _tile,
    "Fill": _fill,
    "ConcatV2": _concat,
    "Pack": _pack,
    "Unpack": _unpack,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Shape": lambda _, given: [np.asarray(given[0].shape, np.int32)],
    "Rank": lambda _, given: [np.asarray(given[0].ndim, np.int32)],
    "Size": lambda _, given: [np.asarray(given[0].size, np.int32)],
    "Transpose": _transpose,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
}
