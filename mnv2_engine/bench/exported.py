"""The files that peers run: the model, exported to what each of them reads.

They stay in the cache folder under a digest of the model file and of what exports it, so that the
next run finds them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..cli.demo_models import HOME_VARIABLE, cache_folder
from ..errors import MissingExtraError, MnvError, UnsupportedError
from ..model.whole_file import write_whole

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from ..peers import Peer

FOLDER = "exported"
DIGEST_LENGTH = 16  # letters of a SHA-256 in a file's name
PNNX = "pnnx"
PNNX_SECONDS = 300


def peer_file(model: ModelFile, peer: Peer) -> str:
    """Path of the model in the first format that `peer` reads, made if it is not there yet.

    Raises UnsupportedError where the peer's format cannot hold the network, MissingExtraError
    without what writes it, MnvError where it cannot be kept.
    """
    suffix = peer.suffixes[0]
    if suffix == ".param" and model.dtype == "int8":
        raise UnsupportedError(
            f"{peer.name} reads no file of another quantiser's integers: its own tool quantises "
            "by itself, to other weights; give such a file, and see it raced for speed alone"
        )
    folder = os.path.join(cache_folder(), FOLDER)
    name = f"{model.network.name}_{_digest(model.path)}"
    path = os.path.join(folder, name + suffix)
    if not os.path.isfile(path):
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise MnvError(
                f"{folder}: the peers' files cannot be kept there: {error.strerror or error}; set "
                f"{HOME_VARIABLE} to a folder that can be written"
            ) from error
        if suffix == ".param":
            _converted(_exported(model, os.path.join(folder, name + ".onnx")), path)
        else:
            _exported(model, path)
    return path


def _exported(model: ModelFile, path: str) -> str:
    from ..export import export

    if not os.path.isfile(path):
        export(model.path, path)
    return path


def _digest(path: str) -> str:
    import hashlib

    from .. import export

    digest = hashlib.sha256()
    for name in (path, *sorted(map(str, Path(export.__path__[0]).glob("*.py")))):
        with open(name, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:DIGEST_LENGTH]


def _converted(onnx: str, path: str) -> None:
    """An .onnx file as ncnn's .param at `path` and .bin beside it, by ncnn's own converter."""
    beside = os.path.join(os.path.dirname(sys.executable), PNNX)
    tool = shutil.which(PNNX) or shutil.which(beside)
    if tool is None:
        raise MissingExtraError(
            f"ncnn's files are written by its converter {PNNX}, which is not installed; "
            f"run: pip install {PNNX} (which brings PyTorch), or put the one of ncnn's releases "
            "on the PATH"
        )
    try:
        graph, weights = _run_pnnx(tool, onnx)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()
        raise MnvError(f"{PNNX} could not convert the network: {said[-300:]}") from error
    beside = os.path.splitext(path)[0] + ".bin"
    for name, data in ((beside, weights), (path, graph)):  # whoever finds one finds the other
        write_whole(name, "a file for ncnn", len(data), partial(_write, data))


def _run_pnnx(tool: str, onnx: str) -> tuple[bytes, bytes]:
    """The .param and the .bin of an .onnx file, float32."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(onnx, os.path.join(folder, "model.onnx"))  # it writes six files beside it
        subprocess.run(
            [tool, "model.onnx", "fp16=0"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PNNX_SECONDS,
            check=True,
        )
        graph, weights = (
            Path(folder, f"model.ncnn.{end}").read_bytes() for end in ("param", "bin")
        )
        return graph, weights


def _write(data: bytes, file: BinaryIO) -> None:
    file.write(data)
