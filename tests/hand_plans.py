"""Plans for the C core made by hand, and an oracle that knows nothing of the package.

Random networks of all that the kernels compute: mixed expansions, no expand layer anywhere,
depthwise kernels of 3, 5 and 7, strides, pads, activations, convolutions from map to map, heads
with and without a convolution, dense layers, taps. Each layer's arrays are written out here as
kernels/mnv2.h describes them, schedules and sizes are picked at random, and every array of the
arena gets a place of its own, in a random order. The answers are computed in NumPy, layer by layer:
in float64, in float64 with thin and filtered values rounded to bfloat16, or in integers.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mnv2_engine import _core
from mnv2_engine.model.packing_half import from_bfloat16, to_bfloat16

ffi, lib = _core.ffi, _core.lib
PANEL = 16
FLOAT_TOLERANCE = 1e-5
ACTIVATIONS = (lib.MNV2_LINEAR, lib.MNV2_RELU, lib.MNV2_RELU6)
PRECISIONS = {
    "float32": lib.MNV2_FLOAT32,
    "float16 weights": lib.MNV2_FLOAT16_WEIGHTS,
    "bfloat16 weights": lib.MNV2_BFLOAT16_WEIGHTS,
    "bfloat16": lib.MNV2_BFLOAT16,
    "int8": lib.MNV2_INT8,
}
# One for every entry of every table, the head's, and one that a count too many leads to: check.c
# refuses it there, as it is all zeros.
MOST_STEPS = (
    lib.MNV2_MAX_BLOCKS + lib.MNV2_MAX_CONVS + lib.MNV2_MAX_DENSE + lib.MNV2_MAX_TAPS + 1 + 1
)
THIN_BYTES = {"bfloat16": 2, "int8": 1}
Array = np.ndarray[Any, Any]


def panels_of(channels: int) -> int:
    return -(-channels // PANEL)


class Convolution(NamedTuple):
    """Any layer with weights: (outputs, inputs, kernel, kernel), or (channels, kernel, kernel)."""

    weight: Array
    bias: Array
    activation: int
    multiplier: Array  # int8, as shift and fraction
    shift: Array
    fraction: int


class Block(NamedTuple):
    expand: Convolution | None
    depthwise: Convolution
    project: Convolution
    stride: int
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    pad: int  # int8: the value of the padding
    residual: int  # int8: what multiplies the shortcut


class Network(NamedTuple):
    precision: str
    image: Array  # uint8
    scale: Array  # of the image's values as floats, and shift
    shift: Array
    stem: Convolution
    stem_pads: tuple[int, int, int, int]
    blocks: list[Block]
    convs: list[tuple[Convolution, int]]  # with their strides
    head: Convolution | None
    pool: tuple[int, int, int, int]  # int8: fraction, bias, multiplier, shift
    dense: list[tuple[Convolution, Array]]  # int8: and the scales of the first one's sums
    taps: list[tuple[int, Array]]  # behind how many blocks and convolutions; int8: scale, offset


# --- random networks ----------------------------------------------------------------------


def random_network(seed: int, precision: str) -> Network:
    """Small enough for a test, odd enough to meet every remainder."""
    random = np.random.default_rng(seed)
    is_int8 = precision == "int8"

    def pick(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    def rounded(x: Array) -> Array:
        """Floats as the precision stores them."""
        x = x.astype(np.float32)
        if precision == "float16 weights":
            return x.astype(np.float16).astype(np.float32)
        if precision.startswith("bfloat16"):
            return from_bfloat16(to_bfloat16(x))
        return x

    def convolution(
        outputs: int, inputs: int, kernel: int, activation: int, is_dense: bool = False
    ) -> Convolution:
        shape = (outputs, inputs, kernel, kernel) if inputs else (outputs, kernel, kernel)
        fan_in = int(np.prod(shape[1:]))
        nothing = np.zeros(outputs, np.int32)
        if not is_int8 or is_dense:
            weight = random.normal(0, np.sqrt(1.5 / fan_in), shape).astype(np.float32)
            bias = random.normal(0, 0.3, outputs).astype(np.float32)
            return Convolution(weight, bias, activation, nothing, nothing, 0)
        weight = random.integers(-127, 128, shape)
        spread = 127 * 73 * np.sqrt(fan_in) * 0.6
        bias = np.rint(random.normal(spread, spread, outputs)).astype(np.int32)
        fraction = int(random.integers(0, 7))
        factors = 60 / spread * random.uniform(0.5, 2, outputs)
        shift = np.clip(np.floor(np.log2(32767 / (factors * 2.0 ** (15 + fraction)))), 0, 31)
        multiplier = np.clip(np.rint(factors * 2.0 ** (15 + fraction + shift)), 0, 32767)
        return Convolution(
            weight.astype(np.int8),
            bias,
            activation,
            multiplier.astype(np.int32),
            shift.astype(np.int32),
            fraction,
        )

    def stored(made: Convolution) -> Convolution:
        """Of 1x1 and full convolutions, whose weights may be of 16 bits."""
        return made if is_int8 else made._replace(weight=rounded(made.weight))

    def channels() -> int:
        return int(pick(random.integers(1, 41), 8, 16, 24, 32, 40, 48))

    def pads_of(size: tuple[int, int], kernel: int, stride: int, same: bool) -> Any:
        found = []
        for extent in size:
            before = (kernel - 1) // 2 if same else int(random.integers(0, kernel))
            behind = kernel - 1 - before if same else int(random.integers(0, kernel))
            behind = max(behind, kernel - before - extent)
            out = (extent + before + behind - kernel) // stride + 1
            found.append((out, before, max((out - 1) * stride + kernel - extent - before, 0)))
        (height, top, bottom), (width, left, right) = found
        return (height, width), (top, left, bottom, right)

    size = (int(random.integers(1, 45)), int(random.integers(1, 45)))
    image = random.integers(0, 256, (*size, 3)).astype(np.uint8)
    thin = channels()
    stem = stored(convolution(thin, 3, 3, pick(*ACTIVATIONS)))
    size, stem_pads = pads_of(size, 3, 2, bool(random.integers(3)))
    blocks, taps = [], []

    def tap() -> None:
        if random.integers(3) == 0:
            values = random.normal(0, 1, (2, thin)).astype(np.float32)
            taps.append((len(blocks) + len(convs), values))

    convs: list[tuple[Convolution, int]] = []
    for index in range(int(random.integers(1, 7))):
        kernel, stride = pick(3, 5, 7), pick(1, 1, 2)
        expands = index > 0 and random.integers(3) > 0
        hidden = channels() * pick(1, 2, 3) if expands else thin
        has_residual = stride == 1 and bool(random.integers(2))
        outputs = thin if has_residual else channels()
        out, pads = pads_of(size, kernel, stride, has_residual or bool(random.integers(3)))
        has_residual = has_residual and out == size
        project = pick(*ACTIVATIONS) if not has_residual and random.integers(2) else ACTIVATIONS[0]
        blocks.append(
            Block(
                stored(convolution(hidden, thin, 1, pick(*ACTIVATIONS))) if expands else None,
                convolution(hidden, 0, kernel, pick(*ACTIVATIONS)),
                stored(convolution(outputs, hidden, 1, project)),
                stride,
                pads,
                int(random.integers(0, 256)),
                (int(random.integers(3000, 12000)) if is_int8 else 1) if has_residual else 0,
            )
        )
        size, thin = out, outputs
        tap()
    for _ in range(int(pick(0, 0, 1, 2))):
        kernel, stride = int(random.integers(1, min(7, *size) + 1)), pick(1, 2)
        outputs = channels()
        convs.append((stored(convolution(outputs, thin, kernel, pick(*ACTIVATIONS))), stride))
        size = tuple((extent - kernel) // stride + 1 for extent in size)  # type: ignore[assignment]
        thin = outputs
        tap()
    features = channels() * 3
    head = (
        stored(convolution(features, thin, 1, pick(*ACTIVATIONS))) if random.integers(3) else None
    )
    inputs = features if head else thin
    dense = []
    for index in range(int(random.integers(0, 5))):
        outputs = int(pick(1, 2, 5, 16, 70, 100))
        made = convolution(outputs, inputs, 1, pick(*ACTIVATIONS), index > 0)
        scales = random.uniform(1e-4, 2e-4, outputs).astype(np.float32)
        if is_int8 and index == 0:
            made = made._replace(bias=random.normal(0, 1, outputs).astype(np.float32))
        dense.append((stored(made) if index == 0 else made, scales))
        inputs = outputs
    pixels = size[0] * size[1]
    fraction = 5 if pixels > 64 else 0
    factor = 0.9 * 2.0 ** (15 + fraction) / pixels  # of a mean: multiplier * 2^-shift
    shift = int(np.floor(np.log2(32767 / factor)))
    pool = (fraction, pixels // 2, int(factor * 2.0**shift), shift)
    scale = random.uniform(0.005, 0.01, 3).astype(np.float32)
    return Network(
        precision,
        image,
        scale,
        random.normal(-0.5, 0.2, 3).astype(np.float32),
        stem,
        stem_pads,
        blocks,
        convs,
        head,
        pool,
        dense,
        taps,
    )


# --- the oracle ---------------------------------------------------------------------------


class Answer(NamedTuple):
    features: Array
    logits: Array | None
    taps: list[Array]


def windows(x: Array, kernel: int, stride: int, pads: Any, value: Any) -> Array:
    """(height, width, kernel, kernel, channels) of (height, width, channels)."""
    top, left, bottom, right = pads
    padded = np.empty((x.shape[0] + top + bottom, x.shape[1] + left + right, x.shape[2]), x.dtype)
    padded[:] = value
    padded[top : top + x.shape[0], left : left + x.shape[1]] = x
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (0, 1))
    return seen[::stride, ::stride].transpose(0, 1, 3, 4, 2)


def clipped(x: Array, activation: int) -> Array:
    if activation == lib.MNV2_LINEAR:
        return x
    return np.clip(x, 0, 6 if activation == lib.MNV2_RELU6 else np.inf)


def requantised(sums: Array, layer: Convolution, added: Array | None = None) -> Array:
    """docs/int8.md, A convolution."""
    assert np.abs(sums).max() < 1 << 31
    t = np.clip(sums >> layer.shift, -32768, 32767)
    v = (t * layer.multiplier + (1 << 14)) >> 15
    if added is not None:
        v = np.clip(v + added, -32768, 32767)
    return np.clip(v >> layer.fraction, 0, 255)


def answer_of(network: Network) -> Answer:
    """What the network computes."""
    is_int8, is_bfloat16 = network.precision == "int8", network.precision == "bfloat16"

    def kept(x: Array) -> Array:
        """Thin, filtered and image values, as they are stored."""
        if not is_bfloat16:
            return x
        return from_bfloat16(to_bfloat16(x.astype(np.float32))).astype(np.float64)

    def layer(x: Array, made: Convolution, stride: int, pads: Any, pad: Any = 0) -> Array:
        """Sums: floats before the activation, int8 before they are 8 bits."""
        is_depthwise = made.weight.ndim == 3
        kernel = made.weight.shape[-1]
        seen = windows(x, kernel, stride, pads, pad)
        kind = np.int64 if is_int8 else np.float64
        w = made.weight.astype(kind)
        terms = "hwyxc,cyx->hwc" if is_depthwise else "hwyxc,ncyx->hwn"
        return np.einsum(terms, seen, w, optimize=True) + made.bias.astype(kind)

    def finish(sums: Array, made: Convolution, added: Array | None = None) -> Array:
        if is_int8:
            return requantised(sums, made, added)
        sums = clipped(sums, made.activation)
        return sums if added is None else sums + added

    none = (0, 0, 0, 0)
    if is_int8:
        x = network.image.astype(np.int64)
        x = finish(layer(x, network.stem, 2, network.stem_pads, 128), network.stem)
    else:
        x = kept(network.image * network.scale.astype(np.float64) + network.shift)
        x = finish(layer(x, network.stem, 2, network.stem_pads), network.stem)
    taps = []
    expected = list(network.taps)

    def tap(place: int) -> None:
        while expected and expected[0][0] == place:
            values = expected.pop(0)[1]
            if is_int8:
                taps.append(x.astype(np.float32) * values[0] + values[1])
            else:
                taps.append(x)

    for index, block in enumerate(network.blocks):
        source = x
        if block.expand is not None:
            x = finish(layer(x, block.expand, 1, none), block.expand)
        pad = block.pad if is_int8 else 0
        x = kept(finish(layer(x, block.depthwise, block.stride, block.pads, pad), block.depthwise))
        sums = layer(x, block.project, 1, none)
        added = source if block.residual else None
        if block.residual and is_int8:
            added = (64 * source * block.residual + (1 << 14)) >> 15
        elif block.residual and index == 0:
            added = kept(source)
        x = kept(finish(sums, block.project, added))
        tap(index + 1)
    for index, (conv, stride) in enumerate(network.convs):
        x = kept(finish(layer(x, conv, stride, none), conv))
        tap(len(network.blocks) + index + 1)
    if network.head is not None:
        x = finish(layer(x, network.head, 1, none), network.head)
    sums = x.sum((0, 1))
    if not is_int8:
        features = y = sums / (x.shape[0] * x.shape[1])
    else:
        features = sums.astype(np.float32) * np.float32(0.01) + np.float32(0.5)
        fraction, bias, multiplier, shift = network.pool
        t = np.clip((sums + bias) >> shift, -32768, 32767)
        y = np.clip(((t * multiplier + (1 << 14)) >> 15) >> fraction, 0, 255)
    for index, (made, scales) in enumerate(network.dense):
        weight = made.weight[:, :, 0, 0]
        if is_int8 and index == 0:
            y = (weight.astype(np.int64) @ y).astype(np.float32) * scales + made.bias
            y = clipped(y, made.activation).astype(np.float64)
        else:
            y = clipped(weight.astype(np.float64) @ y + made.bias, made.activation)
    return Answer(features, y if network.dense else None, taps)


# --- packing ------------------------------------------------------------------------------


class Packed:
    """The weights of a network in one buffer, at multiples of 64."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.buffer = bytearray()

    def put(self, array: Array) -> int:
        self.buffer += bytes(-len(self.buffer) % 64)
        offset = len(self.buffer)
        self.buffer += np.ascontiguousarray(array).tobytes()
        return offset

    def in_panels(self, values: Array) -> Array:
        """(n, ...) as (n/16, ..., 16)."""
        count = panels_of(len(values))
        padded = np.zeros((count * PANEL, *values.shape[1:]), values.dtype)
        padded[: len(values)] = values
        return np.moveaxis(padded.reshape(count, PANEL, *values.shape[1:]), 1, -1)

    def convolution(self, made: Convolution, is_float: bool = False) -> tuple[int, int]:
        """Offsets of weight and bias: [n/16][kernel][kernel * channels, in groups][16]."""
        precision = "float32" if is_float else self.precision
        group = {"int8": 4, "bfloat16": 2, "bfloat16 weights": 2}.get(precision, 1)
        outputs, inputs, kernel, _ = made.weight.shape
        rows = made.weight.transpose(0, 2, 3, 1).reshape(outputs, kernel, kernel * inputs)
        terms = -(-rows.shape[2] // group) * group
        padded = np.zeros((outputs, kernel, terms), rows.dtype)
        padded[:, :, : rows.shape[2]] = rows
        panels = self.in_panels(padded.reshape(outputs, kernel, terms // group, group))
        panels = np.swapaxes(panels, -1, -2)  # [n/16][kernel][groups][16][group]
        if precision == "float16 weights":
            panels = panels.astype(np.float16)
        elif precision.startswith("bfloat16"):
            panels = to_bfloat16(panels.astype(np.float32))
        return self.put(panels), self.bias(made, precision)

    def depthwise(self, made: Convolution) -> tuple[int, int]:
        return self.put(self.in_panels(made.weight)), self.bias(made, self.precision)

    def bias(self, made: Convolution, precision: str) -> int:
        if precision != "int8":
            return self.put(self.in_panels(made.bias.astype(np.float32)))
        both = np.stack([made.bias, made.multiplier | made.shift << 16], 1)
        return self.put(self.in_panels(both.astype(np.int32)))

    def scaled(self, made: Convolution, scales: Array) -> tuple[int, int]:
        """The first dense layer of int8."""
        weight, _ = self.convolution(made._replace(bias=made.bias.astype(np.int32)))
        both = np.stack([scales, made.bias.astype(np.float32)], 1)
        return weight, self.put(self.in_panels(both))


# --- plans --------------------------------------------------------------------------------


class HandPlan:
    """A plan of the C core for a network, with schedules, sizes and places picked at random."""

    def __init__(self, network: Network, threads: int, seed: int) -> None:
        self.network, self.threads = network, threads
        self.random = np.random.default_rng(seed)
        self.kept: list[Any] = []
        self.thin = THIN_BYTES.get(network.precision, 4)
        self.is_int8 = network.precision == "int8"
        # Hidden channels of a tile: bfloat16 cuts its sums at multiples of 32.
        self.units = (32, 64, 96) if network.precision == "bfloat16" else (16, 32, 48)
        self.plan = self._new("mnv2_plan *")
        self.plan.precision, self.plan.threads = PRECISIONS[network.precision], threads
        self.packed = Packed(network.precision)
        self.arena = 0
        self.steps: list[Any] = []
        self._layers()
        self._schedule()
        if self.is_int8:
            self.arena += lib.MNV2_OVERREAD
        steps = self._table("mnv2_step", MOST_STEPS)
        for i, step in enumerate(self.steps):
            steps[i] = step[0]
        self.plan.steps, self.plan.step_count = steps, len(self.steps)
        self.plan.arena_bytes = self.arena
        self.plan.weight_bytes = len(self.packed.buffer)

    def _new(self, kind: str, count: Any = None) -> Any:
        made = ffi.new(kind) if count is None else ffi.new(kind, count)
        self.kept.append(made)
        return made

    def _table(self, kind: str, most: int) -> Any:
        """Of as many entries as a plan may state: a changed count leads to nobody else's memory."""
        return self._new(f"{kind}[]", most)

    # Layers.

    def _layers(self) -> None:
        network, plan, packed = self.network, self.plan, self.packed
        stem = plan.stem
        stem.in_height, stem.in_width = network.image.shape[:2]
        stem.pad_top, stem.pad_left = network.stem_pads[:2]
        size = self._size(network.image.shape[:2], 3, 2, network.stem_pads)
        stem.out_height, stem.out_width = size
        stem.channels = len(network.stem.weight)
        stem.scale, stem.shift = network.scale.tolist(), network.shift.tolist()
        stem.mean, stem.std, stem.pad = [0.0] * 3, [1.0] * 3, [128] * 3
        stem.fraction, stem.activation = network.stem.fraction, network.stem.activation
        stem.weight, stem.bias = packed.convolution(network.stem)
        thin = stem.channels
        self.blocks = plan.blocks = self._table("mnv2_block", lib.MNV2_MAX_BLOCKS)
        plan.block_count = len(network.blocks)
        for i, made in enumerate(network.blocks):
            block = self.blocks[i]
            kernel = made.depthwise.weight.shape[1]
            block.in_height, block.in_width, block.in_channels = *size, thin
            size = self._size(size, kernel, made.stride, made.pads)
            thin = len(made.project.weight)
            block.out_height, block.out_width, block.out_channels = *size, thin
            block.hidden, block.kernel = len(made.depthwise.weight), kernel
            block.stride, block.residual, block.pad = made.stride, made.residual, made.pad
            block.pad_top, block.pad_left = made.pads[:2]
            block.expand_weight = block.expand_bias = -1
            if made.expand is not None:
                block.expand_weight, block.expand_bias = packed.convolution(made.expand)
                block.expand_activation = made.expand.activation
                block.expand_fraction = made.expand.fraction
            block.depthwise_weight, block.depthwise_bias = packed.depthwise(made.depthwise)
            block.depthwise_activation = made.depthwise.activation
            block.depthwise_fraction = made.depthwise.fraction
            block.project_weight, block.project_bias = packed.convolution(made.project)
            block.project_activation = made.project.activation
            block.project_fraction = made.project.fraction
        plan.conv_count = len(network.convs)
        plan.convs = convs = self._table("mnv2_conv", lib.MNV2_MAX_CONVS)
        for i, (conv, stride) in enumerate(network.convs):
            to = convs[i]
            to.in_height, to.in_width, to.in_channels = *size, thin
            to.kernel, to.stride = conv.weight.shape[-1], stride
            size = self._size(size, to.kernel, stride, (0, 0, 0, 0))
            thin = len(conv.weight)
            to.out_height, to.out_width, to.out_channels = *size, thin
            to.activation, to.fraction = conv.activation, conv.fraction
            to.weight, to.bias = packed.convolution(conv)
        head = plan.head
        head.height, head.width, head.channels = *size, thin
        head.features, head.head_weight, head.head_bias = thin, -1, -1
        if network.head is not None:
            head.features, head.activation = len(network.head.weight), network.head.activation
            head.fraction = network.head.fraction
            head.head_weight, head.head_bias = packed.convolution(network.head)
        head.pool_fraction, head.pool_bias, head.pool_multiplier, head.pool_shift = network.pool
        head.feature_scale, head.feature_offset = 0.01, 0.5
        plan.dense_count = len(network.dense)
        plan.dense = dense = self._table("mnv2_dense", lib.MNV2_MAX_DENSE)
        for i, (made, scales) in enumerate(network.dense):
            dense[i].outputs, dense[i].inputs = made.weight.shape[:2]
            dense[i].activation = made.activation
            if self.is_int8 and i == 0:
                dense[i].weight, dense[i].bias = packed.scaled(made, scales)
            else:
                dense[i].weight, dense[i].bias = packed.convolution(made, is_float=i > 0)
        plan.tap_count = len(network.taps)
        plan.taps = taps = self._table("mnv2_tap", lib.MNV2_MAX_TAPS)
        for i, (place, values) in enumerate(network.taps):
            shape = self._thin(place)
            taps[i].height, taps[i].width, taps[i].channels = shape
            taps[i].values = packed.put(values)

    @staticmethod
    def _size(size: Any, kernel: int, stride: int, pads: Any) -> tuple[int, int]:
        top, left, bottom, right = pads
        return (
            (size[0] + top + bottom - kernel) // stride + 1,
            (size[1] + left + right - kernel) // stride + 1,
        )

    def _thin(self, place: int) -> tuple[int, int, int]:
        """The map behind so many blocks and convolutions."""
        count = self.plan.block_count
        made = self.blocks[place - 1] if place <= count else self.plan.convs[place - 1 - count]
        return made.out_height, made.out_width, made.out_channels

    # Schedules.

    def _bytes(self, count: int, item: int) -> int:
        behind = lib.MNV2_OVERREAD if self.is_int8 and self.threads > 1 else 0
        return -(-count * item // 64) * 64 + behind

    def _place(self, step: Any, at: int, shared: list[Any], own: list[Any]) -> int:
        """Gives every array, (struct, field, bytes), a place from `at` on."""
        for arrays in (shared, own):
            self.random.shuffle(arrays)
        begin = at
        for owner, field, size in [*shared, *own]:
            if (owner, field, size) == (own or [None])[0]:
                begin = at
            setattr(owner, field, at)
            at += size
        step.thread_bytes = at - begin if own else 0
        return at + step.thread_bytes * (self.threads - 1)

    def _step(self, kind: str, first: int, count: int = 0) -> Any:
        made = self._new("mnv2_step *")
        made.kind, made.first, made.count = getattr(lib, f"MNV2_{kind}"), first, count
        self.steps.append(made)
        return made

    def _schedule(self) -> None:
        plan, random = self.plan, self.random
        place, at, size = 0, 0, 0  # of the tensor between two steps
        taps = [where for where, _ in self.network.taps]
        done = 0

        def put(step: Any, output: int, shared: list[Any], own: list[Any]) -> None:
            """A step that moves the tensor to the other side of its scratch."""
            nonlocal at, size
            step.input = at
            step.output = 0 if at >= output else at + size
            end = max(at + size, step.output + output)
            self.arena = max(self.arena, self._place(step, end, shared, own))
            at, size = step.output, output

        while place < plan.block_count:
            longest = plan.block_count - place
            following = [where - place for where in taps[done:] if where > place]
            if following:
                longest = min(longest, following[0])
            kind = random.choice(["rows", "tiles", "layers"])
            if place == 0 and (kind == "tiles" or self.blocks[0].residual):
                kind = "rows"
            if kind == "rows":
                self._rows(place, int(random.integers(1, longest + 1)), put)
            elif kind == "tiles":
                self._tiles(place, put)
            else:
                self._by_layers(place, put)
            place += self.steps[-1].count
            done = self._taps(taps, done, place, at)
        for i in range(plan.conv_count):
            height, width, channels = self._thin(place + 1)
            put(self._step("CONV", i), self._bytes(height * width * channels, self.thin), [], [])
            place += 1
            done = self._taps(taps, done, place, at)
        put(self._step("HEAD", 0), self._bytes(panels_of(plan.head.features) * PANEL, 4), [], [])
        for i in range(plan.dense_count):
            made = self._step("DENSE", i)
            inputs = panels_of(plan.dense[i].inputs) * PANEL
            own = [(made, "filtered", self._bytes(inputs, 1))] if self.is_int8 and i == 0 else []
            outputs = panels_of(plan.dense[i].outputs) * PANEL
            put(made, self._bytes(outputs, 4) if i < plan.dense_count - 1 else 0, [], own)

    def _taps(self, taps: list[int], done: int, place: int, at: int) -> int:
        while done < len(taps) and taps[done] == place:
            made = self._step("TAP", done)
            made.input = made.output = at
            done += 1
        return done

    def _rows(self, first: int, count: int, put: Any) -> None:
        blocks = [self.blocks[i] for i in range(first, first + count)]
        step = self._step("ROWS", first, count)
        step.strip = strip = int(self.random.choice([1, 2, 3, 5, 8, 14, 28, 56]))
        wide = 1 if self.is_int8 else 4
        own: list[Any] = []
        expanded = halo = filtered = 0
        for i, block in enumerate(blocks):
            panels, overlap = panels_of(block.hidden), block.kernel - block.stride
            columns = (min(strip, block.out_width) - 1) * block.stride + block.kernel
            lines = block.stride if self.is_int8 else 1
            expanded = max(expanded, lines * columns)
            halo = max(halo, panels * lines * overlap)
            pixels = 0
            if first + i == 0:
                pixels = 3 * (((columns - 1) * 2 + 3) * 3 + (3 if self.is_int8 else 0))
            filtered = max(filtered, panels * strip * PANEL + pixels)
            if self.is_int8:
                reach = (block.out_width - 1) * block.stride + block.kernel
                own.append((block, "ring", self._bytes(overlap * panels * reach * PANEL, 1)))
            else:
                pending = (block.kernel - 1) // block.stride
                partial = pending * panels * block.out_width * PANEL
                own.append((block, "partial", self._bytes(partial, 4)))
            if i > 0 or (first == 0 and block.residual):
                kept = block.kernel - block.pad_top if block.residual else 1
                block.thin_rows = max(lines, kept) + int(self.random.integers(2))
                row = panels * PANEL if first + i == 0 else block.in_channels
                size = self._bytes(block.thin_rows * block.in_width * row, self.thin)
                own.append((block, "thin", size))
        own.append((step, "expanded", self._bytes(2 * expanded * PANEL, wide)))
        own.append((step, "halo", self._bytes(halo * PANEL, wide)))
        own.append((step, "filtered", self._bytes(filtered, self.thin)))
        last = blocks[-1]
        put(step, self._map_bytes(last), [], own)

    def _map_bytes(self, block: Any) -> int:
        return self._bytes(block.out_height * block.out_width * block.out_channels, self.thin)

    def _maps(self, step: Any, panels: int, at_once: int) -> list[Any]:
        block = self.blocks[step.first]
        rows = [block.out_height]
        if step.apart:  # each part makes the next ones
            ends = [block.out_height * n // step.bands for n in range(step.bands + 1)]
            rows = [end - first for first, end in pairwise(ends)]
        pixels = max(rows) * block.out_width
        for field, extent, out, pad in (
            ("lines", block.in_height, max(rows), block.pad_top),
            ("columns", block.in_width, block.out_width, block.pad_left),
        ):
            reach = (out - 1) * block.stride + block.kernel
            if not (step.apart and field == "lines"):
                reach = max(pad + extent, reach)
            setattr(step, field, reach + int(self.random.integers(2)))
        shared = [(step, "filtered", self._bytes(panels * pixels * PANEL, self.thin))]
        if self.thin < 4 and at_once < block.hidden:
            lanes = panels_of(block.out_channels) * PANEL if self.is_int8 else block.out_channels
            shared.append((step, "sums", self._bytes(pixels * lanes, 4)))
        return shared

    def _tiles(self, first: int, put: Any) -> None:
        block = self.blocks[first]
        step = self._step("TILES", first, 1)
        sharing = self.threads
        if block.out_height >= self.threads and self.random.integers(2):
            step.apart, step.bands, sharing = 1, self.threads, 1
        step.tile = int(self.random.choice([*self.units, -(-block.hidden // sharing)]))
        panels, turns = panels_of(step.tile), 2 if sharing > 1 else 1
        shared = self._maps(step, turns * sharing * panels, sharing * step.tile)
        expanded = min(2, panels) * step.lines * step.columns * PANEL
        own = [(step, "expanded", self._bytes(expanded, 1 if self.is_int8 else 4))]
        if step.apart:
            shared, own = [], shared + own
        put(step, self._map_bytes(block), shared, own)

    def _by_layers(self, first: int, put: Any) -> None:
        block = self.blocks[first]
        step = self._step("LAYERS", first, 1)
        step.layers = lib.MNV2_EXPAND | lib.MNV2_DEPTHWISE | lib.MNV2_PROJECT
        step.tile = int(self.random.choice([*self.units[:2], block.hidden]))
        panels = panels_of(step.tile)
        shared = self._maps(step, panels, step.tile)
        expanded = panels * step.lines * step.columns * PANEL
        shared.append((step, "expanded", self._bytes(expanded, 1 if self.is_int8 else 4)))
        own = []
        if first == 0:
            row = ((block.in_width - 1) * 2 + 3) * 3 + (3 if self.is_int8 else 0)
            own.append((step, "pixels", self._bytes(3 * row, self.thin)))
        put(step, self._map_bytes(block), shared, own)

    # Running.

    def refusal(self, isa: Any) -> str:
        """Why the C core refuses it; empty if it does not."""
        why = ffi.new("const char **")
        status = lib.mnv2_check_plan(isa, self.plan, why)
        sentence = ffi.string(why[0]).decode()
        assert (status == lib.MNV2_OK) == (sentence == "")
        return str(sentence)

    def run(self, isa: Any, memory: Any, pool: Any = ffi.NULL) -> Answer:
        """`memory(bytes)` gives a buffer for each of the arrays that the core touches."""
        plan = self.plan

        def new(size: int, content: bytes = b"") -> Any:
            buffer = memory(size)
            if content:
                memoryview(buffer).cast("B")[:] = content
            return buffer

        image = new(self.network.image.nbytes, self.network.image.tobytes())
        weights = new(len(self.packed.buffer), bytes(self.packed.buffer))
        arena = new(plan.arena_bytes)
        features = new(4 * plan.head.features)
        logits = new(4 * plan.dense[plan.dense_count - 1].outputs) if plan.dense_count else None
        shapes = [self._thin(place) for place, _ in self.network.taps]
        taps = [new(4 * height * width * channels) for height, width, channels in shapes]
        pointers = ffi.new("float *[]", [ffi.from_buffer("float[]", tap) for tap in taps])
        status = lib.mnv2_run(
            isa,
            plan,
            pool,
            ffi.from_buffer(weights),
            ffi.from_buffer(arena),
            ffi.from_buffer(image),
            0,
            ffi.from_buffer("float[]", features),
            ffi.NULL if logits is None else ffi.from_buffer("float[]", logits),
            pointers if taps else ffi.NULL,
        )
        assert status == lib.MNV2_OK

        def floats(buffer: Any) -> Array:
            return np.frombuffer(buffer, np.float32).copy()

        return Answer(
            floats(features),
            None if logits is None else floats(logits),
            [floats(tap).reshape(shape) for tap, shape in zip(taps, shapes, strict=True)],
        )


def isas_for(precision: str) -> dict[str, Any]:
    """The instruction sets of this CPU that compute in it, with kernels of their own."""
    found = {}
    index = 0
    while isa := lib.mnv2_isa_at(index):
        if lib.mnv2_isa_supported(isa) and lib.mnv2_isa_own(isa, PRECISIONS[precision]):
            found[ffi.string(lib.mnv2_isa_name(isa)).decode()] = isa
        index += 1
    return found


def differ(found: Answer, expected: Answer, tolerance: float) -> str:
    """Where two answers differ by more than `tolerance` of the largest value; or nothing. Logits
    are floats, whatever the precision: they may differ by FLOAT_TOLERANCE unless `tolerance` is
    negative, which asks for the same bits."""
    pairs = [("features", found.features, expected.features, max(tolerance, 0.0))]
    pairs += [
        (f"tap {i}", a, b, max(tolerance, 0.0))
        for i, (a, b) in enumerate(zip(found.taps, expected.taps, strict=True))
    ]
    if expected.logits is not None:
        least = FLOAT_TOLERANCE if tolerance >= 0 else 0.0
        assert found.logits is not None
        pairs.append(("logits", found.logits, expected.logits, max(tolerance, least)))
    for name, a, b, tolerance in pairs:
        error = float(np.abs(a.astype(np.float64) - b).max())
        if not error <= tolerance * max(float(np.abs(b).max()), 1e-3):
            return f"{name}: {error} of {np.abs(b).max()}"
    return ""
