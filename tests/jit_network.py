"""Networks for the Numba kernels that no model file holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from native_network import PackedNetwork

from mnv2_engine.executors.executor import Executor
from mnv2_engine.executors.jit import executor_of
from mnv2_engine.network.blocks import match
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.steps import Plan


class JitNetwork:
    """A network in the Numba kernels, called as a NativeNetwork."""

    def __init__(
        self,
        network: Network,
        weights: dict[str, np.ndarray[Any, Any]],
        plan: Plan | None = None,
    ) -> None:
        self.network = network
        self.plan = plan or make_plan(network)
        packed = PackedNetwork(network, weights, self.plan.dtype)
        self.executor = executor_of(packed, self.plan)  # type: ignore[arg-type]

    def __call__(
        self, x: np.ndarray[Any, Any]
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Logits and features of one image (H, W, 3), uint8 or normalised float32."""
        logits, features, *_ = outputs(self.executor, self.plan, x)
        return logits, features


def outputs(executor: Executor, plan: Plan, x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Logits, features and the plan's taps of one image (H, W, 3), uint8 or normalised float32."""
    network = plan.network
    logits = np.full(network.classes, np.nan, np.float32)
    features = np.full(network.features, np.nan, np.float32)
    blocks = [match(network).blocks[index] for index in plan.taps]
    maps = [
        np.full((*block.depthwise.out_size, block.out_channels), np.nan, np.float32)
        for block in blocks
    ]
    executor.run(np.ascontiguousarray(x), x.dtype == np.float32, logits, features, maps)
    return [logits, features, *maps]
