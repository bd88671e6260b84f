"""Images a second in batches of 32, and one by one.

    pip install ".[bench]"
    python benches/batch.py MODEL [--threads N]

MODEL is a model file or the name of a network with seeded weights. Both ways run
the same images, so both find them equally far from the core.
"""

from __future__ import annotations

import tempfile

import numpy as np
from measure import add_model, alternate, parser, quartiles, ratio

from mnv2_engine import Engine
from mnv2_engine.bench.networks import model_file
from mnv2_engine.bench.samples import pairwise
from mnv2_engine.bench.turns import milliseconds, pin


def main() -> None:
    made = parser(__doc__)
    add_model(made)
    made.add_argument("--batch", type=int, default=32)
    made.add_argument("--threads", type=int, default=1)
    options = made.parse_args()
    pin(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine.load(
            model_file(options.model, folder, options.weights), threads=options.threads
        )
    network, count = engine.memory_plan().network, options.batch
    images = np.random.default_rng(0).integers(0, 256, (count, *network.resolution, 3), np.uint8)

    def one_by_one() -> None:
        for i in range(count):
            engine.logits(images[i : i + 1])

    together, apart = alternate(
        [
            lambda: count * 1e3 / milliseconds(lambda: engine.logits(images)),
            lambda: count * 1e3 / milliseconds(one_by_one),
        ],
        options.pairs,
    )
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    print(f"{network.name}, {threads}, {engine.info.isa}, images a second: median (quartiles)")
    print(f"batch of {count:<7}{quartiles(together, 1)}")
    print(f"batch of 1      {quartiles(apart, 1)}")
    print(f"ratio           {ratio(pairwise(together, apart))}")


if __name__ == "__main__":
    main()
