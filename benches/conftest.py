"""What every benchmark here has in common: how much is run, in which ways, and what is told of it.

pytest benches --benchmark-only             a useful part, in under three minutes
pytest benches --benchmark-only --every     everything that this machine can run: hours
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from ways import Way, rate

from mnv2_engine.bench.networks import model_file

SHORT_SECONDS = 0.2  # of a benchmark, unless everything is asked for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every",
        action="store_true",
        help="benchmark every shape, network, instruction set and number of threads: hours",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of a `case` runs with each of its module's cases(every)."""
    if "case" in metafunc.fixturenames:
        cases = metafunc.module.cases(metafunc.config.getoption("--every"))
        metafunc.parametrize("case", cases, ids=["-".join(map(str, case)) for case in cases])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every: runs only where --every asks for it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--every"):
        return
    left_out = [item for item in items if item.get_closest_marker("every")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        item.add_marker(pytest.mark.benchmark(max_time=SHORT_SECONDS))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """models(network's name, dtype) is its file with seeded weights, made when first asked for."""
    folder = str(tmp_path_factory.mktemp("models"))
    return cache(lambda name, dtype: model_file(name, folder, dtype))


@pytest.fixture
def tell(benchmark: Any) -> Callable[[Way, int, int], None]:
    """Says of a benchmark that has run how much it did: tell(way, multiply-adds of a run, bytes of
    the arena)."""

    def say(way: Way, multiply_adds: int, arena_bytes: int) -> None:
        benchmark.extra_info["arena_bytes"] = arena_bytes
        if not benchmark.stats:  # under --benchmark-disable
            return
        done = multiply_adds / benchmark.stats.stats.median / 1e9
        benchmark.extra_info["GFLOP/s"] = round(2 * done, 2)
        if most := rate(way.isa, way.precision):
            benchmark.extra_info["share_of_peak"] = round(done / (most * way.threads), 3)

    return say
