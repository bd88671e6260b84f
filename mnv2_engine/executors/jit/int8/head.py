"""The end of an int8 classifier: last 1x1 convolution with global average pool, then the matrix.

head:        sums[n] = sum over pixels of the 8-bit output n. The map of [pixels][features] never
             exists: a tile is summed as it is made.
classifier:  features are the sums as 8 bits; logits[n] = float(acc[n]) * scale[n] + bias[n] of
             acc[n] = sum over k of features[k] * w[n][k].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....model.packed import PANEL
from ....model.packing_int8 import GROUP
from ....network.quantization import MULTIPLIER_BITS
from ..compiling import BYTES, FLOATS, INT, MEMORY, entry, inlined
from ..strips import panels_of
from ..tables import HEADS, STEPS
from ..vector import clear, float_at
from .pointwise import PANEL_SUMS, SUM_BYTES, Input, groups_of, pointwise, to_pool
from .vector import HALF, dot, int_at, store_sums_part, zeros

TINY = np.finfo(np.float32).tiny


@entry("int8", MEMORY, BYTES, HEADS, STEPS, INT)
def head_step(arena: Any, weights: Any, heads: Any, steps: Any, number: int) -> None:
    head, step = heads[0], steps[number]
    panels, groups = panels_of(head.features), groups_of(head.channels)
    clear(arena, step.output, panels * PANEL_SUMS)
    source = Input(
        step.input,
        head.channels,
        0,
        groups,
        groups,
        head.head_weight,
        groups * PANEL * GROUP,
        head.head_bias,
        head.fraction,
    )
    pointwise(arena, weights, arena, head.pixels, panels, source, to_pool(step.output))


@inlined
def _quantise_features(arena: Any, head: Any, sums: int, y: int) -> None:
    """Pooled features as 8 bits: y is [features/16][16]."""
    for n in range(panels_of(head.features) * PANEL):
        acc = np.int64(int_at(arena, sums + n * SUM_BYTES)) + head.pool_bias
        t = min(max(acc >> head.pool_shift, -(1 << 15)), (1 << 15) - 1)
        v = (t * head.pool_multiplier + HALF) >> MULTIPLIER_BITS
        arena[y + n] = np.uint8(min(max(v >> head.pool_fraction, 0), 255))


@inlined
def _flushed(x: Any) -> Any:
    """Zero where x is denormal, as all of that is in C."""
    return x if abs(x) >= TINY else np.float32(0)


@entry("int8", MEMORY, BYTES, HEADS, STEPS, INT, FLOATS)
def classifier_step(
    arena: Any, weights: Any, heads: Any, steps: Any, number: int, logits: Any
) -> None:
    head, step = heads[0], steps[number]
    _quantise_features(arena, head, step.input, step.filtered)
    groups = groups_of(head.features)
    for panel in range(panels_of(head.classes)):
        w = head.classifier_weight + panel * groups * PANEL * GROUP
        sums = zeros(1, 1)
        for k in range(groups):
            x = step.filtered + k * GROUP
            sums = dot(sums, arena, x, 0, weights, w + k * PANEL * GROUP, 0)
        first = panel * PANEL
        store_sums_part(sums, logits, first, head.classes - first)  # each where its logit will be
    for n in range(head.classes):
        # [classes/16][2][16]: scale, bias
        table = head.classifier_bias // SUM_BYTES + n // PANEL * 2 * PANEL + n % PANEL
        scale, bias = float_at(weights, table), float_at(weights, table + PANEL)
        product = _flushed(np.float32(int_at(logits, n)) * _flushed(scale))
        logits[n] = _flushed(product + _flushed(bias))
