"""The logits of whole networks on two CPUs: bit for bit the same.

usage: golden_logits.py write FOLDER                on one CPU: model files, pixels and answers
       golden_logits.py compare FOLDER [NETWORK...]  on another, by every instruction set it has

Weights and pixels travel with the answers: NumPy's random numbers need not be the same everywhere.
Every instruction set but x86-64's baseline fuses multiplications with additions, so there are two
right answers in float32 and one in int8.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from conftest import make_weights
from int8_network import random_int8

from mnv2_engine import Engine
from mnv2_engine.executors.native import ISA_VARIABLE, isas
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network

NETWORKS = {
    "float32": mobilenet_v2(1.0, 96),
    "float16": mobilenet_v2(0.35, (97, 128), 20, "symmetric"),
    "bfloat16": mobilenet_v2(0.75, 64, 100),
    "kernels_of_five": efficientnet_lite(0, (64, 76), 10),
    "int8": mobilenet_v2(1.0, 96),
    "int8_kernels_of_five": efficientnet_lite(0, (64, 76), 10),
}
IMAGES = 2
X86 = platform.machine().lower() in ("x86_64", "amd64")
# Not fused, products are rounded once more: test_native.py's limit.
TOLERANCE = 1e-5


def write(folder: Path) -> None:
    """Model files, pixels, and the answers of this CPU's best and of the baseline."""
    for name, network in NETWORKS.items():
        write_network(folder / f"{name}.npz", name, network)
        shape = (IMAGES, *network.resolution, 3)
        pixels = np.random.default_rng(7).integers(0, 256, shape, np.uint8)
        best, *_, baseline = supported(name)
        answers = {isa: logits(folder / f"{name}.npz", pixels, isa) for isa in (best, baseline)}
        np.savez(
            folder / f"{name}.golden.npz",
            pixels=pixels,
            fused=answers[best],
            baseline=answers[baseline],
        )
        print(f"{name}: {best} and {baseline}")
        if best == baseline or not X86:
            sys.exit("needs an x86-64 CPU with AVX2: here not both kinds of answers can be made")


def compare(folder: Path, *names: str) -> None:
    """Exits with an error unless every instruction set gives the bits in `folder`."""
    wrong = []
    for name in names or NETWORKS:
        golden = np.load(folder / f"{name}.golden.npz")
        for isa in supported(name):
            found = logits(folder / f"{name}.npz", golden["pixels"], isa)
            expected = golden["baseline" if isa == "baseline" and X86 else "fused"]
            away = np.abs(found - golden["fused"]).max() / np.abs(golden["fused"]).max()
            same = found.tobytes() == expected.tobytes() and away <= TOLERANCE
            print(f"{name:22}{isa:12}{'the same bits' if same else f'WRONG, {away:.2g} away'}")
            if not same:
                wrong.append(f"{name} {isa}")
    if wrong:
        sys.exit(f"other logits than on the CPU that wrote them: {', '.join(wrong)}")


def supported(name: str) -> list[str]:
    """Best first, the baseline last."""
    found = isas("int8" if name.startswith("int8") else "float32")
    return [isa for isa, is_supported in found.items() if is_supported]


def write_network(path: Path, name: str, network: Network) -> None:
    if name.startswith("int8"):
        weights, quantization = random_int8(network)
        write_model(path, network, weights, PRESETS["tf"], None, {}, quantization)
    else:
        dtype = name if name in ("float16", "bfloat16") else "float32"
        weights = make_weights(network)
        write_model(path, network, weights, PRESETS["tf"], None, {}, dtype=dtype)


def logits(path: Path, pixels: np.ndarray[Any, Any], isa: str) -> np.ndarray[Any, Any]:
    """Of all images, by one thread and by two, which have to agree."""
    os.environ[ISA_VARIABLE] = isa
    answers = []
    for threads in (1, 2):
        with Engine.load(path, threads=threads) as engine:
            assert engine.info.isa == isa
            answers.append(engine.logits(pixels))
    np.testing.assert_array_equal(*answers)
    return answers[0]


if __name__ == "__main__":
    {"write": write, "compare": compare}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
