"""How well `mnv2 quantize` keeps a network's answers, on photographs it was not calibrated with.

    pip install ".[bench]"
    python benches/quantisation.py MODEL.npz --images FOLDER [--calibrate-on even|odd]
        [--method minmax --method mse] [--against litert:FILE.tflite]

MODEL is a float32 model file. The photographs of FOLDER, by sorted name, are parted in two: the
even and the odd ones. Those of one part calibrate (each whole, and some random views of it), the
others measure: each whole, and more views, of other seeds. A view is a random crop of half the
photograph to all of it, flipped or not, its brightness, contrast and colour changed by up to a
fifth. Without --calibrate-on, both parts take either role in turn.

Agreement is the share of images with the same first class as float32; |Δlogit| the mean over
images and classes of the absolute difference. The peer's are measured on the same images, against
the same float32 logits: its own should be those of the same weights.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from mnv2_engine import Engine
from mnv2_engine.images.image_files import find_images
from mnv2_engine.images.preprocess import load_image, pixels_for
from mnv2_engine.model.input_spec import InputSpec
from mnv2_engine.model.modelfile import ModelFile, open_model
from mnv2_engine.network.quantization import DEFAULT_RANGE_METHOD, RANGE_METHODS
from mnv2_engine.peers import PEERS
from mnv2_engine.quantize import quantize
from mnv2_engine.quantize.report import agreement

PARTS = ("even", "odd")


def view(photo: Image.Image, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """A random crop of `photo`, `size` (height, width) in pixels, flipped and coloured."""
    area = photo.width * photo.height * random.uniform(0.5, 1.0)
    aspect = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = min(photo.width, round((area * aspect) ** 0.5))
    height = min(photo.height, round((area / aspect) ** 0.5))
    left = int(random.integers(0, photo.width - width + 1))
    top = int(random.integers(0, photo.height - height + 1))
    crop = photo.crop((left, top, left + width, top + height))
    made = crop.resize(size[::-1], Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        made = made.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        made = change(made).enhance(random.uniform(0.8, 1.2))
    return np.asarray(made)


def frames(photos: list[Image.Image], model: ModelFile, views: int, seed: int) -> np.ndarray:
    """Every photograph as the network sees it, and `views` views of it."""
    random = np.random.default_rng(seed)
    size = model.network.resolution
    made = []
    for photo in photos:
        whole = pixels_for(photo, model.input_spec, size)
        made.append(np.frombuffer(whole, np.uint8).reshape(*size, 3))
        made += [view(photo, size, random) for _ in range(views)]
    return np.stack(made)


def litert(path: str, spec: InputSpec) -> Callable[[np.ndarray], np.ndarray]:
    """LiteRT on a quantised .tflite file: pixels to the logits that its softmax is given."""
    session = PEERS["litert"].load(path)

    def logits(pixels: np.ndarray) -> np.ndarray:
        return np.stack([session.run(session.input.suited(x, *spec[:2])) for x in pixels])

    return logits


def measure(
    model: str, part: str, photos: list[Image.Image], args: argparse.Namespace, folder: str
) -> None:
    """Calibrate on the photographs of `part`, and print what the others say."""
    chosen = PARTS.index(part)
    with open_model(model) as opened:
        calibration = frames(photos[chosen::2], opened, args.calibration_views, 1)
        unseen = frames(photos[1 - chosen :: 2], opened, args.views, 2)
    with Engine.load(model) as engine:
        truth, spec = engine.logits(unseen), engine.info.input_spec
    print(
        f"calibrated on the {part} photographs, {len(calibration)} images; "
        f"measured on the others, {len(unseen)} images"
    )

    def show(name: str, logits: np.ndarray) -> None:
        every, whole = (slice(None), slice(None, None, args.views + 1))
        parts = [agreement(truth[each], logits[each]) for each in (every, whole)]
        all_of_them, wholes = parts
        print(
            f"  {name:<20} agreement {all_of_them.argmax:7.2%}  |Δlogit| "
            f"{all_of_them.logit_error:.4f}   whole photographs: {wholes.argmax:7.2%}  "
            f"{wholes.logit_error:.4f}",
            flush=True,
        )

    for method in args.method or (DEFAULT_RANGE_METHOD,):
        out = os.path.join(folder, f"{part}-{method}.npz")
        quantize(model, out, calibration, method=method)
        with Engine.load(out) as engine:
            show(method, engine.logits(unseen))
    for peer in args.against:
        name, _, path = peer.partition(":")
        if name != "litert" or not path:
            raise SystemExit(f"--against {peer}: expected litert:FILE.tflite")
        show("litert", litert(path, spec)(unseen))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.npz")
    parser.add_argument("--images", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--calibrate-on", choices=PARTS)
    parser.add_argument("--method", choices=RANGE_METHODS, action="append")
    parser.add_argument("--views", type=int, default=24, help="of each photograph, to measure")
    parser.add_argument("--calibration-views", type=int, default=5, help="to calibrate")
    parser.add_argument("--against", metavar="litert:FILE", action="append", default=[])
    args: Any = parser.parse_args()
    found = [each for each in find_images([str(args.images)]) if each.problem is None]
    if len(found) < 2:
        raise SystemExit(f"{args.images}: expected two photographs or more, found {len(found)}")
    photos = [load_image(each.name) for each in found]
    with tempfile.TemporaryDirectory() as folder:
        for part in [args.calibrate_on] if args.calibrate_on else PARTS:
            measure(args.model, part, photos, args, folder)


if __name__ == "__main__":
    main()
