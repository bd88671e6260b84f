"""The int8 kernels, those of C and Numba's, against the oracle of integers: every instruction set,
schedule and thread count, bit for bit."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from int8_network import (
    INT8_ISAS,
    PackedInt8,
    pixels,
    random_int8,
    run_int8,
    run_oracle,
    runners,
)
from test_native import any_network, network_of
from test_threads import any_schedule

from mnv2_engine import Engine
from mnv2_engine.executors import integer
from mnv2_engine.executors.backends import cpu_family
from mnv2_engine.executors.native import NativeExecutor
from mnv2_engine.executors.reference import Outputs
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import (
    BlockShape,
    efficientnet_lite,
    inverted_residuals,
    mobilenet_v2,
)
from mnv2_engine.network.layer import Network
from mnv2_engine.network.quantization import PoolQuantization, Quantization
from mnv2_engine.plan import schedules
from mnv2_engine.plan.arena import moves
from mnv2_engine.plan.planner import assemble, every_schedule, make_plan
from mnv2_engine.plan.schedules import Schedule
from mnv2_engine.plan.shapes import INT8, Shapes
from mnv2_engine.plan.steps import Plan

UNEVEN = InputSpec((127.5, 116.28, 300.0), (58.0, 57.0, 2.5), "bilinear", 0.875)


class Subject:
    """A network of random integers and what the oracle says of an image."""

    def __init__(
        self,
        network: Network,
        seed: int = 0,
        extreme: bool = False,
        spec: InputSpec = PRESETS["tf"],
    ) -> None:
        self.network = network
        self.weights, quantization = random_int8(network, seed, extreme)
        self.model = PackedInt8(network, self.weights, quantization, spec)
        self.x = pixels(network, seed)
        self.expected = run_oracle(self.model, self.weights, self.x)

    def check(self, plan: Plan | None = None, only: str | None = None) -> None:
        for runner in [only] if only else runners(plan):
            same_bits(run_int8(self.model, self.x, runner, plan), self.expected, runner)


def same_bits(found: Outputs, expected: Outputs, said: str = "") -> None:
    for name in ("features", "logits"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(one, other, err_msg=f"{said} {name}")


# Networks


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", [32, 97, (128, 90)])
@pytest.mark.parametrize("width", [0.1, 0.35, 0.75, 1.0, 1.4])
def test_widths_and_sizes(width, size, padding):
    subject = Subject(network_of(width, size, padding), 1)
    assert len(np.unique(subject.expected.logits)) > 10  # else the comparison says little
    subject.check()


def test_the_headline_network():
    Subject(mobilenet_v2(1.0, 224), 2).check()


@pytest.mark.parametrize("variant", [0, 2, 4])
def test_kernels_of_five(variant):
    Subject(efficientnet_lite(variant, (64, 76), 10), variant).check()


@settings(max_examples=120)
@given(network=any_network(), seed=st.integers(0, 1000))
def test_any_channels_strides_and_sizes(network, seed):
    Subject(network, seed, spec=UNEVEN if seed % 2 else PRESETS["tf"]).check()


@settings(max_examples=120)
@given(network=any_network(), seed=st.integers(0, 10**6))
def test_any_channels_strides_and_sizes_with_integers_at_their_ends(network, seed):
    Subject(network, seed, extreme=True).check()


@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("channels", [3, 8, 16, 24])
@pytest.mark.parametrize("extreme", [False, True])
def test_a_first_block_without_expansion(channels, shortcut, extreme):
    out = channels if shortcut else channels + 5
    blocks = [BlockShape(channels, out, expands=False), BlockShape(out * 6, 24, stride=2)]
    network = inverted_residuals("first", (37, 70), channels, blocks, 40, [9])
    assert match(network).blocks[0].residual == shortcut
    Subject(network, 3, extreme).check()


int32_ends = st.sampled_from([0, 1, 2**14, 2**15 - 1])


@settings(max_examples=40)
@given(
    multiplier=int32_ends,
    shift=st.sampled_from([0, 1, 8, 31]),
    fraction=st.integers(0, 6),
    bias=st.sampled_from([0, 1, 255, 2**30]),
    seed=st.integers(0, 100),
)
def test_pools_of_any_integers(multiplier, shift, fraction, bias, seed):
    subject = Subject(mobilenet_v2(0.35, (20, 33), 6), seed)
    said = PoolQuantization(0.02, fraction, bias, multiplier, shift)
    quantization = Quantization(subject.model.quantization.layers, said)
    subject.model.quantization = quantization
    subject.expected = run_oracle(subject.model, subject.weights, subject.x)
    subject.check()


@pytest.mark.parametrize("part", ["stem", "block2.expand", "block2.depthwise", "block2.project"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_that_fill_32_bits(part, sign):
    """The largest sums that a model file may make, of either sign, with any shift."""
    network = mobilenet_v2(0.35, (24, 31), 6)
    assert match(network).blocks[2].residual
    weights, quantization = random_int8(network, 4)
    weight = weights[f"{part}.weight"]
    weight[:] = 127 if sign > 0 else -128
    reach = 255 * np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    weights[f"{part}.bias"][:] = sign * ((1 << 31) - 1 - reach)
    weights[f"{part}.multiplier"][:] = 32767
    for shift in (0, 15, 16, 31):
        weights[f"{part}.shift"][:] = shift
        for fraction in (0, 6):
            said = dict(quantization.layers)
            said[part] = said[part]._replace(fraction=fraction)
            model = PackedInt8(network, weights, Quantization(said, quantization.pool))
            x = pixels(network)
            expected = run_oracle(model, weights, x)
            for runner in runners():
                same_bits(run_int8(model, x, runner, None), expected, f"{runner} >> {shift}")


def test_sums_that_no_model_file_may_make_wrap_around():
    """Loading does not read the integers, so those of a hostile file come as far as the kernels:
    any answer will do, but it has to be one."""
    network = mobilenet_v2(0.35, (24, 31), 6)
    weights, quantization = random_int8(network, 4)
    model = PackedInt8(network, weights, quantization)
    for name, tensor in model.tensors.items():
        array = np.frombuffer(model.buffer, tensor.descr, int(np.prod(tensor.shape)), tensor.offset)
        if name.endswith(".weight"):
            array[:] = 127
        elif name.endswith(".requantise"):
            array[:] = np.iinfo(np.int32).max  # multiplier, shift and bias
    answers = [run_int8(model, pixels(network), runner, None).features for runner in runners()]
    assert np.isfinite(answers).all()


# Images of floats


def test_halves_are_rounded_to_even_and_the_rest_is_cut_off():
    spec = InputSpec((0.0, 0.5, -3.0), (1.0, 1.0, 0.25), "bilinear", 0.875)
    network = mobilenet_v2(0.35, (16, 48), 9)
    weights, quantization = random_int8(network, 5)
    model = PackedInt8(network, weights, quantization, spec)
    ends = [-0.0, -0.5, -0.6, 255.4, 255.5, 256.0, -1e30, 1e30, 3.4e38, -3.4e38, 1e-45, -1e-40]
    levels = np.concatenate([np.arange(0, 256, 0.5), np.arange(0.25, 256, 1.0), ends])
    levels = np.random.default_rng(0).permutation(np.resize(levels, 16 * 48 * 3))
    x = levels.reshape(16, 48, 3).astype(np.float32)
    meant = np.empty(x.shape, np.uint8)
    for at in np.ndindex(x.shape):  # exact in these steps, and round() is half to even
        level = float(x[at]) * spec.std[at[2]] + spec.mean[at[2]]
        meant[at] = min(max(round(level), 0), 255)
    expected = run_oracle(model, weights, meant)
    for runner in runners():
        same_bits(run_int8(model, x, runner, None), expected, runner)
        same_bits(run_int8(model, meant, runner, None), expected, runner)


@settings(max_examples=40)
@given(
    spec=st.sampled_from([*PRESETS.values(), UNEVEN]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    seed=st.integers(0, 1000),
)
def test_float_images(spec, size, seed):
    """Also floats whose product and sum round otherwise than one fused operation."""
    subject = Subject(network_of(0.35, size, "same"), seed, spec=spec)
    random = np.random.default_rng(seed)
    levels = random.integers(-40, 600, subject.x.shape) / 2
    x = ((levels - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
    subject.x = np.nextafter(x, random.choice([-9e9, 0, 9e9], x.shape).astype(np.float32))
    subject.expected = run_oracle(subject.model, subject.weights, subject.x)
    subject.check()


# Schedules and threads


def plans_of_every_schedule(shapes: Shapes) -> Iterator[tuple[Schedule, Plan]]:
    """For each schedule that the planner knows, and each end at which its output may lie, a plan
    that holds it."""
    choices = every_schedule(shapes)
    Route = list[tuple[Schedule, bool]]
    before: dict[tuple[int, bool], Route] = {(0, False): []}
    after: dict[tuple[int, bool], Route] = {(len(choices), high): [] for high in (False, True)}

    def ways(at: int, high: bool) -> Iterator[tuple[Schedule, bool, tuple[int, bool]]]:
        for schedule in choices[at]:
            for end in moves(schedule, high):
                yield schedule, end, (at + max(1, len(schedule.blocks)), end)

    for at in range(len(choices)):
        for high in (False, True):
            for schedule, end, key in ways(at, high) if (at, high) in before else ():
                before[key] = [*before[at, high], (schedule, end)]
    for at in reversed(range(len(choices))):
        for high in (False, True):
            for schedule, end, key in ways(at, high):
                if key in after:
                    after[at, high] = [(schedule, end), *after[key]]
    for at in range(len(choices)):
        for high in (False, True):
            for schedule, end, key in ways(at, high):
                if (at, high) in before and key in after:
                    chosen = [*before[at, high], (schedule, end), *after[key]]
                    yield schedule, assemble(shapes, chosen)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("strips", [schedules.STRIP_PIXELS["int8"], (5, 14)], ids=str)
@pytest.mark.parametrize(
    "network",
    [mobilenet_v2(0.35, (120, 130), 10, "symmetric"), efficientnet_lite(0, (44, 75), 3)],
    ids=lambda network: network.name,
)
def test_every_schedule_gives_the_same_bits(network, strips, threads, monkeypatch):
    monkeypatch.setitem(schedules.STRIP_PIXELS, "int8", strips)
    subject = Subject(network, 6)
    kinds = set()
    for i, (schedule, plan) in enumerate(plans_of_every_schedule(Shapes(network, threads, INT8))):
        able = runners(plan)
        subject.check(plan, able[i % len(able)])
        kinds.add((schedule.kind, len(schedule.blocks) > 2, schedule.in_place))
    expected = {("rows", long, False) for long in (False, True)} | {("tiles", False, False)}
    if threads == 1:
        expected |= {("rows", long, True) for long in (False, True)}
    assert kinds == expected | {("head", False, False), ("dense", False, False)}


@settings(max_examples=120)
@given(
    network=any_network(),
    threads=st.sampled_from([1, 1, 2, 3, 4, 17]),
    seed=st.integers(0, 10**6),
    extreme=st.booleans(),
)
def test_any_schedule_of_any_network(network, threads, seed, extreme):
    subject = Subject(network, seed, extreme)
    subject.check(any_schedule(network, threads, seed, "int8"))


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("size", [32, (61, 96), 160])
def test_any_number_of_threads(size, threads):
    network = network_of(1.0, size, "same")
    subject = Subject(network, 7)
    for _ in range(3):  # who takes which part is chance
        subject.check(make_plan(network, threads, "int8"))


# Model files


@pytest.fixture(scope="module")
def network() -> Network:
    return mobilenet_v2(0.35, (64, 56), 10)


@pytest.fixture(scope="module")
def path(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "model.npz"
    weights, quantization = random_int8(network, 8)
    write_model(path, network, weights, PRESETS["imagenet"], None, {}, quantization)
    return path


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_of_an_engine(path, network, threads):
    weights, quantization = random_int8(network, 8)
    images = np.stack([pixels(network, seed) for seed in range(5)])
    expected = integer.run(network, weights, quantization, PRESETS["imagenet"], images)
    with Engine.load(path, threads=threads) as engine:
        assert engine.info.backend == "c"
        assert (engine.info.dtype, engine.info.precision) == ("int8", "int8")
        assert re.search(r"^weights +[\d,.]+ KiB int8, mapped$", str(engine.info), re.MULTILINE)
        assert "\nprecision     int8\n" in str(engine.info)
        for count in range(1, 6):
            np.testing.assert_array_equal(engine.logits(images[:count]), expected.logits[:count])
        np.testing.assert_array_equal(engine.embed(list(images)), expected.features)
        ((arena, _),) = engine._executor._arenas  # that of one image
        assert len(arena) == engine.memory_plan().arena_bytes
        assert engine.memory_plan() == make_plan(network, threads, "int8", cpu=cpu_family())


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_the_environment_chooses_the_instruction_set(path, isa, monkeypatch):
    monkeypatch.setenv("MNV2_ISA", isa)
    with Engine.load(path) as engine:
        assert engine.info.isa == isa


def test_by_default_it_is_the_best(path, monkeypatch):
    monkeypatch.delenv("MNV2_ISA", raising=False)
    with Engine.load(path) as engine:
        assert engine.info.isa == INT8_ISAS[0]


# The caller's floating-point state

UPWARD = 0x800  # FE_UPWARD of x86


@pytest.fixture
def rounding_up() -> Iterator[Any]:
    libm = ctypes.CDLL(None)
    if not hasattr(libm, "fesetround") or libm.fesetround(UPWARD) != 0:
        pytest.skip("needs fesetround and x86's number of FE_UPWARD")
    yield libm
    libm.fesetround(0)


def test_a_callers_rounding_changes_no_bit_and_stays(network, rounding_up):
    rounding_up.fesetround(0)
    subject = Subject(network, 9, spec=PRESETS["imagenet"])
    subject.x = ((subject.x - 120.3) / 57.5).astype(np.float32)
    subject.expected = run_oracle(subject.model, subject.weights, subject.x)
    executor = NativeExecutor(
        subject.model,  # type: ignore[arg-type]
        make_plan(network, 1, "int8"),
    )
    logits = np.empty(network.classes, np.float32)
    features = np.empty(network.features, np.float32)
    rounding_up.fesetround(UPWARD)
    executor.run(subject.x, True, logits, features)
    assert rounding_up.fegetround() == UPWARD
    rounding_up.fesetround(0)
    same_bits(Outputs(logits, features), subject.expected)


@pytest.mark.parametrize("what", ["scale", "bias", "sum"])
def test_denormals_are_zero(network, what):
    """Those that a model file holds, and those that a sum of two floats makes."""
    weights, quantization = random_int8(network, 11)
    acc = run_oracle_sums(network, weights, quantization)
    assert (acc != 0).all()
    weights["classifier.scale"][:] = 1e-40 if what == "scale" else 2e-38
    product = acc * weights["classifier.scale"]
    close = np.nextafter(-product, np.float32(0))
    biases = {"scale": product * 0, "bias": product * 0 + np.float32(1e-40), "sum": close}
    weights["classifier.bias"][:] = biases[what]
    said = dict(quantization.layers)
    said["head"] = said["head"]._replace(scale=1e-39)
    model = PackedInt8(network, weights, Quantization(said, quantization.pool))
    x = pixels(network)
    for runner in runners():
        found = run_int8(model, x, runner, None)
        np.testing.assert_array_equal(found.logits, product if what == "bias" else 0)
        np.testing.assert_array_equal(found.features, 0)
        same_bits(found, run_oracle(model, weights, x), runner)


def run_oracle_sums(network: Network, weights: Any, quantization: Any) -> Any:
    """The classifier's sums of an image, as float32."""
    whole = dict(weights)
    whole["classifier.scale"] = np.ones(network.classes, np.float32)
    whole["classifier.bias"] = np.zeros(network.classes, np.float32)
    return run_oracle(PackedInt8(network, whole, quantization), whole, pixels(network)).logits


def test_the_callers_denormals_are_left_alone(network):
    tiny, half = np.float32(1e-40), np.float32(0.5)
    before = tiny * half
    Subject(network).check()
    assert before != 0
    assert tiny * half == before
