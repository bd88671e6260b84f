"""What the inner loops of the 1x1 kernels for AArch64 consist of.

    python .ci/inner_loops.py BUILD

BUILD is CMake's build folder for AArch64. Looked at are innermost loops that multiply by every
element of a vector of activations. In those of float32, no instruction may read or write the stack:
it would be a sum, or an address, that did not fit the registers. And for tiles of two pixels of a
whole panel or four of half a panel, and larger ones, at least 80 % of the vector instructions have
to be fused multiply-adds by element; smaller ones, as maps of one pixel have, use their weights
too few times. The loops of other precisions are listed only.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

from disassembly import Instruction, instructions, machine_of, objects

SHARE = 0.80
SMALLEST = 32  # multiply-adds by element, four terms of such a tile
MULTIPLY = re.compile(r"fmla|smlal2?|sdot|sudot")
VECTOR = re.compile(r"\bv\d+\.|\b[bhsdq]\d+\b")
STACK = re.compile(r"\[sp\b")
BRANCH = re.compile(r"b|b\.\w+|cbn?z|tbn?z")
TARGET = re.compile(r"\b([0-9a-f]+) <")


class Loop(NamedTuple):
    body: list[Instruction]

    @property
    def by_element(self) -> list[Instruction]:
        return [i for i in self.body if MULTIPLY.fullmatch(i.name) and i.operands.endswith("]")]

    @property
    def elements(self) -> set[str]:
        return {i.operands.rpartition("[")[2] for i in self.by_element}

    @property
    def vectors(self) -> int:
        return sum(bool(VECTOR.search(i.operands)) for i in self.body)

    @property
    def stack(self) -> list[Instruction]:
        return [i for i in self.body if STACK.search(i.operands)]


def innermost(code: list[Instruction]) -> list[Loop]:
    """Every loop that holds no other: what lies between a branch backwards and its target."""
    places = {instruction.address: i for i, instruction in enumerate(code)}
    spans = []
    for end, instruction in enumerate(code):
        target = TARGET.search(instruction.operands)
        if BRANCH.fullmatch(instruction.name) and target:
            start = places.get(int(target[1], 16), end + 1)
            if start <= end:
                spans.append((start, end))
    return [
        Loop(code[start : end + 1])
        for start, end in spans
        if not any(
            start <= first and last <= end and (first, last) != (start, end)
            for first, last in spans
        )
    ]


def check(name: str, precision: str, code: list[Instruction]) -> int:
    """Prints a line for each kind of loop; returns how many loops are not as they have to be."""
    loops = [loop for loop in innermost(code) if len(loop.elements) >= 4]
    wrong = 0 if loops else 1
    if not loops:
        print(f"{name}: no loop multiplies by element  <-- wrong")
    for loop in sorted(loops, key=lambda loop: len(loop.by_element)):
        count, vectors, stack = len(loop.by_element), loop.vectors, len(loop.stack)
        too_few = count >= SMALLEST and count < SHARE * vectors
        is_wrong = precision == "float32" and (too_few or stack > 0)
        wrong += is_wrong
        print(
            f"{name} at {loop.body[0].address:x}: {count} multiply-adds by element of {vectors} "
            f"vector instructions, {count / vectors:.1%}; {stack} on the stack"
            f"{'  <-- wrong' if is_wrong else ''}"
        )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Inner loops of the 1x1 kernels for AArch64.")
    parser.add_argument("build", type=Path)
    wrong = checked = 0
    for kernels in objects(parser.parse_args().build):
        if kernels.isa not in ("neon", "dotprod", "i8mm"):
            continue
        if machine_of(kernels.path) != "aarch64":
            raise SystemExit(f"{kernels.path}: not of AArch64")
        wrong += check(kernels.name, kernels.precision, instructions(kernels.path))
        checked += 1
    if not checked:
        raise SystemExit("no kernels for AArch64 in this folder")
    if wrong:
        raise SystemExit(
            f"{wrong} loops: less than {SHARE:.0%} by element, or the stack is in them"
        )


if __name__ == "__main__":
    main()
