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
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from models import fed
from peers import imported
from quantisation import frames

from mnv2_engine import Engine
from mnv2_engine.export import export
from mnv2_engine.image_files import find_images
from mnv2_engine.modelfile import open_model
from mnv2_engine.preprocess import load_image

Array = np.ndarray[Any, Any]
Run = Callable[[Array], Array]  # an image, (1, H, W, 3), to its logits


def onnxruntime(path: str, level: str) -> Run:
    module = imported("onnxruntime")
    options = module.SessionOptions()
    options.graph_optimization_level = getattr(module.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    session = module.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"input": _planar(image)})[0]


def litert(path: str, resolver: str) -> Run:
    module = imported("litert")
    interpreter = module.Interpreter(
        path, num_threads=1, experimental_op_resolver_type=module.OpResolverType[resolver]
    )
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(image: Array) -> Array:
        interpreter.set_tensor(source["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return run


def openvino(path: str) -> Run:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = imported("openvino").Core().compile_model(path, "CPU", settings)
    return lambda image: compiled([_planar(image)])["logits"]


def _planar(image: Array) -> Array:
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


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
        images = fed(model, pixels, "")
        onnx, tflite = f"{folder}/model.onnx", f"{folder}/model.tflite"
        export(options.model, onnx)
        export(options.model, tflite)
        runs = {
            "onnxruntime": onnxruntime(onnx, "ORT_ENABLE_ALL"),
            "onnxruntime, node by node": onnxruntime(onnx, "ORT_DISABLE_ALL"),
            "LiteRT, XNNPACK": litert(tflite, "AUTO"),
            "LiteRT, built-in": litert(tflite, "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
            "OpenVINO": openvino(onnx),
        }
        with Engine.load(options.model) as engine:
            found = {"mnv2_engine": engine.logits(pixels)}
        for name, run in runs.items():
            found[name] = np.concatenate([run(image[None]) for image in images])
    print(f"{model.architecture.name}, {model.dtype}, {len(pixels)} images, ", end="")
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
