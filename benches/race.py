"""One image: this engine and others on the same weights, in turn.

    pip install ".[bench]"
    python benches/race.py MODEL --against litert
    python benches/race.py MODEL --against litert:MODEL.tflite --against openvino:MODEL.onnx
    python benches/race.py MODEL --against litert --against self --threads 2
    python benches/race.py MODEL --weights float16 --against self:float32
    python benches/race.py MODEL --weights bfloat16 --precision bfloat16 --against openvino-bf16

MODEL is a model file or the name of a network with seeded weights (see models.py). Peers are
litert, onnxruntime, openvino in float32 and openvino-bf16, with a file of theirs or without: then
the model is exported to one. `self` is this engine with one thread; `self:DTYPE` is it with as many
threads and the same weights as DTYPE, in the precision that is theirs by default.

Everyone runs in a process of its own, on as many CPUs as it has threads, and is stopped while
others run. The engine is given uint8 pixels, peers the same image normalised. Prints medians with
quartiles, the ratio to each peer pair by pair, which holds where the machine's speed drifts, the
largest difference between the logits, and, for one thread, the share of the core's FMA rate.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from typing import Any

import numpy as np
from contestants import contestants
from fma_rate import FmaRate, compiled
from measure import alternate, parser, pin, quartiles, ratio, ratios
from models import model_file, normalised, peer_file, rewritten
from peers import PEERS, SUFFIXES, Run, peer_and_file

from mnv2_engine import Engine
from mnv2_engine.architecture import multiply_adds
from mnv2_engine.executors.native import ISA_VARIABLE
from mnv2_engine.modelfile import ModelFile, open_model


def ours(path: str, pixels: Any, threads: int, precision: str | None = None) -> Run:
    engine = Engine.load(path, threads=threads, precision=precision)
    return lambda: engine.logits(pixels)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("model")
    made.add_argument("--against", action="append", metavar="PEER[:FILE]", required=True)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--weights", metavar="DTYPE", help="float32, float16 or bfloat16")
    made.add_argument("--precision", help="what to compute in, as for Engine.load")
    made.add_argument("--isa", help="avx512, avx2 or baseline, of this engine and the FMA rate")
    made.add_argument("--inner", type=int, default=5, help="runs in a turn, after an uncounted one")
    options = made.parse_args()
    pin(options.threads)
    if options.isa:
        os.environ[ISA_VARIABLE] = options.isa  # the engine's process inherits it
    with tempfile.TemporaryDirectory() as folder:
        path = model_file(options.model, folder)
        if options.weights:
            with open_model(path) as model:
                path = rewritten(model, options.weights, folder)
        info = Engine.load(path, precision=options.precision).info
        isa, is_float32 = info.isa or "", info.precision == "float32"
        rate = FmaRate(compiled(), isa) if options.threads == 1 and is_float32 else None
        with open_model(path) as model:
            starters, names = _starters(options, model, folder)
        with contestants(starters, options.inner) as running:
            found = alternate([*running, *([rate] if rate else [])], options.pairs)
            outputs = [contestant.output for contestant in running]
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    what = f"{model.dtype} weights, {info.precision}"
    print(f"{model.architecture.name}, {what}, {threads}, {isa}: median (quartiles)")
    _print_times(names, found)
    if rate:
        _print_share(model, isa, mine=found[0], rates=found[-1])
    _print_differences(names, outputs)


def _starters(options: Any, model: ModelFile, folder: str) -> tuple[list[Any], list[str]]:
    height, width = model.architecture.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    image = normalised(model, pixels)
    threads = options.threads
    mine = (model.path, pixels, threads, options.precision)
    starters: list[Any] = [(ours, mine, threads)]
    names = ["mnv2_engine"]
    for text in options.against:
        if text == "self":
            starters.append((ours, (*mine[:2], 1, options.precision), 1))
            names.append("1 thread")
            continue
        if text.startswith("self:"):
            path = rewritten(model, text.removeprefix("self:"), folder)
            starters.append((ours, (path, pixels, threads), threads))
            names.append(text.removeprefix("self:"))
            continue
        name, file = peer_and_file(text)
        file = peer_file(model, file, SUFFIXES[name], folder)
        starters.append((PEERS[name], (file, image, threads), threads))
        names.append(name)
    return starters, names


def _print_times(names: list[str], found: list[list[float]]) -> None:
    for name, times in zip(names, found, strict=False):
        _print(f"{name}, ms", quartiles(times))
    mine, peers = found[0], list(zip(names[1:], found[1:], strict=False))
    for name, times in peers:
        _print(f"ratio to {name}", ratio(ratios(mine, times)))
    if len(peers) > 1:
        name, times = min(peers, key=lambda peer: statistics.median(peer[1]))
        _print(f"ratio to the faster, {name}", ratio(ratios(mine, times)))


def _print_share(model: ModelFile, isa: str, mine: list[float], rates: list[float]) -> None:
    work = multiply_adds(model.architecture) / 1e6
    shares = [work / ms / rate for ms, rate in zip(mine, rates, strict=True)]
    _print(f"{isa} FMA, 10⁹/s", quartiles(rates, 1))
    _print("share of that rate", ratio(shares))


def _print_differences(names: list[str], outputs: list[Any]) -> None:
    largest = float(np.abs(outputs[0]).max())
    for name, output in zip(names[1:], outputs[1:], strict=True):
        difference = float(np.abs(output - outputs[0]).max())
        _print(f"logits, {name}", f"differ by {difference:.1e} at most; largest {largest:.1f}")


def _print(label: str, text: str) -> None:
    print(f"{label:<32}{text}")


if __name__ == "__main__":
    main()
