"""The command `mnv2`, a function for each of its commands.

Answers go to standard output, everything else to standard error. Each command imports what it
needs when it runs, so that `mnv2 --help` is instant.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress

from .. import __version__
from ..errors import InputError, MnvError, shown
from . import (
    bench,
    classify,
    convert,
    detect,
    embed,
    evaluate,
    export,
    networks,
    quantize,
    serve,
    warmup,
)
from .options import parser
from .output import abandon_output, as_json, complain, may_write, say, shown_log

FAILED, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, `arguments` or sys.argv, and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # what a caller put in place of a stream may be anything
            # A terminal that cannot show a character gets an escape, not a traceback.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: complain(f"warning: {message}")
            # Pillow's remarks about odd files would be taken for errors of ours.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            parsed, unknown = parser(__version__).parse_known_args(arguments)
            if unknown:  # argparse would show the usage of mnv2, not of the command
                parsed.refuse(f"unrecognized arguments: {' '.join(unknown)}")
            return COMMANDS[parsed.command](parsed)
    except MnvError as error:
        complain(f"error: {error}")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        abandon_output()
        return BROKEN_PIPE
    except OSError as error:
        # What commands read and write raises MnvError; an error without a file's name is that of
        # the output, one with a name says itself which file is meant.
        abandon_output()
        what = error.filename if error.filename is not None else "cannot write the answer"
        complain(f"error: {what}: {error.strerror or error}")
        return FAILED


# The commands, but for those that have a file of their own


def _demo(args: argparse.Namespace) -> int:
    report: object
    with shown_log(None):
        if args.detect:
            from . import demo_detect

            report = demo_detect.run(args.draw)
        else:
            from . import demo

            if args.draw is not None:
                raise InputError("--draw is for --detect, which finds boxes to draw")
            report = demo.run()
    say(as_json(report) if args.json else str(report))
    return 0


def _info(args: argparse.Namespace) -> int:
    if args.model is None:
        from .machine import machine

        for option in ("precision", "backend"):
            if getattr(args, option) is not None:
                raise InputError(f"--{option} is for a model, and none is given; name one")
        found = machine()
        say(as_json(found) if args.json else str(found))
        return 0
    from ..engine import Engine

    with (
        shown_log(args.backend),
        Engine.load(args.model, backend=args.backend, precision=args.precision) as engine,
    ):
        say(as_json(engine.info) if args.json else str(engine.info))
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Exit code 0 for a sound model file, 1 for one that is not."""
    from ..engine import Engine
    from ..errors import ModelFileError, UnsupportedError

    try:
        with shown_log(args.backend), Engine.load(args.model, backend=args.backend) as engine:
            engine.verify()
            network, megabytes = engine.info.network, engine.info.weight_bytes / 1e6
            height, width = network.resolution
            black = memoryview(bytes(3 * height * width)).cast("B", (height, width, 3))
            (engine.embed if network.detection is None else engine.detect)(black)
    except (ModelFileError, UnsupportedError) as error:
        if args.json:
            say(as_json({"file": args.model, "ok": False, "error": str(error)}))
        complain(f"error: {error}")
        return 1
    if args.json:
        say(as_json({"file": args.model, "ok": True, "error": None}))
    else:
        say(f"{shown(args.model)}: sound, {network.name}, {megabytes:.1f} MB of weights")
    return 0


def _plan(args: argparse.Namespace) -> int:
    from ..engine import checked_precision
    from ..executors.backends import cpu_family
    from ..executors.cpus import thread_count
    from ..model.modelfile import open_model
    from ..plan.planner import make_plan

    with open_model(args.model) as model:
        precision = checked_precision(model, args.precision)
        threads, cpu = thread_count(args.threads), cpu_family()
        plan = make_plan(model.network, threads, precision, model.dtype, cpu=cpu)
        spec = model.input_spec
    photo = None
    if args.photo is not None:
        from ..images.photo_plan import plan_of_file

        photo = plan_of_file(args.photo, spec, plan.network.resolution, plan.arena_bytes)
    if args.svg is not None:
        from ..model.whole_file import write_whole
        from ..plan.shown.decoding import Decoding
        from ..plan.shown.picture import draw

        may_write(args.svg, args.force, args.model, "the model file itself", "FILE")
        before = None
        if photo is not None:
            may_write(args.svg, args.force, args.photo, "the photograph itself", "FILE")
            size = photo.width * photo.height * 3
            before = Decoding(photo.picture, photo.parts, photo.bytes, photo.frame_bytes, size)
        drawing = draw(plan, before).encode()
        write_whole(args.svg, "a drawing", len(drawing), lambda file: file.write(drawing))
        say(f"{shown(args.svg)}: {plan.network.name}, {len(drawing):,} bytes")
    elif args.json:
        from ..plan.shown.figures import to_json

        figures = to_json(plan)
        say(as_json(figures if photo is None else {**figures, "photo": photo}))
    else:
        say(str(plan) if photo is None else f"{photo}\n\n{plan}")
    return 0


COMMANDS = {
    "demo": _demo,
    "convert": convert.run,
    "inspect": convert.inspect,
    "quantize": quantize.run,
    "export": export.run,
    "evaluate": evaluate.run,
    "classify": classify.run,
    "embed": embed.run,
    "detect": detect.run,
    "info": _info,
    "verify": _verify,
    "plan": _plan,
    "networks": networks.run,
    "warmup": warmup.run,
    "serve": serve.run,
    "bench": bench.run,
}
