"""Named tuples without `typing`, and JSON without `json`: as the real ones."""

from __future__ import annotations

import json
import pickle
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_engine.model.plain_json import parse
from mnv2_engine.untyped import NamedTuple


class Ours(NamedTuple):
    """A record."""

    name: str
    sizes: tuple[int, int]
    count: int = 3
    note: str | None = None

    @property
    def doubled(self) -> int:
        """Twice."""
        return self.count * 2

    def __str__(self) -> str:
        return self.name


class Theirs(typing.NamedTuple):
    """A record."""

    name: str
    sizes: tuple[int, int]
    count: int = 3
    note: str | None = None

    @property
    def doubled(self) -> int:
        """Twice."""
        return self.count * 2

    def __str__(self) -> str:
        return self.name


class Few(NamedTuple):
    a: int
    b: int = 2
    c: int = 3


def test_the_first_instances_are_as_the_others() -> None:
    """The first ones of a class are made by other code."""
    wrong: Any = Few
    for arguments in ((), (1, 2, 3, 4)):
        with pytest.raises(TypeError):
            wrong(*arguments)
    for _ in range(20):
        assert tuple(Few(1)) == (1, 2, 3)
        assert tuple(Few(1, 4)) == (1, 4, 3)
        assert Few(1, 4, 5).c == 5
    assert tuple(Few(1, c=9)) == (1, 2, 9)


def test_a_record_is_a_named_tuple() -> None:
    ours, theirs = Ours("a", (1, 2), note="n"), Theirs("a", (1, 2), note="n")
    assert tuple(ours) == tuple(theirs) == ("a", (1, 2), 3, "n")
    assert ours.doubled == 6
    assert str(ours) == "a"
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert ours._asdict() == theirs._asdict()
    assert ours._replace(count=4).doubled == 8
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert Ours._fields == Theirs._fields
    assert Ours._field_defaults == Theirs._field_defaults
    assert (Ours.__doc__, Ours.__module__, Ours.__qualname__) == ("A record.", __name__, "Ours")
    assert Ours.__annotations__.keys() == Theirs.__annotations__.keys()
    assert Ours.__bases__ == Theirs.__bases__ == (tuple,)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'sizes'"):
        Ours("a")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        ours.count = 5  # type: ignore[misc]


def test_a_record_refuses_what_a_named_tuple_refuses() -> None:
    ours, theirs = Ours("a", (1, 2)), Theirs("a", (1, 2))
    for record in (ours, theirs):
        with pytest.raises(ValueError, match=r"unexpected field names: \['colour'\]"):
            record._replace(colour=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="xpected 4 arguments, got 1"):
            type(record)._make(["a"])
        with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
            type(record)("a", (1, 2), colour=1)  # type: ignore[call-arg]
    assert Ours._make(["a", (1, 2), 4, None]) == Theirs("a", (1, 2), 4) == ours._replace(count=4)


def test_a_class_of_a_record_makes_its_own_instances() -> None:
    class Narrower(Ours):
        pass

    first = Narrower("a", (1, 2))  # before any of Ours in a fresh process: see _first
    assert type(first) is Narrower
    assert type(Ours("b", (1, 2))) is Ours
    match first:
        case Narrower(name, sizes):
            assert (name, sizes) == ("a", (1, 2))


def answers(text: str) -> list[Any]:
    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no number")

    found: list[Any] = []
    for way in (
        lambda: parse(text, dict, refuse),
        lambda: json.loads(text, object_pairs_hook=dict, parse_constant=refuse),
    ):
        try:
            found.append(way())
        except ValueError as error:
            found.append((type(error), str(error)))
    return found


BROKEN = '{"a": 1,', '{"a":', '{"a": 1} x', '{"a": NaN}', "{", "", "[1]", ' {"b": 2} ', "\ufeff{}"


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_object_has_the_errors_of_json(text: str) -> None:
    ours, theirs = answers(text)
    assert ours == theirs


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), values), st.booleans())
def test_objects_are_those_of_json(value: dict[str, Any], is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii)
    ours, theirs = answers(text)
    assert ours == theirs == json.loads(text)
