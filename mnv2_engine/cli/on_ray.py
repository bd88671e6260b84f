"""`mnv2 classify|embed|detect --ray`: the options become a job of `mnv2_engine.ray`."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from typing import Any

from ..errors import InputError
from .output import as_json, complain, say
from .photographs import model_of

# What --ray takes for an address; anything else behind it is the first SOURCE.
ADDRESS = re.compile(r"auto|local|ray://.*|[\w.\-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


def run_on_ray(
    args: Namespace, answers: str, options: dict[str, Any], detects: bool = False
) -> int:
    """Do the job, and say what was done: exit code 0, or 1 where photographs could not be read."""
    sources, address = list(args.photos), args.ray
    if address and not ADDRESS.fullmatch(address):
        sources, address = [address, *sources], None
    if not sources:
        raise InputError("no SOURCE: give a folder, photographs, Parquet files or tars")
    if args.out is None:
        raise InputError("--ray needs --out FOLDER, which all nodes have")
    from .. import ray as on_ray
    from ..ray import job

    options = {
        **options,
        "threads": args.threads,
        "backend": args.backend,
        "precision": args.precision,
        "max_pixels": args.max_pixels,
        "formats": args.formats,
        "decode": args.decode,
    }
    if args.threads == "auto":
        raise InputError("--threads auto: Ray counts CPUs; give a number")
    job.start(address or os.environ.get("RAY_ADDRESS"))
    result = job.run(
        job.Job(
            answers=getattr(on_ray, answers),
            model=model_of(args.model, detects),
            sources=sources,
            out=os.path.abspath(args.out),
            options=options,
            column=args.column,
            actors=args.workers,
            **({} if args.chunk is None else {"chunk": args.chunk}),
        ),
        complain,
    )
    say(as_json(result._asdict()) if getattr(args, "json", False) else str(result))
    return int(result.errors > 0)
