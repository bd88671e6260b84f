"""How far other runtimes agree with this engine, and with each other, on the exported network.

    pip install ".[bench]"
    python benches/export_agreement.py MODEL.npz FOLDER [--views 11]

MODEL.npz is exported as ONNX and as TFLite, and run by onnxruntime, optimised and node by node, by
LiteRT, with XNNPACK and with its own kernels, and by OpenVINO, on every photograph in FOLDER and
`--views` views of each (see quantisation.py). Agreement is the share of images with the same first
class; |Δlogit| the mean over images and classes of the absolute difference.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import combinations

import numpy as np
from quantisation import frames

from mnv2_engine import Engine
from mnv2_engine.export import export
from mnv2_engine.images.image_files import find_images
from mnv2_engine.images.preprocess import load_image
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.peers import PEERS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.npz")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--views", type=int, default=11)
    options = parser.parse_args()
    found_files = [each for each in find_images([options.folder]) if each.problem is None]
    if not found_files:
        raise SystemExit(f"{options.folder}: no photographs")
    photos = [load_image(each.name) for each in found_files]
    with open_model(options.model) as model, tempfile.TemporaryDirectory() as folder:
        pixels = frames(photos, model, options.views, seed=2)
        onnx, tflite = f"{folder}/model.onnx", f"{folder}/model.tflite"
        export(options.model, onnx)
        export(options.model, tflite)
        plain = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
        sessions = {
            "onnxruntime": PEERS["onnxruntime"].load(onnx),
            "onnxruntime, node by node": PEERS["onnxruntime"].load(onnx, level="ORT_DISABLE_ALL"),
            "LiteRT, XNNPACK": PEERS["litert"].load(tflite),
            "LiteRT, built-in": PEERS["litert"].load(tflite, resolver=plain),
            "OpenVINO": PEERS["openvino"].load(onnx),
        }
        spec = model.input_spec
        with Engine.load(options.model) as engine:
            found = {"mnv2_engine": engine.logits(pixels)}
        for name, session in sessions.items():
            images = (session.input.suited(each, spec.mean, spec.std) for each in pixels)
            found[name] = np.stack([session.run(image) for image in images])
    print(f"{model.network.name}, {model.dtype}, {len(pixels)} images, ", end="")
    print(f"standard deviation of the logits {found['mnv2_engine'].std():.2f}")
    print(f"{'':54}   agree  mean |Δ|   max |Δ|")
    for one, other in combinations(found, 2):
        a, b = found[one], found[other]
        agree, difference = (a.argmax(1) == b.argmax(1)).mean(), np.abs(a - b)
        print(
            f"{one + ' : ' + other:54}{agree:8.1%}  {difference.mean():.2e}  {difference.max():.2e}"
        )


if __name__ == "__main__":
    main()
