"""How often an imported int8 network answers as LiteRT does, on the quantised file itself.

    python benches/import_agreement.py MODEL.tflite FOLDER [--images 960] [--jitter 0.1]

MODEL.tflite is converted with weights="int8" and run beside LiteRT's sets of kernels, on seeded
crops of the photographs in FOLDER, every other one mirrored, contrast, brightness and colours
changed by up to `--jitter`. LiteRT's logits are 8 bits, so their largest may be shared by several
classes: an answer agrees if it is one of them, and agrees strictly if it is the first. Differences
are in steps of those 8 bits; ours are clipped to them first. How far LiteRT's kernels, and the
same network in float32, agree with each other is the scale to read the rest by.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.convert.sources.tflite_nodes import to_graph
from mnv2_engine.convert.sources.tflite_schema import read_graph
from mnv2_engine.convert.walk import walk
from mnv2_engine.model.input_spec import InputSpec
from mnv2_engine.peers import PEERS

Array = np.ndarray[Any, Any]

SUFFIXES = (".jpeg", ".jpg", ".png")
RESOLVERS = {"XNNPACK": "AUTO", "built-in": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
SLOW_RESOLVERS = {"reference": "BUILTIN_REF"}  # half a second an image


class Logits(NamedTuple):
    """The tensor of a TFLite file that holds the logits: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int
    low: float  # the least and the greatest that it holds
    high: float


def logits_of(content: bytes, what: str) -> Logits:
    graph = to_graph(read_graph(content, what))
    said = graph.quantised.get(walk(graph).output.out)
    if said is None:
        raise SystemExit(f"{what}: its logits are not 8-bit integers")
    low, high = (said.scale * (end - said.zero_point) for end in (said.low, said.high))
    return Logits(said.scale, said.zero_point, low, high)


def litert(path: str, resolver: str) -> Callable[[Array], Array]:
    session = PEERS["litert"].load(path, resolver=resolver)
    return lambda pixels: session.run(pixels).astype(np.float64)


def crops(folder: str, spec: InputSpec, size: tuple[int, int], given: Any) -> Iterator[Array]:
    """`given.images` pieces of one photograph after the other, `size` pixels each: what a resize by
    0.9 to 1.1 times the usual leaves, cut out anywhere."""
    from PIL import Image

    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{folder}: no photographs, that is none of {', '.join(SUFFIXES)}")
    photographs = [Image.open(path).convert("RGB") for path in files]
    random = np.random.default_rng(given.seed)
    height, width = size
    for i in range(given.images):
        photograph = photographs[i % len(photographs)]
        fits = min(photograph.width / width, photograph.height / height)
        scale = fits * spec.crop_fraction * random.uniform(0.9, 1.1)
        w, h = min(scale, fits) * width, min(scale, fits) * height
        left = random.uniform(0, photograph.width - w)
        top = random.uniform(0, photograph.height - h)
        box = (left, top, left + w, top + h)
        piece = photograph.resize((width, height), Image.Resampling.BILINEAR, box)
        pixels = np.asarray(piece, np.float64)[:, :: -1 if i % 2 else 1]
        contrast, brightness, *colours = random.uniform(1 - given.jitter, 1 + given.jitter, 5)
        middle = pixels.mean()
        pixels = ((pixels - middle) * contrast + middle * brightness) * colours
        yield np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.tflite")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--images", type=int, default=960)
    parser.add_argument("--jitter", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", action="store_true", help="LiteRT's slow kernels too")
    given = parser.parse_args()
    content = Path(given.model).read_bytes()
    logits = logits_of(content, given.model)
    runs: dict[str, Callable[[Array], Array]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for weights in ("int8", "float32"):
            made = convert(given.model, f"{folder}/{weights}", weights=weights, labels="none")
            runs[weights] = Engine.load(f"{folder}/{weights}").logits
            for note in made.notes:
                print(f"{weights}: {note}")
    resolvers = RESOLVERS | (SLOW_RESOLVERS if given.reference else {})
    runs |= {name: litert(given.model, resolver) for name, resolver in resolvers.items()}
    images = crops(given.folder, made.input_spec, made.network.resolution, given)
    answers = [[run(image).reshape(-1) for run in runs.values()] for image in images]
    clipped = np.clip(np.array(answers), logits.low, logits.high)
    found = dict(zip(runs, clipped.swapaxes(0, 1), strict=True))

    print(f"{given.images} images, steps of {logits.scale:.4f}")
    print(f"{'':24}    agree  strictly  mean |Δ|   max |Δ|")
    for one, other in combinations(found, 2):
        a, b = found[one], found[other]
        first = a.argmax(1)
        agree = (b[np.arange(len(b)), first] == b.max(1)).mean()
        strictly = (first == b.argmax(1)).mean()
        steps = np.abs(a - b) / logits.scale
        print(
            f"{one + ' : ' + other:24}{agree:9.2%} {strictly:9.2%} "
            f"{steps.mean():9.2f} {steps.max():9.1f}"
        )


if __name__ == "__main__":
    main()
