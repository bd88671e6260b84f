"""Ten thousand loads and a million predictions by 64 threads leave the process as it was."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import small_network
from int8_network import random_int8

from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import mobilenet_v2

HERE = Path(__file__).parent
KIB = 64  # that the second half may add: arenas of overlapping calls come and go

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup"
)


@pytest.mark.parametrize(
    ("what", "count", "every"), [("loads", 80, 10_000), ("predictions", 8000, 10**6)]
)
def test_memory_is_flat(what, count, every, tmp_path, request):
    is_every = request.config.getoption("--every")
    network = mobilenet_v2(0.35, 96) if is_every else small_network()
    weights, quantization = random_int8(network)
    path = tmp_path / "model.npz"
    write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    done = subprocess.run(
        [sys.executable, HERE / "endurance.py", what, path, str(every if is_every else count)],
        cwd=tmp_path,  # not the checkout, whose sources hide the installed package
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    files, added = re.search(
        r"(\d+) open files, the second half added (\S+) KiB", done.stdout
    ).groups()
    assert int(files) < 12
    assert float(added) < KIB
