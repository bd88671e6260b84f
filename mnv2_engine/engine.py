"""The engine: a model file, its plan and an executor, behind four calls.

Loading maps the file, makes the plan and touches no weight. Nothing here imports numpy or Pillow
until a caller hands over something that needs them or asks for an array.
"""

from __future__ import annotations

import os
from time import perf_counter

from .accounting import Account, Stats
from .answers import DEFAULT_THRESHOLD, check_answers, refuse_detector
from .answers import top_k as answers
from .errors import InputError, MnvError, ModelFileError, UnsupportedError
from .executors import FASTEST, Order, backends, natural_precision
from .images.limits import DEFAULT, Decoding
from .images.pixels import Batch, batch_of, images_in, pixels_of, plain_pixels, whole_batch
from .model.modelfile import ModelFile, open_model
from .untyped import TYPE_CHECKING, Any, Callable, Iterable, NamedTuple, Sequence, TypeVar, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .detect.found import Detection
    from .executors.executor import Executor
    from .images.photo_plan import PhotoPlan
    from .info import Info
    from .model.input_spec import InputSpec
    from .network.layer import Network
    from .network.parts import Parts
    from .plan.steps import Plan

T = TypeVar("T")

MOST_TOGETHER = 256  # images of a batch


class Prediction(NamedTuple):
    """One class and how probable the network finds it."""

    label: str  # the model file's, or "class <index>" where it has none
    index: int  # type: ignore[assignment]  # hides tuple.index, which no one wants here
    probability: float  # softmax of the logits, 0 to 1


class Engine:
    """A loaded network. Make one with `Engine.load`; it may be called from many threads at once.

    One call at a time uses exactly `memory_plan().arena_bytes`; calls that overlap take an arena
    each for as long as they overlap.
    """

    def __init__(
        self,
        model: ModelFile,
        threads: int | str = 1,
        backend: str | None = None,
        precision: str | None = None,
        decoding: Decoding = DEFAULT,
        batch: int = 1,
    ) -> None:
        """An engine for an open model file; see `load`."""
        self._decoding = decoding
        asked = backends.requested(backend)
        chosen = checked_precision(model, precision, asked)
        self._warned = False  # of floats that are not normalised
        self._options = (threads, backend, precision)  # as they were asked for
        self._batch = checked_batch(batch)
        self._outline = model.outline
        found = backends.found(asked, chosen, self._outline.answer == "boxes")
        count = _thread_count(threads, asked, found)
        cpu = backends.cpu_family(found)
        self._order = Order(count, chosen, model.dtype, cpu, self._batch)
        # The C core plans for itself; in Python that waits until someone asks to see it.
        self._planned = None if found == "c" else self._order.plan(model.network)
        self._model: ModelFile | None = model
        self._layers: Callable[[], Network] | None = None  # of a closed one
        self._backend = found
        executor = backends.executor(found, model, self._planned or self._order)
        self._executor: Executor | None = executor
        planned: Any = self._planned or executor
        self._arena_bytes: int = planned.arena_bytes * self._batch
        self._account = Account(self._arena_bytes)
        self._tapped: _Tapping | None = None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        threads: int | str = 1,
        backend: str | None = None,
        precision: str | None = None,
        *,
        private: bool = False,
        max_pixels: int | None = None,
        formats: Iterable[str] | None = None,
        decode: str | None = None,
        batch: int = 1,
    ) -> Engine:
        """Loads a model file that `mnv2 convert` wrote.

        `threads` share the work of one image: 1 to 64, or ``auto``, the CPUs that this process
        may use (its affinity mask, cut by its cgroup's quota). The answers are the same, to the
        bit, for any number; the arena grows, as each thread has scratch of its own. They start
        with the first call, sleep between calls, and a forked process starts its own. While
        several calls overlap, one has the threads and each of the others does with its own.

        `backend` is ``c`` (the fused kernels), ``numba`` (the same in Numba, on one thread),
        ``numpy`` (the slow reference, which needs as much memory as an unfused run) or ``auto``:
        the first of them that is there, with a warning where that is not c (docs/backends.md). By
        default the environment variable MNV2_BACKEND says it, else ``auto``.

        `precision` is by default the model file's own, float32 for weights of 32 and of 16 bits.
        ``bfloat16`` asks for arithmetic in bfloat16 (docs/bfloat16.md), which needs a file of
        bfloat16 weights and a CPU with AVX512_BF16; it is faster, needs less memory, and keeps
        about three digits of an activation. ``fastest`` takes it where the file, the backend and
        the CPU allow, and a CPU of this make is not slower in it than in float32; else the file's
        own.

        `private` copies the weights instead of mapping them, and checks every checksum: for files
        that others may overwrite in place. Each process then has its own copy, unless it is forked
        from one that has loaded. Without it, a call raises ModelFileError once the file was
        overwritten or shortened (docs/model-file.md).

        `max_pixels` (64 million) and `formats` (JPEG, PNG, WEBP, GIF, BMP, TIFF, MPO) limit encoded
        images, whose headers are looked at before a pixel is decoded. ``decode="reduced"`` decodes
        JPEGs at the least of 1/2, 1/4 and 1/8 that is still twice what the network needs: faster,
        and not quite the same answers (docs/photographs.md).

        `batch` images of an array, 1 to 256, run together: each step runs over all of them before
        the next, so that weights are read once for all. The answers are the same, each image takes
        an arena, and int8 and bfloat16 are 7 to 10 % faster (docs/precision.md). It is for the
        backend ``c``, and for pixels of the network's own size in one array, (N, H, W, 3), given
        to `logits`, `predict` and `embed`; other images run one by one.

        Raises ModelFileError for a file that is not a sound model file, UnsupportedError for one
        that this version cannot run, or not in that precision or backend, MissingExtraError for
        the backend numba where Numba is absent, InputError for a bad argument.
        """
        asked = backends.requested(backend)
        _thread_count(threads, asked, asked)
        decoding = DEFAULT.but(max_pixels, formats, decode)
        checked_batch(batch)
        model = _opened(path, private, asked)
        return cls(model, threads, backend, precision, decoding, batch)

    @overload
    def predict(
        self, source: str | os.PathLike[str] | bytes | bytearray, top_k: int = 5
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, source: list[Any] | tuple[Any, ...], top_k: int = 5
    ) -> list[list[Prediction]]: ...

    @overload
    def predict(
        self,
        source: Any,
        top_k: int = 5,
        *,
        errors: str = "raise",
        max_pixels: int | None = None,
        formats: Iterable[str] | None = None,
        decode: str | None = None,
    ) -> Any: ...

    def predict(
        self,
        source: Any,
        top_k: int = 5,
        *,
        errors: str = "raise",
        max_pixels: int | None = None,
        formats: Iterable[str] | None = None,
        decode: str | None = None,
    ) -> Any:
        """The `top_k` most probable classes of an image, most probable first: [Prediction].

        By softmax, or, where the network ends in sigmoids, each class by itself; one sigmoid alone
        is the probability of class 1, and 1 less it that of class 0.

        `source` is a path, bytes (an encoded image), a PIL.Image, or uint8 RGB pixels of shape
        (H, W, 3) in any array or buffer. Pixels of the network's own size are used as they are;
        other images are resized and cropped as the model file says. A list or tuple of those, or
        an (N, H, W, 3) array, gives a list of such lists, in the memory of one image. Raises
        InputError for anything that is not such an image; with ``errors="return"`` the InputError
        of an image stands in the list in its answer's place, and the others are answered.
        `max_pixels`, `formats` and `decode` are for this call what they are for `load`. Raises
        UnsupportedError for a network without classes: `logits` or `embed` gives what it answers.
        """
        executor, model = self._open()
        count = _at_least_one("top_k", top_k)
        check_errors(errors)
        decoding = self._decoding.but(max_pixels, formats, decode)
        network = self._outline
        check_answers(network)
        rows = self._together(source, executor, model, "logits", network.classes)
        if rows is not None:
            return [
                [
                    Prediction(_label(model, index), index, probability)
                    for index, probability in answers(network, executor, row, count)
                ]
                for row in rows
            ]
        logits = executor.new_floats(network.classes)

        def answer(image: Any, plain: Any = None) -> list[Prediction]:
            started = perf_counter()
            pixels = plain or self._pixels(image, executor, model, decoding)
            self._run(executor, model, pixels, False, started, logits)
            return [
                Prediction(_label(model, index), index, probability)
                for index, probability in answers(network, executor, logits, count)
            ]

        plain = plain_pixels(source, network.resolution)
        images = None if plain else images_in(source)
        if images is None:
            return answer(source, plain)
        return _each_or_error(answer, images) if errors == "return" else _each(answer, images)

    @overload
    def detect(
        self,
        source: str | os.PathLike[str] | bytes | bytearray,
        threshold: float = DEFAULT_THRESHOLD,
        max_objects: int | None = None,
    ) -> list[Detection]: ...

    @overload
    def detect(
        self,
        source: list[Any] | tuple[Any, ...],
        threshold: float = DEFAULT_THRESHOLD,
        max_objects: int | None = None,
    ) -> list[list[Detection]]: ...

    @overload
    def detect(
        self,
        source: Any,
        threshold: float = DEFAULT_THRESHOLD,
        max_objects: int | None = None,
        *,
        errors: str = "raise",
        max_pixels: int | None = None,
        formats: Iterable[str] | None = None,
        decode: str | None = None,
    ) -> Any: ...

    def detect(
        self,
        source: Any,
        threshold: float = DEFAULT_THRESHOLD,
        max_objects: int | None = None,
        *,
        errors: str = "raise",
        max_pixels: int | None = None,
        formats: Iterable[str] | None = None,
        decode: str | None = None,
    ) -> Any:
        """The objects in an image, best first: [Detection(label, index, score, box)].

        A box is (left, top, right, bottom) in pixels of the image that is given, upright if EXIF
        turns it, and lies within it. What scores `threshold` or less is left out, 0 to 1, and what
        the model file's own threshold leaves out; at most `max_objects` are given, by default and
        at most as many as the model file says. `source`, many images, `errors` and the rest are as
        for `predict`. Raises UnsupportedError for a network that is no detector.
        """
        from .detect.answers import Finder, checked_threshold

        executor, model = self._open()
        limit = None if max_objects is None else _at_least_one("max_objects", max_objects)
        finder = Finder(model, checked_threshold(threshold), limit)
        check_errors(errors)
        decoding = self._decoding.but(max_pixels, formats, decode)

        def answer(image: Any) -> list[Detection]:
            started = perf_counter()
            size: list[tuple[int, int]] = []
            pixels = self._pixels(image, executor, model, decoding, size)

            def run(**outputs: Any) -> None:
                self._run(executor, model, pixels, False, started, **outputs)

            return finder.find(run, size[0], lambda index: _label(model, index), executor)

        images = images_in(source)
        if images is None:
            return answer(source)
        return _each_or_error(answer, images) if errors == "return" else _each(answer, images)

    def logits(self, x: Any) -> NDArray[np.float32]:
        """Logits, float32 (N, classes), of images of the network's own size.

        `x` has shape (N, H, W, 3), or (H, W, 3) for one: uint8 RGB pixels, which are normalised
        as the model file says, or float32 that is normalised already (values far outside of what
        pixels become are warned of, once). Raises InputError for
        another shape or dtype and for values that are not finite.
        """
        import numpy as np

        executor, model = self._open()
        network = self._outline
        refuse_detector(network, "logits")
        classes = network.classes
        if not classes:
            check_answers(network)
        pixels = plain_pixels(x, network.resolution) if self._batch == 1 else None
        if pixels is not None:  # which shall cost little beside a small network
            out = np.empty((1, classes), np.float32)
            self._run(executor, model, pixels, False, perf_counter(), out[0])
            return out
        batch = self._given(x, executor, model)
        out = np.empty((len(batch.view), classes), np.float32)
        if self._batch > 1:
            self._run_together(executor, model, batch, "logits", out)
            return out
        if len(out) == 1:
            self._run(executor, model, batch.view, batch.is_float, perf_counter(), out[0])
            return out
        for image, row in zip(batch.images(), out, strict=True):
            self._run(executor, model, image, batch.is_float, perf_counter(), logits=row)
        return out

    def raw_boxes(self, x: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What a detector's heads give, before it becomes objects: boxes (N, anchors, 4), coded
        against the anchors, and scores (N, anchors, classes and background) before sigmoid or
        softmax, float32, as an exported file has them. `x` is as for `logits`.

        Raises UnsupportedError for a network that is no detector.
        """
        import numpy as np

        from .detect.answers import specification
        from .network.box_maps import raw_shapes

        executor, model = self._open()
        specification(model.network)  # raises for a network that finds none
        batch = self._given(x, executor, model)
        count = len(batch.view)
        boxes, scores = (
            np.empty((count, *shape), np.float32) for shape in raw_shapes(model.network)
        )
        for image, codes, row in zip(batch.images(), boxes, scores, strict=True):
            given = {"boxes": codes, "scores": row}
            self._run(executor, model, image, batch.is_float, perf_counter(), **given)
        return boxes, scores

    def _given(self, x: Any, executor: Executor, model: ModelFile) -> Batch:
        """Images of the network's own size, as `logits` takes them."""
        batch = batch_of(x, self._outline.resolution)
        if batch.is_float and (at := executor.first_not_finite(batch.view)) >= 0:
            raise InputError(
                f"value {at} of the input is NaN or infinite: expected finite, normalised float32"
            )
        if batch.is_float and not self._warned:
            import numpy as np

            self._warned = _warn_of_pixels(np.asarray(batch.view), model.input_spec)
        return batch

    def embed(
        self,
        source: Any,
        *,
        max_pixels: int | None = None,
        formats: Iterable[str] | None = None,
        decode: str | None = None,
    ) -> NDArray[np.float32]:
        """Pooled features before the first dense layer, float32 (channels,): 1280 of MobileNetV2 up
        to a width of 1.0. `source` is as for `predict`; many images give (N, channels)."""
        import numpy as np

        executor, model = self._open()
        network = self._outline
        refuse_detector(network, "pooled features")
        decoding = self._decoding.but(max_pixels, formats, decode)
        rows = self._together(source, executor, model, "features", network.features)
        if rows is not None:
            return rows

        def features(image: Any) -> NDArray[np.float32]:
            out = np.empty(network.features, np.float32)
            started = perf_counter()
            pixels = self._pixels(image, executor, model, decoding)
            self._run(executor, model, pixels, False, started, features=out)
            return out

        images = images_in(source)
        if images is None:
            return features(source)
        found = _each(features, images)
        return np.array(found, np.float32).reshape(-1, network.features)

    def features(
        self,
        source: Any,
        at: Sequence[str] | None = None,
        out: Sequence[NDArray[np.float32]] | None = None,
    ) -> list[NDArray[np.float32]]:
        """The thin tensors behind the blocks `at`, float32 (height, width, channels) each.

        `at` names blocks, such as ``block3``, or expand layers, such as ``block13.expand``, whose
        tensors exist nowhere else; by default it is the last block at each of the
        strides 4, 8, 16 and 32. `source` is one image, as for `predict`. `out` are arrays to fill
        instead of fresh ones. They are planned with the rest: `memory_plan(at)` has the bytes.
        Raises InputError for an unknown block or arrays that do not fit.
        """
        import numpy as np

        from .network.blocks import tap_names, tap_order, tap_shapes

        _, model = self._open()
        runner = self._tapping(at)
        wanted = tap_names(runner.parts, at)
        shapes = tap_shapes(runner.parts)
        if out is None:
            out = [np.empty(shapes[name], np.float32) for name in wanted]
        if [each.shape for each in out] != [shapes[name] for name in wanted] or not all(
            each.dtype == np.float32 and each.flags.c_contiguous and each.flags.writeable
            for each in out
        ):
            raise InputError(
                f"out: expected writable C-contiguous float32 arrays of the shapes "
                f"{[shapes[name] for name in wanted]}"
            )
        by_name = dict(zip(wanted, out, strict=True))
        started = perf_counter()
        pixels = self._pixels(source, runner.executor, model, self._decoding)
        names = tap_order(runner.parts, runner.plan.taps, runner.plan.expanded)
        ordered = [by_name[name] for name in names]
        self._run(runner.executor, model, pixels, False, started, maps=ordered)
        return list(out)

    def _tapping(self, at: Sequence[str] | None) -> _Tapping:
        """The plan and the executor for the blocks `at`; the last ones are kept."""
        from .network.blocks import expanded_indices, match, tap_indices

        _, model = self._open()
        parts = match(model.network)
        taps, expanded = tap_indices(parts, at), expanded_indices(parts, at)
        kept = self._tapped
        if kept is None or (kept.plan.taps, kept.plan.expanded) != (taps, expanded):
            from .plan.planner import make_plan

            threads, precision, dtype, *_ = self._order
            backend = "c" if self._backend == "c" else "numpy"
            cpu = backends.cpu_family(backend)
            plan = make_plan(model.network, threads, precision, dtype, taps, expanded, cpu)
            kept = _Tapping(parts, plan, backends.executor(backend, model, plan))
            self._tapped = kept
        return kept

    def memory_plan(self, at: Sequence[str] | None = None) -> Plan:
        """What a prediction needs, step by step, in bytes; `str()` of it is for people. With `at`,
        what `features` needs for those blocks."""
        return self._plan if at is None else self._tapping(at).plan

    @property
    def _plan(self) -> Plan:
        """The plan, as Python makes it, once someone looks at it."""
        if self._planned is None:
            network = self._layers() if self._layers else self._open()[1].network
            plan = self._order.plan(network)
            if plan.run_bytes != self._arena_bytes:
                raise MnvError(
                    f"the C core planned {self._arena_bytes} bytes and Python {plan.run_bytes}: "
                    "they are of different versions; install the package again"
                )
            self._planned = plan
        return self._planned

    def photo_plan(
        self,
        width: int,
        height: int,
        format: str = "jpeg",
        progressive: bool = False,
        *,
        sampling: str = "4:2:0",
        orientation: int = 1,
    ) -> PhotoPlan:
        """What decoding and resizing a photograph of that size takes, in bytes, before it is there.

        `width` and `height` are those of the stored picture, `format` is ``jpeg`` or ``png``,
        `sampling` a JPEG's, `orientation` EXIF's. `mnv2 plan MODEL --photo FILE` plans a file."""
        from .images.photo_plan import plan_of_kind

        _, model = self._open()
        return plan_of_kind(
            width,
            height,
            format,
            progressive,
            sampling,
            orientation,
            model.input_spec,
            self._outline.resolution,
            self._arena_bytes,
            self._decoding,
        )

    @property
    def info(self) -> Info:
        """What the engine is and how it runs; `str()` of it is a table."""
        from .info import Info

        executor, model = self._open()
        return Info(
            executor.backend,
            executor.threads,
            executor.isa,
            model.mapped,
            model.path,
            model.network,
            model.input_spec,
            model.label_count,
            model.dtype,
            self._order.precision,
            dict(model.provenance),
            self._arena_bytes,
            model.weight_bytes,
            model.private,
        )

    def verify(self) -> None:
        """Reads every weight and compares checksums: raises ModelFileError for a file that is
        damaged, was overwritten, or holds NaN or infinity. `mnv2 verify` is the same."""
        self._open()[1].verify()

    def stale(self) -> bool:
        """Whether the path that was loaded now leads to another file, to a changed one, or to
        none: time to load again. The engine goes on with what it has loaded."""
        return self._open()[1].stale()

    @property
    def identity(self) -> str:
        """Equal for model files of equal content; of another file, or of a changed one, another."""
        return self._open()[1].identity

    def reloaded(self) -> Engine:
        """A new engine of what the same path holds now, with the same options."""
        _, model = self._open()
        threads, backend, precision = self._options
        opened = _opened(model.place, model.private, self._backend)
        return Engine(opened, threads, backend, precision, self._decoding, self._batch)

    def stats(self) -> Stats:
        """What this engine has done so far in this process: images, arenas in use now and at
        most, seconds. Works on a closed engine too."""
        return self._account.stats()

    def close(self) -> None:
        """Lets go of the file and the arena; calls that still run in other threads finish first.
        Closing twice is fine; any other call afterwards raises InputError."""
        model = self._model
        if model is not None and self._planned is None:
            try:
                self._layers = model.layers()  # the plan may still be looked at
            except ModelFileError:  # it was overwritten
                self._layers = None
        # Dropped, not unmapped: a call in flight holds references of its own.
        self._executor = self._model = self._tapped = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the path, the options and the file's identity: it loads where it arrives."""
        _, model = self._open()
        model.check()
        options = (*self._options, model.private, self._decoding, self._batch)
        return _unpickled, (model.place, model.identity, *options)

    def __copy__(self) -> Engine:
        """Another engine on the same mapping, with an arena and threads of its own."""
        return Engine(self._open()[1], *self._options, self._decoding, self._batch)

    def __deepcopy__(self, _: object) -> Engine:
        return self.__copy__()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self._executor.backend if self._executor else "closed"
        return f"<Engine {self._outline.name} {state}>"

    def _pixels(
        self,
        image: Any,
        executor: Executor,
        model: ModelFile,
        decoding: Decoding,
        upright: list[tuple[int, int]] | None = None,
    ) -> Any:
        """An image's frame, decoded in the arena's memory where it is an encoded one that fits.
        `upright` receives (width, height) of the image."""
        borrow = getattr(executor, "borrow", None)
        return pixels_of(image, model, self._outline.resolution, decoding, borrow, upright)

    def _together(
        self, source: Any, executor: Executor, model: ModelFile, name: str, width: int
    ) -> NDArray[np.float32] | None:
        """`name` of each image, (N, width), where `source` is an array that runs in batches."""
        if self._batch == 1:
            return None
        whole = whole_batch(source, self._outline.resolution)
        if whole is None:
            return None
        import numpy as np

        out = np.empty((len(whole.view), width), np.float32)
        self._run_together(executor, model, whole, name, out)
        return out

    def _run_together(
        self, executor: Any, model: ModelFile, batch: Batch, name: str, out: NDArray[np.float32]
    ) -> None:
        for images, first in batch.parts(self._batch):
            count = len(images)
            rows = out[first : first + count]
            model.check()
            begun = perf_counter()
            self._account.enter(0.0)
            try:
                executor.run_batch(images, count, batch.is_float, **{name: rows})
            finally:
                self._account.leave(perf_counter() - begun, count)
            model.check()

    def _run(
        self,
        executor: Executor,
        model: ModelFile,
        image: Any,
        is_float: bool,
        started: float,
        logits: Any = None,
        **outputs: Any,
    ) -> None:
        """One image, which became pixels since `started`, with weights that nobody changed before
        or meanwhile."""
        model.check()
        begun = perf_counter()
        self._account.enter(begun - started)
        try:
            executor.run(image, is_float, logits, **outputs)
        finally:
            self._account.leave(perf_counter() - begun)
        model.check()

    def _open(self) -> tuple[Executor, ModelFile]:
        executor, model = self._executor, self._model
        if executor is None or model is None:
            raise InputError("this engine is closed; load the model file again")
        return executor, model


def checked_batch(batch: int) -> int:
    """`batch` if so many images may run together; else raises InputError."""
    count = _at_least_one("batch", batch)
    if count > MOST_TOGETHER:
        raise InputError(f"batch {count}: expected 1 to {MOST_TOGETHER}: each image takes an arena")
    return count


def check_errors(errors: str) -> None:
    """Raise InputError unless `errors` says what becomes of images without an answer."""
    if errors not in ("raise", "return"):
        raise InputError(f"errors {errors!r:.80}: expected 'raise' or 'return'")


def _unpickled(
    path: str,
    identity: str,
    threads: int | str,
    backend: str | None,
    precision: str | None,
    private: bool,
    decoding: Decoding = DEFAULT,
    batch: int = 1,
) -> Engine:
    """The engine of a pickle. Raises ModelFileError where the path holds another model."""
    model = _opened(path, private, backends.requested(backend))
    if model.identity != identity:
        model.close()
        raise ModelFileError(
            f"{path}: holds another model than when this engine was pickled; load it by its path"
        )
    return Engine(model, threads, backend, precision, decoding, batch)


def _opened(path: str | os.PathLike[str], private: bool, backend: str) -> ModelFile:
    """A model file for an engine; who asks for another backend than the C core does without it."""
    return open_model(path, private, by_core=backend in ("auto", "c"))


class _Tapping(NamedTuple):
    """What runs for `Engine.features`."""

    parts: Parts
    plan: Plan
    executor: Executor


def _label(model: ModelFile, index: int) -> str:
    count = model.label_count
    if not count:
        return f"class {index}"
    # One label of one sigmoid is that of class 1.
    if count == 1 and model.outline.answer == "sigmoid":
        return model.label(0) if index else f"not {model.label(0)}"
    return model.label(index)


def _thread_count(threads: int | str, asked: str, found: str) -> int:
    """The number of threads in the backend that was `found` when a caller `asked` for one;
    InputError for one that cannot be."""
    if threads == 1 and threads is not True:  # the common case imports nothing for it
        return 1
    from .executors.cpus import thread_count

    count = thread_count(threads)
    if count == 1 or found in ("c", "auto"):
        return count
    if threads == "auto" or asked == "auto":
        return 1
    raise InputError(f"threads {threads}: the {found} backend has none of its own; use 1")


def checked_precision(model: ModelFile, precision: str | None, backend: str = "auto") -> str:
    """What `model` is computed in by `backend` when a caller asks for `precision`, None being its
    own."""
    own = natural_precision(model.dtype)
    if precision == FASTEST:
        return backends.fastest_precision(backend, model.dtype)
    if precision is None or precision == own:
        return own
    from .plan.shapes import PRECISIONS

    if precision not in PRECISIONS:
        known = ", ".join((*PRECISIONS, FASTEST))
        raise InputError(f"precision {precision!r:.80}: expected one of {known}")
    if precision == model.dtype == "bfloat16":
        return precision
    remedy = "leave it out"
    if precision == "bfloat16":
        remedy += ', or convert the checkpoint again with weights="bfloat16" (--weights bfloat16)'
    raise UnsupportedError(
        f"{model.path}: precision {precision!r} is not for {model.dtype} weights, which are "
        f"computed in {own}; {remedy}"
    )


def _at_least_one(name: str, value: Any) -> int:
    """`value` if it is an integer, NumPy's included, of at least 1."""
    try:
        count = value.__index__()
    except (AttributeError, TypeError):
        count = 0
    if isinstance(value, bool) or count < 1:
        raise InputError(f"{name} {value!r:.80}: expected an integer of at least 1")
    return int(count)


def _warn_of_pixels(values: NDArray[np.float32], spec: InputSpec) -> bool:
    """Warn where floats cannot have been normalised: they reach further beyond the range of a
    normalised picture than that range is wide, as plain pixels of 0 to 255 do."""
    if not values.size:
        return False
    edges = [(end - mean) / std for end in (0, 255) for mean, std in zip(*spec[:2], strict=True)]
    low, high = min(edges), max(edges)
    least, most = float(values.min()), float(values.max())
    if 2 * low - high <= least and most <= 2 * high - low:
        return False
    import warnings

    warnings.warn(
        f"float32 input from {least:g} to {most:g}: expected normalised values, about {low:g} to "
        f"{high:g}; give pixels of 0 to 255 as uint8, and they are normalised here",
        RuntimeWarning,
        stacklevel=4,
    )
    return True


def _each_or_error(answer: Callable[[Any], T], images: Iterable[Any]) -> list[T | InputError]:
    """`answer` of every image, or the error of those that have none."""
    answers: list[T | InputError] = []
    for image in images:
        try:
            answers.append(answer(image))
        except InputError as error:
            answers.append(error)
    return answers


def _each(answer: Callable[[Any], T], images: Iterable[Any]) -> list[T]:
    """`answer` of every image; an error says which of them it was."""
    answers = []
    for i, image in enumerate(images):
        try:
            answers.append(answer(image))
        except InputError as error:
            raise InputError(f"image {i} of the batch: {error}") from error
    return answers
