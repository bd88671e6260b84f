"""What a model file that is made of another one says of it, and where it may be written."""

from __future__ import annotations

import os

from ..convert.conversion import sha256_of
from ..errors import InputError
from ..model.meta import printable
from ..model.modelfile import ModelFile


def check_output(out: str | os.PathLike[str], source: str) -> None:
    """Raise InputError for an output that cannot be, before any work is done for it."""
    try:
        folder = os.path.dirname(os.fsdecode(out)) or os.curdir
        same = os.path.exists(out) and os.path.samefile(source, out)
    except (TypeError, ValueError, OSError):
        raise InputError(f"output {out!r:.200}: expected the path of a file to write") from None
    if same:
        raise InputError(f"{source}: the output is the model itself; choose another name")
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: there is no such folder to write to; make it first")


def origin_of(source: ModelFile, quantisation: str) -> dict[str, str]:
    """What a model file says of where it is from: of the file, and of that one's checkpoint."""
    from .. import __version__

    with open(source.path, "rb") as file:
        digest = sha256_of(file)
    made = {
        "source": printable(os.path.basename(source.path)),
        "sha256": digest,
        "quantisation": quantisation,
        "converter": f"mnv2_engine {__version__}",
    }
    # Of the checkpoint that the float model was made of.
    for key, earlier in (("origin", "source"), ("origin_sha256", "sha256")):
        if earlier in source.provenance:
            made[key] = source.provenance[earlier]
    return made
