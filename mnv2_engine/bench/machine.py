"""What the numbers were measured on: the CPU, the system, and the versions of every engine."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from typing import NamedTuple

from .. import __version__
from ..errors import MnvError
from ..peers import PEERS

# Of the flags of a CPU, those that change what a kernel can do.
FLAGS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)


class Machine(NamedTuple):
    """Facts, each "unknown" where the system does not tell."""

    cpu: str
    flags: tuple[str, ...]  # of FLAGS
    cpus: int  # that this process may use
    caches: str
    governor: str  # of the clock
    virtualisation: str
    system: str
    python: str
    load: str  # runnable processes on average, of the minute before


def machine() -> Machine:
    """Of this machine, now."""
    from ..executors.cpus import usable_cpus

    cpu = _cpuinfo()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    return Machine(
        cpu=_model(cpu),
        flags=tuple(flag for flag in FLAGS if flag in flags),
        cpus=usable_cpus(),
        caches=_caches() or UNKNOWN,
        governor=_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or UNKNOWN,
        virtualisation=_virtualisation(flags),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        python=implementation,
        load=f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else UNKNOWN,
    )


UNKNOWN = "unknown"


def versions() -> dict[str, str]:
    """Of this engine and of every peer, by its name; "not installed" where it is not."""
    found = {"mnv2_engine": __version__}
    for name, peer in PEERS.items():
        if name.endswith("-bf16"):  # another one once more
            continue
        found[name] = "not installed"
        with suppress(MnvError):
            found[name] = f"{peer.package} {peer.version()}"
    with suppress(ImportError):
        import numpy

        found["numpy"] = numpy.__version__
    return found


def _cpuinfo() -> dict[str, str]:
    """Of the first CPU."""
    first = _text("/proc/cpuinfo").split("\n\n")[0]
    rows = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in rows}


def _model(cpu: dict[str, str]) -> str:
    name = cpu.get("model name") or platform.processor() or UNKNOWN
    numbers = [f"{key} {cpu[key]}" for key in ("cpu family", "model", "stepping") if key in cpu]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _virtualisation(flags: set[str]) -> str:
    vendor = _text("/sys/hypervisor/type") or _text("/sys/class/dmi/id/sys_vendor")
    if "hypervisor" not in flags and not vendor:
        return UNKNOWN if not flags else "none visible"
    return (
        f"a virtual machine{f' ({vendor})' if vendor else ''}"
        if "hypervisor" in flags
        else (f"none visible ({vendor})")
    )


def _caches() -> str:
    """Of the first CPU: "L1d 48K, L2 1024K, L3 32768K"."""
    found = []
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        level, kind, size = (_text(f"{folder}/{name}") for name in ("level", "type", "size"))
        if size and kind != "Instruction":
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(found)


def _text(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""
