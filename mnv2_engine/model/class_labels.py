"""The names of a network's classes, as a model file has them."""

from __future__ import annotations

from ..untyped import Iterator, Sequence, overload


class Labels(Sequence[str]):
    """Class names, in few texts: a process keeps the letters of a thousand, 25 KiB, not as many
    Python strings, which take 100. Equal to any sequence of the same names."""

    GROUP = 32  # names of a text, one a line

    def __init__(self, names: Sequence[str]) -> None:
        self._count = len(names)
        starts = range(0, len(names), self.GROUP)
        self._texts = tuple("\n".join(names[start : start + self.GROUP]) for start in starts)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        at, line = divmod(range(self._count)[index], self.GROUP)
        return self._texts[at].split("\n")[line]

    def __iter__(self) -> Iterator[str]:
        return (name for text in self._texts for name in text.split("\n"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Labels({list(self)!r})"
