"""Runs a plan in the C core: one call a prediction, the interpreter lock released, no numpy.

The executor keeps one arena for the next call; concurrent calls get one each and give theirs
back to the system when they end. An arena is private memory, so a forked child writes its own copy.
One call at a time has the threads of the pool; those that overlap with it each do with their own.
"""

from __future__ import annotations

import os

from ..errors import InputError, MnvError, UnsupportedError
from ..model.modelfile import ModelFile
from ..model.open_file import private_memory
from ..untyped import TYPE_CHECKING, Any, Callable
from . import Order

if TYPE_CHECKING:
    from ..model import Outline
    from ..network.detection import Detection
    from ..network.layer import Network
    from ..plan.steps import Plan
    from .native_objects import FoundObject, Wanted
    from .pool import Pool

    Arena = tuple[Any, Any]  # memory, and the same as the C core takes it

ISA_VARIABLE = "MNV2_ISA"


class NativeExecutor:
    """A plan and a model file, ready for the C core; or an order, by which the C core plans the
    file's network.

    `isa` names an instruction set (``avx512``, ``avx2``, ``baseline``, ...); by default the
    environment variable MNV2_ISA decides, else the best that this CPU has for the plan's precision.
    Raises InputError for an unknown name, UnsupportedError for one that this CPU or this build does
    not have, or that does not compute in that precision.
    """

    backend = "c"

    def __init__(self, model: ModelFile, plan: Plan | Order, isa: str | None = None) -> None:
        from .. import _core

        network: Outline | Network = model.outline if isinstance(plan, Order) else plan.network
        self._is_detector = network.answer == "boxes"
        if self._is_detector and plan.batch > 1:
            raise UnsupportedError("a detector runs one image at a time; leave the batch out")
        self._ffi: Any = _core.ffi
        self._lib: Any = _core.lib
        self._classes, self._name = network.classes, network.name
        self._arenas: list[Arena] = []
        self._crowded = -1.0  # the highest threshold above which there were too many candidates
        self._weights = self._ffi.from_buffer(model.buffer)
        self._plan, self._kept = self._planned(model, plan)
        self._precision = int(self._plan.precision)
        self._isa = _choose_isa(isa, plan.precision, self._precision)
        self._arena_bytes, self._batch = int(self._plan.arena_bytes), plan.batch
        self._run_bytes = self._batch * self._arena_bytes
        self._check(self._plan)
        self._pool: Pool | None = None  # one thread needs none
        if plan.threads > 1:
            from .pool import Pool

            self._pool = Pool(self._ffi, self._lib, plan.threads, (self._plan, self._kept))

    def _planned(self, model: ModelFile, plan: Plan | Order) -> tuple[Any, Any]:
        """A `mnv2_plan *`, and what it points into."""
        ffi, lib = self._ffi, self._lib
        if not isinstance(plan, Order):
            from .core_plan import core_plan

            return core_plan(ffi, lib, model, plan)
        core = model.core
        if core is None:
            from .core_plan import core_planned

            return core_planned(ffi, lib, model, model.network, plan)
        built, blocks = ffi.new("mnv2_plan *"), ffi.new("mnv2_block[]", core.blocks)
        steps = ffi.new("mnv2_step[]", lib.MNV2_MAX_STEPS)
        status = lib.mnv2_plan_network(
            core.network,
            plan.precision == "bfloat16",
            len(model.buffer),
            plan.threads,
            plan.cpu.encode(),
            built,
            blocks,
            steps,
        )
        if status != lib.MNV2_OK:
            raise UnsupportedError(f"the C core does not plan {self._name}: it is too large")
        return built, (core, blocks, steps)

    def _check(self, built: Any) -> None:
        why = self._ffi.new("const char **")
        if self._lib.mnv2_check_plan(self._isa, built, why) != self._lib.MNV2_OK:
            sentence = self._ffi.string(why[0]).decode()
            raise MnvError(f"the C core refuses the plan of {self._name}: {sentence}")

    @property
    def threads(self) -> int:
        """Threads that share the work of one image."""
        return int(self._plan.threads)

    @property
    def arena_bytes(self) -> int:
        """What one image needs."""
        return self._arena_bytes

    @property
    def isa(self) -> str:
        """Name of the instruction set in use."""
        return str(self._ffi.string(self._lib.mnv2_isa_name(self._isa)).decode())

    @property
    def is_slow(self) -> bool:
        """Whether this make of CPU computes faster in float32 than in the plan's precision."""
        return bool(self._lib.mnv2_isa_slow(self._isa, self._precision))

    def run(
        self,
        image: Any,
        is_float: bool,
        logits: Any = None,
        features: Any = None,
        maps: Any = None,
        boxes: Any = None,
        scores: Any = None,
        wanted: Wanted | None = None,
    ) -> None:
        """Runs one image.

        `image` is a contiguous buffer of the network's own size, (H, W, 3), uint8 pixels or
        (`is_float`) normalised float32; `logits` and `features` are writable float32 buffers of
        `classes` and `features` values, or None; `maps` holds one of (height, width, channels) for
        each tap of the plan, or is None. A detector fills `boxes` and `scores` instead, rows of
        anchors, where they are given; or it finds what is `wanted`.
        """
        if wanted is not None:
            from .native_objects import find

            find(self, image, is_float, wanted)
            return
        ffi = self._ffi
        taps = [self.floats(each) for each in maps] if maps else None
        first, second = (boxes, scores) if self._is_detector else (features, logits)
        self._call(
            self._lib.mnv2_run_detector if self._is_detector else self._lib.mnv2_run,
            image,
            is_float,
            ffi.NULL if first is None else self.floats(first),
            ffi.NULL if second is None else self.floats(second),
            ffi.new("float *[]", taps) if taps else ffi.NULL,
        )

    def _call(self, function: Any, images: Any, *more: Any, count: tuple[int, ...] = ()) -> None:
        """Calls a function of the C core that runs a plan, in an arena that is free. `count` is of
        the images where the function takes several."""
        arena = self._take()
        pixels, weights = self._ffi.from_buffer(images), self._weights
        pool = self._pool.handle() if self._pool else self._ffi.NULL
        status = function(self._isa, self._plan, pool, weights, arena[1], *count, pixels, *more)
        self._give(arena)
        if status != self._lib.MNV2_OK:
            raise MnvError(f"the C core refused the plan of {self._name} (code {status})")

    def run_batch(
        self, images: Any, count: int, is_float: bool, logits: Any = None, features: Any = None
    ) -> None:
        """Runs `count` images, at most the plan's batch, step by step over all of them: the same
        answers. `images`, `logits` and `features` are as for `run`, one image behind the other."""
        given = (
            self._ffi.NULL if each is None else self.floats(each) for each in (features, logits)
        )
        self._call(self._lib.mnv2_run_batch, images, is_float, *given, count=(count,))

    def borrow(self, size: int) -> Borrowed:
        """`size` bytes of writable memory, page-aligned, for what comes before a run: the arena's
        where that is large enough, as a photograph is pixels before the run begins."""
        if size > self._run_bytes:
            return Borrowed(private_memory(size), None)
        arena = self._take()
        return Borrowed(arena[0], lambda _: self._give(arena))

    def _take(self) -> Arena:
        try:
            return self._arenas.pop()
        except IndexError:
            memory = private_memory(self._run_bytes)
            return memory, self._ffi.from_buffer("char[]", memory, require_writable=True)

    def _give(self, arena: Arena) -> None:
        self._arenas.append(arena)
        while len(self._arenas) > 1:  # of calls that overlapped; one is kept
            try:
                memory, start = self._arenas.pop()
            except IndexError:  # another thread was faster
                break
            self._ffi.release(start)
            memory.close()

    def floats(self, buffer: Any) -> Any:
        """A writable buffer as the C core's `float *`, not copied."""
        if isinstance(buffer, self._ffi.CData):
            return buffer
        return self._ffi.from_buffer("float[]", buffer, require_writable=True)

    def new_floats(self, count: int) -> Any:
        """A fresh array of `count` floats, a buffer without numpy."""
        return self._ffi.new("float[]", count)

    def objects(self, how: Detection, anchors: Any, boxes: Any, scores: Any) -> list[FoundObject]:
        """(anchor, class, score, (top, left, bottom, right)) of what a run left in `boxes` and
        `scores`, whose values become shares; as mnv2_engine.detect defines it, best first."""
        from .native_objects import objects_of

        return objects_of(self, how, anchors, boxes, scores)

    def wanting(self, how: Detection, anchors: Any) -> Wanted:
        """What `run` takes to find objects, of a detector's array of `anchors`."""
        from .native_objects import Wanted

        return Wanted(how, anchors)

    def first_not_finite(self, values: Any) -> int:
        """Index of the first value of a float32 buffer that is not finite, or -1."""
        with self._ffi.from_buffer("float[]", values) as x:
            return int(self._lib.mnv2_first_not_finite(x, len(x)))

    def top_k(self, logits: Any, k: int) -> list[tuple[int, float]]:
        """(index, softmax probability) of the `k` largest logits, largest first."""
        classes = self._classes
        k = min(k, classes)
        indices = self._ffi.new("int32_t[]", k)
        probabilities = self._ffi.new("double[]", k)
        self._lib.mnv2_top_k(self.floats(logits), classes, k, indices, probabilities)
        return [(indices[i], probabilities[i]) for i in range(k)]


class Borrowed:
    """Memory for a `with` statement; contextlib would take a cold start a millisecond."""

    def __init__(self, memory: Any, give: Callable[[Any], None] | None) -> None:
        self._memory, self._give = memory, give  # None: it is let go of

    def __enter__(self) -> Any:
        return self._memory

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._give is None:
            self._memory.close()
        elif kind is None:  # else what failed may still look at it
            self._give(self._memory)


def built_isas() -> dict[str, bool]:
    """Every instruction set that this build knows, best first, and whether this CPU has it."""
    from .. import _core

    built = _built_isas(_core.ffi, _core.lib)
    return {name: bool(_core.lib.mnv2_isa_supported(isa)) for name, isa in built.items()}


def isas(precision: str = "float32") -> dict[str, bool]:
    """Every instruction set that has kernels of its own for `precision`, best first, and whether
    this CPU has it."""
    from .. import _core
    from .core_precision import core_precision

    lib = _core.lib
    return {
        name: bool(lib.mnv2_isa_supported(isa))
        for name, isa in _built_isas(_core.ffi, lib).items()
        if lib.mnv2_isa_own(isa, core_precision(lib, precision, precision))
    }


def refused_isas() -> list[str]:
    """The instruction sets that the CPU has and the system refuses this process."""
    from .. import _core

    built = _built_isas(_core.ffi, _core.lib)
    return [name for name, isa in built.items() if _core.lib.mnv2_isa_refused(isa)]


def chosen_isa(precision: str, dtype: str) -> str:
    """Name of the instruction set that computes weights of `dtype` in `precision`; raises as
    NativeExecutor does."""
    from .. import _core
    from .core_precision import core_precision

    isa = _choose_isa(None, precision, core_precision(_core.lib, precision, dtype))
    return str(_core.ffi.string(_core.lib.mnv2_isa_name(isa)).decode())


def cpu_family() -> str:
    """The family of this CPU, as plan/cpu_costs.py names it."""
    from .. import _core

    return str(_core.ffi.string(_core.lib.mnv2_cpu_family()).decode())


_image_isas: dict[str | None, Any] = {}  # chosen: asking the CPU takes as long as a small picture


def image_isa(name: str | None = None) -> Any:
    """The instruction set that resizes: MNV2_ISA's, or the one `name`, or the best; raises as
    NativeExecutor does."""
    wanted = name or os.environ.get(ISA_VARIABLE) or None
    if wanted not in _image_isas:
        from .. import _core

        _image_isas[wanted] = _choose_isa(wanted, "float32", _core.lib.MNV2_FLOAT32)
    return _image_isas[wanted]


def is_fast(precision: str, dtype: str) -> bool:
    """Whether this CPU computes weights of `dtype` in `precision`, and float32 not faster."""
    from .. import _core
    from .core_precision import core_precision

    number = core_precision(_core.lib, precision, dtype)
    try:
        return not _core.lib.mnv2_isa_slow(_choose_isa(None, precision, number), number)
    except UnsupportedError:
        return False


def _choose_isa(name: str | None, precision: str, number: int) -> Any:
    """The instruction set `name`, else MNV2_ISA's, else the best that there is, for `precision`,
    `number` in the C core."""
    from .. import _core

    lib, built = _core.lib, _built_isas(_core.ffi, _core.lib)
    name = name or os.environ.get(ISA_VARIABLE) or None
    if name is None:
        for isa in built.values():
            # In this order: to ask for AMX is to get it, for the whole process.
            if lib.mnv2_isa_own(isa, number) and lib.mnv2_isa_supported(isa):
                return isa
        capable = [n for n, isa in built.items() if lib.mnv2_isa_own(isa, number)]
        raise UnsupportedError(
            f"precision {precision!r}: this CPU has none of the instruction sets that compute "
            f"in it ({', '.join(capable) or 'this build has none'}); leave the precision out"
        )
    if name not in built:
        raise InputError(
            f"{ISA_VARIABLE}={name!r:.80}: this build has the instruction sets "
            f"{', '.join(built)}; unset it to take the best that the CPU has"
        )
    if not lib.mnv2_isa_supported(built[name]):
        there = [n for n, isa in built.items() if lib.mnv2_isa_supported(isa)]
        raise UnsupportedError(
            f"{ISA_VARIABLE}={name!r}: this CPU, or its operating system, does not have it; of "
            f"those built it has {', '.join(there)}; unset it to take the best"
        )
    if not lib.mnv2_isa_computes(built[name], number):
        raise UnsupportedError(
            f"{ISA_VARIABLE}={name!r}: it does not compute in {precision}; unset it, or leave "
            "the precision out"
        )
    return built[name]


_built: dict[str, Any] = {}


def _built_isas(ffi: Any, lib: Any) -> dict[str, Any]:
    if not _built:
        found: dict[str, Any] = {}
        while isa := lib.mnv2_isa_at(len(found)):
            found[ffi.string(lib.mnv2_isa_name(isa)).decode()] = isa
        _built.update(found)
    return _built
