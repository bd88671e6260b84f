"""From a checkpoint to a model file: which reader a source needs, and what is written.

A format is recognised by a file's content; names and suffixes are never looked at.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO, NamedTuple

from ..errors import CheckpointError, InputError, MnvError, UnsupportedError
from ..model.input_spec import InputSpec
from ..model.meta import printable
from ..model.modelfile import write_model
from ..network.layer import Network
from .checkpoint import MAX_SOURCE_BYTES, Checkpoint
from .colours import weights_in_rgb
from .options import Options, check_options, said_by, settle

# What reading a damaged file raises where a value is not what its place says.
_DAMAGED = (*(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),)


class Conversion(NamedTuple):
    """What was written, and what of it was neither in the source nor asked for."""

    network: Network
    input_spec: InputSpec
    labels: int  # how many; 0 for a model file without
    notes: tuple[str, ...]  # a sentence for each thing that was taken by default
    read: tuple[str, ...] = ()  # what was read from where

    @property
    def name(self) -> str:
        """The network's name, such as ``mobilenet_v2_1.0_224``."""
        return self.network.name

    @property
    def classes(self) -> int:
        """Values of the answer."""
        return self.network.classes


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    padding: str | None = None,
    preprocess: str | InputSpec | None = None,
    labels: str | os.PathLike[str] | None = None,
    resolution: int | tuple[int, int] | None = None,
    resample: str | None = None,
    crop_fraction: float | None = None,
    weights: str = "float32",
    answer: str | None = None,
    hidden: str | None = None,
    fit: str | None = None,
    colours: str | None = None,
) -> Conversion:
    """Make the model file `out` of the checkpoint `source`. `out` appears whole or not at all.

    `padding` is "same" or "symmetric"; `preprocess` the name of one of input_spec.PRESETS or an
    InputSpec, whose geometry `resample`, `crop_fraction` and `fit` replace; `labels` a file of one
    label a line, "imagenet", "coco", or "none" to go without; `resolution` (height, width) in
    pixels; `weights` "float32", "float16" or "bfloat16" for a file of half the size, to which they
    are rounded to nearest, "float32+int8" and its like for a classifier alone that is rounded, or
    "int8" for the integers of a quantised source as they are. What the source says need not be
    given, and may not be contradicted. `colours` is "bgr" or "grey" for a network that was trained
    on such pixels in three channels (one channel is grey without it); the model file takes red,
    green and blue all the same.

    Raises InputError if something is neither in the source nor given, naming the option, or does
    not fit the source; CheckpointError if the source is damaged or no checkpoint, UnsupportedError
    for a network that this engine does not run, MissingExtraError for a .tflite file without the
    package `tflite`, MnvError if `out` cannot be written.
    """
    given = Options(
        padding=padding,
        preprocess=preprocess,
        labels=labels,
        resolution=resolution,
        resample=resample,
        crop_fraction=crop_fraction,
        weights=weights,
        answer=answer,
        hidden=hidden,
        fit=fit,
        colours=colours,
    )
    check_options(given)
    path, what = _located(source)
    with _open(path) as handle:
        _check_not_the_source(handle, out, what)
        try:
            checkpoint = read_handle(handle, path, what, given)
            digest = sha256_of(handle)
        except OSError as error:
            raise CheckpointError(
                f"{what}: cannot be read: {error.strerror or error}; copy the file again"
            ) from error
    if weights == "int8" and checkpoint.quantization is None:
        raise InputError(
            f"{what}: weights 'int8' take the integers of a quantised TFLite model, and this is "
            f"{checkpoint.format}; leave the option out, and make an int8 model file of the "
            "result with: mnv2 quantize"
        )
    settled = settle(checkpoint, given, what)
    folded = weights_in_rgb(checkpoint, settled.network, settled.input_spec, colours, what)
    from .. import __version__

    provenance = {
        "source": what,
        "sha256": digest,
        "format": checkpoint.format,
        "converter": f"mnv2_engine {__version__}",
    }
    write_model(
        out,
        settled.network,
        folded,
        settled.input_spec,
        settled.labels,
        provenance,
        checkpoint.quantization,
        dtype=weights,
    )
    labelled = 0 if settled.labels is None else len(settled.labels)
    read = (checkpoint.format, *said_by(checkpoint))
    return Conversion(settled.network, settled.input_spec, labelled, settled.notes, read)


def read_source(path: str | os.PathLike[str], given: Options) -> tuple[Checkpoint, str, str]:
    """What the file at `path` holds, its name for messages, and its sha256."""
    name, what = _located(path)
    with _open(name) as handle:
        try:
            return read_handle(handle, name, what, given), what, sha256_of(handle)
        except OSError as error:
            raise CheckpointError(
                f"{what}: cannot be read: {error.strerror or error}; copy the file again"
            ) from error


def read_handle(handle: BinaryIO, path: str, what: str, given: Options) -> Checkpoint:
    """What the open file at `path` holds."""
    import numpy as np

    from .sources.formats import read

    try:
        # Numbers that are none (a signalling NaN warns where it is widened) are refused later.
        with np.errstate(over="ignore", invalid="ignore"):
            return read(handle, path, what, given)
    except MnvError as error:
        text = _advised(error)
        if text == str(error) and text.isprintable():
            raise
        raise type(error)(printable(text)) from None
    except _DAMAGED as error:
        # Protobuf, JSON and HDF5 say of each value what it is; a damaged file says otherwise.
        raise CheckpointError(
            f"{what}: damaged: something in it is not of the kind that it has to be "
            f"({type(error).__name__}: {printable(str(error))[:160]}); copy or download it again, "
            "or have the tool that wrote it write it again"
        ) from error


def _advised(error: MnvError) -> str:
    """What a reader says, with a next step: those that know a better one say it behind a ;."""
    text = str(error)
    if text.endswith("damaged"):
        return f"{text}; copy or download it again"
    if ";" in text:
        return text
    if type(error) is CheckpointError:
        return f"{text}; the file is damaged or was cut short: copy or download it again"
    if type(error) is UnsupportedError:
        return f"{text}; docs/convert.md says which networks convert"
    return text


def _open(path: str) -> BinaryIO:
    """The source, opened. Raises CheckpointError unless it is a regular file of a bounded size."""
    try:
        # Not to wait for a writer if it is a FIFO; O_BINARY exists on Windows only.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{path!r}: cannot open the checkpoint: {reason}") from None
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_SOURCE_BYTES:
        os.close(handle)
        found = f"{state.st_size} bytes" if stat.S_ISREG(state.st_mode) else "not a regular file"
        raise CheckpointError(f"{path!r}: {found}: expected a checkpoint of at most 1 GiB")
    return os.fdopen(handle, "rb")


def _check_not_the_source(handle: BinaryIO, out: str | os.PathLike[str], what: str) -> None:
    try:
        same = os.path.samestat(os.fstat(handle.fileno()), os.stat(out))
    except (OSError, ValueError, TypeError):  # absent, or a path that write_model will refuse
        return
    if same:
        raise InputError(f"{what}: the output is the checkpoint itself; choose another name")


def sha256_of(handle: BinaryIO) -> str:
    """The digest of a whole open file."""
    import hashlib

    digest = hashlib.sha256()
    handle.seek(0)
    while chunk := handle.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


# What people mean by a folder, in the order of trying.
_IN_FOLDERS = (
    *("model.json", "model.safetensors", "model.keras", "keras_model.h5", "pytorch_model.bin"),
    *("model.tflite", "model.onnx"),
)


def _located(source: str | os.PathLike[str]) -> tuple[str, str]:
    """The file of a source, and what to call it: a SavedModel is a folder."""
    path = _path_text(source)
    if not os.path.isdir(path):
        return path, printable(os.path.basename(path) or path)
    from .sources import saved_model

    what = printable(os.path.basename(os.path.normpath(path)))
    inside = saved_model.inside(path)
    if inside is not None:
        return inside, f"{what}/{os.path.basename(inside)}"
    found = [name for name in _IN_FOLDERS if os.path.isfile(os.path.join(path, name))]
    advice = f"convert {os.path.join(path, found[0])}" if found else "give the file itself"
    raise CheckpointError(
        printable(f"{what}: a folder, and no TensorFlow SavedModel in it; {advice}")
    )


def _path_text(path: str | os.PathLike[str]) -> str:
    try:
        return os.fsdecode(path)
    except TypeError:
        raise InputError(
            f"checkpoint path: got {type(path).__name__}, expected a str or an os.PathLike"
        ) from None
