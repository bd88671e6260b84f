"""`mnv2 export`: a model file as ONNX, TensorFlow Lite or C, and how that is fed."""

from __future__ import annotations

from argparse import Namespace

from .output import as_json, may_write, say


def run(args: Namespace) -> int:
    """Write the file, and print what its input and output are."""
    from ..export import export

    may_write(args.out, args.force, args.model, "the model file itself", "OUT")
    made = export(
        args.model,
        args.out,
        dynamic_batch=args.dynamic_batch,
        threads=args.threads,
        precision=args.precision,
        include_weights=args.include_weights,
        objects=args.objects,
    )
    say(as_json(made) if args.json else str(made))
    return 0
