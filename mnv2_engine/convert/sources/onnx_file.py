"""An ONNX file as plain data: nodes, attributes and constants, within bounds.

The package `onnx` (the extra) brings the protobuf definitions; nothing else of it is used, and
nothing is run. Constants are read when they are needed. Weights in a second file are read only
where that file lies beside the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import CheckpointError, MnvError, UnsupportedError, missing_extra
from ..graph import MAX_NODES, Constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

# numpy's name of the element types that weights and shapes have, by ONNX's number.
DTYPES = {
    1: "<f4", 2: "|u1", 3: "|i1", 5: "<i2", 6: "<i4", 7: "<i8", 9: "|b1", 10: "<f2", 11: "<f8",
    16: "bfloat16",
}  # fmt: skip
_EXTERNAL = 1  # of TensorProto.DataLocation
_MAX_RANK = 8


class Operation(NamedTuple):
    """One node of an ONNX graph."""

    number: int
    kind: str  # "Conv"; with its domain where that is not ONNX's own
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]  # numbers, texts, lists, Constants

    @property
    def where(self) -> str:
        """The node for messages."""
        name = f" {self.name[:80]!r}" if self.name else f" into {self.outputs[0][:80]!r}"
        return f"node {self.number}, {self.kind}{name}"


class File(NamedTuple):
    """What an ONNX file holds, with every size checked."""

    what: str
    operations: tuple[Operation, ...]
    constants: dict[str, Constant]
    inputs: tuple[tuple[str, tuple[int | None, ...], int], ...]  # name, shape, element type
    outputs: tuple[str, ...]
    producer: str
    metadata: dict[str, str]  # what the exporter wrote beside the network


def looks_like_onnx(head: bytes) -> bool:
    """Whether a file may be a ModelProto: field 1, the version of the format, comes first."""
    return len(head) > 4 and head[0] == 0x08 and 1 <= head[1] <= 32 and head[2] in (
        0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42,
    )  # fmt: skip


def read_file(content: bytes, path: str | None, what: str) -> File:
    """The graph of an ONNX file; `path` is where weights in a second file are looked for.

    Raises MissingExtraError without the package `onnx`, CheckpointError for a damaged file.
    """
    try:
        onnx = import_module("onnx")
    except ImportError:
        raise missing_extra("onnx", "onnx", "reading an .onnx file") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # google.protobuf.message.DecodeError, of two implementations
        raise CheckpointError(
            f"{what}: not an ONNX file, or a damaged one ({type(error).__name__}); copy or "
            "download it again"
        ) from None
    graph = model.graph
    if not graph.node:
        raise CheckpointError(f"{what}: it has no graph; the file is damaged or no ONNX file")
    counts = (len(graph.node), len(graph.initializer), len(graph.input), len(graph.output))
    if max(counts) > MAX_NODES:
        raise CheckpointError(f"{what}: {max(counts)} nodes: expected at most {MAX_NODES}")
    constants = {
        tensor.name: constant_of(tensor, path, what) for tensor in graph.initializer if tensor.name
    }
    operations = [_operation(i, node, path, what) for i, node in enumerate(graph.node)]
    inputs = tuple(_input(value) for value in graph.input if value.name not in constants)
    metadata = {entry.key: entry.value for entry in list(model.metadata_props)[:64]}
    return File(
        what,
        tuple(operations),
        constants,
        inputs,
        tuple(value.name for value in graph.output),
        str(model.producer_name)[:40],
        metadata,
    )


def _input(value: Any) -> tuple[str, tuple[int | None, ...], int]:
    kind = value.type.tensor_type
    shape = tuple(
        int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value > 0 else None
        for dim in list(kind.shape.dim)[:_MAX_RANK]
    )
    return value.name, shape, int(kind.elem_type)


def _operation(number: int, node: Any, path: str | None, what: str) -> Operation:
    kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    if not node.output or len(node.input) > 64 or len(node.output) > 64:
        raise CheckpointError(f"{what}: node {number} has no outputs, or too many operands")
    attributes = {each.name: _attribute(each, path, what) for each in node.attribute}
    return Operation(
        number, kind[:80], node.name, tuple(node.input), tuple(node.output), attributes
    )


def _attribute(stated: Any, path: str | None, what: str) -> Any:
    # The numbers of AttributeProto.AttributeType.
    kind = stated.type
    if kind == 1:
        return float(stated.f)
    if kind == 2:
        return int(stated.i)
    if kind == 3:
        return stated.s.decode("utf-8", "replace")
    if kind == 4:
        return constant_of(stated.t, path, what)
    if kind == 6:
        return [float(each) for each in stated.floats]
    if kind == 7:
        return [int(each) for each in stated.ints]
    return None  # graphs and lists of texts, which no operation that is known has


def constant_of(tensor: Any, path: str | None, what: str) -> Constant:
    """A TensorProto. Its size is compared with its shape when it is read."""
    name = tensor.name[:80]
    shape = tuple(int(extent) for extent in tensor.dims)
    if len(shape) > _MAX_RANK or any(extent < 0 for extent in shape):
        raise CheckpointError(f"{what}: tensor {name!r} has the impossible shape {shape!r:.80}")
    return Constant(shape, lambda: _values(tensor, shape, path, what))


def _values(tensor: Any, shape: tuple[int, ...], path: str | None, what: str) -> NDArray[Any]:
    import numpy as np

    name = tensor.name[:80]
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        raise UnsupportedError(
            f"{what}: tensor {name!r} has elements of ONNX's type {tensor.data_type}: expected "
            "floating point or integers of 8 to 64 bits"
        )
    count = 1
    for extent in shape:
        count *= extent
    stored = "<u2" if dtype == "bfloat16" else dtype
    width = np.dtype(stored).itemsize
    raw: bytes | None = None
    if tensor.data_location == _EXTERNAL:
        raw = _external(tensor, count * width, path, what)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
    if raw is not None:
        if len(raw) != count * width:
            raise CheckpointError(
                f"{what}: tensor {name!r} of shape {shape} has {len(raw)} bytes: expected "
                f"{count * width}; the file is damaged"
            )
        values: NDArray[Any] = np.frombuffer(raw, stored)
    else:
        fields: dict[str, Callable[[], Any]] = {
            "<f4": lambda: tensor.float_data,
            "<f8": lambda: tensor.double_data,
            "<i8": lambda: tensor.int64_data,
        }
        listed = fields.get(dtype, lambda: tensor.int32_data)()
        if len(listed) != count:
            raise CheckpointError(
                f"{what}: tensor {name!r} of shape {shape} has {len(listed)} elements; the file is "
                "damaged"
            )
        if dtype in ("<f2", "bfloat16"):  # the bits, as whole numbers
            values = np.array(listed, np.uint32).astype("<u2")
            values = values.view("<f2") if dtype == "<f2" else values
        else:
            values = np.array(listed, stored)
    if dtype == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
    return values.reshape(shape)


def _external(tensor: Any, due: int, path: str | None, what: str) -> bytes:
    """The bytes of a tensor in a second file, which must lie beside the first."""
    stated = {entry.key: entry.value for entry in list(tensor.external_data)[:8]}
    location = stated.get("location", "")
    if path is None or not location or location != os.path.basename(location) or "\0" in location:
        raise CheckpointError(
            f"{what}: its weights are in {location[:80]!r}, which is no file beside it; save the "
            "model in one file: onnx.save(onnx.load(FILE), OUT)"
        )
    try:
        offset = int(stated.get("offset", "0"))
        with open(os.path.join(os.path.dirname(path), location), "rb") as second:
            if not 0 <= offset <= os.fstat(second.fileno()).st_size - due:
                raise CheckpointError(
                    f"{what}: tensor {tensor.name[:80]!r} ends beyond its file {location[:80]!r}"
                )
            second.seek(offset)
            return second.read(due)
    except MnvError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{what}: its weights are in {location[:80]!r}, which cannot be read "
            f"({getattr(error, 'strerror', None) or error}); put it beside the .onnx file"
        ) from None
