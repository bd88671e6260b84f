"""What every bench has in common: its options, and medians that are printed with quartiles."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from mnv2_engine.bench import samples, turns
from mnv2_engine.model.packed import DTYPES


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the options that every bench takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--pairs", type=_pairs, default=60, help="turns of everyone, at least 2")
    return made


def _pairs(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError("quartiles need at least 2")
    return int(text)


def add_model(parser: argparse.ArgumentParser, **model: object) -> None:
    """The arguments that say which network a bench runs."""
    parser.add_argument("model", **model)
    parser.add_argument("--weights", choices=DTYPES, help="run MODEL with such weights")


def alternate(contestants: Sequence[Callable[[], float]], pairs: int) -> list[list[float]]:
    """What each contestant measures, turn by turn. A neighbour who never pauses slows every turn
    alike, which no quartile shows: it is warned of."""
    found = turns.alternate(contestants, pairs)
    if (busy := turns.busy_with_others()) > samples.BUSY:
        print(f"NOISY: others take {busy:.0%} of a CPU that this ran on, measure again")
    return found


def quartiles(values: list[float], digits: int = 3) -> str:
    low, middle, high = samples.quartiles(values)
    return f"{middle:9.{digits}f}   ({low:.{digits}f} to {high:.{digits}f})"


def ratio(values: list[float]) -> str:
    """Quartiles of a ratio, and a warning where they lie too far apart to be a result."""
    spread = samples.quartiles(values).spread
    if spread <= samples.SPREAD:
        return quartiles(values)
    return f"{quartiles(values)}   NOISY: quartiles {spread:.0%} apart, measure again"
