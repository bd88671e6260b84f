"""The objects of a CMake build folder, and the instructions that they consist of."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MACHINES = {62: "x86_64", 183: "aarch64"}  # ELF's e_machine
LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)(?:\s+(.*?))?\s*$")
PREFIXES = {"rep", "repz", "repnz", "lock", "bnd", "notrack", "data16", "cs"}


class Instruction(NamedTuple):
    address: int
    name: str
    operands: str

    def __str__(self) -> str:
        return f"{self.address:x}: {self.name} {self.operands}"


class Kernels(NamedTuple):
    """An object file; the C core's own and the Python module's have no instruction set's name."""

    path: Path
    precision: str
    isa: str | None

    @property
    def name(self) -> str:
        return f"{self.precision} {self.isa}" if self.isa else self.path.name


def objects(build: Path) -> Iterator[Kernels]:
    """Every object of a build folder. Exits if there is none of any instruction set."""
    found = sorted(build.rglob("*.c.o"))
    kernels = 0
    for path in found:
        folder = next((part for part in path.parts if part.endswith(".dir")), "")
        match = re.fullmatch(r"mnv2_(float32|float16_weights|bfloat16\w*|int8)_(\w+)\.dir", folder)
        if match:
            kernels += 1
            yield Kernels(path, match[1], match[2])
        elif folder in ("mnv2_core.dir", "mnv2_model.dir", "_core.dir"):
            yield Kernels(path, "", None)
    if not kernels:
        raise SystemExit(f"{build}: no kernels were built here; give CMake's build folder")


def machine_of(path: Path) -> str:
    """Whose instructions an object holds."""
    header = path.read_bytes()[:20]
    number = int.from_bytes(header[18:20], "little")
    if header[:4] != b"\x7fELF" or number not in MACHINES:
        raise SystemExit(f"{path}: expected an ELF object of {' or '.join(MACHINES.values())}")
    return MACHINES[number]


def instructions(path: Path) -> list[Instruction]:
    """All of an object, as the objdump of its machine reads them."""
    machine = machine_of(path)
    prefix = "" if os.uname().machine == machine else f"{machine.replace('_', '-')}-linux-gnu-"
    tool = f"{prefix}objdump"
    command = [tool, "-d", "--no-show-raw-insn", str(path)]
    try:
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise SystemExit(f"{tool} is missing: install binutils for {machine}") from None
    found = []
    for line in text.splitlines():
        match = LINE.match(line)
        if not match:
            continue
        address, name, operands = int(match[1], 16), match[2], match[3] or ""
        while name in PREFIXES and operands:
            name, _, operands = operands.partition(" ")
        found.append(Instruction(address, name, operands.strip()))
    if not found:
        raise SystemExit(f"{path}: no instructions in it")
    return found
