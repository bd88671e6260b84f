"""Fresh processes: how soon the first prediction is there, and what memory ten of them take.

    pip install ".[bench]"      # not -e: an editable install imports through a hook of its own
    python benches/processes.py MODEL [--against litert] [--against onnxruntime:MODEL.onnx]
    python benches/processes.py MODEL --weights int8 --against openvino:INT8.xml

MODEL is a model file or the name of a network with seeded weights (see models.py). A peer without
a file of its own gets the model exported.

The engine predicts raw pixels in a process without numpy, and an array in one that has imported
it, as peers need it. Times are from start to exit, less those of a bare Python that was started
next to it: `python -c pass`, or `python -c "import numpy"` for a caller who has numpy anyway.
Memory is anonymous memory of the process that predicts: all of it, Python included; what importing
the package, loading and predicting added; what the last two added. Medians with quartiles.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

from measure import alternate, parser, pin, quartiles
from models import add_model, model_file, peer_file

import mnv2_engine
from mnv2_engine.modelfile import open_model
from mnv2_engine.peers import peer_and_file

BENCHES = Path(__file__).resolve().parent
PACKAGE = str(Path(mnv2_engine.__file__).resolve().parent)
ROLLUP = Path("/proc/self/smaps_rollup")
PREDICTIONS = 10
NUMPY = "import numpy"


class Case(NamedTuple):
    """A script in parts, since memory is read between them."""

    name: str
    before: str  # what the caller has imported
    importing: str
    loading: str  # ends with a callable `run`

    def filled(self, **given: Any) -> Case:
        return Case(self.name, self.before, *(part.format(**given) for part in self[2:]))


def ours(before: str, pixels: str) -> Case:
    loading = (
        "pixels = "
        + pixels
        + """
engine = Engine.load({file!r})
run = lambda: engine.predict(pixels)
"""
    )
    return Case("mnv2_engine", before, "from mnv2_engine import Engine", loading)


RAW = ours("", 'memoryview(bytes({height} * {width} * 3)).cast("B", ({height}, {width}, 3))')
NORMALISED = "(pixels - numpy.float32({mean})) / numpy.float32({std})"
ARRAY = ours(NUMPY, "numpy.zeros(({height}, {width}, 3), numpy.uint8)")
PEER = Case(
    "",
    NUMPY,
    # The package without its engine, which a peer shall not pay for.
    """
import sys, types
package = sys.modules["mnv2_engine"] = types.ModuleType("mnv2_engine")
package.__path__ = [{package!r}]
from mnv2_engine import peers
peers.PEERS[{peer!r}].imported()
""",
    """
def image():
    pixels = numpy.zeros((1, {height}, {width}, 3), numpy.uint8)
    return {image}
run = peers.bound({peer!r}, {file!r}, image())
""",
)

# Read once before it counts, so that reading it adds nothing.
ANONYMOUS = """
def anonymous():
    with open("/proc/self/smaps_rollup", "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(b"Anonymous"))
anonymous()
"""


def added(case: Case, bare: str) -> float:
    """Milliseconds from start to exit, beyond a process that only runs `bare`."""
    script = "\n".join([case.before, case.importing, case.loading, "run()"])
    return _start_to_exit(script) - _start_to_exit(bare)


def memory(case: Case) -> list[float]:
    """MiB of anonymous memory: all; from the import on; from loading on."""
    script = [
        case.before,
        ANONYMOUS,
        "start = anonymous()",
        case.importing,
        "imported = anonymous()",
        case.loading,
        f"for _ in range({PREDICTIONS}): run()",
        "end = anonymous()",
        "print(end, end - start, end - imported)",
    ]
    return [int(kib) / 1024 for kib in _python("\n".join(script)).split()]


def _start_to_exit(script: str) -> float:
    start = time.perf_counter()
    _python(script)
    return (time.perf_counter() - start) * 1e3


def _python(script: str) -> str:
    environment = {key: os.environ[key] for key in os.environ if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=BENCHES,  # not the checkout, whose sources would hide the installed package
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"a fresh process failed:\n{done.stderr}")
    return done.stdout


def main() -> None:
    made = parser(__doc__)
    made.set_defaults(pairs=20)
    add_model(made)
    made.add_argument("--against", action="append", metavar="PEER[:FILE]", default=[])
    options = made.parse_args()
    pin()
    with tempfile.TemporaryDirectory() as folder:
        cases = _cases(options, folder)
        timed, labels = [], []
        for case in cases:
            for bare in ("pass", NUMPY) if case.before else ("pass",):
                timed.append(partial(added, case, bare))
                labels.append(f"{_label(case)}, beyond {bare!r}")
        print("start to the first prediction, ms: median (quartiles)")
        for label, values in zip(labels, alternate(timed, options.pairs), strict=True):
            print(f"{label:<56}{quartiles(values, 1)}")
        if _editable():
            print("the package is installed -e: the engine's imports take longer than they should")
        if not ROLLUP.exists():
            raise SystemExit(f"memory was not measured: it needs Linux's {ROLLUP}")
        print(f"anonymous memory after {PREDICTIONS} predictions, MiB: median (quartiles)")
        for case in cases:
            rows = [memory(case) for _ in range(max(2, options.pairs // 4))]
            whats = ("whole process", "added from the import on", "added from loading on")
            for what, values in zip(whats, zip(*rows, strict=True), strict=True):
                print(f"{_label(case) + ', ' + what:<56}{quartiles(list(values), 2)}")


def _cases(options: Any, folder: str) -> list[Case]:
    path = os.path.abspath(model_file(options.model, folder, options.weights))
    with open_model(path) as model:
        height, width = model.architecture.resolution
        mean, std = (list(values) for values in model.input_spec[:2])
        size = {"height": height, "width": width}
        cases = [case.filled(file=path, **size) for case in (RAW, ARRAY)]
        for text in options.against:
            peer, file = peer_and_file(text)
            takes_pixels = model.dtype == "int8" and not file
            image = "pixels" if takes_pixels else NORMALISED.format(mean=mean, std=std)
            file = os.path.abspath(peer_file(model, file, peer.suffixes[0], folder))
            given = {"peer": peer.name, "file": file, "package": PACKAGE, **size}
            cases.append(PEER._replace(name=peer.name).filled(image=image, **given))
        print(f"{model.architecture.name}, {model.dtype} weights, 1 thread")
    return cases


def _label(case: Case) -> str:
    return f"{case.name} {'with' if case.before else 'without'} numpy"


def _editable() -> bool:
    origin = json.loads(distribution("mnv2-engine").read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


if __name__ == "__main__":
    main()
