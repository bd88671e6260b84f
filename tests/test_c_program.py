"""The C program of examples/c gives the package's answers, and says what is wrong with its
input."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_program import SOURCE, CProgram, configure
from conftest import make_weights
from int8_network import random_int8
from weightless import no_weights

from mnv2_engine import Engine
from mnv2_engine.errors import ModelFileError
from mnv2_engine.executors import natural_precision
from mnv2_engine.executors.native import cpu_family
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.model.packed import DTYPES
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network
from mnv2_engine.plan.planner import make_plan

NETWORKS = {
    "smallest": mobilenet_v2(0.1, 32, 5, divisor=4),
    "oblong": mobilenet_v2(0.35, (97, 60), 10, "symmetric"),
    "one pixel": mobilenet_v2(0.25, 1, 3),
    "kernels of five": efficientnet_lite(0, (50, 64), 7),
    "odd channels": mobilenet_v2(0.2, 40, 5, divisor=5),
}
ROUGH = InputSpec((12.25, 300.0, -7.5), (58.395, 57.12, 0.5), "nearest", 1.0)


def write(path: Path, network: Network, dtype: str, spec: InputSpec = PRESETS["imagenet"]) -> Path:
    if dtype == "int8":
        weights, quantization = random_int8(network)
        write_model(path, network, weights, spec, None, {}, quantization)
    else:
        write_model(path, network, make_weights(network), spec, None, {}, dtype=dtype)
    return path


def write_image(path: Path, network: Network) -> np.ndarray[Any, Any]:
    image = np.random.default_rng(1).integers(0, 256, (*network.resolution, 3), np.uint8)
    path.write_bytes(image.tobytes())
    return image


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model.npz", NETWORKS["smallest"], "float32")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_image(tmp_path / "image.rgb", NETWORKS["smallest"])
    return tmp_path / "image.rgb"


# The same answers


@pytest.mark.parametrize("spec", [PRESETS["imagenet"], ROUGH], ids=["imagenet", "rough"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_engines_to_the_bit(
    name: str,
    dtype: str,
    spec: InputSpec,
    c_program: CProgram,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    network = NETWORKS[name]
    path = write(tmp_path / "model.npz", network, dtype, spec)
    pixels = write_image(tmp_path / "image.rgb", network)
    monkeypatch.setenv("MNV2_ISA", "baseline")
    with Engine.load(path) as engine:
        expected = engine.logits(pixels)[0]
    assert np.isfinite(expected).all()
    for threads in (1, 3):
        found = c_program.logits(path, tmp_path / "image.rgb", "--threads", threads)
        np.testing.assert_array_equal(found, expected)


def test_classes_are_the_engines(
    c_program: CProgram,
    monkeypatch: pytest.MonkeyPatch,
    small_model: Callable[..., Path],
    image: Path,
) -> None:
    path = small_model(labels=["naïve", "b", "c", "d", "e"])
    monkeypatch.setenv("MNV2_ISA", "baseline")
    pixels = np.fromfile(image, np.uint8).reshape(32, 32, 3)
    with Engine.load(path) as engine:
        expected = [f"{100 * p.probability:6.2f} %  {p.label}" for p in engine.predict(pixels, 5)]
    assert c_program(path, image).out.splitlines() == expected
    assert c_program(path, image, "--top", 2).out.splitlines() == expected[:2]
    assert c_program(path, image, "--top", 99).out.splitlines() == expected
    assert c_program(path, "-", stdin=image.read_bytes()).out.splitlines() == expected


# Memory


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_plan_is_the_engines(
    dtype: str, threads: int, c_program: CProgram, tmp_path: Path
) -> None:
    """tests/test_c_plans.py compares whole plans of many networks."""
    network = NETWORKS["oblong"]
    path = no_weights(network, tmp_path / "zeros.npz", dtype)
    said = c_program.description(path, "--threads", threads)
    assert said["architecture"] == network.name
    plan = make_plan(network, threads, natural_precision(dtype), dtype, cpu=cpu_family())
    assert int(said["weights"].split()[0]) == plan.weight_bytes
    assert said["arena"] == f"{plan.arena_bytes} bytes, {len(plan.steps)} steps"
    shown = c_program(path, "--plan", "--threads", threads)
    assert f"arena_bytes={plan.arena_bytes} " in shown.out
    assert shown.out.count("\nstep") == len(plan.steps)


def test_bfloat16_is_computed_in_where_it_is_asked_for(c_program: CProgram, tmp_path: Path) -> None:
    network = NETWORKS["oblong"]
    path = write(tmp_path / "model.npz", network, "bfloat16")
    plan = make_plan(network, 1, "bfloat16", "bfloat16")
    answer = c_program(path, "--bfloat16", "--plan")
    if answer.status:  # the program of the tests has `baseline` alone, which may not have it
        assert "this CPU has none of the instruction sets" in answer.err
    else:
        assert f"arena_bytes={plan.arena_bytes} " in answer.out
    answer = c_program(write(path, network, "float32"), "--bfloat16")
    assert answer.status == 1
    assert "--bfloat16: " in answer.err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize(("dtype", "megabytes"), [("float32", 20), ("int8", 6)])
def test_a_process_is_small(
    dtype: str, megabytes: int, c_program: CProgram, tmp_path: Path
) -> None:
    """All of its resident memory, the mapped weights included."""
    if not c_program.is_static:
        pytest.skip("needs a static C library: shared ones are resident, too")
    network = mobilenet_v2()
    path = no_weights(network, tmp_path / "model.npz", dtype)
    write_image(tmp_path / "image.rgb", network)
    answer = c_program(path, tmp_path / "image.rgb", "--memory")
    assert answer.status == 0
    said = dict(line.split(":") for line in answer.err.splitlines())
    plan = make_plan(network, 1, natural_precision(dtype), dtype)
    assert plan.weight_bytes < 1024 * int(said["VmHWM"].split()[0]) < megabytes * 1e6
    arena = int(said["arena"].split()[0])
    assert arena <= 1024 * int(said["RssAnon"].split()[0]) < arena + (512 << 10)


# Bad input


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes: expected 3072, 32 rows of 32 pixels"),
        (bytes(3071), "3071 bytes: expected 3072"),
        (bytes(3073), "3073 bytes: expected 3072"),
        (bytes(100_000), "more than 7168 bytes: expected 3072"),
        (b"P6\n31 32\n255\n" + bytes(3072), "a PPM of 31x32 pixels up to 255: expected 32x32"),
        (b"P6\n32 32\n65535\n" + bytes(6144), "up to 65535: expected"),
        (b"P6\n32 32\n255\n" + bytes(3071), "a PPM with 3071 bytes of pixels: expected 3072"),
        (b"P6\n32 32\n255\n" + bytes(3074), "a PPM with 3074 bytes"),
        (b"P6\n" + b"9" * 50, "a PPM of 999999x"),
        (b"P6 #", "a PPM of -1x-1"),
        (b"P5\n32 32\n255\n" + bytes(3072), "3085 bytes: expected 3072"),
    ],
)
def test_a_bad_image_is_refused(
    content: bytes, message: str, sanitized_c_program: CProgram, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.rgb"
    path.write_bytes(content)
    answer = sanitized_c_program(model, path)
    assert (answer.status, answer.out) == (1, "")
    assert answer.err.startswith(f"classify: {path}: ")
    assert message in answer.err
    answer = sanitized_c_program(model, "-", stdin=content)
    assert answer.status == 1
    assert answer.err.startswith("classify: standard input: ")


def test_a_ppm_is_its_pixels(sanitized_c_program: CProgram, model: Path, image: Path) -> None:
    expected = sanitized_c_program.logits(model, image)
    ppm = image.with_name("image.ppm")
    ppm.write_bytes(b"P6\n# by hand\n32 32 # a size\n255\n" + image.read_bytes())
    np.testing.assert_array_equal(sanitized_c_program.logits(model, ppm), expected)


def test_absent_files_are_refused(c_program: CProgram, model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        (tmp_path / "absent.npz", "cannot open the model file: No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "fifo", "not a regular file"),
    ):
        answer = c_program(path)
        assert (answer.status, answer.out) == (1, "")
        assert answer.err.startswith(f"classify: {path}: {message}")
    answer = c_program(model, tmp_path / "absent.rgb")
    assert "cannot open the image: No such file" in answer.err
    assert answer.status == 1
    answer = c_program(model, tmp_path)
    assert "cannot be read: Is a directory" in answer.err
    assert answer.status == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no argument: expected a model file"),
        (["--top"], "--top: expected a count"),
        (["--top", "0"], "--top: expected a count"),
        (["--top", "1x"], "--top: expected a count"),
        (["--threads", "65"], "--threads: expected a count from 1 to 64"),
        (["--isa"], "--isa: expected the name"),
        (["--fast"], "--fast: expected an option"),
        (["a", "b", "c"], "c: expected one image"),
    ],
)
def test_misuse_shows_the_usage(arguments: list[str], message: str, c_program: CProgram) -> None:
    answer = c_program(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"classify: {message}")
    assert "usage: classify" in answer.err
    assert c_program("--help").out in answer.err


def test_an_unknown_instruction_set_is_refused(c_program: CProgram, model: Path) -> None:
    answer = c_program(model, "--isa", "sse9")
    assert (answer.status, answer.out) == (1, "")
    assert answer.err == "classify: --isa sse9: this build has baseline\n"


def test_an_answer_that_cannot_be_written_is_an_error(
    c_program: CProgram, model: Path, image: Path
) -> None:
    if not Path("/dev/full").exists() or not stat.S_ISCHR(Path("/dev/full").stat().st_mode):
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [c_program.path, model, image], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert run.returncode == 1
    assert b"cannot write the answer: No space left" in run.stderr


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_verify_reads_every_weight(
    dtype: str, sanitized_c_program: CProgram, tmp_path: Path
) -> None:
    network = NETWORKS["smallest"]
    path = write(tmp_path / "model.npz", network, dtype)
    assert sanitized_c_program(path, "--verify").status == 0
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert sanitized_c_program(path).status == 0
    answer = sanitized_c_program(path, "--verify")
    assert answer.status == 1
    assert re.search(r"member '\S+' does not match its checksum", answer.err)
    with np.load(write(path, network, dtype)) as file:
        arrays = dict(file)
    arrays["head.weight"].reshape(-1)[77] = np.float32("nan") if dtype != "bfloat16" else 0x7FC0
    np.savez(path, **arrays)
    answer = sanitized_c_program(path, "--verify")
    assert answer.status == 1
    assert "'head.weight' holds NaN or infinity" in answer.err


def _set(name: str, at: tuple[int, ...], value: float) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        arrays[name][at] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("stem.requantise", (0, 1, 0), 32768),
        _set("stem.requantise", (0, 1, 0), 32 << 16),
        _set("stem.requantise", (0, 1, 0), -1),
        _set("stem.requantise", (0, 0, 0), (1 << 31) - 1),
        _set("head.requantise", (0, 0, 0), -(1 << 31)),
        _set("stem.weight", (0, 0, 12, 0), 1),  # of 10 channels
        _set("stem.weight", (0, 2, 0, 1), 1),  # the tenth term of a row of nine
        _set("stem.requantise", (0, 0, 12), 1),
        _set("block3.expand.weight", (0, 1, 0, 0), 1),  # the fifth term of five
        _set("block3.expand.weight", (0, 1, 0, 1), 1),
        _set("block1.depthwise.weight", (-1, 0, 15), -1),
        _set("classifier.dequantise", (0, 0, 0), np.nan),
        _set("classifier.dequantise", (0, 1, 5), 1),  # of 5 classes
        _set("classifier.dequantise", (0, 1, 5), -0.0),
        _set("classifier.weight", (0, 0, 5, 0), 1),
        _set("classifier.weight", (0, 0, 4, 0), 1),
    ],
)
def test_int8_is_verified_as_the_package_does(
    change: Callable[[dict[str, Any]], None], sanitized_c_program: CProgram, tmp_path: Path
) -> None:
    path = write(tmp_path / "model.npz", NETWORKS["odd channels"], "int8")
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    refused = False
    with open_model(path) as model:
        try:
            model.verify()
        except ModelFileError:
            refused = True
    assert sanitized_c_program(path).status == 0
    answer = sanitized_c_program(path, "--verify")
    assert answer.status == int(refused)
    assert ("convert the model again" in answer.err) == refused


# The build


def test_an_unknown_instruction_set_is_not_built(tmp_path: Path) -> None:
    message = configure(tmp_path, "-DMNV2_ISAS=baseline;sse9")
    assert 'MNV2_ISAS: no instruction set "sse9"' in message
    assert re.search(r"expected some of \S*baseline", message)


def test_the_listing_of_the_readme_is_a_program(
    c_program: CProgram, model: Path, image: Path, tmp_path: Path
) -> None:
    text = (SOURCE / "README.md").read_text()
    listings = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    assert len(listings) == 1
    (tmp_path / "program.c").write_text(listings[0])
    sources = [SOURCE / name for name in re.findall(r"\w+\.c\b", _program_files(text))]
    assert sources
    options = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
    folders = ["-I", SOURCE, "-I", SOURCE.parents[1] / "kernels"]
    core = c_program.build / "mnv2_core" / "libmnv2_core.a"
    photos = ["-ljpeg", "-lpng"] if b"jpeg_read_header" in core.read_bytes() else []
    made = [
        core.with_name("libmnv2_model.a"),
        core,
        *photos,
        "-lm",
        "-lpthread",
        "-o",
        tmp_path / "program",
    ]
    subprocess.run(
        [_compiler(), *options, *folders, tmp_path / "program.c", *sources, *made],
        check=True,
        timeout=300,
    )
    run = subprocess.run(
        [tmp_path / "program", model], input=image.read_bytes(), capture_output=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, b"")
    best = int(np.argmax(c_program.logits(model, image)))
    assert run.stdout.decode().splitlines()[0].startswith(f"class {best}:")


def _compiler() -> str:
    return os.environ.get("CC", "cc")


def _program_files(text: str) -> str:
    """The sentence of the README that names the sources to take."""
    found = re.search(r"Take (.*?)\.\n", text, re.DOTALL)
    assert found
    return found[1]
