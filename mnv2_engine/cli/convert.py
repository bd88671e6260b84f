"""`mnv2 convert` and `mnv2 inspect`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..errors import InputError, shown
from ..network.layer import ACTIVATIONS, ANSWERS
from .output import as_json, complain, may_write, say

FRAMEWORKS = ("litert", "onnxruntime", "keras")


def add_meaning(command: Any) -> None:
    """The options that say what a checkpoint's numbers mean, where it does not say so itself."""
    command.add_argument(
        "--answer",
        choices=ANSWERS,
        help="what the outputs are: softmax (one of many classes), sigmoid (each class by itself), "
        "linear (numbers); only where the checkpoint does not end in one",
    )
    command.add_argument(
        "--hidden",
        choices=ACTIVATIONS,
        help="what stands between several dense layers; only where the checkpoint is weights alone",
    )


def run(args: argparse.Namespace) -> int:
    """`mnv2 convert`: write the model file, and say what was read from where."""
    from ..convert import convert

    may_write(args.out, args.force, args.checkpoint, "the checkpoint itself", "OUT.npz")
    made = convert(
        args.checkpoint,
        args.out,
        padding=args.padding,
        preprocess=args.preprocess,
        labels=args.labels,
        resolution=args.resolution,
        resample=args.resample,
        crop_fraction=args.crop_fraction,
        weights=_weights(args.weights, args.classifier),
        answer=args.answer,
        hidden=args.hidden,
        fit=args.fit,
        colours=args.colours,
    )
    size = os.path.getsize(args.out)
    for line in made.read:
        complain(f"read: {line}")
    for note in made.notes:
        complain(f"note: {note}")
    say(f"{shown(args.out)}: {made.name}, {made.classes} classes, {size:,} bytes")
    if args.classifier is not None:
        complain(
            f"note: the classifier's weights are rounded to {args.classifier}; to see what that "
            "does to the answers, run mnv2 quantize --classifier on the float32 model file, with "
            "--calibrate photos/"
        )
    if args.verify is not None:
        from ..convert.verify import verify

        say(str(verify(args.checkpoint, args.out, args.verify, args.colours)))
    return 0


def _weights(weights: str, classifier: str | None) -> str:
    if classifier is None:
        return weights
    if weights != "float32":
        raise InputError(
            f"--classifier {classifier} --weights {weights}: a classifier is narrowed where all "
            "other weights are float32; leave one of the options out"
        )
    return f"float32+{classifier}"


def inspect(args: argparse.Namespace) -> int:
    """`mnv2 inspect`: say what a checkpoint is."""
    from ..convert.inspect import inspect as look

    found = look(args.checkpoint)
    say(as_json(found.to_json()) if args.json else str(found))
    return 0
