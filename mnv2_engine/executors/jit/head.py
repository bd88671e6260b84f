"""The end of a classifier: last 1x1 convolution with global average pool, then the matrix.

head:        features[n] = mean over pixels of relu6(bias[n] + sum over k of x[p][k] * w[k][n])
             The map of [pixels][features] never exists: a tile is summed as it is made.
classifier:  logits[n] = bias[n] + sum over k of features[k] * w[k][n]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...model.packed import PANEL
from .compiling import FLOATS, INT, WEIGHTS, entry
from .pointwise import LINEAR_TO_CHANNELS, NOWHERE, Input, Output, pointwise, to_pool
from .strips import panels_of
from .tables import HEADS, STEPS
from .vector import clear, load, scale, store


@entry("float32", FLOATS, WEIGHTS, HEADS, STEPS, INT)
def head_step(arena: Any, weights: Any, heads: Any, steps: Any, number: int) -> None:
    head, step = heads[0], steps[number]
    panels, depth = panels_of(head.features), head.channels
    clear(arena, step.output, panels * PANEL)
    source = Input(
        step.input, depth, 0, depth, depth, head.head_weight, depth * PANEL, head.head_bias
    )
    pointwise(arena, weights, arena, head.pixels, panels, source, to_pool(step.output))
    share = np.float32(1.0) / np.float32(head.pixels)
    for panel in range(panels):
        at = step.output + panel * PANEL
        store(scale(load(1, 1, arena, at, 0, 0), share), arena, at, 0, 0)


@entry("float32", FLOATS, WEIGHTS, HEADS, STEPS, INT, FLOATS)
def classifier_step(
    arena: Any, weights: Any, heads: Any, steps: Any, number: int, logits: Any
) -> None:
    head, step = heads[0], steps[number]
    depth, classes = head.features, head.classes
    w, bias = head.classifier_weight, head.classifier_bias
    source = Input(step.input, depth, 0, depth, depth, w, depth * PANEL, bias)
    out = Output(LINEAR_TO_CHANNELS, 0, 0, classes, True, NOWHERE, 0, 0)
    pointwise(arena, weights, logits, 1, panels_of(classes), source, out)
