"""Runs a notebook in its own folder, and fails where a cell does. Needs the extra `docs`.

python examples/run_notebook.py examples/quickstart.ipynb
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> None:
    path = Path(sys.argv[1])
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": path.parent}}).execute()
    print(f"{path.name}: {len(notebook.cells)} cells ran")


if __name__ == "__main__":
    main()
