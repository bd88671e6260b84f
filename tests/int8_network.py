"""Int8 networks that no model file holds: any blocks, any integers, packed in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from every_backend import HAS_NUMBA

from mnv2_engine.executors import integer
from mnv2_engine.executors.executor import Executor
from mnv2_engine.executors.native import NativeExecutor, isas
from mnv2_engine.executors.reference import Outputs
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.model.members import pack
from mnv2_engine.model.packing_int8 import thin_outputs
from mnv2_engine.model.reading import Tensor
from mnv2_engine.network import box_maps
from mnv2_engine.network.blocks import match
from mnv2_engine.network.detection import ANCHORS
from mnv2_engine.network.layer import Network
from mnv2_engine.network.quantization import (
    FRACTION,
    LayerQuantization,
    PoolQuantization,
    Quantization,
    fixed_point,
    fraction_for,
)
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.steps import Plan

INT8_ISAS = [name for name, supported in isas("int8").items() if supported]

Arrays = dict[str, np.ndarray[Any, Any]]


def random_int8(
    network: Network, seed: int = 0, extreme: bool = False
) -> tuple[Arrays, Quantization]:
    """Canonical int8 weights and their quantization: outputs spread over 8 bits, and some clip.

    If `extreme`, weights are mostly -128, 127 and 0, and biases, multipliers, shifts and fractions
    anything that a model file may say.
    """
    random = np.random.default_rng(seed)
    weights: Arrays = {}
    said = {}
    parts = match(network)
    residuals = {block.project.name for block in parts.blocks if block.residual}
    thin = thin_outputs(network)
    for layer in network.weighted:
        shape, channels = layer.weight_shape, layer.out_channels
        fan_in = int(np.prod(shape[1:]))
        if layer.name in network.small_dense:  # float32
            weight = random.normal(0, np.sqrt(1 / fan_in), shape).astype(np.float32)
            weights[f"{layer.name}.weight"] = weight
            weights[f"{layer.name}.bias"] = random.normal(0, 1, channels).astype(np.float32)
            continue
        weight = random.integers(-127, 128, shape)
        if extreme:
            weight = random.choice([-128, 127, 127, 0, 3], shape)
        weights[f"{layer.name}.weight"] = weight.astype(np.int8)
        spread = 127 * 73 * np.sqrt(fan_in) * 0.6  # of the sums
        if layer.operation == "dense":
            scale = random.uniform(1e-4, 2e-4, channels).astype(np.float32)
            weights[f"{layer.name}.scale"] = scale
            weights[f"{layer.name}.bias"] = random.normal(0, 1, channels).astype(np.float32)
            continue
        middle = 1.5 if layer.activation == "linear" else 0.2
        bias = random.normal(middle * spread, spread, channels)
        factors = 60 / spread * random.uniform(0.5, 2, channels)
        fraction = FRACTION
        pairs = np.array([fixed_point(factor, fraction) for factor in factors], np.int32)
        shortcut = int(random.integers(6000, 12000)) if layer.name in residuals else 0
        if extreme:
            fraction = int(random.integers(0, 7))
            limit = (1 << 31) - 1 - 255 * 128 * fan_in
            bias = random.choice([-limit, limit, 0, 1 << 20, -77], channels)
            pairs[:, 0] = random.choice([0, 1, 16384, 32767, 20000], channels)
            pairs[:, 1] = random.choice([0, 1, 7, 15, 31], channels)
            shortcut = int(random.choice([0, 1, 32767])) if layer.name in residuals else 0
        weights[f"{layer.name}.bias"] = np.rint(bias).astype(np.int32)
        weights[f"{layer.name}.multiplier"] = pairs[:, 0].copy()
        weights[f"{layer.name}.shift"] = pairs[:, 1].copy()
        zero_point = 120 if layer.activation == "linear" else 0
        said[layer.name] = LayerQuantization(0.02, zero_point, fraction, shortcut)
        if layer.name in thin:
            of_thin = np.random.default_rng([seed, channels])
            values = of_thin.normal(0, 1, (2, channels)).astype(np.float32)
            weights[f"{layer.name}.values"] = values
    if network.detection is not None:
        weights[ANCHORS] = random.uniform(0.1, 0.9, (anchors_of(network), 4)).astype(np.float32)
        return weights, Quantization(said, None)
    height, width = parts.pool.in_size
    factor = 1 / (height * width) / 1.01
    fraction = fraction_for(factor)
    multiplier, shift = fixed_point(factor, fraction)
    pool = PoolQuantization(0.02, fraction, height * width // 2, multiplier, shift)
    return weights, Quantization(said, pool)


def anchors_of(network: Network) -> int:
    """How many anchors a detector has."""
    assert network.detection is not None
    return box_maps.anchors_of(network.detection, network.layers)


class PackedInt8:
    """What `NativeExecutor` reads of an int8 model file, made from canonical weights."""

    def __init__(
        self,
        network: Network,
        weights: Arrays,
        quantization: Quantization,
        spec: InputSpec = PRESETS["tf"],
    ) -> None:
        self.network = network
        self.input_spec = spec
        self.dtype = "int8"
        self.quantization = quantization
        self.tensors: dict[str, Tensor] = {}
        self.buffer = bytearray()
        for name, array in pack(network, weights, "int8").items():
            self.buffer += bytes(-len(self.buffer) % 64)
            self.tensors[name] = Tensor(len(self.buffer), array.shape, array.dtype.str)
            self.buffer += array.tobytes()


def runners(plan: Plan | None = None) -> list[str]:
    """All that can run an int8 plan here: instruction sets, and Numba, if it is fused and of one
    thread."""
    fused = plan is None or all(step.kind != "layers" for step in plan.steps)
    alone = plan is None or plan.threads == 1
    return [*INT8_ISAS, "numba"] if HAS_NUMBA and fused and alone else INT8_ISAS


def run_int8(model: PackedInt8, x: np.ndarray[Any, Any], runner: str, plan: Plan | None) -> Outputs:
    """Logits and features of one image (H, W, 3), uint8 or normalised float32."""
    network = model.network
    plan = plan or make_plan(network, 1, "int8")
    executor: Executor
    if runner == "numba":
        from mnv2_engine.executors.jit import executor_of

        executor = executor_of(model, plan)  # type: ignore[arg-type]
    else:
        executor = NativeExecutor(model, plan, runner)  # type: ignore[arg-type]
    logits = np.full(network.classes, np.nan, np.float32)
    features = np.full(network.features, np.nan, np.float32)
    executor.run(np.ascontiguousarray(x), x.dtype == np.float32, logits, features)
    return Outputs(logits, features)


def run_oracle(model: PackedInt8, weights: Arrays, x: np.ndarray[Any, Any]) -> Outputs:
    """The same by docs/int8.md."""
    made = integer.run(model.network, weights, model.quantization, model.input_spec, x[np.newaxis])
    return Outputs(made.logits[0], made.features[0])


def pixels(network: Network, seed: int = 0) -> np.ndarray[Any, Any]:
    """An image of noise, its darkest and brightest pixels frequent."""
    random = np.random.default_rng(seed)
    noise = random.integers(-60, 316, (*network.resolution, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)
