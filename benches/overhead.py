"""Python around one `logits` call on a uint8 array: the call, less the C call that is inside it.

    pip install ".[bench]"
    python benches/overhead.py [MODEL]

By default the smallest network, so that the noise of its run is small beside what is sought. In a
larger one the weights drive Python's own code out of the caches, and the same calls take longer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import add_model, alternate, parser, quartiles

from mnv2_engine import Engine
from mnv2_engine.bench.networks import model_file
from mnv2_engine.bench.turns import milliseconds, pin

SMALLEST = "mobilenet_v2_0.1_32"


class Recorder:
    """Stands for the C core's functions, and keeps what the last call was given."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self._ffi, self._lib = ffi, lib
        self.again: Callable[[], int]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._lib, name)
        if not callable(found):
            return found

        def record(*given: Any) -> Any:
            # Addresses: the executor lets go of its views of the arena and the image.
            kept = [
                self._ffi.cast("void *", value) if isinstance(value, self._ffi.CData) else value
                for value in given
            ]
            self.again = lambda: found(*kept)
            return found(*given)

        return record


def bare_call(engine: Engine, pixels: Any) -> Callable[[], Any]:
    """The C call that `engine.logits(pixels)` makes, with everything prepared."""
    executor: Any = engine._executor
    lib = executor._lib
    executor._lib = recorder = Recorder(executor._ffi, lib)
    try:
        logits = engine.logits(pixels)
    finally:
        executor._lib = lib
    expected = logits.copy()

    def run(_written: Any = logits) -> int:
        return recorder.again()

    logits[:] = np.nan
    run()
    if not np.array_equal(logits, expected):
        raise SystemExit("the C call, made again, gives other logits: this bench is out of date")
    return run


def main() -> None:
    made = parser(__doc__)
    add_model(made, nargs="?", default=SMALLEST)
    made.add_argument("--inner", type=int, default=200, help="calls in a turn")
    options = made.parse_args()
    pin()
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine.load(model_file(options.model, folder, options.weights))
    network = engine.memory_plan().network
    pixels = np.zeros((1, *network.resolution, 3), np.uint8)
    bare = bare_call(engine, pixels)
    whole, inside = alternate(
        [
            lambda: milliseconds(lambda: engine.logits(pixels), options.inner) * 1e3,
            lambda: milliseconds(bare, options.inner) * 1e3,
        ],
        options.pairs,
    )
    around = [a - b for a, b in zip(whole, inside, strict=True)]
    print(f"{network.name}, {engine.info.isa}, µs: median (quartiles)")
    print(f"logits          {quartiles(whole, 1)}")
    print(f"the C call      {quartiles(inside, 1)}")
    print(f"Python around it{quartiles(around, 1)}")


if __name__ == "__main__":
    main()
