"""One image: this engine and others, in turn.

    pip install ".[bench]"
    python benches/race.py MODEL --against litert
    python benches/race.py MODEL --against litert:MODEL.tflite --against openvino:MODEL.onnx
    python benches/race.py MODEL --against litert --against self --threads 2
    python benches/race.py MODEL --weights float16 --against self:float32
    python benches/race.py MODEL --weights bfloat16 --precision bfloat16 --against openvino-bf16
    python benches/race.py MODEL --weights int8 --against openvino:INT8.xml --against litert:FILE
    python benches/race.py MODEL --weights int8 --isa avx2 --against self:float32

MODEL is a model file or the name of a network with seeded weights (see models.py). Peers are
litert, onnxruntime, openvino in float32 and openvino-bf16, with a file of theirs or without: then
the model is exported to one. `self` is this engine with one thread; `self:DTYPE` is it with as many
threads and the same weights as DTYPE, in the precision that is theirs by default; `self:FILE` is it
with another model file.

An int8 MODEL races for speed alone: peers bring int8 files, quantised by other means, of other
weights perhaps, and their outputs are not compared. `self:float32` is what --weights int8 was made
of, and compared with it; beside an int8 model file it is the same network with seeded weights.

Everyone runs in a process of its own, on as many CPUs as it has threads, and is stopped while
others run. The engine is given uint8 pixels, peers the same image normalised. Prints medians with
quartiles, the ratio to each peer pair by pair, which holds where the machine's speed drifts, the
largest difference between the logits, and, for one thread in float32, the share of the core's FMA
rate.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contestants import Make, contestants
from measure import alternate, parser, pin, quartiles, ratio, ratios
from models import add_model, model_file, normalised, peer_file, rewritten
from peers import PEERS, SUFFIXES, Run, peer_and_file

from mnv2_engine import Engine
from mnv2_engine.architecture import multiply_adds
from mnv2_engine.bench.fma_rate import LANES, FmaRate, compiled
from mnv2_engine.executors.native import ISA_VARIABLE
from mnv2_engine.modelfile import ModelFile, open_model
from mnv2_engine.packing import DTYPES, FLOAT_DTYPES


class Entry(NamedTuple):
    """What runs as a contestant."""

    name: str
    make: Make
    arguments: tuple[Any, ...]
    threads: int
    same_weights: bool = True  # as the first; else its outputs say nothing


def ours(path: str, pixels: Any, threads: int, precision: str | None = None) -> Run:
    engine = Engine.load(path, threads=threads, precision=precision)
    return lambda: engine.logits(pixels)


def main() -> None:
    made = parser(__doc__)
    add_model(made)
    made.add_argument("--against", action="append", metavar="PEER[:FILE]", required=True)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--precision", help="what to compute in, as for Engine.load")
    made.add_argument("--isa", help="of this engine and the FMA rate, by name, as MNV2_ISA")
    made.add_argument("--inner", type=int, default=5, help="runs in a turn, after an uncounted one")
    options = made.parse_args()
    pin(options.threads)
    if options.isa:
        os.environ[ISA_VARIABLE] = options.isa  # the engine's process inherits it
    with tempfile.TemporaryDirectory() as folder:
        source = model_file(options.model, folder)
        path = model_file(source, folder, options.weights)
        info = Engine.load(path, precision=options.precision).info
        isa, is_float32 = info.isa or "", info.precision == "float32"
        has_rate = options.threads == 1 and is_float32 and isa in LANES
        rate = FmaRate(compiled(), isa) if has_rate else None
        with open_model(source) as opened, open_model(path) as model:
            entries = _entries(options, opened, model, folder)
        starters = [(entry.make, entry.arguments, entry.threads) for entry in entries]
        with contestants(starters, options.inner) as running:
            found = alternate([*running, *([rate] if rate else [])], options.pairs)
            outputs = [contestant.output for contestant in running]
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    what = f"{model.dtype} weights, {info.precision}"
    print(f"{model.architecture.name}, {what}, {threads}, {isa}: median (quartiles)")
    _print_times([entry.name for entry in entries], found)
    if rate:
        _print_share(model, isa, mine=found[0], rates=found[-1])
    for entry, output in zip(entries[1:], outputs[1:], strict=True):
        _print(f"logits, {entry.name}", difference(entry, outputs[0], output))


def _entries(options: Any, source: ModelFile, model: ModelFile, folder: str) -> list[Entry]:
    """This engine and its peers. `model` is `source` with the weights that were asked for."""
    height, width = model.architecture.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    image = normalised(model, pixels)
    threads = options.threads
    mine = (model.path, pixels, threads, options.precision)
    entries = [Entry("mnv2_engine", ours, mine, threads)]
    for text in options.against:
        name, _, file = text.partition(":")
        if text == "self":
            entry = Entry("1 thread", ours, (*mine[:2], 1, options.precision), 1)
        elif name == "self" and file in DTYPES:
            # From int8 there is no way back to the weights that it was made of.
            origin = source if model.dtype == "int8" != file else model
            same = origin.dtype in (file, *FLOAT_DTYPES)
            path = rewritten(origin, file, folder)
            entry = Entry(file, ours, (path, pixels, threads), threads, same)
        elif name == "self":
            label = f"{other_file(file, model)} file"
            entry = Entry(label, ours, (file, pixels, threads), threads, same_weights=False)
        else:
            name, file = peer_and_file(text)
            path = peer_file(model, file, SUFFIXES[name], folder)
            same = model.dtype != "int8"
            entry = Entry(name, PEERS[name], (path, image, threads), threads, same)
        entries.append(entry)
    return entries


def other_file(path: str, model: ModelFile) -> str:
    """The dtype of another model file, which has to be of the same network but for its classes."""
    if not Path(path).exists():
        raise SystemExit(f"self:{path}: neither a file nor one of {', '.join(DTYPES)}")
    with open_model(path) as other:
        if other.architecture.name != model.architecture.name:
            raise SystemExit(f"{path}: {other.architecture.name}, not {model.architecture.name}")
        return other.dtype


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


def difference(entry: Entry, mine: Any, output: Any) -> str:
    """How far the output of `entry` is from ours, or why that is not said."""
    if not entry.same_weights:
        return "not compared: a race for speed, the weights may be others"
    if (output.dtype, output.shape) != (mine.dtype, mine.shape):
        return f"not compared: {output.dtype} of shape {output.shape}"
    largest = float(np.abs(mine).max())
    return f"differ by {float(np.abs(output - mine).max()):.1e} at most; largest {largest:.1f}"


def _print(label: str, text: str) -> None:
    print(f"{label:<32}{text}")


if __name__ == "__main__":
    main()
