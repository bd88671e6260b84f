"""The bench itself: everyone at once for the times, then one by one for memory and cold start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from ..errors import InputError
from ..model.modelfile import ModelFile, open_model
from ..network.layer import multiply_adds
from .contest import Contest, difference, held
from .entrants import CONTROL, DEFAULTS, Absent, Entrant, Options, entrants, package_bytes, version
from .fresh import NOTHING, NUMPY, ColdStart, Memory, bare_memory, cases, cold_starts, memory
from .machine import Machine, machine
from .networks import model_file
from .results import Result, Row
from .samples import LEAST_PAIRS, Quietness, compared, noise, pairwise, quartiles
from .turns import pinned

ROUNDS, SECONDS = 100, 60.0


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
    found = machine()  # before this process keeps to some of its CPUs
    with pinned(options.threads), tempfile.TemporaryDirectory() as folder:
        origin = model_file(os.fspath(model), folder)
        path = model_file(origin, folder, weights)
        with open_model(origin) as source, open_model(path) as opened:
            everyone, absent = entrants(opened, source, against, options, folder)
            contest, unable = held(everyone, rounds, seconds, advance)
            asked = against is not None
            absent += [Absent(name, reason, asked) for name, reason in unable.items()]
            return _result(opened, options, contest, absent, found, processes)


def _result(
    model: ModelFile,
    options: Options,
    contest: Contest,
    absent: list[Absent],
    found: Machine,
    processes: bool,
) -> Result:
    from ..engine import checked_precision
    from ..executors.backends import cpu_family
    from ..plan.planner import make_plan

    precision = checked_precision(model, options.precision)
    cpu = cpu_family()
    plan = make_plan(model.network, options.threads, precision, model.dtype, cpu=cpu)
    arena = plan.arena_bytes
    ours, control = contest.samples[:2]
    quietness = Quietness(
        control=quartiles(pairwise(ours, control)).median,
        noise=noise([], pairwise(ours, control)),
        waited=contest.waited,
        stolen=contest.stolen,
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
        network=model.network.name,
        dtype=model.dtype,
        precision=precision,
        backend=", ".join(contest.settings[0][:-1]),  # the last is the precision
        threads=options.threads,
        rounds=len(ours),
        seconds=contest.seconds,
        quietness=quietness,
        rows=rows,
        absent=tuple(absent),
        python_memory=tuple(each for each in bare if each),
        arena_bytes=arena,
        multiply_adds=multiply_adds(model.network),
        machine=found,
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        answer="logits" if model.network.detection is None else "boxes and scores",
    )


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
    entrant, samples = contest.entrants[i], contest.samples
    ratio = found = None
    if i:
        control = pairwise(*samples[:2])
        ratio = compared(samples[0], samples[i], control, not quietness.complaints)
        comparable = entrant.same_weights and contest.logits[0].shape == contest.logits[i].shape
        found = difference(contest.logits[0], contest.logits[i]) if comparable else None
    return Row(
        name=entrant.name,
        version=version(entrant),
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
