"""Whether each object has only instructions of the set that it is built for.

    python .ci/instruction_sets.py BUILD

BUILD is CMake's build folder, for x86-64 or AArch64. The core's own files, the Python module and
the kernels of `baseline` must run on any such X would end the process on a lesser CPU,
and a compiler adds them by itself when a flag slips.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

from disassembly import Instruction, instructions, machine_of, objects

# What came after SSE2 without the prefix of AVX. Not tzcnt, as which objdump reads the `rep bsf`
# that every CPU knows, nor xgetbv, which kernels/cpu_x86.h asks for before it uses it.
AFTER_SSE2 = re.compile(
    r"addsubp[sd]|h(add|sub)p[sd]|lddqu|mov(ddup|shdup|sldup)|fisttp\w*|"  # SSE3
    r"psign[bwd]|pabs[bwd]|palignr|pshufb|pmulhrsw|pmaddubsw|ph(add|sub)(w|d|sw)|"  # SSSE3
    r"pmulld|pmuldq|p?blend\w*|p(min|max)(sb|sd|uw|ud)|round[ps][sd]|insertps|extractps|"  # SSE4
    r"p(insr|extr)[bdq]|pmov[sz]x\w+|ptest|pcmp(eq|gt)q|packusdw|movntdqa|dpp[sd]|mpsadbw|"
    r"phminposuw|pcmp[ei]str[im]|crc32\w*|popcnt\w*|lzcnt\w*|"
    r"andn|bextr|bls(i|r|msk)|bzhi|pdep|pext|rorx|s(ar|hl|hr)x|mulx|ad[co]x|movbe\w*|"
    r"aes\w+|sha(1|256)\w+|pclmul\w+|gf2p8\w+"
)
VNNI = re.compile(r"vpdpbusds?|vpdpwssds?")
BFLOAT16 = re.compile(r"vdpbf16ps|vcvtne\w*bf16\w*")
VBMI = re.compile(r"vperm(b|i2b|t2b)")
TILES = re.compile(r"[ls][dt]tilecfg|tile\w+|tdp\w+")
# AVX-512 beyond F, BW and VL: DQ, CD, VBMI, IFMA, BITALG, VPOPCNTDQ, FP16 and others.
OTHER_512 = re.compile(
    r"vpmull(q)|v(and|or|xor|andn)p[sd]|vcvt\w*qq\w*|vpconflict\w+|vplzcnt\w+|"
    r"vpmultishiftqb|vpmadd52\w+|vpopcnt\w+|vpshufbitqmb|vp(compress|expand)[bw]|vpsh[lr]dv?[wdq]|"
    r"v(range|reduce|fpclass)\w+|\w+ph|\w+sh|v(extract|insert|broadcast)[fi](64x2|32x8|32x2)"
)
WIDE = re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]")

# AArch64: what its first version does not have.
DOT = re.compile(r"[us]dot")
I8MM = re.compile(r"usdot|sudot|[us]?u?smmla")
AFTER_ARMV8 = re.compile(
    r"bf(dot|mmla|mlal[bt]|cvtn?2?)|fml[as]l2?|sqrdml[as]h|fcadd|fcmla|fjcvtzs|"
    r"(ld(add|clr|eor|set|[su]max|[su]min)|st(add|clr|eor|set)|swp|casp?)(a|l|al)?[bh]?|"
    r"ldapr\w*|stlur\w*|ldapur\w*|crc32\w+|aes\w+|sha\d\w+|pmull2?|rax1|xar|bcax|eor3|"
    r"ptrue|whilel[ot]|index|cnt[bhwd]|rdvl|(auti|paci)[ab](1716)?"
)
SVE_OR_HALVES = re.compile(r"\bz\d+\.|\bp\d+[./]")
HALF_ARITHMETIC = re.compile(r"f(add|sub|mul|mla|mls|max|min|maxnm|minnm|div|neg|abs)")


# What a flag of isas.def, whatever else is in it, allows.
ALLOWED_X86 = {
    "-mavx512vnni": VNNI,
    "-mavxvnni": VNNI,
    "-mavx512bf16": BFLOAT16,
    "-mavx512vbmi": VBMI,
    "-mamx-int8": TILES,
}


def flags_of() -> dict[str, str]:
    """Every instruction set of kernels/isas.def, and its compiler flags."""
    text = (Path(__file__).parents[1] / "kernels" / "isas.def").read_text()
    found = dict(re.findall(r'^ISA\((\w+), .*"(.*)"\)$', text, re.MULTILINE))
    if len(found) != len(re.findall(r"^ISA", text, re.MULTILINE)):
        raise SystemExit("kernels/isas.def has lines that do not read as ISA(name, ..., flags)")
    return found


def beyond_x86(flags: str, instruction: Instruction) -> bool:
    name, operands = instruction.name, instruction.operands
    if not flags:
        is_vector = bool(re.search(r"%[yz]mm|%k[0-7]\b", operands))
        return is_vector or name.startswith("v") or bool(AFTER_SSE2.fullmatch(name))
    if "-mavx512" not in flags and WIDE.search(operands):
        return True
    named = [flag for flag, names in ALLOWED_X86.items() if names.fullmatch(name)]
    if named:
        return not any(flag in flags.split() for flag in named)
    return bool(WIDE.search(operands)) and bool(OTHER_512.fullmatch(name))


def beyond_aarch64(flags: str, instruction: Instruction) -> bool:
    name, operands = instruction.name, instruction.operands
    if DOT.fullmatch(name):
        return "+dotprod" not in flags
    if I8MM.fullmatch(name):
        return "+i8mm" not in flags
    if HALF_ARITHMETIC.fullmatch(name) and re.search(r"\bv\d+\.[48]h|\bh\d+\b", operands):
        return True
    return bool(AFTER_ARMV8.fullmatch(name) or SVE_OR_HALVES.search(operands))


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether objects keep to their instruction sets.")
    parser.add_argument("build", type=Path)
    wrong, flags = 0, flags_of()
    for kernels in objects(parser.parse_args().build):
        isa = kernels.isa or "baseline"
        beyond = beyond_x86 if machine_of(kernels.path) == "x86_64" else beyond_aarch64
        code = instructions(kernels.path)
        found = [each for each in code if beyond(flags[isa], each)]
        wrong += bool(found)
        print(f"{kernels.name}: {len(code)} instructions, {len(found)} beyond {isa}")
        for name, count in Counter(each.name for each in found).most_common(8):
            first = next(each for each in found if each.name == name)
            print(f"    {count} x {name}, the first at {first}")
    if wrong:
        raise SystemExit(f"{wrong} objects have instructions that their CPUs may lack")


if __name__ == "__main__":
    main()
