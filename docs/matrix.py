"""The matrix of operation, precision and instruction set in docs/architecture.md, from the lists
that the build reads: kernels/supported.def and kernels/isas.def.

    python docs/matrix.py            prints it
    python docs/matrix.py --write    puts it into docs/architecture.md
    python docs/matrix.py --check    fails if it is not the one that stands there
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
KERNELS = DOCS.parent / "kernels"
PAGE = DOCS / "architecture.md"
BEGIN, END = "<!-- matrix: python docs/matrix.py --write -->", "<!-- end of matrix -->"
PRECISIONS = {
    "floats": "float32, weights of float32, float16 or bfloat16",
    "bfloat16": "bfloat16",
    "int8": "int8",
}


def rows_of(name: str, macro: str) -> list[dict[str, str]]:
    """The lines of a .def file, each a dict by the names that the file's comment gives."""
    text = (KERNELS / name).read_text()
    comment, _, body = text.partition("*/")
    columns = re.search(rf"{macro}\(([^)]*)\)", comment)
    if columns is None:
        raise SystemExit(f"{name}: its comment does not say {macro}(...)")
    names = [each.strip() for each in columns[1].split(",")]
    rows = re.findall(rf'^{macro}\(((?:[^()"]|"[^"]*")*)\)', body, re.MULTILINE)
    found = []
    for row in rows:
        cells = [each.strip() for each in row.split(",", len(names) - 1)]
        found.append(dict(zip(names, cells, strict=True)))
    return found


def precisions(isas: list[dict[str, str]]) -> list[str]:
    """Those of isas.def: its columns between the machine and the flags."""
    return [name for name in isas[0] if name not in ("name", "machine", "flags")]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def kernels(isas: list[dict[str, str]], kind: str) -> str:
    """The sets whose kernels compute in a precision."""
    names = dict.fromkeys(isa[kind] for isa in isas if isa[kind] != "none")
    return " ".join(f"`{name}`" for name in names)


def sets(isas: list[dict[str, str]]) -> list[str]:
    """Whose kernels each instruction set runs."""
    kinds = precisions(isas)
    rows = []
    for isa in isas:
        cells = ["-" if isa[kind] == "none" else f"`{isa[kind]}`" for kind in kinds]
        rows.append([f"`{isa['name']}`", isa["machine"], *cells])
    heads = [PRECISIONS.get(kind, kind) for kind in kinds]
    return table(["instruction set", "machine", *heads], rows)


def operations(isas: list[dict[str, str]], depthwise: list[dict[str, str]]) -> list[str]:
    """What runs every operation in every precision."""
    kinds = precisions(isas)
    everywhere = [kernels(isas, kind) for kind in kinds]
    cases = [
        f"depthwise {row['kernel']}×{row['kernel']}, stride {row['stride']}, "
        f"dilation {row['dilation']}"
        for row in depthwise
    ]
    later = [kernels(isas, "floats") for _ in kinds]  # float32 in every precision
    rows = [
        ["conv 3×3, stride 2, of the image", *everywhere],
        ["pointwise (expand, project, head)", *everywhere],
        *([case, *everywhere] for case in cases),
        ["add of a shortcut", *everywhere],
        ["conv behind the blocks, 1×1 to 7×7, stride 1 or 2, no padding", *everywhere],
        ["pool over all pixels", *everywhere],
        ["dense, the first", *everywhere],
        ["dense, the second to the fourth", *later],
    ]
    return table(["operation", *(PRECISIONS.get(kind, kind) for kind in kinds)], rows)


def matrix() -> str:
    isas, depthwise = rows_of("isas.def", "ISA"), rows_of("supported.def", "DEPTHWISE")
    lines = [
        *sets(isas),
        "",
        "A cell names the set whose kernels run; `-`: that precision is refused there. The same by "
        "operation: the sets that have kernels for it.",
        "",
        *operations(isas, depthwise),
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    made = matrix()
    if not arguments:
        print(made)
        return 0
    page = PAGE.read_text()
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        print(f"{PAGE}: expected the lines {BEGIN} and {END}", file=sys.stderr)
        return 1
    wanted = f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"
    if arguments == ["--write"]:
        PAGE.write_text(wanted)
        return 0
    if page != wanted:
        print(f"{PAGE}: the matrix is another one: python docs/matrix.py --write", file=sys.stderr)
    return int(page != wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
