"""The arguments that several commands take, and the form of a command's --help."""

from __future__ import annotations

import argparse
from typing import Any

from ..executors import FASTEST
from ..executors.backends import BACKEND_VARIABLE, BACKENDS
from ..images.limits import DECODES, FORMATS, MAX_PIXELS
from ..plan.shapes import PRECISIONS

EXIT_CODES = """
exit codes:
  0    done; every image was answered
  1    some image could not be read; the others were answered
  2    wrong usage, or an error of the model, the checkpoint or the output
  130  interrupted by Ctrl-C
  141  the reader of the output went away
"""


def add_command(commands: Any, name: str, summary: str, details: str, epilog: str) -> Any:
    """A command of `commands`, with its help. What it parses has `refuse`, which ends the process
    with a message behind the command's own usage."""
    made = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}",
        epilog=epilog + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(refuse=made.error)
    return made


def add_json(command: Any, what: str) -> None:
    """--json, which answers with `what`."""
    command.add_argument("--json", action="store_true", help=f"answer with {what}")


def add_threads(command: Any, what: str) -> None:
    """--threads, of `what`."""
    command.add_argument(
        "--threads",
        metavar="N|auto",
        type=_threads,
        default=1,
        help=f"threads {what}; auto: as many as this process has CPUs (default: 1)",
    )


def add_backend(command: Any) -> None:
    """--backend."""
    command.add_argument(
        "--backend",
        choices=BACKENDS,
        help="c: the fused kernels; numba: the same, compiled by Numba; numpy: the slow reference; "
        f"auto: the first of them that is there (default: ${BACKEND_VARIABLE}, else auto)",
    )


def add_precision(command: Any, may_be_fastest: bool = True) -> None:
    """--precision."""
    command.add_argument(
        "--precision",
        choices=(*PRECISIONS, FASTEST) if may_be_fastest else tuple(PRECISIONS),
        help="what to compute in; bfloat16: for files of bfloat16 weights, on CPUs with "
        "AVX512_BF16 (default: the model file's own, float32 for weights of 16 and 32 bits)"
        + ("; fastest: bfloat16 where the file and the CPU gain by it" if may_be_fastest else ""),
    )


def add_decoding(command: Any) -> None:
    """What is allowed of encoded images."""
    command.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        help=f"refuse photographs of more pixels (default: {MAX_PIXELS:,})",
    )
    command.add_argument(
        "--formats",
        metavar="A,B",
        type=lambda text: tuple(filter(None, text.split(","))),
        help=f"formats that are decoded, by Pillow's names (default: {','.join(FORMATS)})",
    )
    command.add_argument(
        "--decode",
        choices=DECODES,
        help="reduced: decode JPEGs at 1/2, 1/4 or 1/8 where that is twice what is needed, faster "
        "and not quite the same answers (default: exact)",
    )


def _threads(text: str) -> int | str:
    return text if text == "auto" else positive(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def number(text: str) -> float:
    """A number; whether it is from 0 to 1 is checked where it is used."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a number from 0 to 1, such as 0.5"
        ) from None


def resolution(text: str) -> tuple[int, int]:
    """(height, width) of N or HxW."""
    extents = text.lower().split("x")
    if len(extents) > 2 or not all(each.isascii() and each.isdecimal() for each in extents):
        raise argparse.ArgumentTypeError(f"{text!r}: expected N or HxW, in pixels, as in 96x128")
    return int(extents[0]), int(extents[-1])
