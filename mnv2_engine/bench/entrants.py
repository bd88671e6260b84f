"""Who takes part: this engine, itself once more as the control, and every peer that can."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import __version__
from ..errors import InputError, MnvError
from ..model.packed import DTYPES, FLOAT_DTYPES
from ..peers import PEERS, peer_and_file
from .exported import peer_file
from .networks import rewritten

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from ..peers import Peer

OURS, CONTROL, SELF = "mnv2_engine", "mnv2_engine again", "self"
DEFAULT_PEERS = ("litert", "onnxruntime", "openvino", "ncnn")
BFLOAT16_PEER = "openvino-bf16"
ISA_VARIABLE = "MNV2_ISA"  # executors.native's, which imports the C core


class Options(NamedTuple):
    """How this engine runs, and on how many threads everyone does."""

    threads: int = 1
    precision: str | None = None
    isa: str | None = None  # as MNV2_ISA names it
    backend: str = "auto"


DEFAULTS = Options()


class Entrant(NamedTuple):
    """An engine with the file that it runs."""

    name: str
    peer: str  # one of PEERS, or "" for this engine
    path: str  # absolute
    threads: int
    size: tuple[int, int]  # of the image, (height, width)
    mean: tuple[float, ...]  # pixels are given as (pixel - mean) / std
    std: tuple[float, ...]
    same_weights: bool  # as the model: a file of its own may have others
    in_float32: bool  # as the model is, and so has to give the same logits
    engine: dict[str, Any]  # keyword arguments of Engine.load
    environment: dict[str, str]
    call: str = "predict"  # what of an engine answers for an image; of a detector "detect"

    @property
    def task(self) -> dict[str, Any]:
        """What its process is told to load."""
        given = ("peer", "path", "threads", "size", "mean", "std", "engine")
        return {name: getattr(self, name) for name in given}

    @property
    def file_bytes(self) -> int:
        """Of its model; of OpenVINO's and ncnn's, of both files."""
        beside = os.path.splitext(self.path)[0] + ".bin"
        size = os.path.getsize(self.path)
        pair = self.path.endswith((".param", ".xml")) and os.path.isfile(beside)
        return size + (os.path.getsize(beside) if pair else 0)


class Absent(NamedTuple):
    """A peer that takes no part."""

    name: str
    reason: str  # and what to do about it
    asked_for: bool  # by name


def entrants(
    model: ModelFile,
    source: ModelFile,
    against: Sequence[str] | None,
    options: Options,
    folder: str,
) -> tuple[list[Entrant], list[Absent]]:
    """This engine, the control and the peers; and who is missing.

    `against` has PEER, PEER:FILE, and of this engine `self`, it on one thread, `self:DTYPE`, it
    with the same weights as DTYPE, and self:FILE.npz, it with another model file; None is every
    peer that we know. `source` is what `model` was rewritten from, and `folder` is for files that
    are rewritten. Raises InputError for another name.
    """
    ours = own(model, options)
    found, absent = [ours, ours._replace(name=CONTROL)], []
    asked = against is not None
    for text in default_peers(options) if against is None else against:
        name, _, file = text.partition(":")
        if name == SELF:
            found.append(otherwise(ours, model, source, file, folder))
            continue
        peer, file = peer_and_file(text)
        try:
            if find_spec(peer.module.partition(".")[0]) is None:
                peer.imported()  # which says how to get it
            path = file or peer_file(model, peer)
        except MnvError as error:
            absent.append(Absent(name, str(error), asked))
            continue
        found.append(rival(ours, peer, path, same_weights=not file))
    return found, absent


def default_peers(options: Options) -> tuple[str, ...]:
    """All whom we know; one of them in bfloat16 too, where this engine is."""
    return (*DEFAULT_PEERS, *([BFLOAT16_PEER] if options.precision == "bfloat16" else []))


def own(model: ModelFile, options: Options) -> Entrant:
    """This engine."""
    return Entrant(
        name=OURS,
        peer="",
        path=os.path.abspath(model.path),
        threads=options.threads,
        size=model.network.resolution,
        mean=model.input_spec.mean,
        std=model.input_spec.std,
        same_weights=True,
        in_float32=model.dtype != "int8" and options.precision in (None, "float32"),
        engine={"precision": options.precision, "backend": options.backend},
        environment={ISA_VARIABLE: options.isa} if options.isa else {},
        call="predict" if model.network.detection is None else "detect",
    )


def otherwise(ours: Entrant, model: ModelFile, source: ModelFile, how: str, folder: str) -> Entrant:
    """This engine on one thread, with weights of another dtype, or with another model file; in the
    precision that is theirs by default."""
    from ..model.modelfile import open_model

    if not how:
        if ours.threads == 1:
            raise InputError(f"{SELF}: the control is that already; give threads, or {SELF}:DTYPE")
        return ours._replace(name=f"{OURS}, 1 thread", threads=1)
    ours = ours._replace(in_float32=False, engine={**ours.engine, "precision": None})
    if how in DTYPES:
        # From int8 there is no way back to the weights that it was made of.
        origin = source if model.dtype == "int8" != how else model
        same = origin.dtype in (how, *FLOAT_DTYPES)
        path = rewritten(origin, how, folder)
        return ours._replace(name=f"{OURS}, {how}", path=os.path.abspath(path), same_weights=same)
    if not os.path.exists(how):
        raise InputError(f"{SELF}:{how}: neither a file nor one of {', '.join(DTYPES)}")
    with open_model(how) as other:
        size, dtype = other.network.resolution, other.dtype
    if size != ours.size:
        raise InputError(f"{how}: takes images of {size}, not {ours.size}; give one that does")
    name = f"{OURS}, {dtype} file"
    return ours._replace(name=name, path=os.path.abspath(how), same_weights=False)


def rival(ours: Entrant, peer: Peer, path: str, same_weights: bool) -> Entrant:
    """A peer with its file."""
    return ours._replace(
        name=peer.name,
        peer=peer.name,
        path=os.path.abspath(path),
        same_weights=same_weights,
        in_float32=ours.in_float32 and peer.name != BFLOAT16_PEER,
        engine={},
        environment={},
    )


def version(entrant: Entrant) -> str:
    """Of its package."""
    with suppress(MnvError):  # on the path without having been installed
        return PEERS[entrant.peer].version() if entrant.peer else __version__
    return "unknown"


def package_bytes(entrant: Entrant) -> int:
    """What its installed package takes on the disk, without what it depends on."""
    from importlib.metadata import PackageNotFoundError, distribution

    from .python import PACKAGE

    if not entrant.peer:
        return _folder_bytes(PACKAGE)
    try:
        files = distribution(PEERS[entrant.peer].package).files or ()
    except PackageNotFoundError:  # on the path without having been installed
        return 0
    paths = {str(file.locate()) for file in files if file.suffix != ".pyc"}
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))


def _folder_bytes(folder: str) -> int:
    return sum(
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(folder)
        for name in names
        if not name.endswith(".pyc")
    )
