"""What the engine needs of `typing`, without importing it.

`typing` and what it imports take a third of the time that a small process has to start, and its
NamedTuple three times as long to make a class as this one. Type checkers see the real names.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any as Any
    from typing import BinaryIO as BinaryIO
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import TypeVar as TypeVar
    from typing import overload as overload
else:
    from collections import namedtuple

    Any = BinaryIO = NoReturn = Protocol = object

    def TypeVar(name, *constraints, **options):
        """A stand-in for typing's."""
        return object

    def overload(function):
        """A stand-in for typing's."""
        return function

    class _Record(type):
        """Makes a class of fields a named tuple that has the class's methods."""

        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = namespace.get("__annotations__", {})
            defaults = [namespace[field] for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
            for key, value in namespace.items():
                if key not in fields:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Record):
        """A stand-in for typing's: see `_Record`."""
