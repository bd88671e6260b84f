"""Other engines, each at its best settings, behind one class: to compare answers and speed with.

>>> from mnv2_engine.peers import PEERS
>>> session = PEERS["litert"].load("mnv2.tflite", threads=1)
>>> logits = session.run(image)  # normalised float32, or uint8 pixels, (H, W, 3)

Nothing of a peer is imported before it is asked for, and of this package only the errors: what a
process that runs a peer takes in time and memory is the peer's.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError, MnvError, missing_extra

if TYPE_CHECKING:
    from .session import Session

EXTRA = "bench"


class Peer(NamedTuple):
    """An engine, and how its files are run."""

    name: str
    package: str  # what pip installs
    module: str  # what is imported
    suffixes: tuple[str, ...]  # of the files that it reads; a model is exported to the first
    session: str  # the module and the class here that run its files
    settings: tuple[tuple[str, str], ...] = ()  # keyword arguments of that class

    def imported(self) -> Any:
        """Its module. Raises MissingExtraError where it is not installed."""
        try:
            return import_module(self.module)
        except ImportError as error:
            raise missing_extra(self.package, EXTRA, f"the peer {self.name}") from error

    def version(self) -> str:
        """Of the installed package. Raises MissingExtraError where there is none."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(self.package)
        except PackageNotFoundError as error:
            raise missing_extra(self.package, EXTRA, f"the peer {self.name}") from error

    def load(
        self,
        path: str,
        threads: int = 1,
        resolution: tuple[int, int] | None = None,
        as_is: bool = False,
        **settings: Any,
    ) -> Session:
        """A session of the file `path`, of one image at a time, on so many threads.

        `resolution`, (height, width) in pixels, is for files that leave it open. A softmax that
        ends the network is left out, so that there are logits, unless the file is to run
        `as_is`, for its speed. Raises MissingExtraError without the peer, InputError for a file
        that cannot be read, CheckpointError for a damaged one, UnsupportedError for one whose
        input is no RGB image.
        """
        module = self.imported()
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; {self.name} reads {', '.join(self.suffixes)}")
        place, _, name = self.session.partition(":")
        made = getattr(import_module(f"{__name__}.{place}"), name)
        try:
            session: Session = made(
                module, path, threads, resolution, as_is, **{**dict(self.settings), **settings}
            )
        except MnvError:
            raise
        except Exception as error:  # whatever a peer raises for a file that it does not like
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(f"{path}: {self.name} cannot run this file: {reason}") from error
        return session


_ONNX = (".onnx", ".xml")

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "litert", "ai-edge-litert", "ai_edge_litert.interpreter", (".tflite",), "litert:LiteRT"
        ),
        Peer("onnxruntime", "onnxruntime", "onnxruntime", (".onnx",), "onnxruntime:OnnxRuntime"),
        Peer("openvino", "openvino", "openvino", _ONNX, "openvino:OpenVino"),
        Peer(
            "openvino-bf16",
            "openvino",
            "openvino",
            _ONNX,
            "openvino:OpenVino",
            (("precision", "bf16"),),
        ),
        Peer("ncnn", "ncnn", "ncnn", (".param",), "ncnn:Ncnn"),
    )
}


def peer_and_file(text: str) -> tuple[Peer, str]:
    """The two of `PEER:FILE`; the file is "" where none is named. InputError for another peer."""
    name, _, path = text.partition(":")
    if name not in PEERS:
        raise InputError(f"{name!r}: expected one of the peers {', '.join(PEERS)}")
    return PEERS[name], path
