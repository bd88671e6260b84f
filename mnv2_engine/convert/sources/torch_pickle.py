"""An interpreter for the pickles of PyTorch's state_dicts that can execute nothing.

A pickle is a program. The machine below knows the few instructions that a dict of tensors consists
of: it builds dicts, lists, tuples, numbers and strings, and it knows by name the ordered dict, the
functions that rebuild a tensor or a parameter, and the storage types. It calls none of them; it
only notes what they would have been given. Any other instruction or name ends the reading. Bytes
and instructions are counted, so that neither time nor memory depends on what a file asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

from ...errors import CheckpointError

# The state_dict of EfficientNet-Lite4 takes 25 000 instructions in 130 KB; training checkpoints,
# which hold the optimizer's state as well, take a few times that.
MAX_INSTRUCTIONS = 1 << 18
MAX_PICKLE_BYTES = 16 << 20
_MAX_RANK = 8
_MAX_PROTOCOL = 5
_MAX_LINE = 512  # bytes of a module's or a class's name
_MAX_KEY = (
    4096  # characters; to compare two equal ones of megabytes, again and again, takes minutes
)

SAVE_WEIGHTS = "save the weights alone: torch.save(model.state_dict(), FILE)"


class Storage(NamedTuple):
    """A run of elements somewhere in the file."""

    key: str
    dtype: str  # numpy's name, or "bfloat16", which numpy lacks
    elements: int


class Tensor(NamedTuple):
    """A tensor as the pickle describes it, within the bounds of its storage."""

    storage: Storage
    offset: int  # elements from the storage's start
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements


class _Name:
    """Something that a pickle may mention. It stands for itself and does nothing."""

    def __init__(self, name: str, dtype: str = "") -> None:
        self.name = name
        self.dtype = dtype  # of the elements, for a storage type


_MARK = _Name("the mark")
_ORDERED_DICT = _Name("collections.OrderedDict")
_REBUILD_TENSOR = _Name("torch._utils._rebuild_tensor")
_REBUILD_TENSOR_V2 = _Name("torch._utils._rebuild_tensor_v2")
_REBUILD_PARAMETER = _Name("torch._utils._rebuild_parameter")
_KNOWN = {
    known.name: known
    for known in (
        _ORDERED_DICT,
        _REBUILD_TENSOR,
        _REBUILD_TENSOR_V2,
        _REBUILD_PARAMETER,
        _Name("torch.FloatStorage", "f4"),
        _Name("torch.DoubleStorage", "f8"),
        _Name("torch.HalfStorage", "f2"),
        _Name("torch.BFloat16Storage", "bfloat16"),
        _Name("torch.LongStorage", "i8"),
        _Name("torch.IntStorage", "i4"),
        _Name("torch.ShortStorage", "i2"),
        _Name("torch.CharStorage", "i1"),
        _Name("torch.ByteStorage", "u1"),
        _Name("torch.BoolStorage", "u1"),
    )
}


class Machine:
    """Runs the pickles that follow each other in `program`. `what` names the file in messages.

    `at` is the offset behind the last pickle that was run; `storages` are those mentioned so far.
    """

    def __init__(self, program: bytes, what: str) -> None:
        self.program = program
        self.what = what
        self.at = 0
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._left = MAX_INSTRUCTIONS

    def run(self) -> Any:
        """The value of the pickle at `at`: plain Python values, Tensors, Storages.

        Raises CheckpointError if it is damaged or asks for anything else.
        """
        self._stack = []
        self._memo = {}
        try:
            while True:
                self._left -= 1
                if self._left < 0:
                    raise self._damaged(f"it is longer than {MAX_INSTRUCTIONS} instructions")
                code = self._take(1)
                if code == b".":
                    return self._stack.pop()
                step = _STEPS.get(code)
                if step is None:
                    raise CheckpointError(
                        f"{self.what}: its pickle has the instruction {code!r} at byte "
                        f"{self.at - 1}, which no state_dict needs; nothing was executed. If this "
                        f"is a whole model or a training checkpoint, {SAVE_WEIGHTS}"
                    )
                step(self)
        except IndexError:
            raise self._damaged("an instruction lacks its operands") from None

    # Reading the program

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.what}: its pickle is damaged at byte {self.at}: {reason}; nothing was executed"
        )

    def _take(self, count: int) -> bytes:
        taken = self.program[self.at : self.at + count]
        if len(taken) < count:
            raise self._damaged(
                f"it is longer than {MAX_PICKLE_BYTES} bytes"
                if len(self.program) > MAX_PICKLE_BYTES
                else "it ends too early: the file was cut short"
            )
        self.at += count
        return taken

    def _natural(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _signed(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little", signed=True)

    def _text(self, length_width: int) -> str:
        try:
            return self._take(self._natural(length_width)).decode()
        except UnicodeDecodeError:
            raise self._damaged("a string is not UTF-8") from None

    def _line(self) -> str:
        end = self.program.find(b"\n", self.at, self.at + _MAX_LINE)
        if end < 0:
            raise self._damaged("a name does not end")
        line = self.program[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return line

    # Instructions

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop_two(self) -> tuple[Any, Any]:
        second = self._stack.pop()
        return self._stack.pop(), second

    def _pop_to_mark(self) -> list[Any]:
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                values = self._stack[at + 1 :]
                del self._stack[at:]
                return values
        raise self._damaged("a mark is missing")

    def _protocol(self) -> None:
        if self._natural(1) > _MAX_PROTOCOL:
            raise self._damaged(f"its protocol is newer than {_MAX_PROTOCOL}")

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise self._damaged(f"value {index} is used before it is made")
        self._push(self._memo[index])

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._push(values)

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise self._damaged("a value is appended to something that is not a list")
        self._stack[-1].extend(values)

    def _update(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise self._damaged("a key is set in something that is not a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, (str, int)):  # to hash a deeply nested tuple is to recurse
                raise self._damaged(f"a dict has a key of type {type(key).__name__}")
            if isinstance(key, str) and len(key) > _MAX_KEY:
                raise self._damaged(f"a dict has a key of {len(key)} characters")
            target[key] = value

    def _global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._damaged("a name is not a string")
        known = _KNOWN.get(f"{module}.{name}")
        if known is None:
            raise CheckpointError(
                f"{self.what}: its pickle asks for {module[:100]}.{name[:100]}, which was not "
                "executed: only tensors in dicts are read. If this is a whole model or a training "
                f"checkpoint, {SAVE_WEIGHTS}"
            )
        self._push(known)

    def _reduce(self) -> None:
        """A call: what it would have made, where it is one of those that are known."""
        callee, given = self._pop_two()
        if callee is _ORDERED_DICT and given == ():
            self._push({})
        elif callee is _ORDERED_DICT and _is_tuple(given, 1) and isinstance(given[0], list):
            self._left -= len(given[0])  # as Python 2 wrote them; one list may be used many times
            self._push({})
            for pair in given[0]:
                if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                    raise self._damaged("an ordered dict is not made of pairs")
                self._update(list(pair))
        elif callee in (_REBUILD_TENSOR, _REBUILD_TENSOR_V2) and _is_tuple(given, 4):
            self._push(self._tensor(*given[:4]))
        elif callee is _REBUILD_PARAMETER and _is_tuple(given, 1) and isinstance(given[0], Tensor):
            self._push(given[0])
        else:
            name = callee.name if isinstance(callee, _Name) else type(callee).__name__
            raise self._damaged(f"{name} is called with what PyTorch never gives it")

    def _tensor(self, storage: object, offset: object, shape: object, strides: object) -> Tensor:
        """A tensor whose elements all lie in its storage, each in a place of its own."""
        if not isinstance(storage, Storage) or not _is_natural(offset):
            raise self._damaged("a tensor has no storage")
        if not _are_naturals(shape) or not _are_naturals(strides):
            raise self._damaged("a tensor's shape or strides are not whole numbers")
        if len(shape) != len(strides) or len(shape) > _MAX_RANK:
            raise self._damaged("a tensor's shape and strides do not match")
        elements, last = 1, offset
        for extent, stride in zip(shape, strides, strict=True):
            elements *= extent
            last += (extent - 1) * stride
        # With strides of zero, a storage of one element could become a tensor of any size.
        if elements and (last >= storage.elements or elements > storage.elements):
            raise self._damaged(
                f"a tensor of shape {shape} and strides {strides} from element {offset} does not "
                f"fit into its storage of {storage.elements}"
            )
        # The stride of an axis with one element may be any number.
        axes = zip(shape, strides, strict=True)
        strides = tuple(stride if extent > 1 else 0 for extent, stride in axes)
        return Tensor(storage, offset, shape, strides)

    def _persistent(self) -> None:
        """('storage', type, key, device, elements), and in the legacy format None or a view."""
        given = self._stack.pop()
        if not _is_tuple(given, 5) or given[0] != "storage":
            raise CheckpointError(
                f"{self.what}: its pickle holds other things than tensors, such as the source of "
                f"a whole model; {SAVE_WEIGHTS}"
            )
        _, kind, key, _, elements, *view = given
        if not isinstance(kind, _Name) or not isinstance(key, str) or not _is_natural(elements):
            raise self._damaged("a storage is not described as PyTorch does")
        if len(key) > _MAX_KEY:
            raise self._damaged(f"a storage has a name of {len(key)} characters")
        if view not in ([], [None]):
            raise CheckpointError(
                f"{self.what}: one of its storages is a part of another, as only the first "
                "versions of PyTorch wrote them; load and save it again with a newer one"
            )
        storage = Storage(key, kind.dtype, elements)
        if not kind.dtype or self.storages.setdefault(key, storage) != storage:
            raise self._damaged(f"storage {key[:80]!r} is described in two ways")
        self._push(storage)

    def _build(self) -> None:
        """State set on an object: for a state_dict its `_metadata`, which is left out."""
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise self._damaged("state is set on something that is not a dict")


# The opcodes of protocols 2 to 5 that torch.save uses for dicts of tensors, and of Python 2.
_STEPS: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": Machine._protocol,
    b"\x95": lambda m: m._take(8),  # the length of a frame
    b"(": lambda m: m._push(_MARK),
    b")": lambda m: m._push(()),
    b"t": lambda m: m._push(tuple(m._pop_to_mark())),
    b"\x85": lambda m: m._tuple(1),
    b"\x86": lambda m: m._tuple(2),
    b"\x87": lambda m: m._tuple(3),
    b"]": lambda m: m._push([]),
    b"a": lambda m: m._extend([m._stack.pop()]),
    b"e": lambda m: m._extend(m._pop_to_mark()),
    b"}": lambda m: m._push({}),
    b"s": lambda m: m._update([*m._pop_two()]),
    b"u": lambda m: m._update(m._pop_to_mark()),
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    b"K": lambda m: m._push(m._natural(1)),
    b"M": lambda m: m._push(m._natural(2)),
    b"J": lambda m: m._push(m._signed(4)),
    b"\x8a": lambda m: m._push(m._signed(m._natural(1))),
    b"G": lambda m: m._push(struct.unpack(">d", m._take(8))[0]),
    b"X": lambda m: m._push(m._text(4)),
    b"\x8c": lambda m: m._push(m._text(1)),
    b"U": lambda m: m._push(m._text(1)),  # a str of Python 2
    b"q": lambda m: m._remember(m._natural(1)),
    b"r": lambda m: m._remember(m._natural(4)),
    b"\x94": lambda m: m._remember(len(m._memo)),
    b"h": lambda m: m._recall(m._natural(1)),
    b"j": lambda m: m._recall(m._natural(4)),
    b"c": lambda m: m._global(m._line(), m._line()),
    b"\x93": lambda m: m._global(*m._pop_two()),
    b"Q": Machine._persistent,
    b"R": Machine._reduce,
    b"b": Machine._build,
}


def _is_natural(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _are_naturals(values: object) -> TypeGuard[tuple[int, ...]]:
    return type(values) is tuple and all(map(_is_natural, values))


def _is_tuple(value: object, at_least: int) -> TypeGuard[tuple[Any, ...]]:
    return type(value) is tuple and len(value) >= at_least
