"""Networks for the C core that no model file holds: any blocks, weights packed in memory."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from mnv2_engine.executors.native import NativeExecutor, isas
from mnv2_engine.executors.reference import run
from mnv2_engine.model import outline_of
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.members import pack
from mnv2_engine.model.reading import Tensor
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.steps import Plan

SUPPORTED_ISAS = [name for name, supported in isas().items() if supported]
BFLOAT16_ISAS = [name for name, supported in isas("bfloat16").items() if supported]
AARCH64 = platform.machine() in ("aarch64", "arm64")  # where the baseline has them, too
FMA_ISAS = [name for name in SUPPORTED_ISAS if AARCH64 or name in ("avx2", "avx512")]


class PackedNetwork:
    """What `NativeExecutor` reads of a model file, made from canonical weights."""

    def __init__(
        self,
        network: Network,
        weights: dict[str, np.ndarray[Any, Any]],
        dtype: str = "float32",
    ) -> None:
        self.network, self.outline, self.core = network, outline_of(network), None
        self.input_spec = PRESETS["tf"]
        self.quantization = None
        self.tensors: dict[str, Tensor] = {}
        self.buffer = bytearray()
        for name, array in pack(network, weights, dtype).items():
            self.tensors[name] = Tensor(len(self.buffer), array.shape)
            self.buffer += array.tobytes()


class NativeNetwork:
    """A network in the C core, for one instruction set."""

    def __init__(
        self,
        network: Network,
        weights: dict[str, np.ndarray[Any, Any]],
        isa: str,
        plan: Plan | None = None,
        packed: PackedNetwork | None = None,
    ) -> None:
        self.network = network
        self.plan = plan or make_plan(network)
        packed = packed or PackedNetwork(network, weights, self.plan.dtype)
        self.executor = NativeExecutor(packed, self.plan, isa)  # type: ignore[arg-type]

    def __call__(
        self, x: np.ndarray[Any, Any]
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Logits and features of one image (H, W, 3), uint8 or normalised float32."""
        logits = np.full(self.network.classes, np.nan, np.float32)
        features = np.full(self.network.features, np.nan, np.float32)
        self.executor.run(np.ascontiguousarray(x), x.dtype == np.float32, logits, features)
        return logits, features


def image(network: Network, seed: int = 0) -> np.ndarray[Any, Any]:
    """A normalised float32 image of the network's own size."""
    height, width = network.resolution
    shape = (height, width, 3)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def relative_error(found: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    """Largest difference over the largest true value."""
    return float(np.abs(found - truth).max() / np.abs(truth).max())


def oracle(
    network: Network, weights: dict[str, np.ndarray[Any, Any]], x: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits and features in float64, layer by layer."""
    outputs = run(network, weights, x[np.newaxis].astype(np.float64), np.float64)
    return outputs.logits[0], outputs.features[0]
