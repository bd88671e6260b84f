"""The vector vocabulary of the Numba kernels: what kernels/simd.h is to the C core.

A *panel* is 16 float32 lanes, one LLVM vector; LLVM cuts it into the registers that the CPU has.
A *tile* is pixels x panels of them, values that live in registers: Numba sees one variable, LLVM
its vectors. How many pixels and panels a tile has is part of its type, so every loop over them
below runs while LLVM code is written, and what is left is straight-line code.

Arrays are flat: `x, at` is the place of a value, steps are in values. Nothing is checked.

    spread(pixels, panels, x, at)           every pixel of a new tile is the panels at x, at
    load(pixels, panels, x, at, pixel_step, panel_step)
    load_part(..., lanes)                   as load, but of `lanes` values a pixel; the others are 0
    store(tile, y, at, pixel_step, panel_step)
    store_part(..., lanes)                  as store, but of `lanes` values a pixel
    add(tile, tile)
    clamp(tile, least, most)                min(max(x, least), most); a NaN becomes `least`
    scale(tile, factor)
    sum_pixels(tile)                        a tile of one pixel: their sum, ascending
    outer(tile, x, at, pixel_step, w, w_at, panel_step)
                                            adds x[pixel] * w[panel, lane]
    taps(tile, kernel, stride, x, at, w, w_at)
                                            adds a row of a depthwise kernel
    clear(y, at, count)                     writes zeros
    float_at(bytes, at)                     the float32 number `at` of an array of uint8

Products and sums are fused where the CPU can: llvm.fmuladd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from ...model.packed import PANEL

FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, PANEL)
MASK = ir.VectorType(ir.IntType(1), PANEL)
LANE = ir.VectorType(ir.IntType(32), PANEL)
FLOAT_BYTES = 4

Typed = tuple[Any, Callable[..., Any]]  # a signature, and what writes its LLVM code


class Writer:
    """Writes LLVM code for one call of an intrinsic."""

    vector = VECTOR  # of a panel

    def __init__(self, context: Any, builder: Any, signature: Any) -> None:
        self.context, self.builder, self.signature = context, builder, signature

    def place(self, argument: int, arguments: Any, at: Any) -> Any:
        """Pointer to value `at` of the array that is an argument."""
        array = self.context.make_array(self.signature.args[argument])
        data = array(self.context, self.builder, arguments[argument]).data
        return self.builder.gep(data, [at])

    def step(self, place: Any, count: int, step: Any) -> Any:
        """The pointer `count` steps further on."""
        if count == 0:
            return place
        return self.builder.gep(place, [self.builder.mul(step, step.type(count))])

    def places(self, tile: Tile, argument: int, arguments: Any) -> list[Any]:
        """Pointers to the vectors of a tile, in the array that is an argument; behind it are the
        place of the first and the steps between pixels and between panels."""
        at, pixel_step, panel_step = arguments[argument + 1 : argument + 4]
        first = self.place(argument, arguments, at)
        pixels = [self.step(first, pixel, pixel_step) for pixel in range(tile.pixels)]
        return [self.step(pixels[pixel], panel, panel_step) for _, pixel, panel in tile.places]

    def load(self, place: Any) -> Any:
        vector = self.builder.load(self.builder.bitcast(place, self.vector.as_pointer()))
        vector.align = FLOAT_BYTES
        return vector

    def store(self, vector: Any, place: Any) -> None:
        self.builder.store(
            vector, self.builder.bitcast(place, self.vector.as_pointer()), align=FLOAT_BYTES
        )

    def load_part(self, place: Any, mask: Any) -> Any:
        pointer = VECTOR.as_pointer()
        load = self.function(
            "llvm.masked.load.v16f32.p0v16f32", VECTOR, [pointer, ir.IntType(32), MASK, VECTOR]
        )
        arguments = [self.builder.bitcast(place, pointer), ir.IntType(32)(FLOAT_BYTES), mask]
        return self.builder.call(load, [*arguments, VECTOR(None)])

    def store_part(self, vector: Any, place: Any, mask: Any) -> None:
        pointer = VECTOR.as_pointer()
        store = self.function(
            "llvm.masked.store.v16f32.p0v16f32",
            ir.VoidType(),
            [VECTOR, pointer, ir.IntType(32), MASK],
        )
        place = self.builder.bitcast(place, pointer)
        self.builder.call(store, [vector, place, ir.IntType(32)(FLOAT_BYTES), mask])

    def masks(self, tile: Tile, lanes: Any) -> list[Any]:
        """For each vector of a tile, which of its lanes are among the first `lanes` of a pixel."""
        made = []
        for panel in range(tile.panels):
            left = self.builder.sub(lanes, lanes.type(panel * PANEL))
            left = self.builder.trunc(left, ir.IntType(32))
            number = LANE([*range(PANEL)])
            made.append(self.builder.icmp_signed("<", number, self.splat(left, LANE)))
        return [made[panel] for _, _, panel in tile.places]

    def splat(self, value: Any, vector: Any = None) -> Any:
        """A vector of which every lane is `value`, of a panel's type or another one of 16 lanes."""
        vector = vector or self.vector
        first = self.builder.insert_element(vector(ir.Undefined), value, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, vector(ir.Undefined), LANE([0] * PANEL))

    def load_input(self, place: Any) -> Any:
        """A panel that a depthwise kernel filters."""
        return self.load(place)

    def load_weight(self, place: Any) -> Any:
        """A panel of that kernel."""
        return self.load(place)

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, y)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x * y + z"""
        function = self.function("llvm.fmuladd.v16f32", VECTOR, [VECTOR] * 3)
        return self.builder.call(function, [x, y, z])

    def function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.builder.module, kind, name)

    def vectors(self, tile: Any, count: int) -> list[Any]:
        return [self.builder.extract_value(tile, i) for i in range(count)]

    def tile(self, vectors: list[Any]) -> Any:
        made = ir.Constant(ir.ArrayType(self.vector, len(vectors)), ir.Undefined)
        for i, vector in enumerate(vectors):
            made = self.builder.insert_value(made, vector, i)
        return made


class Tile(types.Type):  # type: ignore[misc, unused-ignore]  # Any without Numba
    """Numba's type of a register tile."""

    writer = Writer  # of what is done with it

    def __init__(self, pixels: int, panels: int) -> None:
        self.pixels, self.panels = pixels, panels
        super().__init__(name=f"{type(self).__name__}({pixels}, {panels})")

    @property
    def places(self) -> list[tuple[int, int, int]]:
        """(number of the vector, pixel, panel) of each of its vectors."""
        return [
            (pixel * self.panels + panel, pixel, panel)
            for pixel in range(self.pixels)
            for panel in range(self.panels)
        ]


@register_model(Tile)
class _TileModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, tile: Tile) -> None:
        vectors = ir.ArrayType(VECTOR, tile.pixels * tile.panels)
        super().__init__(manager, tile, vectors)


def written(write: Callable[..., Any], by: type[Writer] = Writer) -> Callable[..., Any]:
    """What Numba calls to write code: write(writer, arguments)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = write(by(context, builder, signature), arguments)
        return context.get_dummy_value() if made is None else made

    return codegen


INT = types.intp
# Numba then tells sizes that are written as numbers, which are parts of types here.
written_in_llvm: Callable[[Callable[..., Typed]], Any] = intrinsic(prefer_literal=True)


@written_in_llvm
def spread(typing: Any, pixels: Any, panels: Any, x: Any, at: Any) -> Typed:
    tile = Tile(pixels.literal_value, panels.literal_value)

    def write(writer: Writer, arguments: Any) -> Any:
        place = writer.place(2, arguments, arguments[3])
        step = ir.IntType(64)(PANEL)
        vectors = [writer.load(writer.step(place, n, step)) for n in range(tile.panels)]
        return writer.tile([vectors[panel] for _, _, panel in tile.places])

    return tile(pixels, panels, x, INT), written(write)


@written_in_llvm
def load(
    typing: Any, pixels: Any, panels: Any, x: Any, at: Any, pixel_step: Any, panel_step: Any
) -> Typed:
    tile = Tile(pixels.literal_value, panels.literal_value)

    def write(writer: Writer, arguments: Any) -> Any:
        places = writer.places(tile, 2, arguments)
        return writer.tile([writer.load(place) for place in places])

    return tile(pixels, panels, x, INT, INT, INT), written(write)


@written_in_llvm
def load_part(
    typing: Any,
    pixels: Any,
    panels: Any,
    x: Any,
    at: Any,
    pixel_step: Any,
    panel_step: Any,
    lanes: Any,
) -> Typed:
    tile = Tile(pixels.literal_value, panels.literal_value)

    def write(writer: Writer, arguments: Any) -> Any:
        masks = writer.masks(tile, arguments[6])
        places = writer.places(tile, 2, arguments)
        return writer.tile([writer.load_part(*each) for each in zip(places, masks, strict=True)])

    return tile(pixels, panels, x, INT, INT, INT, INT), written(write)


@written_in_llvm
def store(typing: Any, tile: Any, y: Any, at: Any, pixel_step: Any, panel_step: Any) -> Typed:
    def write(writer: Writer, arguments: Any) -> None:
        vectors = writer.vectors(arguments[0], len(tile.places))
        for each in zip(vectors, writer.places(tile, 1, arguments), strict=True):
            writer.store(*each)

    return types.void(tile, y, INT, INT, INT), written(write, tile.writer)


@written_in_llvm
def store_part(
    typing: Any, tile: Any, y: Any, at: Any, pixel_step: Any, panel_step: Any, lanes: Any
) -> Typed:
    def write(writer: Writer, arguments: Any) -> None:
        vectors = writer.vectors(arguments[0], len(tile.places))
        places, masks = writer.places(tile, 1, arguments), writer.masks(tile, arguments[5])
        for each in zip(vectors, places, masks, strict=True):
            writer.store_part(*each)

    return types.void(tile, y, INT, INT, INT, INT), written(write)


@written_in_llvm
def add(typing: Any, x: Any, y: Any) -> Typed:
    def write(writer: Writer, arguments: Any) -> Any:
        pairs = zip(*(writer.vectors(each, len(x.places)) for each in arguments), strict=True)
        return writer.tile([writer.add(a, b) for a, b in pairs])

    return x(x, x), written(write, x.writer)


@written_in_llvm
def clamp(typing: Any, x: Any, least: Any, most: Any) -> Typed:
    def write(writer: Writer, arguments: Any) -> Any:
        builder = writer.builder
        low, high = (writer.splat(limit) for limit in arguments[1:])
        clipped = []
        for vector in writer.vectors(arguments[0], len(x.places)):
            above = builder.select(builder.fcmp_ordered(">", vector, low), vector, low)
            clipped.append(builder.select(builder.fcmp_ordered("<", above, high), above, high))
        return writer.tile(clipped)

    return x(x, types.float32, types.float32), written(write)


@written_in_llvm
def scale(typing: Any, x: Any, factor: Any) -> Typed:
    def write(writer: Writer, arguments: Any) -> Any:
        factors = writer.splat(arguments[1])
        vectors = writer.vectors(arguments[0], len(x.places))
        return writer.tile([writer.builder.fmul(vector, factors) for vector in vectors])

    return x(x, types.float32), written(write)


@written_in_llvm
def sum_pixels(typing: Any, x: Any) -> Typed:
    tile = type(x)(1, x.panels)

    def write(writer: Writer, arguments: Any) -> Any:
        vectors = writer.vectors(arguments[0], len(x.places))
        sums = vectors[: x.panels]
        for i, pixel, panel in x.places:
            if pixel:
                sums[panel] = writer.add(sums[panel], vectors[i])
        return writer.tile(sums)

    return tile(x), written(write, x.writer)


@written_in_llvm
def outer(
    typing: Any, sums: Any, x: Any, at: Any, pixel_step: Any, w: Any, w_at: Any, panel_step: Any
) -> Typed:
    def write(writer: Writer, arguments: Any) -> Any:
        vectors = writer.vectors(arguments[0], len(sums.places))
        x_place = writer.place(1, arguments, arguments[2])
        w_place = writer.place(4, arguments, arguments[5])
        weights = [writer.load(writer.step(w_place, n, arguments[6])) for n in range(sums.panels)]
        for i, pixel, panel in sums.places:
            if panel == 0:
                value = writer.splat(writer.builder.load(writer.step(x_place, pixel, arguments[3])))
            vectors[i] = writer.fma(value, weights[panel], vectors[i])
        return writer.tile(vectors)

    return sums(sums, x, INT, INT, w, INT, INT), written(write)


@written_in_llvm
def taps(
    typing: Any, sums: Any, kernel: Any, stride: Any, x: Any, at: Any, w: Any, w_at: Any
) -> Typed:
    k, s = kernel.literal_value, stride.literal_value

    def write(writer: Writer, arguments: Any) -> Any:
        vectors = writer.vectors(arguments[0], sums.pixels)
        x_place = writer.place(3, arguments, arguments[4])
        w_place = writer.place(5, arguments, arguments[6])
        step = ir.IntType(64)(PANEL)
        weights = [writer.load_weight(writer.step(w_place, kx, step)) for kx in range(k)]
        for i in range((sums.pixels - 1) * s + k):
            value = writer.load_input(writer.step(x_place, i, step))  # used by all that it reaches
            for kx in range(k):
                pixel, rest = divmod(i - kx, s)
                if rest == 0 and 0 <= pixel < sums.pixels:
                    vectors[pixel] = writer.fma(value, weights[kx], vectors[pixel])
        return writer.tile(vectors)

    return sums(sums, kernel, stride, x, INT, w, INT), written(write, sums.writer)


@written_in_llvm
def clear(typing: Any, y: Any, at: Any, count: Any) -> Typed:
    item = ir.IntType(64)(y.dtype.bitwidth // 8)

    def write(writer: Writer, arguments: Any) -> None:
        place = writer.place(0, arguments, arguments[1])
        cgutils.memset(writer.builder, place, writer.builder.mul(arguments[2], item), 0)

    return types.void(y, INT, INT), written(write)


@written_in_llvm
def float_at(typing: Any, x: Any, at: Any) -> Typed:
    def write(writer: Writer, arguments: Any) -> Any:
        start = writer.place(0, arguments, ir.IntType(64)(0))
        place = writer.builder.bitcast(start, FLOAT.as_pointer())
        return writer.builder.load(writer.builder.gep(place, [arguments[1]]))

    return types.float32(x, INT), written(write)
