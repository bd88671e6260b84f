"""What the engine needs of `typing` and `collections`, without importing them.

`typing` and what it imports take a third of the time that a small process has to start, and
`collections` a millisecond; its namedtuple compiles a function for every class. This one does so
for classes with more than a few instances, which none of a cold start has. Type checkers see the
real names.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable as Callable
    from collections.abc import Iterable as Iterable
    from collections.abc import Iterator as Iterator
    from collections.abc import Mapping as Mapping
    from collections.abc import Sequence as Sequence
    from typing import Any as Any
    from typing import BinaryIO as BinaryIO
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import TypeVar as TypeVar
    from typing import overload as overload
else:
    from _collections_abc import Callable, Iterable, Iterator, Mapping, Sequence  # noqa: F401

    Any = BinaryIO = NoReturn = Protocol = object

    def TypeVar(name, *constraints, **options):
        """A stand-in for typing's."""
        return object

    def overload(function):
        """A stand-in for typing's."""
        return function

    try:
        from _collections import _tuplegetter as _field
    except ImportError:  # not CPython

        def _field(index, doc):
            return property(lambda self: self[index], doc=doc)

    def _new(fields, defaults):
        """What makes instances: each field an argument, the last ones with `defaults`."""
        source = (
            f"lambda _cls, {', '.join(fields)}: _new(_cls, ({''.join(f + ', ' for f in fields)}))"
        )
        made = eval(source, {"_new": tuple.__new__, "__builtins__": {}})
        made.__name__ = made.__qualname__ = "__new__"
        made.__defaults__ = defaults
        return made

    FEW = 16  # instances that take no longer than to compile what makes the others

    def _first(cls, /, *values, **named):
        """Makes the first instances of a class, and then compiles what makes the others."""
        record = next(each for each in cls.__mro__ if "_field_defaults" in each.__dict__)
        defaults = tuple(record._field_defaults.values())
        missing = len(record._fields) - len(values)
        record._made += 1
        if record._made <= FEW and not named and 0 <= missing <= len(defaults):
            return tuple.__new__(cls, values + defaults[len(defaults) - missing :])
        record.__new__ = staticmethod(_new(record._fields, defaults or None))
        return record.__new__(cls, *values, **named)

    def _make(cls, iterable):
        return tuple.__new__(cls, _of_length(cls, tuple(iterable)))

    def _of_length(cls, values):
        if len(values) != len(cls._fields):
            raise TypeError(f"expected {len(cls._fields)} arguments, got {len(values)}")
        return values

    def _replace(self, /, **named):
        made = self._make(
            named.pop(name, value) for name, value in zip(self._fields, self, strict=True)
        )
        if named:
            raise ValueError(f"got unexpected field names: {list(named)!r}")
        return made

    def _asdict(self):
        return dict(zip(self._fields, self, strict=True))

    def _values(self):
        return tuple(self)

    def _repr(self):
        shown = ", ".join(
            f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True)
        )
        return f"{type(self).__name__}({shown})"

    class _Record(type):
        """Makes a class of fields a named tuple that has the class's methods."""

        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            names = tuple(namespace.get("__annotations__", ()))
            made = {
                "__slots__": (),
                "__new__": _first,
                "__repr__": _repr,
                "__getnewargs__": _values,
                "__match_args__": names,
                "_fields": names,
                "_made": 0,
                "_field_defaults": {each: namespace[each] for each in names if each in namespace},
                "_make": classmethod(_make),
                "_replace": _replace,
                "_asdict": _asdict,
                **namespace,
            }
            for index, each in enumerate(names):
                made[each] = _field(index, None)
            return type(name, (tuple,), made)

    class NamedTuple(metaclass=_Record):
        """A stand-in for typing's: see `_Record`."""
