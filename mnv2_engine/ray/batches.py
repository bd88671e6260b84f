"""What Ray's actors call: a batch of photographs becomes a table of answers.

A photograph that cannot be read has nulls and a reason in the column `error`; the others of its
batch are answered, and the job goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..answers import DEFAULT_THRESHOLD, check_answers, refuse_detector
from ..detect.answers import checked_threshold, specification
from ..engine import Engine
from ..errors import InputError, missing_extra
from .memory import remote_args
from .shipping import ShippedModel

if TYPE_CHECKING:
    import pyarrow

    from ..network.layer import Network

# Where photographs are looked for if no column is named: Ray's readers' and WebDataset's names.
COLUMNS = ("bytes", "image", "path", "file", "item", "jpg", "jpeg", "png", "webp")

_engines: dict[tuple[Any, ...], Engine] = {}
_lock = Lock()


class _Batches:
    """What a class of answers has in common: its engine, and the photographs of a batch."""

    def __init__(
        self,
        model: str | ShippedModel,
        column: str | Sequence[str] | None = None,
        *,
        threads: int | str = 1,
        backend: str | None = None,
        precision: str | None = None,
        max_pixels: int | None = None,
        formats: Sequence[str] | None = None,
        decode: str | None = None,
    ) -> None:
        """Loads `model`, a path that each node has or what `ship` made of one, once a process.

        `column` holds the photographs: encoded bytes, paths, or uint8 pixels (H, W, 3). Of several
        columns the first that is not null counts; by default the first of `COLUMNS` that is there.
        The rest is as for `Engine.load`.
        """
        self._arrow = _pyarrow()
        self._columns = (column,) if isinstance(column, str) else column and tuple(column)
        path = model.local() if isinstance(model, ShippedModel) else str(model)
        options = (threads, backend, precision, max_pixels, formats and tuple(formats), decode)
        self._engine = _engine(path, options)
        self.check(self._engine.info.network)

    @staticmethod
    def check(network: Network) -> None:
        """Raise UnsupportedError, naming what to call instead, if there are no such answers."""
        raise NotImplementedError

    @classmethod
    def ray_remote_args(
        cls,
        model: str | ShippedModel,
        *,
        photograph: tuple[int, int] = (8000, 8000),
        **options: Any,
    ) -> dict[str, Any]:
        """What an actor asks Ray for: `num_cpus` and `memory` in bytes, from the model's plan and
        that of decoding a progressive JPEG of the size `photograph`. `options` are `threads`,
        `backend`, `precision` and `decode`, as for the class. Raises UnsupportedError for a model
        that the class cannot use."""
        return remote_args(model, photograph, cls.check, **options)

    def __call__(self, batch: Any) -> pyarrow.Table:
        """The batch, a table or a dict of arrays, without the photographs and with the answers."""
        names, values_of = _opened(self._arrow, batch)
        columns = self._columns_of(names)
        sources = [values_of(name) for name in columns]
        answers: list[Any] = []
        errors: list[str | None] = []
        for alternatives in zip(*sources, strict=True):
            source = next((each for each in alternatives if each is not None), None)
            try:
                if source is None:
                    raise InputError("there is no photograph in this row")
                answers.append(self._answer(source))
                errors.append(None)
            except InputError as error:
                answers.append(None)
                errors.append(str(error))
        added = {**self._added(answers), "error": self._arrow.array(errors, "string")}
        kept = {
            name: values
            for name in names
            if name not in added and _stays(values := values_of(name), name in columns)
        }
        return self._arrow.table({**{name: kept[name].column for name in kept}, **added})

    def _columns_of(self, names: Sequence[str]) -> tuple[str, ...]:
        if self._columns is not None:
            known = tuple(name for name in self._columns if name in names)
            if known:
                return known
            wanted: Sequence[str] = self._columns
        else:
            known = tuple(name for name in COLUMNS if name in names)[:1]
            if known:
                return known
            wanted = COLUMNS
        raise InputError(
            f"no column {' or '.join(wanted)} in a batch with the columns "
            f"{', '.join(names)}; name the photographs' with column="
        )

    def _answer(self, source: Any) -> Any:
        raise NotImplementedError

    def _added(self, answers: Sequence[Any]) -> dict[str, pyarrow.Array]:
        raise NotImplementedError


class Classifier(_Batches):
    """Photographs become their classes: `label`, `index`, `probability` of the most probable one,
    `top_labels`, `top_indices`, `top_probabilities` of the `top_k` most probable, `error`."""

    def __init__(
        self,
        model: str | ShippedModel,
        column: str | Sequence[str] | None = None,
        *,
        top_k: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(model, column, **options)
        self._top_k = top_k

    @staticmethod
    def check(network: Network) -> None:
        """Raise UnsupportedError unless a network names classes."""
        check_answers(network)

    def _answer(self, source: Any) -> Any:
        return self._engine.predict(source, top_k=self._top_k)

    def _added(self, answers: Sequence[Any]) -> dict[str, pyarrow.Array]:
        pa = self._arrow
        text, number, share = pa.string(), pa.int32(), pa.float32()

        def best(field: str, kind: Any) -> Any:
            return pa.array([each and getattr(each[0], field) for each in answers], kind)

        def all_of(field: str, kind: Any) -> Any:
            listed = [each and [getattr(one, field) for one in each] for each in answers]
            return pa.array(listed, pa.list_(kind))

        return {
            "label": best("label", text),
            "index": best("index", number),
            "probability": best("probability", share),
            "top_labels": all_of("label", text),
            "top_indices": all_of("index", number),
            "top_probabilities": all_of("probability", share),
        }


class Embedder(_Batches):
    """Photographs become their pooled features: `features`, a list of fixed size, and `error`."""

    @staticmethod
    def check(network: Network) -> None:
        """Raise UnsupportedError for a detector."""
        refuse_detector(network, "pooled features")

    def _answer(self, source: Any) -> Any:
        return self._engine.embed(source)

    def _added(self, answers: Sequence[Any]) -> dict[str, pyarrow.Array]:
        import numpy as np

        pa = self._arrow
        size = self._engine.info.network.features
        rows = np.zeros((len(answers), size), np.float32)
        absent = np.array([each is None for each in answers], bool)
        for row, features in zip(rows, answers, strict=True):
            if features is not None:
                row[:] = features
        values = pa.array(rows.reshape(-1))
        return {
            "features": pa.FixedSizeListArray.from_arrays(values, size, mask=pa.array(absent))
            if len(answers)
            else pa.array([], pa.list_(pa.float32(), size))
        }


class Detector(_Batches):
    """Photographs become the objects in them: the lists `label`, `index`, `score` and `box`, best
    first and empty where nothing is found, and `error`. A box is (left, top, right, bottom) in
    pixels of the upright photograph."""

    def __init__(
        self,
        model: str | ShippedModel,
        column: str | Sequence[str] | None = None,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        max_objects: int | None = None,
        **options: Any,
    ) -> None:
        """`threshold` and `max_objects` are as for `Engine.detect`."""
        super().__init__(model, column, **options)
        self._threshold = checked_threshold(threshold)
        self._max_objects = max_objects

    @staticmethod
    def check(network: Network) -> None:
        """Raise UnsupportedError unless a network is a detector."""
        specification(network)

    def _answer(self, source: Any) -> Any:
        return self._engine.detect(source, self._threshold, self._max_objects)

    def _added(self, answers: Sequence[Any]) -> dict[str, pyarrow.Array]:
        pa = self._arrow

        def all_of(field: str, kind: Any) -> Any:
            listed = [
                None if each is None else [getattr(one, field) for one in each] for each in answers
            ]
            return pa.array(listed, pa.list_(kind))

        return {
            "label": all_of("label", pa.string()),
            "index": all_of("index", pa.int32()),
            "score": all_of("score", pa.float32()),
            "box": all_of("box", pa.list_(pa.float32(), 4)),
        }


def _engine(path: str, options: tuple[Any, ...]) -> Engine:
    """One engine a process for the same file and options, however many ask for it."""
    threads, backend, precision, max_pixels, formats, decode = options
    with _lock:
        found = _engines.get((path, options))
        if found is None or found.stale():
            found = Engine.load(
                path,
                threads,
                backend,
                precision,
                max_pixels=max_pixels,
                formats=formats,
                decode=decode,
            )
            _engines[path, options] = found
        return found


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise missing_extra("pyarrow", "ray", "a table of answers") from None
    return pyarrow


def _opened(pa: Any, batch: Any) -> tuple[list[str], Callable[[str], _Column]]:
    """The names of a batch's columns, and what gives one. Ray gives tables, dicts of NumPy arrays
    or data frames, as `batch_format` says."""
    if isinstance(batch, pa.Table):
        return batch.column_names, lambda name: _ArrowColumn(pa, batch.column(name))
    return list(batch.keys()), lambda name: _ArrayColumn(pa, batch[name])


class _Column:
    """One column: an iterator of photographs, and an Arrow array."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    @property
    def column(self) -> Any:
        raise NotImplementedError

    @property
    def is_text(self) -> bool:
        raise NotImplementedError


class _ArrowColumn(_Column):
    def __init__(self, pa: Any, values: Any) -> None:
        self._types, self._values = pa.types, values

    def __iter__(self) -> Iterator[Any]:
        kind = self._values.type
        is_bytes = self._types.is_binary(kind) or self._types.is_large_binary(kind)
        for value in self._values:
            if is_bytes:  # without a copy of them
                buffer = value.as_buffer()
                yield None if buffer is None else memoryview(buffer)
            else:
                yield value.as_py()

    @property
    def column(self) -> Any:
        return self._values

    @property
    def is_text(self) -> bool:
        kind = self._values.type
        return bool(self._types.is_string(kind) or self._types.is_large_string(kind))


class _ArrayColumn(_Column):
    def __init__(self, pa: Any, values: Any) -> None:
        self._pa, self._values = pa, values

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            yield None if isinstance(value, float) and value != value else value

    @property
    def column(self) -> Any:
        return self._pa.array(list(self))

    @property
    def is_text(self) -> bool:
        return any(isinstance(each, str) for each in self)


def _stays(values: _Column, is_photograph: bool) -> bool:
    """Paths stay beside the answers, photographs do not."""
    return not is_photograph or values.is_text
