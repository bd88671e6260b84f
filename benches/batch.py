"""Time of an image in batches: one by one, and with `Engine.load(batch=N)`; beside OpenVINO's.

    pip install ".[bench]"
    python benches/batch.py MODEL [--batch 8 --batch 32] [--images 32] [--threads N]
        [--precision bfloat16] [--openvino FILE]

MODEL is a model file or the name of a network with seeded weights. Everyone runs the same images,
in turn: this engine one by one, then in each batch, all of them with one call; then OpenVINO one by
one, and all images as one batch of its own. FILE is an .onnx or .xml of one input, such as
`mnv2 export MODEL model.onnx` makes. Prints a Markdown table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import add_model, alternate, parser

from mnv2_engine import Engine
from mnv2_engine.bench import samples
from mnv2_engine.bench.networks import model_file
from mnv2_engine.bench.samples import pairwise
from mnv2_engine.bench.turns import milliseconds, pin


def main() -> None:
    made = parser(__doc__)
    add_model(made)
    made.add_argument("--batch", type=int, action="append", help="of this engine (8)")
    made.add_argument("--images", type=int, default=32, help="of a call, and the peer's batch")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--precision")
    made.add_argument("--openvino", metavar="FILE")
    options = made.parse_args()
    pin(options.threads)
    count, batches = options.images, [1, *(options.batch or [8])]
    folder = tempfile.TemporaryDirectory()
    path = model_file(options.model, folder.name, options.weights)
    engines = [
        Engine.load(path, options.threads, precision=options.precision, batch=batch)
        for batch in batches
    ]
    size = engines[0].memory_plan().network.resolution
    images = np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)
    rows: list[tuple[str, str, Callable[[], object]]] = []
    for batch, engine in zip(batches, engines, strict=True):
        arenas = f"{engine.info.arena_bytes / 1024:,.0f} KiB"
        rows.append((f"mnv2_engine, {batch} at a time", arenas, _ours(engine, images)))
    if options.openvino:
        for batch in (1, count):
            run = openvino(options.openvino, batch, size, options.threads)
            rows.append((f"OpenVINO, {batch} at a time", "", _peers(run, count // batch)))
    found = alternate([_each(run, count) for _, _, run in rows], options.pairs)
    info = engines[0].info
    print(f"{info.network.name}, {info.dtype} in {info.precision}, {info.isa}, {count} images:\n")
    print("| who | memory | ms an image | of ours one by one | of OpenVINO's batch |")
    print("|---|---|---|---|---|")
    for (name, memory, _), times in zip(rows, found, strict=True):
        ours = samples.quartiles(pairwise(times, found[0])).median
        peer = samples.quartiles(pairwise(times, found[-1])).median
        last = f"{peer:.3f}" if options.openvino else ""
        middle = samples.quartiles(times).median
        print(f"| {name} | {memory} | {middle:.3f} | {ours:.3f} | {last} |")


def _each(run: Callable[[], object], count: int) -> Callable[[], float]:
    """Milliseconds of an image."""
    return lambda: milliseconds(run) / count


def _ours(engine: Engine, images: Any) -> Callable[[], object]:
    return lambda: engine.logits(images)


def _peers(run: Callable[[], object], times: int) -> Callable[[], object]:
    def all_images() -> None:
        for _ in range(times):
            run()

    return all_images


def openvino(path: str, batch: int, size: tuple[int, int], threads: int) -> Callable[[], object]:
    """A run of `batch` images, its settings those of mnv2_engine/peers/openvino.py."""
    import openvino as module

    core = module.Core()
    model = core.read_model(path)
    (source,) = model.inputs
    planar = source.partial_shape[1].get_length() == 3
    shape = (batch, 3, *size) if planar else (batch, *size, 3)
    model.reshape(shape)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    given = request.get_input_tensor().data
    given[:] = np.random.default_rng(0).integers(0, 256, given.shape).astype(given.dtype)
    run: Callable[[], object] = request.infer
    return run


if __name__ == "__main__":
    main()
