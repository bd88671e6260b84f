"""The reader of `meta` and the planner of kernels/, many at a time: tests/plan_metas.c."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from c_program import SOURCE

from mnv2_engine import _core
from mnv2_engine.plan.cpu_costs import ANY

SOURCES = ("show_plan", "planner")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# What a meta does not say: where the weights lie.
WEIGHTS = {
    "weight_bytes",
    *("weight", "bias", "expand_weight", "expand_bias", "depthwise_weight", "depthwise_bias"),
    *("project_weight", "project_bias", "head_weight", "head_bias", "values"),
}

KERNELS = SOURCE.parents[1] / "kernels"
FAMILIES = ("any", "amx")  # as in plan_metas.c

Record = tuple[str, dict[str, Any]]  # such as ("step3", {"kind": 1, ...})


class Asked(NamedTuple):
    meta: bytes
    threads: int = 1
    precision: int = 0  # of mnv2_precision; 0: that of the weights
    cpu: str = ANY


class CPlans(NamedTuple):
    """The built program."""

    path: Path

    def __call__(self, asked: Iterable[Asked]) -> list[str]:
        """An answer for each."""
        given = b"".join(
            struct.pack("<IIII", len(each.meta), *each[1:3], FAMILIES.index(each.cpu)) + each.meta
            for each in asked
        )
        run = subprocess.run([self.path], input=given, capture_output=True, timeout=300)
        assert run.returncode == 0, run.stderr.decode()
        return run.stdout.decode().split("\n\n")[:-1]


def build_plans(folder: Path) -> CPlans:
    """Under sanitizers, where the compiler has them; skips where there is no compiler."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        pytest.skip("needs a C compiler")
    sources = [SOURCE / f"{name}.c" for name in SOURCES]
    sources += [*(KERNELS / "model").glob("*.c"), *(KERNELS / "plan").glob("*.c")]
    options = ["-std=c11", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    folders = ["-I", SOURCE, "-I", KERNELS]
    ends = [Path(__file__).with_name("plan_metas.c"), *sources, "-lm", "-o", folder / "plan_metas"]
    for extra in (SANITIZERS, ()):
        run = subprocess.run(
            [compiler, *options, *extra, *folders, *ends], capture_output=True, text=True
        )
        if run.returncode == 0:
            return CPlans(folder / "plan_metas")
    raise AssertionError(run.stderr)


def records_of(text: str) -> list[Record]:
    """What `show_plan` wrote."""
    found = []
    for line in text.splitlines():
        name, *fields = line.split()
        pairs = (field.split("=") for field in fields)
        found.append((name, {key: _value(value) for key, value in pairs}))
    return found


def _value(text: str) -> object:
    if "," in text:
        return [_value(each) for each in text.split(",")]
    return float.fromhex(text) if "x" in text else int(text)


def records_of_struct(plan: Any) -> list[Record]:
    """The same of a `mnv2_plan *` of the package's C core, every field that the struct has."""

    def rows(name: str, table: Any, count: int) -> list[tuple[str, Any]]:
        return [(f"{name}{i}", table[i]) for i in range(count)]

    named = [
        *(("plan", plan), ("stem", plan.stem)),
        *rows("block", plan.blocks, plan.block_count),
        *rows("conv", plan.convs, plan.conv_count),
        ("head", plan.head),
        *rows("dense", plan.dense, plan.dense_count),
        *rows("map", plan.maps, plan.map_count),
        *rows("step", plan.steps, plan.step_count),
    ]
    return [(name, _fields(record)) for name, record in named]


def _fields(record: Any) -> dict[str, Any]:
    ffi = _core.ffi
    kind = ffi.typeof(record)
    kind = kind.item if kind.kind == "pointer" else kind
    found = {}
    for name, field in kind.fields:
        if field.type.kind == "primitive":
            found[name] = getattr(record, name)
        elif field.type.kind == "array":
            found[name] = [float(value) for value in getattr(record, name)]
    return found


def without_weights(records: list[Record]) -> list[Record]:
    return [
        (name, {key: value for key, value in fields.items() if key not in WEIGHTS})
        for name, fields in records
    ]
