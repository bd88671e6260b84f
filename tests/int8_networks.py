"""Seeded int8 networks: integers of every size that docs/int8.md allows, for the tests.

Not trained and not folded from anything: the factors are such that outputs use their 8 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnv2_engine.architecture import Architecture, layers
from mnv2_engine.quantization import (
    MAX_HIDDEN_SCALE,
    LayerQuantization,
    PoolQuantization,
    Quantization,
)

Array = np.ndarray[Any, Any]


def int8_network(network: Architecture, seed: int = 0) -> tuple[dict[str, Array], Quantization]:
    """Canonical arrays of `network`, and their quantization."""
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    said: dict[str, LayerQuantization] = {}
    joined = {f"block{i}.project" for i, block in enumerate(network.blocks) if block.residual}
    *convolutions, classifier = layers(network)
    for layer in convolutions:
        channels = layer.out_channels
        weight = random.integers(-128, 128, layer.weight_shape).astype(np.int8)
        # Inputs of any sign are a hundred or so: the sums spread by that times the weights' size.
        spread = 100 * np.sqrt((weight.astype(float) ** 2).reshape(channels, -1).sum(1))
        fraction = int(random.integers(0, 7))
        factor = np.minimum(60 / np.maximum(spread, 1) * 2.0 ** (15 + fraction), 32767)
        shift = np.clip(np.ceil(np.log2(32767 / factor)) - 1, 0, 31).astype(np.int32)
        arrays[f"{layer.name}.weight"] = weight
        arrays[f"{layer.name}.bias"] = (spread * random.uniform(-0.5, 2, channels)).astype(np.int32)
        arrays[f"{layer.name}.multiplier"] = (factor * 2.0**shift).astype(np.int32)
        arrays[f"{layer.name}.shift"] = shift
        zero_point = 0 if layer.relu6 else int(random.integers(0, 256))
        scale = float(MAX_HIDDEN_SCALE if layer.relu6 else random.uniform(0.01, 0.1))
        shortcut = int(random.integers(200, 800)) << fraction if layer.name in joined else 0
        said[layer.name] = LayerQuantization(scale, zero_point, fraction, min(shortcut, 32767))
    height, width = convolutions[-1].out_size
    fraction = min(5, int(np.log2(height * width)))
    factor = 2.0 ** (15 + fraction) / (2 * height * width)
    shift = int(np.log2(32767 / factor))
    bias, multiplier = int(random.integers(0, 999)), int(factor * 2**shift)
    pool = PoolQuantization(0.02, fraction, bias, multiplier, shift)
    shape = classifier.weight_shape
    arrays["classifier.weight"] = random.integers(-128, 128, shape).astype(np.int8)
    for part in ("scale", "bias"):
        arrays[f"classifier.{part}"] = random.normal(0, 1, shape[0]).astype(np.float32)
    return arrays, Quantization(said, pool)
