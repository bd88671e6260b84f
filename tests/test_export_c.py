"""Exported C files: compiled with the kernels they give the package's logits, bit for bit."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_program import SOURCE, CProgram
from conftest import make_weights, small_network
from int8_network import random_int8

from mnv2_engine import Engine
from mnv2_engine.cli import main
from mnv2_engine.errors import InputError, UnsupportedError
from mnv2_engine.export import export
from mnv2_engine.export.c_file import fnv1a, identifier
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import mobilenet_v2

DOCS = SOURCE.parents[1] / "docs" / "export.md"
LABELS = ["a", 'quote " and \\', "trigraph ??/", "naïve 𝄞", "5"]

# Prints all logits; the weights are an array or, with an argument, the file of that name.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mnv2.h"

extern const mnv2_plan net_plan;
#ifdef INCLUDED
extern const uint64_t net_weights[];
#else
extern int net_is_weights(const void *file, uint64_t bytes);
#endif
#ifdef LABELS
extern const char *const net_labels[];
#endif

static void *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    unsigned char *x = aligned_alloc(64, 8 << 20);
    *bytes = file && x ? fread(x, 1, 8 << 20, file) : 0;
    if (file) fclose(file);
    return x;
}

int main(int count, char **arguments) {
    const mnv2_plan *plan = &net_plan;
    size_t bytes;
    void *image = read_file(arguments[1], &bytes);
    const void *weights = NULL;
#ifdef INCLUDED
    weights = net_weights;
#else
    void *file = read_file(arguments[2], &bytes);
    if (!net_is_weights(file, bytes)) return 3;
    weights = file;
#endif
    const int classes = plan->dense_count ? plan->dense[plan->dense_count - 1].outputs : 0;
    float logits[4096], features[4096];
    void *arena = aligned_alloc(64, (size_t)(plan->arena_bytes + 63) / 64 * 64);
    const mnv2_isa *isa;
    for (int i = 0; (isa = mnv2_isa_at(i)); i++)
        if (strcmp(mnv2_isa_name(isa), "baseline") == 0) break;
    if (!isa) return 2;
    const char *why = NULL;
    if (mnv2_check_plan(isa, plan, &why) != MNV2_OK) return puts(why), 4;
    if (mnv2_run(isa, plan, NULL, weights, arena, image, 0, features, logits, NULL) != MNV2_OK)
        return 5;
    for (int i = 0; i < classes; i++) printf("%a\n", (double)logits[i]);
    for (int i = 0; i < plan->head.features; i++) printf("%a\n", (double)features[i]);
#ifdef LABELS
    for (int i = 0; i < LABELS; i++) printf("%s\n", net_labels[i]);
#endif
    (void)count;
    return 0;
}
"""


def write(path: Path, network: Any, dtype: str, labels: list[str] | None = None) -> Path:
    spec = PRESETS["imagenet"]
    if dtype == "int8":
        weights, quantization = random_int8(network)
        write_model(path, network, weights, spec, labels, {}, quantization)
    else:
        write_model(path, network, make_weights(network), spec, labels, {}, dtype=dtype)
    return path


def compiled(program: CProgram, source: Path, *options: object) -> Path:
    """`source` and the exported net.c beside it, with the kernels of `program`."""
    made = source.with_suffix("")
    core = program.build / "mnv2_core" / "libmnv2_core.a"
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I", SOURCE.parents[1] / "kernels"]
    command = [os.environ.get("CC", "cc"), *flags, *options, source, core, "-lm", "-lpthread"]
    subprocess.run([*map(str, command), "-o", made], check=True, timeout=300)
    return made


@pytest.mark.parametrize(
    ("dtype", "threads", "included"),
    [("float32", 1, False), ("float16", 3, False), ("bfloat16", 1, True), ("int8", 2, True)],
)
def test_a_compiled_plan_gives_the_engines_logits(
    dtype: str,
    threads: int,
    included: bool,
    c_program: CProgram,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    network = mobilenet_v2(0.1, (61, 40), 5, "symmetric", divisor=4)
    model = write(tmp_path / "model.npz", network, dtype, LABELS)
    made = export(model, tmp_path / "net.c", threads=threads, include_weights=included)
    assert made.file_bytes == (tmp_path / "net.c").stat().st_size
    image = np.random.default_rng(1).integers(0, 256, (61, 40, 3), np.uint8)
    image.tofile(tmp_path / "image.rgb")
    (tmp_path / "program.c").write_text(PROGRAM)
    defined = ["-DLABELS=5", *(["-DINCLUDED"] if included else [])]
    program = compiled(c_program, tmp_path / "program.c", *defined, tmp_path / "net.c")
    if included:
        model.rename(tmp_path / "kept.npz")
        model = tmp_path / "kept.npz"
    run = subprocess.run(
        [program, tmp_path / "image.rgb", model], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout
    lines = run.stdout.splitlines()
    found = np.array([float.fromhex(line) for line in lines[:-5]], np.float32)
    monkeypatch.setenv("MNV2_ISA", "baseline")
    with Engine.load(model) as engine:
        expected = [*engine.logits(image)[0], *engine.embed(image)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert lines[-5:] == LABELS


def test_another_file_is_not_the_weights(c_program: CProgram, tmp_path: Path) -> None:
    network = small_network()
    model = write(tmp_path / "model.npz", network, "float32")
    export(model, tmp_path / "net.c")
    np.zeros((32, 32, 3), np.uint8).tofile(tmp_path / "image.rgb")
    (tmp_path / "program.c").write_text(PROGRAM)
    program = compiled(c_program, tmp_path / "program.c", tmp_path / "net.c")

    def status(path: Path) -> int:
        return subprocess.run([program, tmp_path / "image.rgb", path], timeout=60).returncode

    assert status(model) == 0
    other = tmp_path / "other.npz"
    write_model(other, network, make_weights(network, 1), PRESETS["imagenet"], None, {})
    assert other.stat().st_size == model.stat().st_size
    assert status(other) == 3
    other.write_bytes(model.read_bytes()[:-1])
    assert status(other) == 3


def test_the_listing_of_the_docs_is_a_program(
    c_program: CProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = small_network()
    model = write(tmp_path / "mnv2_int8.npz", network, "int8")
    export(model, tmp_path / "mnv2_int8.c", include_weights=True)
    (listing,) = re.findall(r"```c\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "program.c").write_text(listing)
    program = compiled(c_program, tmp_path / "program.c", tmp_path / "mnv2_int8.c")
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    run = subprocess.run([program], input=images.tobytes(), capture_output=True, timeout=60)
    assert run.returncode == 0
    monkeypatch.setenv("MNV2_ISA", "baseline")
    with Engine.load(model) as engine:
        tops = [engine.predict(image, 1)[0] for image in images]
    expected = [f"{top.index} {top.probability:.6f}" for top in tops]
    assert run.stdout.decode().splitlines() == expected


def test_what_a_c_file_cannot_have_is_refused(
    small_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = small_model()
    with pytest.raises(InputError, match="leave dynamic_batch out"):
        export(model, tmp_path / "net.c", dynamic_batch=True)
    with pytest.raises(InputError, match=r"are for \.c files"):
        export(model, tmp_path / "net.onnx", include_weights=True)
    with pytest.raises(InputError, match="threads 65: expected 1 to 64"):
        export(model, tmp_path / "net.c", threads=65)
    with pytest.raises(UnsupportedError, match="bfloat16"):
        export(model, tmp_path / "net.c", precision="bfloat16")
    with np.load(model) as file:
        np.savez_compressed(tmp_path / "packed.npz", **file)
    with pytest.raises(InputError, match="compressed or unaligned"):
        export(tmp_path / "packed.npz", tmp_path / "net.c")
    assert not (tmp_path / "net.c").exists()
    export(tmp_path / "packed.npz", tmp_path / "net.c", include_weights=True)


def test_the_command_writes_c(small_model: Callable[..., Path], tmp_path: Path, capsys) -> None:
    model = small_model()
    out = tmp_path / "net.c"
    assert main(["export", str(model), str(out), "--threads", "2"]) == 0
    assert "C, for kernels/mnv2.h" in capsys.readouterr().out
    assert "const mnv2_plan net_plan = {" in out.read_text()
    first = out.read_bytes()
    assert main(["export", str(model), str(out), "--threads", "2", "--force"]) == 0
    assert out.read_bytes() == first


def test_names_are_identifiers() -> None:
    assert identifier("a/mnv2_1.0.c") == "mnv2_1_0"
    assert identifier("1.0.c") == "model_1_0"
    assert identifier("../é*/.c") == "model__c"
    assert identifier("x-y z.c") == "x_y_z"


def test_the_mark_is_fnv_1a() -> None:
    """The published test vectors."""
    assert fnv1a(b"") == 0xCBF29CE484222325
    assert fnv1a(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a(b"foobar") == 0x85944171F73967E8
