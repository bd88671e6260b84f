"""A converted model beside its source in the source's own framework, on a few pictures."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError, UnsupportedError, missing_extra
from .colours import is_grey
from .options import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PICTURES = 4


class Verification(NamedTuple):
    """How far the answers are from the source's own framework."""

    framework: str
    pictures: int
    largest: float  # difference of a probability, or of a number of a linear answer
    same_first: int

    def __str__(self) -> str:
        return (
            f"{self.framework}: {self.pictures} seeded pictures, largest difference "
            f"{self.largest:.2g}, same first answer {self.same_first} of {self.pictures}"
        )


def verify(
    source: str | os.PathLike[str], model: str, framework: str, colours: str | None = None
) -> Verification:
    """Run `source` in its `framework` and `model` here, and compare the answers. `colours` are
    those of the conversion.

    Raises MissingExtraError where the framework is not installed, InputError where it does not
    read such files.
    """
    import numpy as np

    from ..engine import Engine
    from .conversion import read_source

    one_channel = is_grey(read_source(source, Options())[0])
    with Engine.load(model) as engine:
        network, spec = engine.info.network, engine.info.input_spec
        # Of pictures without colour, grey is what each channel is, and has no rounding.
        grey = one_channel or colours == "grey"
        pixels = _pictures((*network.resolution, 1 if grey else 3))
        pixels = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)))
        mean, std = np.array(spec.mean), np.array(spec.std)
        ours = _answers(np.asarray(engine.logits(pixels)), network.answer)
    taken = slice(1) if one_channel else slice(None, None, -1 if colours == "bgr" else 1)
    pixels, mean, std = pixels[..., taken], mean[taken], std[taken]
    theirs = _FRAMEWORKS[framework](os.fspath(source), pixels, mean, std)
    theirs = theirs.reshape(len(pixels), -1)
    if theirs.shape != ours.shape:
        raise InputError(
            f"{framework} gives {theirs.shape[1]} numbers a picture, the model {ours.shape[1]}"
        )
    if (theirs.min() < -1e-6 or theirs.max() > 1 + 1e-6) and network.answer != "linear":
        theirs = _answers(theirs, network.answer)  # the source ends in logits
    return Verification(
        framework,
        len(pixels),
        float(np.abs(theirs - ours).max()),
        int((theirs.argmax(1) == ours.argmax(1)).sum()),
    )


def _pictures(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Seeded pictures with soft edges, as photographs have them."""
    import numpy as np

    random = np.random.default_rng(0)
    height, width, channels = shape
    coarse = random.integers(0, 256, (PICTURES, 9, 9, channels))
    rows = np.linspace(0, 8, height).astype(int)
    columns = np.linspace(0, 8, width).astype(int)
    noise = random.integers(-12, 13, (PICTURES, height, width, channels))
    return np.asarray(np.clip(coarse[:, rows][:, :, columns] + noise, 0, 255), np.uint8)


def _answers(logits: NDArray[Any], answer: str) -> NDArray[np.float64]:
    import numpy as np

    wide = logits.astype(np.float64)
    if answer == "softmax":
        raised = np.exp(wide - wide.max(1, keepdims=True))
        return np.asarray(raised / raised.sum(1, keepdims=True))
    return 1 / (1 + np.exp(-wide)) if answer == "sigmoid" else wide


def _litert(path: str, pixels: Any, mean: Any, std: Any) -> NDArray[Any]:
    import numpy as np

    try:
        module = import_module("ai_edge_litert.interpreter")
    except ImportError:
        raise missing_extra("ai-edge-litert", "bench", "running a source in LiteRT") from None
    from .sources.tflite_nodes import to_graph
    from .sources.tflite_schema import read_graph
    from .walk import walk

    with open(path, "rb") as file:
        content = file.read()
    graph = to_graph(read_graph(content, os.path.basename(path)))
    runner = module.Interpreter(model_content=content)
    runner.allocate_tensors()
    entry, out = runner.get_input_details()[0], runner.get_output_details()[0]
    raw = walk(graph).entrance is not None or entry["dtype"] != np.float32
    made = []
    for picture in pixels:
        x = picture.astype(np.float32) if raw else (picture - mean) / std
        if entry["dtype"] == np.int8:
            x = x - 128
        runner.set_tensor(entry["index"], x[np.newaxis].astype(entry["dtype"]))
        runner.invoke()
        y = runner.get_tensor(out["index"]).astype(np.float64)
        scale, zero_point = out["quantization"]
        made.append((y - zero_point) * scale if scale else y)
    return np.concatenate(made)


def _onnxruntime(path: str, pixels: Any, mean: Any, std: Any) -> NDArray[Any]:
    import numpy as np

    try:
        module = import_module("onnxruntime")
    except ImportError:
        raise missing_extra("onnxruntime", "bench", "running a source in onnxruntime") from None
    session = module.InferenceSession(path, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    integer = "int8" in entry.type
    made = []
    for picture in pixels:
        x = picture if integer else ((picture - mean) / std).astype(np.float32)
        if entry.shape[1] == x.shape[2]:
            x = x.transpose(2, 0, 1)
        made.append(session.run([session.get_outputs()[-1].name], {entry.name: x[np.newaxis]})[0])
    return np.concatenate(made)


def _keras(path: str, pixels: Any, mean: Any, std: Any) -> NDArray[Any]:
    import numpy as np

    try:
        module = import_module("keras")
    except ImportError:
        raise missing_extra("keras", "test-keras", "running a source in Keras") from None
    from .conversion import read_source
    from .entrance import GRAPH

    found, what, _ = read_source(path, Options())
    if not found.format.startswith("Keras"):
        raise UnsupportedError(f"{what}: Keras reads .h5 and .keras, and this is {found.format}")
    stated = found.normalisation
    raw = stated is not None and GRAPH in stated.stated_by
    x = pixels.astype(np.float32) if raw else ((pixels - mean) / std).astype(np.float32)
    model = module.saving.load_model(path, compile=False, safe_mode=True)
    return np.asarray(model.predict(x, verbose=0))


_FRAMEWORKS = {"litert": _litert, "onnxruntime": _onnxruntime, "keras": _keras}
