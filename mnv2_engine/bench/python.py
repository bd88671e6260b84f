"""Fresh Python processes that find this package as this process does."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import sysconfig
from typing import Any

from ..errors import MnvError

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def child_environment() -> dict[str, str]:
    """The environment of a process that may keep its bytecode and imports the same package."""
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    parent = os.path.dirname(PACKAGE)
    if not _is_installed(parent):
        paths = [parent, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def started(script: str, **more: Any) -> dict[str, Any]:
    """Arguments of subprocess.Popen for a fresh process that runs `script`."""
    return {
        "args": [sys.executable, "-c", script],
        "cwd": os.path.abspath(os.sep),  # which is searched for modules first: not a checkout
        "env": {**child_environment(), **more.pop("environment", {})},
        "stdin": subprocess.DEVNULL,
        **more,
    }


def answer_of(script: str, environment: dict[str, str] | None = None) -> str:
    """What a fresh process prints that runs `script`. Raises MnvError where it fails."""
    done = subprocess.run(
        **started(script, environment=environment or {}, capture_output=True, text=True),
        check=False,
    )
    if done.returncode:
        raise MnvError(f"a fresh process failed:\n{done.stderr.strip()}")
    return str(done.stdout)


def _is_installed(parent: str) -> bool:
    """Whether Python finds a package in this folder by itself."""
    places = [sysconfig.get_path("platlib"), sysconfig.get_path("purelib")]
    places += [*site.getsitepackages(), site.getusersitepackages()]
    core = sys.modules.get("mnv2_engine._core")
    beside = core is None or os.path.dirname(str(core.__file__)) == PACKAGE
    # An editable install has its core elsewhere, and finds both by a hook.
    return not beside or any(os.path.realpath(parent) == os.path.realpath(at) for at in places)
