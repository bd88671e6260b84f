"""How often an imported int8 network answers as LiteRT does, on the quantised file itself.

    python benches/import_agreement.py MODEL.tflite IMAGES.npz [--images 480]

MODEL.tflite is converted with weights="int8" and run beside LiteRT's two sets of kernels, on
seeded crops, flips and colour changes of the images in IMAGES.npz: its array `pixels`, uint8 (N,
H, W, 3) of the network's own size. LiteRT's logits are 8 bits, so their largest may be shared by
several classes: an answer agrees if it is one of them, and agrees strictly if it is the first.
Differences are in steps of those 8 bits; ours are clipped to them first. How far LiteRT's kernels
agree with each other is the scale to read the rest by.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from peers import imported

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.convert.tflite_graph import find_network
from mnv2_engine.convert.tflite_schema import EIGHT_BITS, read_graph

Array = np.ndarray[Any, Any]

RESOLVERS = {"litert": "AUTO", "litert, reference": "BUILTIN_REF"}
OURS = "mnv2_engine"


class Logits(NamedTuple):
    """The tensor of a TFLite file that holds the logits: real = scale * (q - zero_point)."""

    tensor: int
    scale: float
    zero_point: int
    low: float  # the least and the greatest that it holds
    high: float


def logits_of(content: bytes, what: str) -> Logits:
    graph = read_graph(content, what)
    number = find_network(graph).layers["classifier"].out
    tensor = graph.tensors[number]
    if tensor.type not in EIGHT_BITS or tensor.quantisation is None:
        raise SystemExit(f"{what}: its logits are {tensor.type}, not 8-bit integers")
    scale, zero_point = (float(term[0]) for term in tensor.quantisation[:2])
    low, high = (scale * (end - zero_point) for end in EIGHT_BITS[tensor.type])
    return Logits(number, scale, int(zero_point), low, high)


def ending_at(content: bytes, tensor: int) -> bytes:
    """The file with another output: of a softmax in 8 bits, little of the logits is left."""
    import tflite

    altered = bytearray(content)
    tflite.Model.GetRootAs(altered, 0).Subgraphs(0).OutputsAsNumpy()[:] = tensor
    return bytes(altered)


def litert(content: bytes, logits: Logits, resolver: str) -> Callable[[Array], Array]:
    module = imported("litert")
    interpreter = module.Interpreter(
        model_content=ending_at(content, logits.tensor),
        num_threads=1,
        experimental_op_resolver_type=module.OpResolverType[resolver],
    )
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    offset = -128 if source["dtype"] == np.int8 else 0

    def run(pixels: Array) -> Array:
        interpreter.set_tensor(source["index"], (pixels + offset).astype(source["dtype"])[None])
        interpreter.invoke()
        stored = interpreter.get_tensor(target["index"]).reshape(-1).astype(np.float64)
        return logits.scale * (stored - logits.zero_point)

    return run


def altered(pixels: Array, count: int, seed: int) -> Iterator[Array]:
    """`count` images: 60 to 100 % of one after the other, perhaps mirrored, its contrast,
    brightness and colours changed by up to a fifth."""
    from PIL import Image

    random = np.random.default_rng(seed)
    height, width = pixels.shape[1:3]
    for i in range(count):
        side = np.sqrt(random.uniform(0.6, 1.0))
        left, top = random.uniform(0, 1 - side, 2) * (width, height)
        box = (left, top, left + side * width, top + side * height)
        image = Image.fromarray(pixels[i % len(pixels)])
        crop = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box), np.float64)
        if random.random() < 0.5:
            crop = crop[:, ::-1]
        middle = crop.mean()
        crop = (crop - middle) * random.uniform(0.8, 1.2) + middle * random.uniform(0.8, 1.2)
        yield np.clip(np.rint(crop * random.uniform(0.9, 1.1, 3)), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.tflite")
    parser.add_argument("pixels", metavar="IMAGES.npz")
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", choices=("auto", "c", "numpy"), default="auto")
    given = parser.parse_args()
    content = Path(given.model).read_bytes()
    logits = logits_of(content, given.model)
    with np.load(given.pixels) as file:
        pixels = file["pixels"]
    with tempfile.TemporaryDirectory() as folder:
        made = convert(given.model, f"{folder}/int8.npz", weights="int8", labels="none")
        engine = Engine.load(f"{folder}/int8.npz", backend=given.backend)
    runs = {OURS: lambda image: np.clip(engine.logits(image)[0], logits.low, logits.high)}
    runs |= {name: litert(content, logits, resolver) for name, resolver in RESOLVERS.items()}
    images = altered(pixels, given.images, given.seed)
    answers = [[run(image) for run in runs.values()] for image in images]
    found = dict(zip(runs, np.array(answers).swapaxes(0, 1), strict=True))

    for note in made.notes:
        print(f"note: {note}")
    print(f"{given.images} images of {len(pixels)}, steps of {logits.scale:.4f}")
    print(f"{'':36}agree   strictly   mean |Δ|    max |Δ|")
    for one, other in combinations(found, 2):
        a, b = found[one], found[other]
        first = a.argmax(1)
        agree = (b[np.arange(len(b)), first] == b.max(1)).mean()
        strictly = (first == b.argmax(1)).mean()
        steps = np.abs(a - b) / logits.scale
        print(
            f"{one + ' : ' + other:32}{agree:9.2%} {strictly:9.2%} "
            f"{steps.mean():9.2f} {steps.max():9.1f}"
        )


if __name__ == "__main__":
    main()
