"""The vector vocabulary of the 8-bit Numba kernels: what kernels/int8/simd.h is to the C core.

A *panel* is 16 lanes of int32, one LLVM vector; a *tile* of sums is pixels x panels of them, as in
../vector.py. Places and steps are in values of the array. Most are arrays of bytes, in which lie
uint8 (activations), int8 (weights) and int32 (tables and sums), as a little-endian CPU has them.

    zeros(pixels, panels)                   a new tile
    spread(pixels, panels, x, at, panel_step)
                                            every pixel of a new tile is the int32 panels at x, at
    load_sums(pixels, panels, x, at, pixel_step, panel_step)
    store_sums_part(sums, y, at, lanes)     of a tile of one pixel, its first `lanes` values
    load_bytes(pixels, panels, x, at, pixel_step, panel_step)
                                            a tile of uint8 values
    dot(sums, x, at, pixel_step, w, w_at, panel_step)
                                            adds x[pixel][i] * w[panel][lane][i], i from 0 to 3
    int_at(x, at)                           an int32 by itself

and, of docs/int8.md, how sums become 8 bits:

    scale(sums, table, at, panel_step)      t and v: table has multiplier | shift << 16
    add_shortcut(v, x, at, pixel_step, panel_step, multiplier)
    eight_bits(v, fraction)                 y, in int32 lanes still
    store_bytes(y, to, at, pixel_step, panel_step)
    store_bytes_part(..., lanes)            of `lanes` values a pixel

    copy(x, at, y, to, count)               between places that do not overlap
    fill(y, at, count, value)               writes bytes of one value

add, store, sum_pixels, taps and clear are those of ../vector.py, which tell what a tile is of.

add_shortcut reads whole panels, up to 15 bytes past the last channel, and dot whole groups, up to
three: what they read there is not used.
"""

from __future__ import annotations

from platform import machine
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import models, register_model

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ....network.quantization import MULTIPLIER_BITS, SHORTCUT_BITS
from ..compiling import cpu_has
from ..vector import LANE, MASK, Tile, Typed, Writer, written, written_in_llvm

BYTE, WORD = ir.IntType(8), ir.IntType(32)
BYTES = ir.VectorType(BYTE, PANEL)
SHORT = ir.IntType(16)
SHORTS = ir.VectorType(SHORT, 2 * PANEL)
HALF = 1 << (MULTIPLIER_BITS - 1)
# 64 * shortcut * multiplier, of (2^(9 + fraction) * ratio) >> 15, is v's 2^fraction * ratio.
SHORTCUT_SCALE = 1 << (MULTIPLIER_BITS - SHORTCUT_BITS)
INT = types.intp


class Pairs(NamedTuple):
    """An instruction that multiplies pairs of int16 and adds the two products."""

    name: str  # of LLVM's intrinsic
    words: int  # int32 that it makes


def _pairs() -> Pairs | None:
    """x86 has one, which LLVM does not find in multiplications and additions."""
    if cpu_has("avx512bw"):
        return Pairs("llvm.x86.avx512.pmaddw.d.512", 16)
    if cpu_has("avx2"):
        return Pairs("llvm.x86.avx2.pmadd.wd", 8)
    if machine().lower() in ("x86_64", "amd64"):
        return Pairs("llvm.x86.sse2.pmadd.wd", 4)
    return None


PAIRS = _pairs()


class IntegerWriter(Writer):
    """Writes LLVM code for integers."""

    vector = LANE

    def constant(self, value: int, vector: Any = LANE) -> Any:
        return vector([value] * vector.count)

    def load_bytes(self, place: Any) -> Any:
        loaded = self.builder.load(self.builder.bitcast(place, BYTES.as_pointer()))
        loaded.align = 1
        return loaded

    def load_word(self, place: Any) -> Any:
        loaded = self.builder.load(self.builder.bitcast(place, WORD.as_pointer()))
        loaded.align = 1
        return loaded

    def load_input(self, place: Any) -> Any:
        return self.builder.zext(self.load_bytes(place), LANE)

    def load_weight(self, place: Any) -> Any:
        return self.builder.sext(self.load_bytes(place), LANE)

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.add(x, y)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        return self.builder.add(z, self.builder.mul(x, y))

    def clamp(self, x: Any, least: int, most: int) -> Any:
        low, high = self.constant(least), self.constant(most)
        x = self.builder.select(self.builder.icmp_signed("<", x, low), low, x)
        return self.builder.select(self.builder.icmp_signed(">", x, high), high, x)

    def rounded(self, product: Any) -> Any:
        """(product + 2^14) >> 15"""
        halves = self.builder.add(product, self.constant(HALF))
        return self.builder.ashr(halves, self.constant(MULTIPLIER_BITS))

    def multiply_pairs(self, x: Any, y: Any) -> Any:
        """Products of 32 int16 each, those of neighbours added: int32."""
        if PAIRS is None:
            return self.builder.add(*(self._every_other(x, y, first) for first in (0, 1)))
        half, word = (ir.VectorType(item, PAIRS.words * n) for item, n in ((SHORT, 2), (WORD, 1)))
        function = self.function(PAIRS.name, word, [half, half])
        parts = []
        for at in range(0, 2 * PANEL, 2 * PAIRS.words):
            lanes = ir.VectorType(WORD, 2 * PAIRS.words)([*range(at, at + 2 * PAIRS.words)])
            pieces = [
                self.builder.shuffle_vector(each, SHORTS(ir.Undefined), lanes) for each in (x, y)
            ]
            parts.append(self.builder.call(function, pieces))
        while len(parts) > 1:
            parts = [self._joined(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def _every_other(self, x: Any, y: Any, first: int) -> Any:
        lanes = LANE([*range(first, 2 * PANEL, 2)])
        pair = [self.builder.shuffle_vector(each, SHORTS(ir.Undefined), lanes) for each in (x, y)]
        return self.builder.mul(*(self.builder.sext(each, LANE) for each in pair))

    def _joined(self, low: Any, high: Any) -> Any:
        lanes = ir.VectorType(WORD, 2 * low.type.count)([*range(2 * low.type.count)])
        return self.builder.shuffle_vector(low, high, lanes)


class Sums(Tile):
    """Numba's type of a register tile of int32."""

    writer = IntegerWriter


@register_model(Sums)
class _SumsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, sums: Sums) -> None:
        super().__init__(manager, sums, ir.ArrayType(LANE, sums.pixels * sums.panels))


@written_in_llvm
def zeros(typing: Any, pixels: Any, panels: Any) -> Typed:
    sums = Sums(pixels.literal_value, panels.literal_value)

    def write(writer: IntegerWriter, arguments: Any) -> Any:
        return writer.tile([writer.constant(0) for _ in sums.places])

    return sums(pixels, panels), written(write, IntegerWriter)


@written_in_llvm
def spread(typing: Any, pixels: Any, panels: Any, x: Any, at: Any, panel_step: Any) -> Typed:
    sums = Sums(pixels.literal_value, panels.literal_value)

    def write(writer: IntegerWriter, arguments: Any) -> Any:
        place = writer.place(2, arguments, arguments[3])
        vectors = [writer.load(writer.step(place, n, arguments[4])) for n in range(sums.panels)]
        return writer.tile([vectors[panel] for _, _, panel in sums.places])

    return sums(pixels, panels, x, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def load_sums(
    typing: Any, pixels: Any, panels: Any, x: Any, at: Any, pixel_step: Any, panel_step: Any
) -> Typed:
    sums = Sums(pixels.literal_value, panels.literal_value)

    def write(writer: IntegerWriter, arguments: Any) -> Any:
        return writer.tile([writer.load(place) for place in writer.places(sums, 2, arguments)])

    return sums(pixels, panels, x, INT, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def load_bytes(
    typing: Any, pixels: Any, panels: Any, x: Any, at: Any, pixel_step: Any, panel_step: Any
) -> Typed:
    sums = Sums(pixels.literal_value, panels.literal_value)

    def write(writer: IntegerWriter, arguments: Any) -> Any:
        places = writer.places(sums, 2, arguments)
        return writer.tile([writer.load_input(place) for place in places])

    return sums(pixels, panels, x, INT, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def store_sums_part(typing: Any, sums: Any, y: Any, at: Any, lanes: Any) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> None:
        pointer = LANE.as_pointer()
        store = writer.function(
            "llvm.masked.store.v16i32.p0v16i32", ir.VoidType(), [LANE, pointer, WORD, MASK]
        )
        place = writer.builder.bitcast(writer.place(1, arguments, arguments[2]), pointer)
        (vector,) = writer.vectors(arguments[0], 1)
        (mask,) = writer.masks(sums, arguments[3])
        writer.builder.call(store, [vector, place, WORD(4), mask])

    return types.void(sums, y, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def dot(
    typing: Any, sums: Any, x: Any, at: Any, pixel_step: Any, w: Any, w_at: Any, panel_step: Any
) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> Any:
        builder = writer.builder
        vectors = writer.vectors(arguments[0], len(sums.places))
        x_place = writer.place(1, arguments, arguments[2])
        w_place = writer.place(4, arguments, arguments[5])
        eight = writer.constant(8, SHORTS)
        weights = []
        for n in range(sums.panels):
            group = builder.bitcast(writer.load(writer.step(w_place, n, arguments[6])), SHORTS)
            even = builder.ashr(builder.shl(group, eight), eight)  # terms 0 and 2 of each lane
            weights.append((even, builder.ashr(group, eight)))  # 1 and 3
        for i, pixel, panel in sums.places:
            if panel == 0:
                group = writer.load_word(writer.step(x_place, pixel, arguments[3]))
                terms = []
                for shift in (0, 8):
                    pair = builder.and_(builder.lshr(group, WORD(shift)), WORD(0x00FF00FF))
                    terms.append(builder.bitcast(writer.splat(pair), SHORTS))
            for term, weight in zip(terms, weights[panel], strict=True):
                vectors[i] = builder.add(vectors[i], writer.multiply_pairs(term, weight))
        return writer.tile(vectors)

    return sums(sums, x, INT, INT, w, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def int_at(typing: Any, x: Any, at: Any) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> Any:
        return writer.load_word(writer.place(0, arguments, arguments[1]))

    return types.int32(x, INT), written(write, IntegerWriter)


@written_in_llvm
def scale(typing: Any, sums: Any, table: Any, at: Any, panel_step: Any) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> Any:
        builder = writer.builder
        place = writer.place(1, arguments, arguments[2])
        rows = [writer.load(writer.step(place, n, arguments[3])) for n in range(sums.panels)]
        multipliers = [builder.and_(row, writer.constant(0xFFFF)) for row in rows]
        # A shift past 31 has no meaning in LLVM; no model file that was checked has one.
        shifts = [builder.lshr(row, writer.constant(16)) for row in rows]
        shifts = [builder.and_(shift, writer.constant(31)) for shift in shifts]
        vectors = writer.vectors(arguments[0], len(sums.places))
        for i, _, panel in sums.places:
            t = writer.clamp(builder.ashr(vectors[i], shifts[panel]), -(1 << 15), (1 << 15) - 1)
            vectors[i] = writer.rounded(builder.mul(t, multipliers[panel]))
        return writer.tile(vectors)

    return sums(sums, table, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def add_shortcut(
    typing: Any, v: Any, x: Any, at: Any, pixel_step: Any, panel_step: Any, multiplier: Any
) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> Any:
        builder = writer.builder
        factor = builder.trunc(arguments[5], WORD)
        factors = writer.splat(builder.mul(factor, WORD(SHORTCUT_SCALE)))
        vectors = writer.vectors(arguments[0], len(v.places))
        for i, place in enumerate(writer.places(v, 1, arguments)):
            shortcut = writer.load_input(place)
            added = writer.rounded(builder.mul(shortcut, factors))
            total = builder.add(vectors[i], added)
            vectors[i] = writer.clamp(total, -(1 << 15), (1 << 15) - 1)
        return writer.tile(vectors)

    return v(v, x, INT, INT, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def eight_bits(typing: Any, v: Any, fraction: Any) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> Any:
        fractions = writer.splat(writer.builder.trunc(arguments[1], WORD))
        vectors = writer.vectors(arguments[0], len(v.places))
        whole = [writer.builder.ashr(vector, fractions) for vector in vectors]
        return writer.tile([writer.clamp(each, 0, 255) for each in whole])

    return v(v, INT), written(write, IntegerWriter)


@written_in_llvm
def store_bytes(typing: Any, x: Any, y: Any, at: Any, pixel_step: Any, panel_step: Any) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> None:
        builder = writer.builder
        vectors = writer.vectors(arguments[0], len(x.places))
        for vector, place in zip(vectors, writer.places(x, 1, arguments), strict=True):
            pointer = builder.bitcast(place, BYTES.as_pointer())
            builder.store(builder.trunc(vector, BYTES), pointer, align=1)

    return types.void(x, y, INT, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def store_bytes_part(
    typing: Any, x: Any, y: Any, at: Any, pixel_step: Any, panel_step: Any, lanes: Any
) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> None:
        builder, pointer = writer.builder, BYTES.as_pointer()
        masked = writer.function(
            "llvm.masked.store.v16i8.p0v16i8", ir.VoidType(), [BYTES, pointer, WORD, MASK]
        )
        vectors = writer.vectors(arguments[0], len(x.places))
        places, masks = writer.places(x, 1, arguments), writer.masks(x, arguments[5])
        for vector, place, mask in zip(vectors, places, masks, strict=True):
            place = builder.bitcast(place, pointer)
            builder.call(masked, [builder.trunc(vector, BYTES), place, WORD(1), mask])

    return types.void(x, y, INT, INT, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def copy(typing: Any, x: Any, at: Any, y: Any, to: Any, count: Any) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> None:
        source = writer.place(0, arguments, arguments[1])
        target = writer.place(2, arguments, arguments[3])
        cgutils.raw_memcpy(writer.builder, target, source, arguments[4], 1)

    return types.void(x, INT, y, INT, INT), written(write, IntegerWriter)


@written_in_llvm
def fill(typing: Any, y: Any, at: Any, count: Any, value: Any) -> Typed:
    def write(writer: IntegerWriter, arguments: Any) -> None:
        place = writer.place(0, arguments, arguments[1])
        byte = writer.builder.trunc(arguments[3], BYTE)
        cgutils.memset(writer.builder, place, arguments[2], byte)

    return types.void(y, INT, INT, INT), written(write, IntegerWriter)


assert GROUP == 4  # terms of a dot, which is written for them
