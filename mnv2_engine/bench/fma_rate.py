"""The most multiply-adds a second that a core does, fused where it can: the bound of any network.

    python -m mnv2_engine.bench.fma_rate       # and a C compiler: cc, or what CC names

fma_rate.c has chains of them that depend on nothing but themselves, for each instruction set.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import tempfile
import time

from ..errors import MnvError
from .samples import quartiles
from .turns import alternate, pin

CHAINS = 12  # as in fma_rate.c
# Multiply-adds of one instruction, by the name of the function that repeats it.
LANES = {
    "baseline": 4,
    "avx2": 8,
    "avx512": 16,
    "neon": 4,
    "avx2_int8": 16,
    "avx512_int8": 32,
    "avxvnni_int8": 32,
    "avx512vnni_int8": 64,
    "avx512bf16_bfloat16": 32,
    "avx512amx_int8": 16 * 16 * 64,  # at 16 rows
    "avx512amx_bfloat16": 16 * 16 * 32,
}
PIECE_SECONDS = 0.02  # long enough for the clock to settle, short enough to alternate


class FmaRate:
    """Measures one function of the library, named in LANES."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self._run = getattr(library, name)
        self._run.argtypes, self._run.restype = [ctypes.c_int64], ctypes.c_float
        self._work = CHAINS * LANES[name]
        self._steps = 1000
        while (seconds := self._seconds()) < PIECE_SECONDS:
            self._steps = int(self._steps * min(10, 1.1 * PIECE_SECONDS / seconds))

    def __call__(self) -> float:
        """10⁹ multiply-adds a second, over one piece."""
        return self._steps * self._work / self._seconds() / 1e9

    def _seconds(self) -> float:
        start = time.perf_counter()
        self._run(self._steps)
        return time.perf_counter() - start


def function_name(isa: str, precision: str) -> str:
    """Which function's rate bounds a network of this precision on this instruction set."""
    if precision != "float32":
        return f"{isa}_{precision}"
    lesser = dict.fromkeys(("avx512amx", "avx512bf16", "avx512vnni"), "avx512")
    lesser |= {"avxvnni": "avx2"} | dict.fromkeys(("i8mm", "dotprod"), "neon")
    return lesser.get(isa, isa)


def fma_rate(isa: str, precision: str) -> FmaRate:
    """The rate that bounds a network. Raises MnvError where there is no compiler, or no function
    for this instruction set."""
    library, name = compiled(), function_name(isa, precision)
    if name not in LANES or not hasattr(library, name):
        raise MnvError(f"the rate of {precision} with {isa} is not measured: fma_rate.c lacks it")
    return FmaRate(library, name)


def compiled() -> ctypes.CDLL:
    """fma_rate.c, built for this run and gone from the disk once it is loaded. Raises MnvError
    where that fails."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = os.path.splitext(os.path.abspath(__file__))[0] + ".c"
    with tempfile.TemporaryDirectory() as folder:
        built = os.path.join(folder, "fma_rate.so")
        command = [*compiler, "-O2", "-ffp-contract=off", "-shared", "-fPIC", source, "-o", built]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or error
            raise MnvError(
                f"the core's rate needs a C compiler, cc or what CC names: {said}"
            ) from error
        return ctypes.CDLL(built)


def main() -> None:
    """Print the rate of every instruction set that this CPU has."""
    from ..executors.native import isas

    pin()
    library = compiled()
    names = [
        name
        for precision in ("float32", "int8", "bfloat16")
        for isa, supported in isas(precision).items()
        if supported and (name := function_name(isa, precision)) in LANES and hasattr(library, name)
    ]
    found = alternate([FmaRate(library, name) for name in names], 30)
    print("one core, 10⁹ multiply-adds a second: median (middle half)")
    for name, values in zip(names, map(quartiles, found), strict=True):
        print(f"{name:<20}{values.median:9.1f}   ({values.low:.1f} to {values.high:.1f})")


if __name__ == "__main__":
    main()
