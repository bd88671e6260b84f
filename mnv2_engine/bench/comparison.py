"""The bench itself: everyone at once for the times, then one by one for memory and cold start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..architecture import multiply_adds
from ..errors import InputError, MnvError
from ..modelfile import ModelFile, open_model
from ..peers import PEERS
from .contest import Contestant, contestants
from .entrants import CONTROL, DEFAULTS, OURS, Absent, Entrant, Options, entrants, package_bytes
from .fresh import NOTHING, NUMPY, ColdStart, Memory, bare_memory, cases, cold_starts, memory
from .machine import machine
from .networks import model_file
from .results import Difference, Result, Row
from .samples import LEAST_PAIRS, Quietness, compared, noise, pairwise, quartiles
from .turns import alternate, busy_with_others, pin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of the largest logit: how far float32's different orders of adding bring equal networks apart,
# with room; a wrong padding or normalisation is a hundred times further.
TOLERANCE = 1e-3
ROUNDS, SECONDS = 60, 60.0


class Contest(NamedTuple):
    """What the contestants that took part measured in turn."""

    entrants: list[Entrant]
    settings: list[list[str]]
    logits: list[NDArray[np.float32]]
    samples: list[list[float]]  # of everyone, round by round, in milliseconds
    disturbed: float  # share of turns
    busy: float
    seconds: float


def bench(
    model: str | os.PathLike[str],
    against: Sequence[str] | None = None,
    options: Options = DEFAULTS,
    *,
    weights: str | None = None,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    processes: bool = True,
    advance: Callable[[int, int], object] | None = None,
) -> Result:
    """Measure this engine beside others on the model file `model`, or on the network of that name
    with seeded weights, rewritten as `weights` if those are given.

    `against` has peers, PEER or PEER:FILE, or self:FILE.npz; None is every peer that is known.
    The contest ends after `rounds`, or after about `seconds`. `processes` says whether memory and
    cold start are measured, too. `advance` is told how many rounds of how many are done.

    Raises InputError for arguments that cannot be, and what Engine.load raises for the model. A
    peer that is missing, cannot run the network or computes something else is `Result.absent`.
    """
    import tempfile

    if rounds < LEAST_PAIRS:
        raise InputError(f"{rounds} rounds: expected at least {LEAST_PAIRS}")
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin(options.threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = model_file(os.fspath(model), folder, weights)
            with open_model(path) as opened:
                return _bench(opened, against, options, rounds, seconds, processes, advance)
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def _bench(
    model: ModelFile,
    against: Sequence[str] | None,
    options: Options,
    rounds: int,
    seconds: float,
    processes: bool,
    advance: Callable[[int, int], object] | None,
) -> Result:
    from ..engine import checked_precision
    from ..plan import make_plan

    precision = checked_precision(model, options.precision)
    arena = make_plan(model.architecture, options.threads, precision, model.dtype).arena_bytes
    everyone, absent = entrants(model, against, options)
    contest = held(everyone, absent, rounds, seconds, advance)
    ours, control = contest.samples[:2]
    quietness = Quietness(
        control=quartiles(pairwise(ours, control)).median,
        noise=noise([], pairwise(ours, control)),
        disturbed=contest.disturbed,
        busy=contest.busy,
    )
    part = [entrant for entrant in contest.entrants if entrant.name != CONTROL]
    starts, memories = _processes(part) if processes else ({}, {})
    rows = tuple(
        _row(contest, i, quietness, memories, starts)
        for i, entrant in enumerate(contest.entrants)
        if entrant.name != CONTROL
    )
    bare = [bare_memory(before) for before in (NOTHING, NUMPY)] if processes else []
    return Result(
        network=model.architecture.name,
        dtype=model.dtype,
        precision=precision,
        backend=", ".join(contest.settings[0][:2]),
        threads=options.threads,
        rounds=len(ours),
        seconds=contest.seconds,
        quietness=quietness,
        rows=rows,
        absent=tuple(absent),
        python_memory=tuple(each for each in bare if each),
        arena_bytes=arena,
        multiply_adds=multiply_adds(model.architecture),
        machine=machine(),
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )


def held(
    everyone: Sequence[Entrant],
    absent: list[Absent],
    rounds: int,
    seconds: float,
    advance: Callable[[int, int], object] | None = None,
) -> Contest:
    """The contest. A peer that cannot run, or computes something else, becomes `absent`."""
    busy = busy_with_others()
    with contestants() as start:
        running: list[tuple[Entrant, Contestant]] = []
        for entrant in everyone:
            try:
                running.append((entrant, start(entrant)))
            except MnvError as error:
                if entrant.name in (OURS, CONTROL):
                    raise
                absent.append(Absent(entrant.name, str(error), True))
                continue
            reason = another_network(entrant, running[0][1].logits, running[-1][1].logits)
            if reason:
                absent.append(Absent(entrant.name, reason, True))
                running.pop()[1].end()
        for _, contestant in running:
            contestant.settle()
        begun = time.monotonic()
        samples = alternate(
            [contestant for _, contestant in running],
            rounds,
            enough_seconds=seconds,
            advance=None if advance is None else lambda done: advance(done, rounds),
        )
        taken = time.monotonic() - begun
        turns = sum(contestant.turns for _, contestant in running)
        disturbed = sum(contestant.disturbed for _, contestant in running)
        return Contest(
            [entrant for entrant, _ in running],
            [contestant.settings for _, contestant in running],
            [contestant.logits for _, contestant in running],
            samples,
            disturbed / turns,
            max(busy, busy_with_others()),
            taken,
        )


def another_network(
    entrant: Entrant, ours: NDArray[np.float32], theirs: NDArray[np.float32]
) -> str:
    """Why a peer with our weights does not compute our network, or nothing."""
    if not entrant.same_weights:
        return ""
    if ours.shape != theirs.shape:
        return f"it gives {theirs.size} logits, not {ours.size}: not the same network"
    found = difference(ours, theirs)
    if entrant.in_float32 and not found.largest <= TOLERANCE * found.of:
        return (
            f"its logits {found}: beyond {TOLERANCE:g} of the largest it does not compute the same "
            "network, and its speed says nothing; please report it"
        )
    return ""


def difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Difference:
    """Between two rows of logits."""
    import numpy as np

    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return Difference(float(np.abs(a - b).max()), float(np.abs(a).max()))


Starts = dict[str, list[ColdStart]]
Memories = dict[str, list[Memory]]


def _processes(part: Sequence[Entrant]) -> tuple[Starts, Memories]:
    """Cold start and memory of everyone, by name."""
    everyone = [(entrant.name, case) for entrant in part for case in cases(entrant)]
    starts: Starts = {}
    memories: Memories = {}
    found = cold_starts([case for _, case in everyone])
    for (name, case), start in zip(everyone, found, strict=True):
        starts.setdefault(name, []).append(start)
        if taken := memory(case):
            memories.setdefault(name, []).append(taken)
    return starts, memories


def _row(contest: Contest, i: int, quietness: Quietness, memories: Memories, starts: Starts) -> Row:
    from .. import __version__

    entrant, samples = contest.entrants[i], contest.samples
    ratio = found = None
    if i:
        control = pairwise(*samples[:2])
        ratio = compared(samples[0], samples[i], control, not quietness.complaints)
        comparable = entrant.same_weights and contest.logits[0].shape == contest.logits[i].shape
        found = difference(contest.logits[0], contest.logits[i]) if comparable else None
    return Row(
        name=entrant.name,
        version=PEERS[entrant.peer].version() if entrant.peer else __version__,
        settings=tuple(contest.settings[i]),
        same_weights=entrant.same_weights,
        ms=quartiles(samples[i]),
        ratio=ratio,
        difference=found,
        memory=tuple(memories.get(entrant.name, ())),
        cold_starts=tuple(starts.get(entrant.name, ())),
        package_bytes=package_bytes(entrant),
        file_bytes=entrant.file_bytes,
    )
