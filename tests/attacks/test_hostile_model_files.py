"""Every lie is refused by an MnvError that says what is wrong; nothing runs, nothing is leaked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_model_files import LIES, ODD, Entry, Fuzzed, Lie, Members, zip_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnv2_engine.errors import MnvError
from mnv2_engine.model.modelfile import open_model

MEMORY = 64 << 20  # bytes of Python objects that any attack may cost; the largest bomb has 1 GiB


@pytest.fixture
def members(small_model: Callable[..., Path]) -> Members:
    with zipfile.ZipFile(small_model(labels=list("abcde"))) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_the_zip_written_here_is_accepted_while_it_is_honest(
    members: Members, tmp_path: Path
) -> None:
    path = tmp_path / "honest.npz"
    path.write_bytes(zip_of(Entry(name, content) for name, content in members.items()))
    with open_model(path) as model:
        model.verify()


@pytest.mark.parametrize("make", ODD)
def test_odd_but_honest_files_are_read(
    make: Callable[[Members], bytes], members: Members, tmp_path: Path
) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(make(members))
    with open_model(path, by_core=True) as model:
        assert not model.mapped  # by chance none of them is aligned
        for name in model.tensors:
            assert model.array(name).tobytes() == members[f"{name}.npy"][128:]
        model.verify()


def test_every_lie_has_its_own_name() -> None:
    assert len({each.name for each in LIES}) == len(LIES)


@pytest.mark.parametrize("by_core", [False, True])
@pytest.mark.parametrize("each", LIES, ids=lambda each: each.name)
def test_a_lie_is_refused(each: Lie, by_core: bool, members: Members, tmp_path: Path) -> None:
    path = tmp_path / f"{each.name}.npz"
    path.write_bytes(each.make(members))
    tracemalloc.start()
    try:
        with pytest.raises(each.error) as caught:
            open_model(path, by_core=by_core)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(caught.value) is each.error
    given, _, message = str(caught.value).partition(": ")
    assert given == str(path)
    assert re.search(each.message, message, re.DOTALL)
    assert len(message) < 1000
    assert "\x1b" not in message
    assert peak < MEMORY
    assert not _is_open(path)


def _is_open(path: Path) -> bool:
    """Whether this process has the file open, where the system says."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return False
    entries = [folder / name for name in os.listdir(folder)]
    return str(path) in [os.readlink(each) for each in entries if each.is_symlink()]


CONFINED = """
import resource, sys
from mnv2_engine.errors import MnvError
from mnv2_engine.model.modelfile import open_model

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + (128 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        open_model(path)
    except MnvError:
        continue
    sys.exit(path + " was accepted")
for name in ("numpy", "pickle", "ast", "zipfile"):
    if name in sys.modules:
        sys.exit(name + " was imported")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS and /proc")
def test_all_lies_together_in_128_mib(members: Members, tmp_path: Path) -> None:
    """Of address space, mappings of files included."""
    paths = []
    for each in LIES:
        paths.append(tmp_path / f"{each.name}.npz")
        paths[-1].write_bytes(each.make(members))
    run = subprocess.run(
        [sys.executable, "-c", CONFINED, *paths], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture
def fuzzed(small_model: Callable[..., Path]) -> Fuzzed:
    return Fuzzed(small_model().read_bytes())


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_and_cuts_end_in_an_error_or_a_whole_model(
    data: st.DataObject, fuzzed: Fuzzed, tmp_path: Path
) -> None:
    """Weights may hold anything, so only the structure is altered."""
    path = tmp_path / "fuzzed.npz"
    path.write_bytes(fuzzed.altered(data))
    message = ""
    try:
        model = open_model(path)
    except MnvError as error:
        message = str(error)
        with pytest.raises(type(error), match=re.escape(message)):
            open_model(path, by_core=True)
    else:
        open_model(path, by_core=True).close()
        with model:
            assert model.weight_bytes == sum(tensor.size for tensor in model.tensors.values())
            for tensor in model.tensors.values():
                assert tensor.offset % 64 == 0
                assert 0 <= tensor.offset <= tensor.offset + tensor.size <= len(model.buffer)
    assert message.startswith(str(path)) or not message
