"""PyInstaller asks here what to bundle, by the entry point `pyinstaller40`."""

from __future__ import annotations

import os


def get_hook_dirs() -> list[str]:
    """The folder with the hook."""
    return [os.path.dirname(os.path.abspath(__file__))]
