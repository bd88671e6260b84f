"""An activation of floats as two limits: y = min(max(x, least), most), and what is not a number
becomes `least`. As kernels/activation.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...network.layer import ACTIVATIONS
from .compiling import inlined

LINEAR, RELU6 = ACTIVATIONS.index("linear"), ACTIVATIONS.index("relu6")
_ZERO, _SIX, _INFINITY = np.float32(0), np.float32(6), np.float32(np.inf)


@inlined
def least_of(activation: int) -> Any:
    return -_INFINITY if activation == LINEAR else _ZERO


@inlined
def most_of(activation: int) -> Any:
    return _SIX if activation == RELU6 else _INFINITY
