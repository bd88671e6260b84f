"""Model files without a checkpoint: every weight is zero."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.blocks import match
from mnv2_engine.network.layer import Network
from mnv2_engine.network.quantization import LayerQuantization, PoolQuantization, Quantization


def no_weights(
    network: Network, path: Path, dtype: str, labels: Sequence[str] | None = None
) -> Path:
    """Zeros: neither a plan nor a process's memory depends on them."""
    weights: dict[str, Any] = {}
    quantization = None
    for layer in network.weighted:
        parts = {"bias": np.float32}
        if dtype == "int8":
            parts = {"bias": np.int32, "multiplier": np.int32, "shift": np.int32}
            if layer.operation == "dense":
                parts = {"scale": np.float32, "bias": np.float32}
        shape = layer.weight_shape
        weights[f"{layer.name}.weight"] = np.zeros(shape, np.int8 if dtype == "int8" else "f4")
        for part, kind in parts.items():
            weights[f"{layer.name}.{part}"] = np.zeros(layer.out_channels, kind)
    if dtype == "int8":
        blocks = match(network).blocks
        joined = {block.project.name for block in blocks if block.residual}
        for block in blocks:
            weights[f"{block.project.name}.values"] = np.zeros((2, block.out_channels), "f4")
        said = {
            layer.name: LayerQuantization(0.02, 0, 5, 1 if layer.name in joined else 0)
            for layer in network.weighted[:-1]
        }
        quantization = Quantization(said, PoolQuantization(0.02, 5, 0, 1, 0))
    write_model(path, network, weights, PRESETS["tf"], labels, {}, quantization, dtype)
    return path
