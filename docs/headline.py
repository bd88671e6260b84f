"""The README's numbers, from the tables of docs/benchmarks.md and its like of other CPUs, which
`mnv2 bench --report` writes.

python docs/headline.py            prints them
python docs/headline.py --write    puts them into README.md
python docs/headline.py --check    fails if they are not those that stand there
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parent
REPORTS = DOCS / "benchmarks.md", DOCS / "amd" / "benchmarks.md"  # the first has the memory, too
PAGE = DOCS.parent / "README.md"
BEGIN, END = "<!-- headline: python docs/headline.py --write -->", "<!-- end of headline -->"
OURS = "mnv2_engine"
ENGINES = {OURS: OURS, "litert": "LiteRT", "onnxruntime": "onnxruntime", "openvino": "OpenVINO"}
Table = dict[str, list[str]]


def tables(text: str) -> dict[str, Table]:
    """The tables of some Markdown by the first cell of their heads, rows by their first cells."""
    found: dict[str, Table] = {}
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|\n").split("|")] for line in block.split("\n")
        ]
        head, _, *body = (row for row in rows if row != [""])
        found[head[0]] = {row[0]: row[1:] for row in body}
    return found


def figures(section: str) -> tuple[list[str], list[str]]:
    """Milliseconds of an image, and MiB of a process, of ENGINES; "-" of one that took no part."""
    found = tables(section)
    times, memory = found["one image, ms"], found["memory of a process, MiB"]

    def peak(engine: str) -> str:
        # The least that an engine can do with: the others do not run without NumPy.
        rows = [memory.get(f"{engine}, {how} numpy") for how in ("without", "with")]
        return next((row[0] for row in rows if row), "-")

    return [times.get(engine, ["-"])[0] for engine in ENGINES], [peak(each) for each in ENGINES]


class Report(NamedTuple):
    """What is taken from one report."""

    cpu: str
    date: str
    network: str
    figures: dict[str, tuple[list[str], list[str]]]  # of each kind of weights

    @property
    def maker(self) -> str:
        """Of the CPU."""
        return self.cpu.partition("(")[0].split()[0]


def report_of(path: Path) -> Report:
    """The parts with one thread of a report."""
    text = path.read_text("utf-8")
    date = re.search(r"^Generated on (\d+-\d+-\d+)", text, re.MULTILINE)
    sections = re.findall(
        r"^## (\S+), (\S+) weights, 1 thread\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if date is None or not sections:
        raise SystemExit(f"{path}: not a report of `mnv2 bench --report` with one thread")
    cpu = tables(text)["machine"]["CPU"][0]
    found = {dtype: figures(section) for _, dtype, section in sections}
    return Report(cpu, date[1], sections[0][0], found)


def headline(reports: Sequence[Report]) -> str:
    """The README's table, and what it was measured on."""
    rows = []
    for dtype, (_, mebibytes) in reports[0].figures.items():
        for each in reports:
            if dtype in each.figures:
                title = f"{dtype}, {each.maker}: milliseconds an image"
                rows.append([title, *each.figures[dtype][0]])
        rows.append([f"{dtype}: MiB of the whole process", *mebibytes])
    rows = [[row[0], f"**{row[1]}**", *row[2:]] for row in rows]
    lines = [["", *ENGINES.values()], ["---", *["--:"] * len(ENGINES)], *rows]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    cpus = "; ".join(f"{each.cpu}, medians of {each.date}" for each in reports)
    table += [
        "",
        f"{reports[0].network}, the same weights in each, one core of: {cpus}. Memory is the peak "
        f"of the process on {reports[0].maker}, Python included, and NumPy where an engine needs "
        "it. How it was measured, and more: "
        + ", ".join(
            f"[{each.maker}]({path.relative_to(DOCS.parent).as_posix()})"
            for each, path in zip(reports, REPORTS, strict=True)
        )
        + ".",
    ]
    return "\n".join(table)


def main() -> int:
    """What the command line asks for; the exit code."""
    made = headline([report_of(path) for path in REPORTS])
    if sys.argv[1:] == []:
        print(made)
        return 0
    if sys.argv[1:] not in (["--write"], ["--check"]):
        raise SystemExit(__doc__)
    page = PAGE.read_text("utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE}: expected {BEGIN} and {END}")
    whole = f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"
    if sys.argv[1] == "--write":
        PAGE.write_text(whole, "utf-8")
    elif whole != page:
        raise SystemExit(f"{PAGE}: not the reports' numbers: {Path(__file__).name} --write")
    return 0


if __name__ == "__main__":
    sys.exit(main())
