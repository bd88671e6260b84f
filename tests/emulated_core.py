"""The C core with its tile registers emulated, in place of the built one: for CPUs without AMX.

Only the kernels of `avx512amx` in int8 and bfloat16 are compiled, by the compiler that CC names.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

KERNELS = Path(__file__).parents[1] / "kernels"
FLAGS = "-std=c11 -O0 -fPIC -ffp-contract=off -fno-math-errno"
ISA_FLAGS = "-mavx512bf16 -mavx512vbmi -mavx512vnni -mavx512bw -mavx512vl -mfma -mf16c"
ISA = 'ISA(avx512amx, x86, none, avx512amx, avx512amx, "")\n'
NONE = "float32_none", "float16_weights_none", "bfloat16_weights_none"


def build(folder: Path) -> Path:
    """The library, built in `folder`."""
    (folder / "built_isas.def").write_text(ISA)
    steps = "".join(f"const mnv2_steps mnv2_steps_{name} = {{NULL}};\n" for name in NONE)
    steps += "const mnv2_lines mnv2_lines_none = {NULL};\n"
    (folder / "none.c").write_text(f"#include <stddef.h>\n#include <isa.h>\n{steps}")
    own = sorted(path for path in KERNELS.glob("*.c") if path.name != "isa.c")
    pieces = [(path, "") for path in (*own, folder / "none.c")]
    pieces += [(KERNELS / "int8/isa.c", "int8"), (KERNELS / "isa.c", "bfloat16")]
    running, objects = [], []
    for i, (path, precision) in enumerate(pieces):
        chosen = FLAGS + " -DMNV2_EMULATE_TILES"
        if precision:
            chosen += f" {ISA_FLAGS} -DMNV2_ISA_NAME=avx512amx -DMNV2_ISA_AVX512AMX"
            chosen += f" -DMNV2_NUMBERS={precision} -DMNV2_NUMBERS_{precision.upper()}"
        objects.append(str(folder / f"{i}.o"))
        command = [*_compiler(), *chosen.split(), "-I", str(KERNELS), "-I", str(folder)]
        running.append(subprocess.Popen([*command, "-c", str(path), "-o", objects[-1]]))
    ended = [process.wait() for process in running]
    if any(ended):
        raise RuntimeError("the emulated core does not compile")
    library = folder / "emulated.so"
    subprocess.run(
        [*_compiler(), "-shared", *objects, "-o", library, "-lm", "-lpthread"], check=True
    )
    return library


def use(library: Path) -> None:
    """Has this process's engine run in that library. Before anything imports the C core."""
    from cffi import FFI

    spec = importlib.util.spec_from_file_location("generate_ffi", KERNELS / "generate_ffi.py")
    assert spec
    assert spec.loader
    generate: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    ffi = FFI()
    ffi.cdef(generate.declarations((KERNELS / "mnv2.h").read_text()))
    import mnv2_engine

    core: Any = SimpleNamespace(ffi=ffi, lib=ffi.dlopen(str(library)))
    sys.modules["mnv2_engine._core"] = core
    mnv2_engine._core = core  # type: ignore[attr-defined]


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))
