"""Which reader a file needs: formats are recognised by content; names are never looked at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from ...errors import CheckpointError
from ...model.meta import printable
from ..checkpoint import Checkpoint
from .archive import Archive
from .foreign import UNDERSTOOD, described, described_json, described_zip

if TYPE_CHECKING:
    from ..options import Options
    from .state import Tensors

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins one without members
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD_BYTES = 512


def read(handle: BinaryIO, path: str, what: str, given: Options) -> Checkpoint:
    """What the open file holds, by the reader that its content asks for.

    Raises CheckpointError, saying what the file is and what to do, where there is no reader.
    """
    head = handle.read(_HEAD_BYTES)
    if head[4:8] == b"TFL3":
        from . import tflite

        return tflite.read(_content(handle), handle, what, given.weights)
    if head.startswith(_ZIP):
        return _read_zip(Archive(handle, what), path, given)
    if head.startswith(_HDF5):
        from . import keras

        return keras.read_hdf5(handle, what, given)
    from . import onnx_file, safetensors, saved_model, tensorflow_nodes, torch_file

    if torch_file.is_legacy(head):
        return _named(torch_file.read_legacy(handle, what).tensors_by_name(), path, given)
    if safetensors.looks_like_safetensors(head):
        return _named(safetensors.read(handle, what), path, given)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return _read_json(_content(handle), path, what, given)
    if saved_model.looks_like_saved_model(head):
        return saved_model.read(_content(handle), path, what, given.weights)
    if onnx_file.looks_like_onnx(head):
        from . import onnx

        return onnx.read(_content(handle), path, what, given.weights)
    if tensorflow_nodes.looks_like_graph(head):
        return tensorflow_nodes.read(_content(handle), what, given.weights)
    raise CheckpointError(f"{what}: {described(head)}; expected {UNDERSTOOD}")


def _content(handle: BinaryIO) -> bytes:
    handle.seek(0)
    # Not read(MAX_SOURCE_BYTES), which would set as much memory aside first.
    return handle.read(os.fstat(handle.fileno()).st_size)


def _read_zip(archive: Archive, path: str, given: Options) -> Checkpoint:
    members = list(archive.members)
    # PyTorch puts everything into one folder, whose name is the writer's affair.
    pickles = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) == 1:
        from . import torch_file

        prefix = pickles[0].removesuffix("data.pkl")
        return _named(torch_file.read_zip(archive, prefix).tensors_by_name(), path, given)
    if "config.json" in members and any(name.startswith("model.weights") for name in members):
        from . import keras

        return keras.read_archive(archive, given)
    if members and all(name.endswith(".npy") for name in members):
        from . import canonical

        return canonical.read(archive, given.hidden)
    known = described_zip(members)
    if known is None:
        shown = ", ".join(printable(name[:80]) for name in members[:4]) or "nothing"
        known = f"a zip archive of {shown}{', …' if len(members) > 4 else ''}"
    raise CheckpointError(f"{archive.what}: {known}; expected {UNDERSTOOD}")


def _named(tensors: Tensors, path: str, given: Options) -> Checkpoint:
    from . import names
    from .beside import read_beside

    beside = read_beside(path, tensors.what)
    return names.read(tensors, beside, given.padding, given.hidden)


def _read_json(content: bytes, path: str, what: str, given: Options) -> Checkpoint:
    from . import tfjs

    document = tfjs.parse(content, what)
    if not tfjs.looks_like_model(document):
        raise CheckpointError(f"{what}: {described_json(content)}; expected {UNDERSTOOD}")
    return tfjs.read(document, path, what, given.weights)
