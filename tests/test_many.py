"""`mnv2 classify` and `mnv2 embed` on many photographs: processes, order, interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine import Engine
from mnv2_engine.cli import main, photographs
from mnv2_engine.images import image_files
from mnv2_engine.images.image_files import find_images

Image = pytest.importorskip("PIL.Image")
MNV2 = (sys.executable, "-m", "mnv2_engine")


@pytest.fixture(autouse=True)
def away_from_the_checkout(monkeypatch, tmp_path):
    monkeypatch.delenv("MNV2_MODEL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(small_model) -> str:
    return str(small_model(labels=["ant", "bee", "cat", "dog", "eel"]))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Thirty photographs in two folders, one of them broken."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(30):
        pixels = random.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(place / ("more" if i % 3 else "") / f"{i}.jpg")
    (place / "15.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    return place


def lines(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for each in found:
        each.pop("ms", None)
    return found


def test_workers_write_what_one_process_writes(capsys, model, folder):
    def run(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
        code = main([*arguments, str(folder), "absent.jpg", "--model", model])
        out, err = capsys.readouterr()
        return code, lines(out), err

    for command in (["classify", "--json", "--top-k", "2"], ["embed"]):
        alone = run(*command, "--workers", "1")
        assert run(*command, "--workers", "3") == alone
        code, found, err = alone
        assert code == 1
        assert len(found) == 31
        assert [each["file"] for each in found if "error" in each] == [
            str(folder / "15.jpg"),
            "absent.jpg",
        ]
        assert err.endswith("mnv2: 2 of 31 could not be answered\n")


def test_tables_of_workers(capsys, model, folder):
    printed = []
    for workers in ("1", "2"):
        assert main(["classify", str(folder), "--model", model, "--workers", workers]) == 1
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1]


def test_one_process_for_few_photographs_and_one_a_cpu_for_many(monkeypatch):
    monkeypatch.setattr("mnv2_engine.executors.cpus.usable_cpus", lambda: 6)

    class Asked:
        workers: int | None = None

    few, many = photographs.SEVERAL_FROM - 1, photographs.SEVERAL_FROM
    assert photographs._workers(Asked(), 1, few) == 1  # type: ignore[arg-type]
    assert photographs._workers(Asked(), 1, many) == 6  # type: ignore[arg-type]
    assert photographs._workers(Asked(), 4, many) == 1  # type: ignore[arg-type]
    Asked.workers = 2
    assert photographs._workers(Asked(), 4, few) == 2  # type: ignore[arg-type]


def test_features_as_an_array(capsys, model, folder):
    out = folder.parent / "features.npy"
    command = ["embed", str(folder), "--model", model, "--out", str(out), "--workers", "2"]
    assert main(command) == 1
    found = np.load(out)
    assert found.dtype == np.float32
    said = lines(out.with_suffix(".jsonl").read_text())
    assert len(found) == len(said) == 30
    with Engine.load(model) as engine:
        for row, each in zip(found, said, strict=True):
            if "error" in each:
                assert np.isnan(row).all()
            else:
                assert np.array_equal(row, engine.embed(each["file"]))
    assert ["error" in each for each in said].count(True) == 1
    capsys.readouterr()
    before = out.read_bytes()
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 1
    assert out.read_bytes() == before
    assert main([*command[:-4], "--out", "features.txt"]) == 2
    assert ".npy" in capsys.readouterr().err


def children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def heed_interrupts() -> None:
    """A shell starts what it puts into the background with SIGINT ignored, and so these tests."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def running(model, folder):
    """A process with two workers that has answered some photographs, and has very many to go."""
    process = subprocess.Popen(
        [*MNV2, "classify", *[str(folder)] * 400, "--model", model, "--workers", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    for _ in range(50):
        assert process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc")


def ended(pids: set[int]) -> bool:
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@linux
def test_ctrl_c_ends_all_processes_without_a_word(running):
    workers = children(running.pid)
    assert len(workers) == 2
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, err = running.communicate(timeout=60)
    assert (running.returncode, [each for each in err.splitlines() if b"15.jpg" not in each]) == (
        130,
        [],
    )
    assert ended(workers)


@linux
def test_workers_end_with_a_parent_that_is_killed(running):
    workers = children(running.pid)
    running.kill()
    running.communicate(timeout=60)
    assert ended(workers)


@linux
def test_a_killed_worker_is_told_and_loses_nothing(model, folder, tmp_path):
    command = [*MNV2, "classify", *[str(folder)] * 20, "--model", model, "--json", "--workers", "2"]
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err)
    assert process.stdout is not None
    out = b"".join(process.stdout.readline() for _ in range(40))
    victim = min(children(process.pid))
    os.kill(victim, signal.SIGKILL)
    out += process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 1
    found = [each["file"] for each in lines(out.decode())]
    assert found == [each.name for each in find_images([str(folder)])] * 20
    assert f"process {victim} ended by SIGKILL" in (tmp_path / "err").read_text()


def test_a_large_folder_is_sorted_without_a_list_of_it(monkeypatch, tmp_path):
    names = [f"{7919 * i % 1000}.jpg" for i in range(100)]
    for name in (*names, "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    for name in ("b", "a", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").touch()
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    expected = [
        *(str(tmp_path / name) for name in sorted(names)),
        *(str(tmp_path / name / f"{name}.png") for name in "abc"),
    ]
    for most in (1, 7, 50, 100, 103, 100_000):
        monkeypatch.setattr(image_files, "MOST_NAMES", most)
        assert [each.name for each in find_images([str(tmp_path)])] == expected
