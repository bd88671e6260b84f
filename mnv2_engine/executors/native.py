"""Runs a plan in the C core: one call a prediction, the interpreter lock released, no numpy.

The executor keeps one arena for the next call; concurrent calls get one each and give theirs
back to the system when they end. An arena is private memory, so a forked child writes its own copy.
One call at a time has the threads of the pool; those that overlap with it each do with their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError, MnvError, UnsupportedError
from ..model.input_spec import InputSpec
from ..model.modelfile import ModelFile
from ..network.blocks import match
from ..plan.steps import Plan, Step
from ..untyped import TYPE_CHECKING, Any
from .memory import private_memory
from .pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..network.blocks import Block, Parts
    from ..network.layer import Layer
    from ..network.quantization import Quantization

    Places = Callable[[Layer | None], tuple[int, int]]

ISA_VARIABLE = "MNV2_ISA"


class NativeExecutor:
    """A plan and a model file, ready for the C core.

    `isa` names an instruction set (``avx512``, ``avx2``, ``baseline``, ...); by default the
    environment variable MNV2_ISA decides, else the best that this CPU has for the plan's precision.
    Raises InputError for an unknown name, UnsupportedError for one that this CPU or this build does
    not have, or that does not compute in that precision.
    """

    backend = "c"

    def __init__(self, model: ModelFile, plan: Plan, isa: str | None = None) -> None:
        from .. import _core

        self._ffi: Any = _core.ffi
        self._lib: Any = _core.lib
        self._precision = _precision(self._lib, plan.precision, plan.dtype)
        self._isa = _choose_isa(isa, plan.precision, self._precision)
        self._network = plan.network
        self._arena_bytes = plan.arena_bytes
        self._arenas: list[Any] = []
        self._weights = self._ffi.from_buffer(model.buffer)
        self._kept: list[Any] = []  # what the plan structure points into
        self._plan = self._build(model, plan)
        self._pool = Pool(self._ffi, self._lib, plan.threads, (self._plan, self._kept))

    @property
    def threads(self) -> int:
        """Threads that share the work of one image."""
        return int(self._plan.threads)

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
    ) -> None:
        """Runs one image.

        `image` is a contiguous buffer of the network's own size, (H, W, 3), uint8 pixels or
        (`is_float`) normalised float32; `logits` and `features` are writable float32 buffers of
        `classes` and `features` values, or None; `maps` holds one of (height, width, channels) for
        each tap of the plan, or is None.
        """
        ffi = self._ffi
        taps = [self.floats(each) for each in maps or ()]
        arena = self._take()
        with (
            ffi.from_buffer("char[]", arena, require_writable=True) as memory,
            ffi.from_buffer(image) as pixels,
        ):
            status = self._lib.mnv2_run(
                self._isa,
                self._plan,
                self._pool.handle(),
                self._weights,
                memory,
                pixels,
                is_float,
                ffi.NULL if features is None else self.floats(features),
                ffi.NULL if logits is None else self.floats(logits),
                ffi.new("float *[]", taps) if taps else ffi.NULL,
            )
        self._give(arena)
        if status != self._lib.MNV2_OK:
            raise MnvError(f"the C core refused the plan of {self._network.name} (code {status})")

    @contextmanager
    def borrow(self, size: int) -> Iterator[Any]:
        """`size` bytes of writable memory, page-aligned, for what comes before a run: the arena's
        where that is large enough, as a photograph is pixels before the run begins."""
        if size <= self._arena_bytes:
            arena = self._take()
            yield arena
            self._give(arena)
            return
        memory = private_memory(size)
        try:
            yield memory
        finally:
            memory.close()

    def _take(self) -> Any:
        try:
            return self._arenas.pop()
        except IndexError:
            return private_memory(self._arena_bytes)

    def _give(self, arena: Any) -> None:
        self._arenas.append(arena)
        while len(self._arenas) > 1:  # of calls that overlapped; one is kept
            try:
                self._arenas.pop().close()
            except IndexError:  # another thread was faster
                break

    def floats(self, buffer: Any) -> Any:
        """A writable buffer as the C core's `float *`, not copied."""
        if isinstance(buffer, self._ffi.CData):
            return buffer
        return self._ffi.from_buffer("float[]", buffer, require_writable=True)

    def new_floats(self, count: int) -> Any:
        """A fresh array of `count` floats, a buffer without numpy."""
        return self._ffi.new("float[]", count)

    def first_not_finite(self, values: Any) -> int:
        """Index of the first value of a float32 buffer that is not finite, or -1."""
        with self._ffi.from_buffer("float[]", values) as x:
            return int(self._lib.mnv2_first_not_finite(x, len(x)))

    def top_k(self, logits: Any, k: int) -> list[tuple[int, float]]:
        """(index, softmax probability) of the `k` largest logits, largest first."""
        classes = self._network.classes
        k = min(k, classes)
        indices = self._ffi.new("int32_t[]", k)
        probabilities = self._ffi.new("double[]", k)
        self._lib.mnv2_top_k(self.floats(logits), classes, k, indices, probabilities)
        return [(indices[i], probabilities[i]) for i in range(k)]

    def _build(self, model: ModelFile, plan: Plan) -> Any:
        parts = match(plan.network)
        places = _places(model)
        built = self._ffi.new("mnv2_plan *")

        def table(kind: str, count: int) -> Any:
            self._kept.append(self._ffi.new(f"mnv2_{kind}[]", count))
            return self._kept[-1] if count else self._ffi.NULL

        blocks = built.blocks = table("block", len(parts.blocks))
        built.block_count = len(parts.blocks)
        convs = built.convs = table("conv", len(parts.convs))
        built.conv_count = len(parts.convs)
        dense = built.dense = table("dense", len(parts.dense))
        built.dense_count = len(parts.dense)
        taps = built.taps = table("tap", len(plan.taps))
        built.tap_count = len(plan.taps)
        steps = built.steps = table("step", len(plan.steps))
        built.step_count = len(plan.steps)
        built.precision = self._precision
        built.threads = plan.threads
        built.arena_bytes, built.weight_bytes = plan.arena_bytes, len(self._weights)
        self._build_stem(built.stem, parts.stem, model.input_spec, places)
        for i, block in enumerate(parts.blocks):
            self._build_block(blocks[i], block, places)
        for i, layer in enumerate(parts.convs):
            self._build_conv(convs[i], layer, places)
        self._build_head(built.head, parts, places)
        for i, layer in enumerate(parts.dense):
            dense[i].inputs, dense[i].outputs = layer.in_channels, layer.out_channels
            dense[i].activation = self._activation(layer)
            dense[i].weight, dense[i].bias = places(layer)
        for i, index in enumerate(plan.taps):
            _build_tap(taps[i], parts.blocks[index].project, model)
        for i, planned in enumerate(plan.steps):
            self._build_step(planned, steps[i], blocks)
        if model.quantization is not None:
            _build_quantization(built, parts, model.quantization, model.input_spec)
        self._check(built)
        return built

    def _check(self, built: Any) -> None:
        why = self._ffi.new("const char **")
        if self._lib.mnv2_check_plan(self._isa, built, why) != self._lib.MNV2_OK:
            sentence = self._ffi.string(why[0]).decode()
            raise MnvError(f"the C core refuses the plan of {self._network.name}: {sentence}")

    def _activation(self, layer: Layer) -> int:
        return int(getattr(self._lib, f"MNV2_{layer.activation.upper()}"))

    def _build_stem(self, stem: Any, layer: Layer, spec: InputSpec, places: Places) -> None:
        stem.in_height, stem.in_width = layer.in_size
        stem.out_height, stem.out_width = layer.out_size
        stem.channels = layer.out_channels
        stem.pad_top, stem.pad_left = layer.pads[:2]
        stem.scale, stem.shift = _normalisation(spec)
        stem.activation = self._activation(layer)
        stem.weight, stem.bias = places(layer)

    def _build_block(self, block: Any, spec: Block, places: Places) -> None:
        layer = spec.depthwise
        block.in_height, block.in_width = layer.in_size
        block.out_height, block.out_width = layer.out_size
        block.in_channels, block.hidden = spec.in_channels, spec.hidden
        block.out_channels, block.residual = spec.out_channels, spec.residual
        block.kernel, block.stride = layer.kernel, layer.stride
        block.pad_top, block.pad_left = layer.pads[:2]
        if spec.expand is not None:
            block.expand_activation = self._activation(spec.expand)
        block.depthwise_activation = self._activation(layer)
        block.project_activation = self._activation(spec.project)
        block.expand_weight, block.expand_bias = places(spec.expand)
        block.depthwise_weight, block.depthwise_bias = places(layer)
        block.project_weight, block.project_bias = places(spec.project)

    def _build_conv(self, conv: Any, layer: Layer, places: Places) -> None:
        conv.in_height, conv.in_width = layer.in_size
        conv.out_height, conv.out_width = layer.out_size
        conv.in_channels, conv.out_channels = layer.in_channels, layer.out_channels
        conv.kernel, conv.stride = layer.kernel, layer.stride
        conv.activation = self._activation(layer)
        conv.weight, conv.bias = places(layer)

    def _build_head(self, head: Any, parts: Parts, places: Places) -> None:
        layer = parts.head or parts.pool
        head.height, head.width = layer.in_size
        head.channels, head.features = layer.in_channels, layer.out_channels
        if parts.head is not None:
            head.activation = self._activation(parts.head)
        head.head_weight, head.head_bias = places(parts.head)

    def _build_step(self, planned: Step, step: Any, blocks: Any) -> None:
        lib = self._lib
        kinds = {
            "rows": lib.MNV2_ROWS,
            "tiles": lib.MNV2_TILES,
            "head": lib.MNV2_HEAD,
            "dense": lib.MNV2_DENSE,
            "layers": lib.MNV2_LAYERS,
            "conv": lib.MNV2_CONV,
            "tap": lib.MNV2_TAP,
        }
        step.kind = kinds[planned.kind]
        step.input = planned.input.offset if planned.input else 0
        step.output = planned.output.offset if planned.output else 0
        step.count = len(planned.blocks)
        step.first = planned.blocks.start if planned.blocks else planned.number
        step.strip, step.tile = planned.strip, planned.tile
        step.thread_bytes = planned.thread_bytes
        step.layers = lib.MNV2_EXPAND | lib.MNV2_DEPTHWISE | lib.MNV2_PROJECT
        for buffer in planned.scratch:
            name, *of_block = reversed(buffer.name.split())
            setattr(blocks[int(of_block[0])] if of_block else step, name, buffer.offset)
            if name == "thin":
                blocks[int(of_block[0])].thin_rows = buffer.shape[0]
            if planned.kind in ("tiles", "layers") and name == "expanded":
                _, step.lines, step.columns, _ = buffer.shape


def _places(model: ModelFile) -> Places:
    """Where the weight and the bias of a layer lie in the file, bytes; -1 where there is none."""

    def places(layer: Layer | None) -> tuple[int, int]:
        if layer is None or f"{layer.name}.weight" not in model.tensors:
            return -1, -1
        weight = model.tensors[f"{layer.name}.weight"].offset
        for behind in ("bias", "requantise", "dequantise"):
            if f"{layer.name}.{behind}" in model.tensors:
                return weight, model.tensors[f"{layer.name}.{behind}"].offset
        raise AssertionError(f"{layer.name} has no bias")

    return places


def _build_tap(tap: Any, layer: Layer, model: ModelFile) -> None:
    """A tap of the map that a project layer leaves, its shortcut added."""
    tap.height, tap.width = layer.out_size
    tap.channels = layer.out_channels
    values = model.tensors.get(f"{layer.name}.values")
    tap.values = -1 if values is None else values.offset


def _build_quantization(
    built: Any, parts: Parts, quantization: Quantization, spec: InputSpec
) -> None:
    """What an int8 plan has beyond a float32 one."""
    said, pool, head = quantization.layers, quantization.pool, built.head
    built.stem.mean, built.stem.std = list(spec.mean), list(spec.std)
    built.stem.pad = [min(max(round(mean), 0), 255) for mean in spec.mean]
    built.stem.fraction = said[parts.stem.name].fraction
    thin = said[parts.stem.name]
    for i, layers in enumerate(parts.blocks):
        block = built.blocks[i]
        block.pad = thin.zero_point
        if layers.expand is not None:
            block.expand_fraction = said[layers.expand.name].fraction
            block.pad = said[layers.expand.name].zero_point
        block.depthwise_fraction = said[layers.depthwise.name].fraction
        thin = said[layers.project.name]
        block.project_fraction, block.residual = thin.fraction, thin.shortcut
    for i, layer in enumerate(parts.convs):
        built.convs[i].fraction = said[layer.name].fraction
    pooled = said[parts.pooled.name]
    head.fraction = pooled.fraction
    head.pool_fraction, head.pool_bias = pool.fraction, pool.bias
    head.pool_multiplier, head.pool_shift = pool.multiplier, pool.shift
    head.feature_scale = pooled.scale / (head.height * head.width)
    head.feature_offset = -pooled.zero_point * pooled.scale


def built_isas() -> dict[str, bool]:
    """Every instruction set that this build knows, best first, and whether this CPU has it."""
    from .. import _core

    built = _built_isas(_core.ffi, _core.lib)
    return {name: bool(_core.lib.mnv2_isa_supported(isa)) for name, isa in built.items()}


def isas(precision: str = "float32") -> dict[str, bool]:
    """Every instruction set that has kernels of its own for `precision`, best first, and whether
    this CPU has it."""
    from .. import _core

    lib = _core.lib
    return {
        name: bool(lib.mnv2_isa_supported(isa))
        for name, isa in _built_isas(_core.ffi, lib).items()
        if lib.mnv2_isa_own(isa, _precision(lib, precision, precision))
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

    isa = _choose_isa(None, precision, _precision(_core.lib, precision, dtype))
    return str(_core.ffi.string(_core.lib.mnv2_isa_name(isa)).decode())


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

    number = _precision(_core.lib, precision, dtype)
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


def _precision(lib: Any, precision: str, dtype: str) -> int:
    """The C core's name of computing in `precision` with weights of `dtype`."""
    known = {
        ("float32", "float32"): lib.MNV2_FLOAT32,
        ("float32", "float16"): lib.MNV2_FLOAT16_WEIGHTS,
        ("float32", "bfloat16"): lib.MNV2_BFLOAT16_WEIGHTS,
        ("bfloat16", "bfloat16"): lib.MNV2_BFLOAT16,
        ("int8", "int8"): lib.MNV2_INT8,
    }
    if (precision, dtype) not in known:
        raise UnsupportedError(f"the C core does not compute {dtype} weights in {precision}")
    return int(known[precision, dtype])


_built: dict[str, Any] = {}


def _built_isas(ffi: Any, lib: Any) -> dict[str, Any]:
    if not _built:
        found: dict[str, Any] = {}
        while isa := lib.mnv2_isa_at(len(found)):
            found[ffi.string(lib.mnv2_isa_name(isa)).decode()] = isa
        _built.update(found)
    return _built


def _normalisation(spec: InputSpec) -> tuple[list[float], list[float]]:
    """x = pixel * scale + shift, from x = (pixel - mean) / std."""
    scale = [1.0 / std for std in spec.std]
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return scale, shift
