"""What a classifier of 16 or 8 bits costs and saves in a float32 model file.

    pip install ".[bench]"
    python benches/classifier.py MODEL.npz --images FOLDER [--images FILE ...]

MODEL.npz has float32 weights. Of each file that `mnv2 quantize --classifier` makes of it: its size,
the time of an image beside MODEL's, in turn, and how far its logits are from MODEL's on the
photographs. Prints a Markdown table.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import numpy as np
from measure import alternate, parser

from mnv2_engine import Engine
from mnv2_engine.bench import samples
from mnv2_engine.bench.samples import pairwise
from mnv2_engine.bench.turns import milliseconds, pin
from mnv2_engine.model.packed import CLASSIFIERS
from mnv2_engine.quantize import narrow_classifier


def main() -> None:
    made = parser(__doc__)
    made.add_argument("model")
    made.add_argument("--images", action="append", required=True)
    options = made.parse_args()
    pin(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [options.model]
        errors = ["", "", ""]
        reports = []
        for each in CLASSIFIERS:
            path = os.path.join(folder, f"{each}.npz")
            reports.append(narrow_classifier(options.model, path, each, options.images))
            paths.append(path)
        engines = [Engine.load(path) for path in paths]
        sizes = [os.path.getsize(path) for path in paths]
    size = engines[0].memory_plan().network.resolution
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    found = alternate([_run(engine, image) for engine in engines], options.pairs)
    info, images = engines[0].info, reports[0].images
    print(f"{info.network.name}, {info.isa}, {images} photographs, logits of a standard")
    print(f"deviation of {reports[0].spread:.2f}:\n")
    print("| classifier | file | ms | of float32's time | mean difference | largest | same first |")
    print("|---|---|---|---|---|---|---|")
    for name, size_, times, report in zip(
        ("float32", *CLASSIFIERS), sizes, found, (None, *reports), strict=True
    ):
        ratio = samples.quartiles(pairwise(times, found[0])).median
        if report is not None:
            same = round(report.argmax * images)
            mean, most = f"{report.mean_error:.2g}", f"{report.largest_error:.2g}"
            errors = [mean, most, f"{same} of {images}"]
        middle = samples.quartiles(times).median
        cells = [name, f"{size_ / 1e6:.1f} MB", f"{middle:.3f}", f"{ratio:.3f}", *errors]
        print(f"| {' | '.join(cells)} |")


def _run(engine: Engine, image: np.ndarray) -> Callable[[], float]:
    def measured() -> float:
        engine.logits(image)  # the others have run, with other weights
        return milliseconds(lambda: engine.logits(image), 5)

    return measured


if __name__ == "__main__":
    main()
