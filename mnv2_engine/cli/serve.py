"""`mnv2 serve`: models over HTTP."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..errors import InputError
from ..images.limits import DECODES
from .arguments import add_backend, add_command, add_precision, add_threads, positive
from .output import complain


def run(args: Namespace) -> int:
    """Serve until told to stop."""
    import logging

    from ..engine import Engine
    from ..serve.limits import Limits
    from ..serve.models import Models, name_of
    from ..serve.processes import Service, run

    limits = Limits(
        max_bytes=args.max_bytes,
        max_pixels=args.max_pixels,
        formats=tuple(args.formats.split(",")),
        concurrency=args.concurrency or 0,
        waiting=args.waiting,
        held_bytes=max(args.held_bytes, args.max_bytes),
        body_seconds=args.body_seconds,
        wait_seconds=args.wait_seconds,
    ).checked()
    engines: dict[str, Engine] = {}
    for given in args.models:
        name, is_named, path = given.partition("=")
        if not is_named:
            name, path = name_of(given), given
        if name in engines:
            raise InputError(f"two models are named {name!r}; give one another name as NAME=FILE")
        engines[name] = Engine.load(
            path,
            threads=args.threads,
            backend=args.backend,
            precision=args.precision,
            private=args.private,
            decode=args.decode,
        )
    Models(engines)  # the names are right

    class Complaints(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complain(self.format(record))

    logging.getLogger().addHandler(Complaints())
    service = Service(
        engines,
        limits,
        args.host,
        args.port,
        args.workers,
        watch_seconds=args.watch,
        stop_seconds=args.stop_seconds,
    )
    return run(service, complain)


def add_serve(commands: Any) -> None:
    """Add the command to the parser's."""
    serve = add_command(
        commands,
        "serve",
        "answer images over HTTP",
        "POST an image, or a form with one, to /classify, and get what `classify --json` prints.\n"
        "Several models are served at /models/NAME/classify, the first at /classify too; the name\n"
        "is the file's, or give NAME=FILE. /healthz, /readyz, /metrics (Prometheus) and\n"
        "/openapi.json say the rest. Needs the extra `serve`. docs/serving.md has the limits.\n\n"
        "A model file that is replaced (mv new.npz mnv2.npz) is loaded, checked and switched to\n"
        "without losing a request; SIGHUP does so at once. SIGTERM lets requests end.",
        "examples:\n"
        "  mnv2 serve mnv2.npz\n"
        "  mnv2 serve mnv2_int8.npz dogs=breeds.npz --host 0.0.0.0 --port 8000 --workers 4\n"
        "  curl -F image=@photo.jpg http://127.0.0.1:8000/classify?top_k=3\n",
    )
    serve.add_argument("models", metavar="[NAME=]M.npz", nargs="+", help="model files")
    serve.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    serve.add_argument(
        "--port", type=_port, default=8000, help="port; 0: any that is free (default: %(default)s)"
    )
    serve.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        default=1,
        help="processes, which share the weights (default: %(default)s)",
    )
    serve.add_argument(
        "--concurrency",
        metavar="N",
        type=positive,
        help="images that a worker decodes and runs at once (default: the CPUs that it may use)",
    )
    for name, default, what in (
        ("waiting", 128, "requests that a worker lets wait beyond them; more get 503"),
        ("max-bytes", 16 << 20, "of a request's body"),
        ("max-pixels", 50_000_000, "of an image, by its header"),
        ("held-bytes", 64 << 20, "of all bodies that a worker holds at once"),
    ):
        serve.add_argument(
            f"--{name}", metavar="N", type=positive, default=default, help=f"{what} (%(default)s)"
        )
    for name, seconds, what in (
        ("body-seconds", 30, "for a body to arrive"),
        ("wait-seconds", 30, "for a request's turn"),
        ("stop-seconds", 30, "for requests to end after SIGTERM"),
    ):
        serve.add_argument(
            f"--{name}", metavar="S", type=positive, default=seconds, help=f"{what} (%(default)s)"
        )
    serve.add_argument(
        "--formats",
        metavar="A,B",
        default="jpeg,png,webp,gif,bmp",
        help="image formats that are let in (%(default)s)",
    )
    serve.add_argument(
        "--decode",
        choices=DECODES,
        default="exact",
        help="reduced: JPEGs at 1/2 to 1/8 where that is enough: faster, and not quite the same "
        "answers (default: %(default)s)",
    )
    serve.add_argument(
        "--watch",
        metavar="S",
        type=float,
        default=2.0,
        help="look for replaced model files so often; 0: upon SIGHUP only (%(default)s)",
    )
    serve.add_argument(
        "--private",
        action="store_true",
        help="copy the weights instead of mapping the file, which others may overwrite in place",
    )
    add_backend(serve)
    add_threads(serve, "that share the work of each image; 1 is best where several requests run")
    add_precision(serve)


def _port(text: str) -> int:
    import argparse

    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port, 0 to 65535")
    return int(text)
