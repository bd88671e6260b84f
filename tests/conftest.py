"""What the tests have in common: checkpoints, networks, seeded weights, small model files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_plans import CPlans, build_plans
from c_program import CProgram, build_program, build_sanitized, one_folder
from hypothesis import is_hypothesis_test, settings
from hypothesis import strategies as st

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

# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--most-examples",
        type=int,
        metavar="N",
        help="of each property test, for CPUs that are emulated (default: what the test says)",
    )
    parser.addoption(
        "--every", action="store_true", help="run the exhaustive tests in full, which takes minutes"
    )
    parser.addoption(
        "--photographs",
        type=int,
        metavar="N",
        default=40,
        help="random JPEGs, and PNGs, that are compared with Pillow's pixels (default: 40)",
    )


# The files that take the longest, though some have few tests.
LONG = (
    "test_plan.py",
    "test_hostile_checkpoints.py",
    "test_bounds.py",
    "test_native_int8.py",
    "test_hostile_c_program.py",
    "test_hostile_c_tables.py",
    "test_quantize.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """With -n of pytest-xdist, the tests of a file stay together: what they build is built once.
    The long files begin, so that no process is alone at the end."""
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False  # by the number of tests


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if getattr(config.option, "dist", "no") == "loadfile" or "PYTEST_XDIST_WORKER" in os.environ:
        order = {name: i for i, name in enumerate(LONG)}
        items.sort(key=lambda item: order.get(item.path.name, len(LONG)))
    if (most := config.getoption("--most-examples")) is None:
        return
    for item in items:
        test = getattr(item, "obj", None)
        if is_hypothesis_test(test):
            said = test._hypothesis_internal_use_settings  # a second @settings would be refused
            fewer = min(most, said.max_examples)
            test._hypothesis_internal_use_settings = settings(said, max_examples=fewer)


SHARED = Path(__file__).resolve().parents[2] / "shared"

Weights = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


# Networks of every kind and size, the smallest maps included.
networks = st.one_of(
    st.builds(
        mobilenet_v2,
        st.sampled_from([0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4]),
        st.tuples(st.integers(1, 400), st.integers(1, 400)),
        st.integers(1, 1001),
        st.sampled_from(["same", "symmetric"]),
        st.sampled_from([4, 8]),
    ),
    st.builds(efficientnet_lite, st.integers(0, 4), st.integers(1, 400)),
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of checkpoints and photographs beside the repository."""
    if not (SHARED / "checkpoints" / "README.md").is_file():
        pytest.skip("needs the checkpoints and images of ../shared, which are not here")
    return SHARED


@pytest.fixture(scope="session")
def c_program(tmp_path_factory: pytest.TempPathFactory) -> CProgram:
    """The C programs of examples/c."""
    with one_folder(tmp_path_factory, "c_program") as folder:
        return build_program(folder)


@pytest.fixture(scope="session")
def c_plans(tmp_path_factory: pytest.TempPathFactory) -> CPlans:
    """Its reader of `meta` and its planner alone, under sanitizers."""
    return build_plans(tmp_path_factory.mktemp("c_plans"))


@pytest.fixture(scope="session")
def sanitized_c_program(c_program: CProgram, tmp_path_factory: pytest.TempPathFactory) -> CProgram:
    """The same under sanitizers."""
    with one_folder(tmp_path_factory, "c_program"):
        return build_sanitized(c_program)


@pytest.fixture(scope="session")
def large_photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG of 12 megapixels."""
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    image = pytest.importorskip("PIL.Image")
    picture = image.effect_noise((504, 378), 60).convert("RGB")
    picture.resize((4032, 3024), image.Resampling.BICUBIC).save(path, quality=90)
    return path


@pytest.fixture(scope="session")
def peak_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """Runs a program and gives the most bytes of memory of its own that it ever had."""
    program = tmp_path_factory.mktemp("peak") / "peak_anonymous"
    source = Path(__file__).with_name("peak_anonymous.c")
    subprocess.run(["cc", "-O1", "-o", str(program), str(source)], check=True)

    def peak(*command: object) -> int:
        done = subprocess.run(
            [str(program), *map(str, command)], capture_output=True, text=True, timeout=300
        )
        if done.returncode == 77:
            pytest.skip(f"this system lets no process be traced: {done.stderr}")
        assert done.returncode == 0, done.stderr
        return int(done.stderr.split()[-1])

    return peak


def make_weights(network: Network, seed: int = 0) -> Weights:
    """Seeded canonical weights under which activations neither die nor explode.

    He's scale before a ReLU6, a smaller one on the linear layers so that shortcuts do not
    accumulate, and biases large enough that the ReLU6 clip a part of their values on both sides.
    """
    random = np.random.default_rng(seed)
    weights: Weights = {}
    for layer in network.weighted:
        fan_in = int(np.prod(layer.weight_shape[1:]))
        gain = 1.0 if layer.activation == "linear" else 2.5
        weight = random.normal(0.0, np.sqrt(gain / fan_in), layer.weight_shape)
        bias = random.normal(0.0 if layer.activation == "linear" else 0.7, 1.0, layer.out_channels)
        weights[f"{layer.name}.weight"] = weight.astype(np.float32)
        weights[f"{layer.name}.bias"] = bias.astype(np.float32)
    return weights


@pytest.fixture(scope="session")
def random_weights() -> Callable[..., Weights]:
    """`make_weights(network, seed=0)`: seeded canonical weights of any architecture."""
    return make_weights


@pytest.fixture
def small_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small model file and returns its path: `small_model(network=..., seed=...)`."""

    def write(
        network: Network | None = None,
        seed: int = 0,
        input_spec: InputSpec = PRESETS["tf"],
        labels: list[str] | None = None,
        name: str = "small.npz",
    ) -> Path:
        network = network or small_network()
        path = tmp_path / name
        provenance = {"source": "seeded random weights"}
        write_model(path, network, make_weights(network, seed), input_spec, labels, provenance)
        return path

    return write


def small_network(classes: int = 5, padding: str = "same") -> Network:
    """The smallest published network at the smallest size: a file of 0.4 MB."""
    return mobilenet_v2(0.1, 32, classes, padding, divisor=4)


def changed(network: Network, blocks: dict[int, dict[str, Any]]) -> Network:
    """`network` with some blocks' values of `BlockShape` replaced, by their number."""
    parts = match(network)
    shapes = [
        BlockShape(
            hidden=block.hidden,
            channels=block.out_channels,
            stride=block.stride,
            kernel=block.kernel,
            expands=block.expand is not None,
        )._replace(**blocks.get(i, {}))
        for i, block in enumerate(parts.blocks)
    ]
    dense = [layer.out_channels for layer in parts.dense]
    stem, head = parts.stem.out_channels, parts.head.out_channels if parts.head else None
    size, padding = network.resolution, network.padding
    return inverted_residuals(network.name, size, stem, shapes, head, dense, padding)
