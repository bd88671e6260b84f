"""What each idea of the planner is worth: one network from layer by layer to the plan that the
engine takes, all plans in turn in one process, with the same bits.

    pip install ".[bench]"
    python benches/ablations.py MODEL
    python benches/ablations.py MODEL --weights int8 --threads 2

MODEL is a model file or the name of a network with seeded weights, such as mobilenet_v2_1.0_224.
Prints a table in Markdown and what it says on the open question of the paper's section 5.1.
"""

from __future__ import annotations

import tempfile

from measure import parser

from mnv2_engine.bench.ablations import ablations, table
from mnv2_engine.bench.networks import model_file
from mnv2_engine.bench.turns import pin
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.model.packed import DTYPES


def main() -> None:
    made = parser(__doc__)
    made.add_argument("model")
    made.add_argument("--weights", choices=DTYPES, help="run MODEL with such weights")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--precision", help="what to compute in, as for Engine.load")
    made.add_argument("--isa", help="by name, as MNV2_ISA")
    made.add_argument("--inner", type=int, default=5, help="runs in a turn, after an uncounted one")
    options = made.parse_args()
    pin(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = open_model(model_file(options.model, folder, options.weights))
    rows = ablations(
        model, options.threads, options.precision, options.isa, options.pairs, options.inner
    )
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    print(f"{model.network.name}, {model.dtype} weights, {threads}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
