"""The rate of the core's multiply-adds, fused where it can, for each instruction set.

    pip install ".[bench]"       # and a C compiler: cc, or what CC names
    python benches/fma_rate.py

The bound of any float32 network on one core: race.py states the engine's share of it.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from measure import alternate, parser, pin, quartiles

from mnv2_engine.executors.native import isas

CHAINS = 12  # as in fma_rate.c
LANES = {"baseline": 4, "avx2": 8, "avx512": 16, "neon": 4}
PIECE_SECONDS = 0.02  # long enough for the clock to settle, short enough to alternate


class FmaRate:
    """Measures one instruction set, named as the engine names it."""

    def __init__(self, library: ctypes.CDLL, isa: str) -> None:
        self._run = getattr(library, isa)
        self._run.argtypes, self._run.restype = [ctypes.c_int64], ctypes.c_float
        self._work = CHAINS * LANES[isa]
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


def compiled() -> ctypes.CDLL:
    """fma_rate.c, built for this run and gone from the disk once it is loaded."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    source = Path(__file__).with_name("fma_rate.c")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "fma_rate.so"
        command = [*compiler, "-O2", "-ffp-contract=off", "-shared", "-fPIC"]
        try:
            subprocess.run([*command, str(source), "-o", str(built)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(
                f"the FMA rate needs a C compiler, cc or what CC names: {error}"
            ) from error
        return ctypes.CDLL(str(built))


def main() -> None:
    options = parser(__doc__).parse_args()
    pin()
    library = compiled()
    names = [name for name, supported in isas().items() if supported and name in LANES]
    found = alternate([FmaRate(library, name) for name in names], options.pairs)
    print("one core, 10⁹ multiply-adds a second: median (quartiles)")
    for name, values in zip(names, found, strict=True):
        print(f"{name:<10}{quartiles(values, 1)}")


if __name__ == "__main__":
    main()
