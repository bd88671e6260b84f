"""The snippets of the README and of docs/, and how a test runs them.

A fenced block is Python, or commands: `console` (lines that begin with "$ "), `sh`, or no language.
Comments in the page, right before a block, say what is special about it:

    <!-- needs: onnxruntime, tflite -->     modules, without which it is skipped
    <!-- slow -->                           runs with --every only
    <!-- run by: tests/test_c_program.py    another test runs it
    <!-- not run: it installs packages -->  and why

Commands run in a folder with the files that the pages speak of. `mnv2 ...` runs in this process;
`pip install` is not run, but its extras must be there.
"""

from __future__ import annotations

import re
import shlex
import shutil
import struct
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conftest import make_weights

from mnv2_engine.export import export
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.quantize import quantize

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ROOT / "weights" / "shapes"
PHOTOGRAPH = ROOT / "mnv2_engine" / "data" / "chelsea.jpg"
if (SHAPES / "drawing.py").is_file():
    sys.path.insert(0, str(SHAPES))
    import drawing
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "examples" / name / "README.md" for name in ("c", "service")),
)

COMMANDS = ("console", "sh", "")  # languages that are commands
DATA = ("text", "json", "ini", "yaml", "toml", "dockerfile", "bibtex", "csv", "mermaid")
LASTING = ("serve", "demo", "warmup", "bench")  # commands of mnv2 that take long, or never end

_FENCE = re.compile(
    r"((?:^<!--[^>]*-->\s*\n\s*)*)^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL
)
_NOTE = re.compile(r"<!--\s*(needs|slow|run by|not run)\s*(?::\s*(.*?))?\s*-->")


class Snippet(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int  # of the fence
    language: str
    text: str
    notes: dict[str, str]

    @property
    def place(self) -> str:
        """File and line, as an editor takes them."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    """All fenced blocks of a page."""
    text = page.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        notes = {note[0]: note[1] for note in _NOTE.findall(match[1])}
        found.append(Snippet(page, line, match[2], match[3], notes))
    return found


def commands(snippet: Snippet) -> list[list[str]]:
    """The commands of a block, as words, without comments; those between && by themselves."""
    lines = snippet.text.replace("\\\n", " ").splitlines()
    if snippet.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found: list[list[str]] = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            one = words[:end]
            found.append(one[: one.index(">")] if ">" in one else one)  # the output is not kept
            words = words[end + 1 :]
    return found


def make_files(folder: Path) -> None:
    """The files that the pages' snippets name: small networks, pictures, labels."""
    names = list(drawing.NAMES)
    network, random = (
        mobilenet_v2(0.1, drawing.SIZE, len(names), divisor=4),
        np.random.default_rng(0),
    )
    first, small = folder / "mnv2.npz", folder / "mnv2_int8.npz"
    write_model(first, network, make_weights(network), PRESETS["tf"], names, {"source": "seeded"})
    for place in ("photos", *(f"imagenet/val/{name}" for name in names)):
        (folder / place).mkdir(parents=True)
    for name in names:
        pixels = drawing.picture(name, random)
        write_png(folder / "photos" / f"{name}.png", pixels)
        shutil.copy(folder / "photos" / f"{name}.png", folder / "imagenet" / "val" / name)
    quantize(first, small, np.stack([drawing.picture(name, random) for name in names]))
    for name in ("mnv2_1.0", "my_model", "new", "model"):
        shutil.copy(first, folder / f"{name}.npz")
    shutil.copy(small, folder / "breeds.npz")
    for module, ending in (("onnx", "onnx"), ("tflite", "tflite")):
        if find_spec(module) is not None:
            for name in ("mnv2", "my_model"):
                export(folder / f"{name}.npz", folder / f"{name}.{ending}")
    shutil.copy(PHOTOGRAPH, folder / "photo.jpg")


def write_png(path: Path, pixels: np.ndarray) -> None:
    """RGB pixels as a PNG, without Pillow."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
