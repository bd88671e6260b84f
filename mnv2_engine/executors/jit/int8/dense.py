"""Dense layers of int8 networks: the first one in 8 bits, those behind it in float32, and what they
have in common with a tap, that integers become floats.

    x[k]   = the sum of feature k as 8 bits                    docs/int8.md
    acc[n] = sum over k of x[k] * w[n][k]
    y[n]   = f(float(acc[n]) * scale[n] + bias[n])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ....network.quantization import MULTIPLIER_BITS
from ..activation import LINEAR, least_of, most_of
from ..compiling import BYTES, FLOATS, INT, MEMORY, WEIGHTS, entry, inlined
from ..dense import floats_of
from ..strips import panels_of
from ..tables import DENSES, HEADS, STEPS
from ..vector import float_at
from .pointwise import SUM_BYTES, groups_of
from .vector import HALF, dot, int_at, store_sums_part, zeros

TINY = np.finfo(np.float32).tiny


@inlined
def _flushed(x: Any) -> Any:
    """Zero where x is denormal, as all of that is in C."""
    return x if abs(x) >= TINY else np.float32(0)


@inlined
def _quantise_features(arena: Any, head: Any, sums: int, y: int) -> None:
    """Pooled features as 8 bits: y is [features/16][16]."""
    for n in range(panels_of(head.features) * PANEL):
        acc = np.int64(int_at(arena, sums + n * SUM_BYTES)) + head.pool_bias
        t = min(max(acc >> head.pool_shift, -(1 << 15)), (1 << 15) - 1)
        v = (t * head.pool_multiplier + HALF) >> MULTIPLIER_BITS
        arena[y + n] = np.uint8(min(max(v >> head.pool_fraction, 0), 255))


@inlined
def _dense_bytes(arena: Any, weights: Any, dense: Any, x: int, y: Any, to: int) -> None:
    """The layer of features of 8 bits at x; y is an array of floats."""
    groups, clips = groups_of(dense.inputs), dense.activation != LINEAR
    least, most = least_of(dense.activation), most_of(dense.activation)
    for panel in range(panels_of(dense.outputs)):
        w = dense.weight + panel * groups * PANEL * GROUP
        sums = zeros(1, 1)
        for k in range(groups):
            sums = dot(sums, arena, x + k * GROUP, 0, weights, w + k * PANEL * GROUP, 0)
        first = panel * PANEL
        store_sums_part(sums, y, to + first, dense.outputs - first)  # each where its float will be
    for n in range(dense.outputs):
        # [outputs/16][2][16]: scale, bias
        table = dense.bias // SUM_BYTES + n // PANEL * 2 * PANEL + n % PANEL
        scale, bias = float_at(weights, table), float_at(weights, table + PANEL)
        product = _flushed(np.float32(int_at(y, to + n)) * _flushed(scale))
        made = _flushed(product + _flushed(bias))
        if clips:
            made = made if made > least else least
            made = made if made < most else most
        y[to + n] = made


dense_floats = floats_of(1)


@entry("int8", MEMORY, BYTES, FLOATS, WEIGHTS, HEADS, DENSES, STEPS, INT, FLOATS)
def dense_step(
    arena: Any,
    weights: Any,
    floats: Any,
    float_weights: Any,
    heads: Any,
    denses: Any,
    steps: Any,
    number: int,
    logits: Any,
) -> None:
    """The last layer writes the caller's logits, the others the step's output. `floats` and
    `float_weights` are the arena and the weights as floats."""
    step = steps[number]
    dense = denses[step.first]
    x, y = step.input // SUM_BYTES, step.output // SUM_BYTES
    is_last = step.first == len(denses) - 1
    if step.first == 0:
        _quantise_features(arena, heads[0], step.input, step.filtered)
    if step.first == 0 and is_last:
        _dense_bytes(arena, weights, dense, step.filtered, logits, 0)
    elif step.first == 0:
        _dense_bytes(arena, weights, dense, step.filtered, floats, y)
    elif is_last:
        dense_floats(floats, float_weights, dense, x, logits, 0)
    else:
        dense_floats(floats, float_weights, dense, x, floats, y)


@entry("int8", MEMORY, BYTES, INT, INT, INT, FLOATS)
def tap_step(arena: Any, weights: Any, at: int, values: int, channels: int, y: Any) -> None:
    """The thin tensor at `at` as floats: q * scale + offset, of `values`, [2][channels]."""
    table = values // SUM_BYTES
    for first in range(0, len(y), channels):
        for c in range(channels):
            scale, offset = float_at(weights, table + c), float_at(weights, table + channels + c)
            product = _flushed(np.float32(arena[at + first + c]) * _flushed(scale))
            y[first + c] = _flushed(product + _flushed(offset))
