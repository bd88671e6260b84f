"""The contest: who can run the network, and then everyone in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import MnvError
from .contestant import Contestant, contestants
from .entrants import CONTROL, OURS, Entrant
from .turns import alternate, busy_with_others, stolen_since, ticks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of the largest logit: how far float32's different orders of adding bring equal networks apart,
# with room; a wrong padding or normalisation is a hundred times further.
TOLERANCE = 1e-3


class Difference(NamedTuple):
    """How far an engine's logits are from ours, for one image of noise."""

    largest: float  # of all classes
    of: float  # the largest of our logits, in absolute value

    def __str__(self) -> str:
        return f"differ by {self.largest:.1e}; largest {self.of:.1f}"


class Contest(NamedTuple):
    """What the contestants that took part measured in turn."""

    entrants: list[Entrant]
    settings: list[list[str]]
    logits: list[NDArray[np.float32]]  # of a detector its boxes and scores
    samples: list[list[float]]  # of everyone, round by round, in milliseconds
    waited: float  # share of the turns' time: see Quietness
    stolen: float
    busy: float
    seconds: float


def held(
    everyone: Sequence[Entrant],
    rounds: int,
    seconds: float,
    advance: Callable[[int, int], object] | None = None,
) -> tuple[Contest, dict[str, str]]:
    """The contest; and the reasons of the peers that cannot run, or compute something else."""
    unable: dict[str, str] = {}
    busy = busy_with_others()
    with contestants() as start:
        running: list[tuple[Entrant, Contestant]] = []
        for entrant in everyone:
            try:
                running.append((entrant, start(entrant)))
            except MnvError as error:
                if entrant.name in (OURS, CONTROL):
                    raise
                unable[entrant.name] = str(error)
                continue
            reason = another_network(entrant, running[0][1].logits, running[-1][1].logits)
            if reason:
                unable[entrant.name] = reason
                running.pop()[1].end()
        for _, contestant in running:
            contestant.settle()
        begun, before = time.monotonic(), ticks()
        samples = alternate(
            [contestant for _, contestant in running],
            rounds,
            enough_seconds=seconds,
            advance=None if advance is None else lambda done: advance(done, rounds),
        )
        taken = time.monotonic() - begun
        whole = sum(contestant.ms * entrant.threads for entrant, contestant in running)
        waited = sum(contestant.waited_ms for _, contestant in running)
        contest = Contest(
            [entrant for entrant, _ in running],
            [contestant.settings for _, contestant in running],
            [contestant.logits for _, contestant in running],
            samples,
            waited / whole,
            stolen_since(before),
            max(busy, busy_with_others()),
            taken,
        )
    return contest, unable


def another_network(
    entrant: Entrant, ours: NDArray[np.float32], theirs: NDArray[np.float32]
) -> str:
    """Why a peer with our weights does not compute our network, or nothing."""
    if not entrant.same_weights:
        return ""
    if ours.shape != theirs.shape:
        return f"it gives {theirs.size} numbers, not {ours.size}: not the same network"
    found = difference(ours, theirs)
    if entrant.in_float32 and not found.largest <= TOLERANCE * found.of:
        return (
            f"its answers {found}: beyond {TOLERANCE:g} of the largest it does not compute the "
            "same network, and its speed says nothing; please report it"
        )
    return ""


def difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Difference:
    """Between two rows of logits."""
    import numpy as np

    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return Difference(float(np.abs(a - b).max()), float(np.abs(a).max()))
