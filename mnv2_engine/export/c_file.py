"""A model file as a C file: the network, its plan and the offsets of its weights as constants.

For programs that want neither JSON nor a planner: with the kernels it is all that a run needs. The
structures are those that the C core gets from this package, field by field, whatever mnv2.h says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..model.npz import ALIGNMENT
from ..network.box_maps import anchors_of, raw_shapes
from ..network.detection import ANCHORS
from .exported import Exported

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile
    from ..network.layer import Network
    from ..plan.steps import Plan

FORMAT = "C, for kernels/mnv2.h"
MAX_THREADS = 64  # MNV2_MAX_THREADS of kernels/mnv2.h
WORD = 8  # bytes of an element of the weights' array
_WORDS_A_LINE = 4
# Tables that a plan points to, each with the field that counts it.
_TABLES = {
    "blocks": "block_count",
    "convs": "conv_count",
    "dense": "dense_count",
    "taps": "tap_count",
    "maps": "map_count",
    "steps": "step_count",
}


def export_c(
    model: ModelFile, path: str, threads: int, precision: str | None, include_weights: bool
) -> Exported:
    """Write the open model file as `path`; see `exporting.export`."""
    from ..executors import natural_precision
    from ..model.whole_file import write_whole
    from ..plan.planner import make_plan
    from ..plan.shapes import PRECISIONS

    if not 1 <= threads <= MAX_THREADS:
        raise InputError(f"threads {threads!r}: expected 1 to {MAX_THREADS}")
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"precision {precision!r:.80}: expected one of {', '.join(PRECISIONS)}")
    if not (model.mapped or include_weights):
        raise InputError(
            f"{model.path}: its arrays are compressed or unaligned, so no program can use them "
            "where they lie; convert the model again, or include the weights"
        )
    network = model.network
    plan = make_plan(network, threads, precision or natural_precision(model.dtype), model.dtype)
    pieces = list(encode(model, plan, path, include_weights))
    size = sum(map(len, pieces))
    write_whole(path, "a C file", size, lambda file: file.writelines(pieces))
    return Exported(
        path=path,
        name=network.name,
        format=FORMAT,
        weights=f"{model.dtype}, {'included' if include_weights else 'in the model file'}",
        input=(*network.resolution, 3),
        input_dtype="uint8",
        output=(network.classes,) if network.detection is None else raw_shapes(network)[1],
        feed="RGB pixels, 0 to 255, as they are",
        file_bytes=size,
        boxes=None if network.detection is None else raw_shapes(network)[0],
    )


def encode(model: ModelFile, plan: Plan, path: str, include_weights: bool) -> Iterator[bytes]:
    """The file's text, piece by piece, for a file of the name `path`."""
    from .. import _core
    from ..executors.core_plan import core_plan

    name = identifier(path)
    packed = _packed(model) if include_weights else None
    built = core_plan(_core.ffi, _core.lib, packed or model, plan)
    lines = [*_head(model, plan, name, include_weights)]
    lines += _tables(_core.ffi, built.struct, name)
    if model.network.detection is not None:
        lines += _detection(model.network, (packed or model).tensors[ANCHORS].offset, name)
    lines += _labels(model, name)
    if packed is None:
        lines += _check(model, name)
    yield "\n".join([*lines, ""]).encode()
    if packed is not None:
        yield from _weights(packed.buffer, name)


def identifier(path: str) -> str:
    """What the names in the file begin with: the file's name as a C identifier."""
    stem = os.path.splitext(os.path.basename(path))[0]
    text = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem)
    return text if text and not text[0].isdigit() and text[0] != "_" else f"model_{text}"


def _packed(model: ModelFile) -> Any:
    """The tensors alone, each aligned, and where they lie in that."""
    pieces, tensors, at = [], {}, 0
    for name, tensor in model.tensors.items():
        tensors[name] = tensor._replace(offset=at)
        data = bytes(model.buffer[tensor.offset : tensor.offset + tensor.size])
        pieces.append(data + bytes(-len(data) % ALIGNMENT))
        at += len(pieces[-1])
    return SimpleNamespace(
        buffer=b"".join(pieces),
        tensors=tensors,
        input_spec=model.input_spec,
        quantization=model.quantization,
        network=model.network,
        dtype=model.dtype,
    )


def _head(model: ModelFile, plan: Plan, name: str, include_weights: bool) -> Iterator[str]:
    network = model.network
    height, width = network.resolution
    logits = f"{network.classes} floats, answer: {network.answer}"
    call = "mnv2_run" if network.detection is None else "mnv2_run_detector"
    yield f"/* {_comment(network.name)}, for kernels/mnv2.h: written by mnv2 export."
    yield " *"
    yield f" *   plan      {name}_plan, for {call}: {plan.precision}, {plan.threads} threads"
    if include_weights:
        yield f" *   weights   {name}_weights, in this file"
    else:
        yield " *   weights   in the model file, mapped, or read whole to a multiple of 64;"
        yield f" *             {name}_is_weights tells it from another"
    yield f" *   arena     {plan.arena_bytes} bytes, at a multiple of 64"
    yield f" *   image     uint8 [{height}][{width}][3], red, green, blue"
    if network.detection is not None:
        anchors = anchors_of(network.detection, network.layers)
        yield f" *   boxes     [{anchors}][4] floats"
        yield f" *   scores    [{anchors}][{network.detection.columns}] floats"
        yield f" *   objects   {name}_detection, for mnv2_detect; the anchors begin"
        yield f" *             {name}_anchors bytes into the weights */"
    else:
        yield f" *   logits    {logits if network.classes else 'none: the features are the answer'}"
        yield f" *   features  {network.features} floats */"
    yield '#include "mnv2.h"'
    yield ""


def _comment(text: str) -> str:
    """Text of a file that cannot end a comment."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


# --- structures ---------------------------------------------------------------------------


def _tables(ffi: Any, plan: Any, name: str) -> Iterator[str]:
    for table, counted in _TABLES.items():
        count = getattr(plan, counted)
        if count == 0:
            continue
        rows = getattr(plan, table)
        kind = ffi.typeof(rows).item.cname
        yield f"static const {kind} {name}_{table}[{count}] = {{"
        for i in range(count):
            yield f"    {_struct(ffi, rows[i])},"
        yield "};"
        yield ""
    yield f"extern const mnv2_plan {name}_plan;"
    yield f"const mnv2_plan {name}_plan = {{"
    for field, kind in ffi.typeof(plan).item.fields:
        value = getattr(plan, field)
        if field in _TABLES:
            if getattr(plan, _TABLES[field]):
                yield f"    .{field} = {name}_{field},"
            continue
        text = _value(ffi, kind.type, value)
        if text not in ("0", "{0}"):
            yield f"    .{field} = {text},"
    yield "};"
    yield ""


def _struct(ffi: Any, record: Any) -> str:
    """A designated initialiser of all fields that are not 0."""
    parts = []
    for field, kind in ffi.typeof(record).fields:
        text = _value(ffi, kind.type, getattr(record, field))
        if text not in ("0", "{0}"):
            parts.append(f".{field} = {text}")
    return f"{{{', '.join(parts) or '0'}}}"


def _value(ffi: Any, kind: Any, value: Any) -> str:
    if kind.kind == "struct":
        return _struct(ffi, value)
    if kind.kind == "array":
        texts = [_value(ffi, kind.item, each) for each in value]
        return "{0}" if set(texts) == {"0"} else f"{{{', '.join(texts)}}}"
    if kind.kind != "primitive":
        raise AssertionError(f"mnv2.h has a field of type {kind.cname}, which no export knows")
    if isinstance(value, float):
        return "0" if value == 0 else f"{value.hex()}f"
    return str(value)


def _detection(network: Network, anchors: int, name: str) -> Iterator[str]:
    """How the outputs become objects."""
    said = network.detection
    assert said is not None
    coding = ", ".join(f"{float(each).hex()}f" for each in said.box_coding)
    yield f"extern const mnv2_detection {name}_detection;"
    yield f"const mnv2_detection {name}_detection = {{"
    yield f"    .anchors = {anchors_of(said, network.layers)}, .columns = {said.columns},"
    yield f"    .has_background = {int(said.background)},"
    yield f"    .is_softmax = {int(said.score_conversion == 'softmax')},"
    yield f"    .coding = {{{coding}}},"
    yield f"    .score_threshold = {float(said.score_threshold).hex()}f,"
    yield f"    .iou_threshold = {float(said.iou_threshold).hex()}f,"
    yield f"    .max_per_class = {said.max_per_class}, .max_objects = {said.max_objects},"
    yield "};"
    yield f"extern const int64_t {name}_anchors;"
    yield f"const int64_t {name}_anchors = {anchors};"
    yield ""


# --- labels, weights ----------------------------------------------------------------------


def _labels(model: ModelFile, name: str) -> Iterator[str]:
    if model.labels is None:
        return
    yield "/* UTF-8. */"
    yield f"extern const char *const {name}_labels[{len(model.labels)}];"
    yield f"const char *const {name}_labels[{len(model.labels)}] = {{"
    for label in model.labels:
        yield f'    "{_text(label)}",'
    yield "};"
    yield ""


def _text(label: str) -> str:
    """The inside of a C string: printable ASCII, all else in octal, which ends after 3 digits."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in label.encode()
    )


def _check(model: ModelFile, name: str) -> Iterator[str]:
    """A function that knows the model file by its size and its zip directory, which holds the
    checksum of every member."""
    size = len(model.buffer)
    start = int.from_bytes(model.buffer[-6:-2], "little")  # as the zip's last record says
    mark = fnv1a(model.buffer[start:])
    yield "/* Whether a file is the one that the plan was made for: by its size, and by its zip"
    yield " * directory, which holds the checksum of every array. */"
    yield f"extern int {name}_is_weights(const void *file, uint64_t bytes);"
    yield f"int {name}_is_weights(const void *file, uint64_t bytes) {{"
    yield "    const unsigned char *x = (const unsigned char *)file;"
    yield "    uint64_t mark = UINT64_C(0xcbf29ce484222325);"
    yield f"    if (bytes != UINT64_C({size})) return 0;"
    yield f"    for (uint64_t i = UINT64_C({start}); i < bytes; i++)"
    yield "        mark = (mark ^ x[i]) * UINT64_C(0x100000001b3);"
    yield f"    return mark == UINT64_C({mark:#018x});"
    yield "}"


def fnv1a(data: bytes) -> int:
    """The 64-bit FNV-1a hash."""
    mark = 0xCBF29CE484222325
    for byte in data:
        mark = (mark ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return mark


def _weights(data: bytes, name: str) -> Iterator[bytes]:
    """The weights as little-endian words, which compilers read faster than bytes."""
    import struct

    count = len(data) // WORD
    text = (
        "/* Little endian, as every machine that mnv2_engine runs on. */\n"
        f"extern const uint64_t {name}_weights[{count}];\n"
        f"_Alignas({ALIGNMENT}) const uint64_t {name}_weights[{count}] = {{\n"
    )
    yield text.encode()
    step = _WORDS_A_LINE * WORD
    for chunk in range(0, len(data), step << 12):
        lines = []
        for at in range(chunk, min(chunk + (step << 12), len(data)), step):
            piece = data[at : at + step]
            words = struct.unpack(f"<{len(piece) // WORD}Q", piece)
            lines.append(",".join(map(hex, words)))
        yield (",\n".join(lines) + ",\n").encode()
    yield b"};\n"
