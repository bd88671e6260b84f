"""The way out: a model file becomes a file of another runtime's, with the same weights."""

from __future__ import annotations

import os
from importlib import import_module

from ..detect.answers import specification
from ..errors import InputError, UnsupportedError
from ..model.modelfile import open_model
from ..network.box_maps import raw_shapes
from .description import feeding
from .exported import Exported

# Each but .c has a module that writes it, onnx_network, tflite_network; .c has c_file.
SUFFIXES = (".onnx", ".tflite", ".c")
DYNAMIC = "N"  # the name of a batch of any size


def export(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dynamic_batch: bool = False,
    threads: int = 1,
    precision: str | None = None,
    include_weights: bool = False,
    objects: bool = False,
) -> Exported:
    """Write the model file `model` as `out`, whose name ends in .onnx, .tflite or .c.

    The batch is 1, or of any size if `dynamic_batch`. float16 and bfloat16 weights become float32;
    int8 networks stay int8 (docs/export.md). Equal arguments make equal bytes, given equal versions
    of what writes them. An older file of that name is replaced, whole or not at all.

    A detector gives coded boxes and scores before their conversion. With `objects`, an .onnx file
    gives what is found as well, by ONNX's own operators, of one image.

    A .c file has the plan for so many `threads` and a `precision`, by default the model file's own,
    and the weights too if `include_weights`: these three are for .c alone, `dynamic_batch` for the
    others.

    Raises InputError for another ending, MissingExtraError without the package `onnx` or `tflite`,
    ModelFileError for a damaged model file, UnsupportedError for integers that the format cannot
    hold, and MnvError if the file cannot be written.
    """
    from ..model.whole_file import write_whole

    path = _out_path(out)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path}: ends in {suffix!r}: expected a name that ends in {' or '.join(SUFFIXES)}, "
            "which says what is written"
        )
    if suffix == ".c" and dynamic_batch:
        raise InputError(f"{path}: a plan runs one image after another; leave dynamic_batch out")
    if suffix != ".c" and ((threads, precision) != (1, None) or include_weights):
        raise InputError(
            f"{path}: threads, precision and include_weights are for .c files; leave them out"
        )
    if objects and (suffix != ".onnx" or dynamic_batch):
        raise InputError(
            f"{path}: objects are written into .onnx files of one image; leave them out"
            f"{', or dynamic_batch' if suffix == '.onnx' else ''}"
        )
    with open_model(model) as opened:
        if os.path.exists(path) and os.path.samefile(opened.path, path):
            raise InputError(f"{path}: is the model file itself; choose another name")
        opened.verify()
        detection = opened.network.detection
        if objects:
            specification(opened.network)  # raises for a network that finds none
        if detection is not None and opened.dtype == "int8" and suffix == ".onnx":
            raise UnsupportedError(
                f"{path}: {opened.network.name} is a detector in int8, which is written as .tflite "
                "or .c; choose such a name, or export the model file that it was quantised from"
            )
        if suffix == ".c":
            from .c_file import export_c

            return export_c(opened, path, threads, precision, include_weights)
        batch: int | str = DYNAMIC if dynamic_batch else 1
        writer = import_module(f"{__package__}.{suffix[1:]}_network")
        given = {"objects": True} if objects else {}
        content: bytes = writer.encode(opened, batch, **given)
        weights, pixels = ("int8", "uint8") if opened.dtype == "int8" else ("float32", "float32")
        output: tuple[int | str, ...] = (batch, opened.network.classes or opened.network.features)
        boxes: tuple[int | str, ...] | None = None
        if detection is not None:
            boxes, output = ((batch, *shape) for shape in raw_shapes(opened.network))
        made = Exported(
            path,
            opened.network.name,
            writer.FORMAT,
            weights,
            writer.input_shape(opened.network, batch),
            pixels,
            output,
            feeding(opened),
            len(content),
            boxes,
            objects,
        )
    write_whole(path, f"a model in {suffix[1:]}", len(content), lambda file: file.write(content))
    return made


def _out_path(out: str | os.PathLike[str]) -> str:
    try:
        return os.fsdecode(out)
    except TypeError:
        raise InputError(
            f"output path: got {type(out).__name__}, expected a str or an os.PathLike"
        ) from None
