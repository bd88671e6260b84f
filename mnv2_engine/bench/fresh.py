"""Fresh processes: how soon the first prediction is there, and what memory ten of them take.

Times are wall time, from the moment that the parent starts the process to the first answer of
`Engine.load(model).predict(pixels)`, less that of a bare Python that was started next to it:

- beyond Python: pixels in a buffer, in a process that never imports numpy, less a process that does
  nothing. Python's own start and `site` are in both;
- beyond numpy: an array, in a process that imports numpy first, less one that only imports it. All
  of this engine is in it: its import, opening the file, planning, the prediction.

The second is the difference of two times of 60 ms and more, and varies by as much as it measures:
numpy starts threads, which take a CPU meanwhile. Peers need numpy.
"""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..errors import MnvError
from .python import PACKAGE, answer_of, started
from .samples import Quartiles, quartiles
from .turns import alternate

if TYPE_CHECKING:
    from .entrants import Entrant

PREDICTIONS = 10
START_ROUNDS, MEMORY_ROUNDS = 7, 3
ROLLUP, STATUS = "/proc/self/smaps_rollup", "/proc/self/status"
NOTHING, NUMPY = "pass", "import numpy"


class ColdStart(NamedTuple):
    """Milliseconds from the start of a process to its first prediction."""

    with_numpy: bool
    beyond_python: Quartiles  # more than a process that does nothing
    beyond_numpy: Quartiles | None  # more than one that imports numpy; None: it has none


class Memory(NamedTuple):
    """MiB of a whole process, Python included, after ten predictions: medians of a few."""

    with_numpy: bool
    peak: float  # most that was resident at once, files that are mapped included
    anonymous: float  # what no file stands behind: cannot be dropped, is never shared
    proportional: float  # resident, a page that n processes share counted as 1/n (PSS)


class Case(NamedTuple):
    """A process as a script that defines `run`."""

    name: str
    before: str  # what the caller has imported
    script: str
    environment: dict[str, str]

    @property
    def with_numpy(self) -> bool:
        """Whether NumPy was imported before the engine was."""
        return self.before == NUMPY


def cases(entrant: Entrant) -> list[Case]:
    """The processes of an entrant: two of this engine, without numpy and with it; one of a peer."""
    height, width = entrant.size
    if entrant.peer:
        return [Case(entrant.name, NUMPY, _peer_script(entrant), {})]
    raw = f'memoryview(bytes({height * width * 3})).cast("B", ({height}, {width}, 3))'
    array = f"numpy.zeros(({height}, {width}, 3), numpy.uint8)"
    given = {"threads": entrant.threads, **entrant.engine}
    loading = f"""
from mnv2_engine import Engine
engine = Engine.load({entrant.path!r}, **{given!r})
"""
    return [
        Case(
            entrant.name,
            before,
            f"{loading}pixels = {pixels}\nrun = lambda: engine.{entrant.call}(pixels)",
            entrant.environment,
        )
        for before, pixels in ((NOTHING, raw), (NUMPY, array))
    ]


def _peer_script(entrant: Entrant) -> str:
    # The package without its engine, which a peer shall not pay for.
    return f"""
import sys, types
package = sys.modules["mnv2_engine"] = types.ModuleType("mnv2_engine")
package.__path__ = [{PACKAGE!r}]
from mnv2_engine.peers import PEERS
session = PEERS[{entrant.peer!r}].load({entrant.path!r}, {entrant.threads}, {entrant.size!r}, True)
pixels = numpy.zeros(({entrant.size[0]}, {entrant.size[1]}, 3), numpy.uint8)
session.bind(session.input.suited(pixels, {entrant.mean!r}, {entrant.std!r}))
run = session.invoke
"""


def cold_starts(all_cases: list[Case], rounds: int = START_ROUNDS) -> list[ColdStart]:
    """Of every case, in turn with each other."""
    timed = []
    for case in all_cases:
        for bare in (NOTHING, NUMPY) if case.with_numpy else (NOTHING,):
            timed.append(partial(_added, case, bare))
    found = iter(map(quartiles, alternate(timed, rounds, warm_up=1)))
    return [
        ColdStart(case.with_numpy, next(found), next(found) if case.with_numpy else None)
        for case in all_cases
    ]


def _added(case: Case, bare: str) -> float:
    script = f"{case.before}\n{case.script}\nrun()"
    return _until_answer(script, case.environment) - _until_answer(bare, case.environment)


def _until_answer(script: str, environment: dict[str, str]) -> float:
    """Milliseconds until a fresh process has run `script`; what it takes to end is not counted."""
    arguments = started(
        f"{script}\nimport os\nos.write(1, b'!')",
        environment=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    start = time.perf_counter()
    with subprocess.Popen(**arguments) as process:
        assert process.stdout is not None
        while (letter := process.stdout.read(1)) not in (b"!", b""):
            pass  # whatever else it prints
        taken = (time.perf_counter() - start) * 1e3
        _, said = process.communicate()
    if letter != b"!" or process.returncode:
        raise MnvError(f"a fresh process failed:\n{said.decode(errors='replace').strip()}")
    return taken


def memory(case: Case, rounds: int = MEMORY_ROUNDS) -> Memory | None:
    """Of one case; None where the system does not tell."""
    return _memory(f"{case.before}\n{case.script}", case.with_numpy, rounds, case.environment)


def bare_memory(before: str, rounds: int = MEMORY_ROUNDS) -> Memory | None:
    """Of Python alone, or of one that has imported numpy."""
    return _memory(f"{before}\nrun = lambda: None", before == NUMPY, rounds, {})


# Read once before it counts, so that reading it adds nothing.
_TELL = f"""
def told(name, key):
    with open(name, "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key))
told({ROLLUP!r}, b"Pss:")
for _ in range({PREDICTIONS}): run()
print("\\nmemory", told({STATUS!r}, b"VmHWM:"), told({ROLLUP!r}, b"Anonymous:"),
      told({ROLLUP!r}, b"Pss:"))
"""


def _memory(
    script: str, with_numpy: bool, rounds: int, environment: dict[str, str]
) -> Memory | None:
    if not os.path.exists(ROLLUP):
        return None
    rows = []
    for _ in range(rounds):
        last = answer_of(script + _TELL, environment).strip().splitlines()[-1]
        rows.append([int(kib) / 1024 for kib in last.split()[1:]])
    middle = [sorted(column)[len(column) // 2] for column in zip(*rows, strict=True)]
    return Memory(with_numpy, *middle)
