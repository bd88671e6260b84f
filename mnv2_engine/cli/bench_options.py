"""The options of `mnv2 bench`, which are many."""

from __future__ import annotations

from typing import Any

from ..model.packed import DTYPES
from . import arguments


def add_bench(commands: Any) -> None:
    """Add the command to the parser's."""
    bench = arguments.add_command(
        commands,
        "bench",
        "measure a model beside other engines",
        "Everyone runs the same weights, in turn, in a process of its own: time, memory, start\n"
        "and size. A ratio is printed only where it is larger than the noise of the machine.\n"
        "MODEL is a model file, or a network's name, such as mobilenet_v2_1.0_224, for one with\n"
        "seeded weights: speed does not depend on them. Peers need the extra `bench`; a file of a\n"
        "peer's own, PEER:FILE, is raced for speed alone. Of this engine, `self` is it on one\n"
        "thread, self:DTYPE it with other weights, self:FILE.npz it with another model file.",
        "examples:\n"
        "  mnv2 bench mnv2.npz\n"
        "  mnv2 bench mnv2_int8.npz --against litert,onnxruntime --threads 2\n"
        "  mnv2 bench --report docs/ --models mnv2.npz mnv2_int8.npz\n\n"
        "Exit code 1: a peer of --against is missing, or the machine was not quiet.\n",
    )
    bench.add_argument("model", metavar="MODEL", nargs="?", help="a model file, or a name")
    bench.add_argument(
        "--against",
        metavar="PEER[:FILE],…",
        type=_listed,
        action="extend",
        help="other engines, of litert, onnxruntime, openvino, openvino-bf16, ncnn, self "
        "(default: all whom the model's precision suits)",
    )
    bench.add_argument(
        "--weights", choices=DTYPES, help="run MODEL with such weights; int8: quantised on noise"
    )
    arguments.add_threads(bench, "of every engine")
    arguments.add_precision(bench, may_be_fastest=False)
    bench.add_argument("--isa", metavar="NAME", help="instruction set of this engine, as MNV2_ISA")
    bench.add_argument(
        "--backend",
        default="auto",
        help="of this engine, as Engine.load takes it (default: %(default)s)",
    )
    bench.add_argument(
        "--pairs", metavar="N", type=arguments.positive, help="rounds, at most (default: 100)"
    )
    bench.add_argument(
        "--seconds", metavar="S", type=arguments.positive, help="end the rounds after (default: 60)"
    )
    bench.add_argument(
        "--no-processes",
        action="store_true",
        help="leave out memory and start, which need dozens of fresh processes",
    )
    bench.add_argument(
        "--service",
        action="store_true",
        help="print MB by the worker of a prefork server instead, beside litert and onnxruntime",
    )
    bench.add_argument(
        "--report",
        metavar="DIR",
        help="write DIR/benchmarks.md and its drawings, of MODEL and --models, or of the usual "
        "network in float32 and int8",
    )
    bench.add_argument("--models", metavar="MODEL", nargs="+", default=[], help="of the report")
    arguments.add_json(bench, "one JSON object, or, with --report, a list of them")


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]
