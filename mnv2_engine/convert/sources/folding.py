"""Arithmetic of constants in TensorFlow's graphs, done while reading.

Keras 3 writes batch-norm as arithmetic of its variables: rsqrt(variance + epsilon) * gamma and so
on. Operations whose inputs are all small constants become constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..graph import Constant, constant_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What leaves a constant as it is.
_SAME = ("Identity", "Enter", "ReadVariableOp", "StopGradient", "Cast", "CheckNumerics")
_ONE = ("Rsqrt", "Sqrt", "Square", "Neg", "Reciprocal", "Inv")
_TWO = ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Maximum")
_SHAPED = ("Reshape", "ExpandDims", "Squeeze")

_MAX_VALUES = 1 << 14  # of one constant: channels, not weights of convolutions
_MAX_ALL = 1 << 22


class Folding:
    """Adds to `constants` what operations make of them."""

    def __init__(self, constants: dict[str, Constant]) -> None:
        self._constants, self._made = constants, 0

    def folds(self, name: str, op: str, inputs: list[str]) -> bool:
        """Whether the operation is a constant, which is then among them."""
        given = [self._constants[each] for each in inputs if each in self._constants]
        if not given or len(given) != len(inputs):
            return False
        if op in _SAME:
            self._constants[name] = given[0]
            return True
        arity = {1: _ONE, 2: (*_TWO, *_SHAPED)}.get(len(given), ())
        if op not in (*arity, "Squeeze") or any(_size(each) > _MAX_VALUES for each in given):
            return False
        found = _computed(op, [each.load() for each in given])
        if found is None or found.size > _MAX_VALUES or self._made + found.size > _MAX_ALL:
            return False
        self._made += found.size
        self._constants[name] = constant_of(found)
        return True


def _size(constant: Constant) -> int:
    size = 1
    for extent in constant.shape:
        size *= extent
    return size


def _computed(op: str, given: list[Any]) -> NDArray[Any] | None:
    """What an operation makes of arrays; None where the shapes do not fit."""
    import numpy as np

    first, second = given[0], given[-1]
    try:
        if op in _TWO and np.broadcast(first, second).size > _MAX_VALUES:
            return None
        with np.errstate(all="ignore"):  # non-finite weights are refused later
            if op in ("Rsqrt", "Reciprocal", "Inv"):
                made = 1 / (np.sqrt(first) if op == "Rsqrt" else first)
            elif op == "Sqrt":
                made = np.sqrt(first)
            elif op == "Square":
                made = first * first
            elif op == "Neg":
                made = -first
            elif op in ("Add", "AddV2"):
                made = first + second
            elif op == "Sub":
                made = first - second
            elif op == "Mul":
                made = first * second
            elif op in ("RealDiv", "Div"):
                made = first / second
            elif op == "Maximum":
                made = np.maximum(first, second)
            elif op == "Reshape":
                made = first.reshape([int(each) for each in second.reshape(-1)])
            elif op == "ExpandDims":
                made = np.expand_dims(first, int(second))
            elif op == "Squeeze":
                made = np.squeeze(first)
            else:
                return None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return np.asarray(made)
