"""A .tflite file as plain data: tensors, operators and their options, within bounds.

The schema comes from the package `tflite`, which follows every offset of the flatbuffer without
looking where it leads. Python keeps such reads inside the file; what is left to do here is to
bound every count before it is iterated over, to compare every buffer with its tensor's shape
before it is used, and to turn whatever the package raises into a CheckpointError.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ...errors import CheckpointError, MnvError, UnsupportedError, missing_extra

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

MAGIC = b"TFL3"  # at byte 4

# MobileNetV2 has about 70 operators and 180 tensors, 500 with DEQUANTIZE and batch-norm apart.
_MAX_OPERATORS = 1 << 12
_MAX_TENSORS = 1 << 14
_MAX_OPERANDS = 16
_MAX_RANK = 8
_MAX_OPTIONS = 1 << 12  # bytes, of a custom operator
DETECTION = "TFLite_Detection_PostProcess"  # the custom operator that chooses boxes
_LEFT_OUT = -1  # instead of an operand
_METADATA = b"TFLITE_METADATA"

# numpy's name of the element types that weights, biases and shapes have.
_DTYPES = {
    "FLOAT32": "<f4",
    "FLOAT16": "<f2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "|u1",
    "INT8": "|i1",
}

# The least and the greatest number that an 8-bit type holds.
EIGHT_BITS = {"UINT8": (0, 255), "INT8": (-128, 127)}

# The options of the operators that are read, by the schema's names.
_OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": (
        "Conv2DOptions",
        (
            "Padding",
            "StrideH",
            "StrideW",
            "DilationHFactor",
            "DilationWFactor",
            "FusedActivationFunction",
        ),
    ),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions",
        (
            "Padding",
            "StrideH",
            "StrideW",
            "DilationHFactor",
            "DilationWFactor",
            "DepthMultiplier",
            "FusedActivationFunction",
        ),
    ),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat")),
    "AVERAGE_POOL_2D": (
        "Pool2DOptions",
        (
            "Padding",
            "StrideH",
            "StrideW",
            "FilterHeight",
            "FilterWidth",
            "FusedActivationFunction",
        ),
    ),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
}

_T = TypeVar("_T")


class Quantisation(NamedTuple):
    """real = scale * (stored - zero point), for the whole tensor or for each index of an axis."""

    scales: NDArray[np.float64]
    zero_points: NDArray[np.int64]
    axis: int


class Tensor(NamedTuple):
    """`data` is None for what is computed; otherwise its bytes, not yet compared with `shape`."""

    shape: tuple[int, ...]
    type: str  # "FLOAT32"
    data: NDArray[np.uint8] | None
    quantisation: Quantisation | None
    fixed: bool  # False where an extent is only known when the graph runs


class Operator(NamedTuple):
    """One operator of a TFLite file."""

    number: int  # in the order of execution
    kind: str  # "CONV_2D"
    inputs: tuple[int, ...]  # tensors; -1 where one is left out
    outputs: tuple[int, ...]
    options: dict[str, Any]  # empty where the file has none


class Graph(NamedTuple):
    """The main subgraph of a file."""

    what: str  # the file, in messages
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    metadata: bytes | None  # the flatbuffer that TFLite Task and MediaPipe add
    name_of: Callable[[int], str]  # a tensor's name, for messages

    def values(self, tensor: int, scales: NDArray[np.float64] | None = None) -> NDArray[Any]:
        """The values of a constant tensor: float64, dequantised where its type is an integer.

        `scales` serve an integer tensor that states none. Raises CheckpointError if the bytes are
        not exactly those that the shape needs or the quantisation does not fit.
        """
        import numpy as np

        stored = self.stored(tensor)
        if stored.dtype.kind == "f":
            return stored.astype(np.float64)
        quantisation = self.tensors[tensor].quantisation
        if quantisation is None and scales is not None:
            quantisation = Quantisation(scales, np.zeros(1, np.int64), 0)
        if quantisation is None:
            raise CheckpointError(
                f"{self.what}: tensor {self.name_of(tensor)} holds integers without a scale"
            )
        terms: list[NDArray[Any]] = []
        for term in (quantisation.scales, quantisation.zero_points):
            if term.size == 1:
                terms.append(term.reshape(()))
                continue
            axis = quantisation.axis
            if not 0 <= axis < stored.ndim or term.size != stored.shape[axis]:
                raise CheckpointError(
                    f"{self.what}: tensor {self.name_of(tensor)} of shape {stored.shape} has "
                    f"{term.size} scales or zero points for axis {axis}"
                )
            terms.append(term.reshape([-1 if i == axis else 1 for i in range(stored.ndim)]))
        return np.asarray(terms[0] * (stored.astype(np.float64) - terms[1]))

    def stored(self, tensor: int) -> NDArray[Any]:
        """The values of a constant tensor as they are stored."""
        import numpy as np

        shape, kind, data, _, _ = self.tensors[tensor]
        dtype = _DTYPES.get(kind)
        if dtype is None:
            raise UnsupportedError(
                f"{self.what}: tensor {self.name_of(tensor)} has elements of type {kind}: expected "
                f"{', '.join(_DTYPES)}"
            )
        due = int(dtype[-1])
        for extent in shape:
            due *= extent
        if data is None or data.size != due:
            raise CheckpointError(
                f"{self.what}: tensor {self.name_of(tensor)} of shape {shape} has "
                f"{0 if data is None else data.size} bytes: expected {due}; the file is damaged"
            )
        return np.frombuffer(data, dtype).reshape(shape)


def read_graph(content: bytes, what: str) -> Graph:
    """The graph of a .tflite file. `what` names the file in messages.

    Raises MissingExtraError without the package `tflite`, CheckpointError for a damaged file.
    """
    try:
        schema = import_module("tflite")
    except ImportError:
        raise missing_extra("tflite", "tflite", "reading a .tflite file") from None
    try:
        return _read_graph(content, what, schema)
    except MnvError:
        raise
    except Exception as error:  # struct.error, TypeError, ValueError and others: whatever it meets
        raise CheckpointError(
            f"{what}: the flatbuffer is damaged ({type(error).__name__}: {str(error)[:200]}); "
            "copy or download the file again"
        ) from None


def _read_graph(content: bytes, what: str, schema: ModuleType) -> Graph:
    model = schema.Model.GetRootAs(content, 0)
    if model.SubgraphsLength() < 1:
        raise CheckpointError(f"{what}: it has no graph; the file is damaged")
    graph = model.Subgraphs(0)
    kinds = _kinds(model, what, schema)
    tensors = _all(graph.TensorsLength(), graph.Tensors, _MAX_TENSORS, "tensors", what)
    operators = _all(graph.OperatorsLength(), graph.Operators, _MAX_OPERATORS, "operators", what)

    def name_of(tensor: int) -> str:
        try:
            name = bytes(tensors[tensor].Name() or b"")[:80].decode("utf-8", "replace")
        except Exception:  # as in read_graph; a name is only wanted for a message
            name = ""
        return f"{tensor} {name!r}"

    types = {value: name for name, value in vars(schema.TensorType).items() if name.isupper()}
    read = Graph(
        what,
        tuple(_tensor(model, tensor, types, what) for tensor in tensors),
        tuple(_operator(i, each, kinds, what, schema) for i, each in enumerate(operators)),
        _indices(graph.InputsLength(), graph.InputsAsNumpy, what),
        _indices(graph.OutputsLength(), graph.OutputsAsNumpy, what),
        _metadata(model, what),
        name_of,
    )
    used = {*read.inputs, *read.outputs}.union(*(each.outputs for each in read.operators))
    for operator in read.operators:
        used.update(each for each in operator.inputs if each != _LEFT_OUT)
    if used and not 0 <= min(used) <= max(used) < len(tensors):
        raise CheckpointError(f"{what}: it uses a tensor beyond the {len(tensors)} that it has")
    return read


def _all(count: int, get: Callable[[int], _T], most: int, things: str, what: str) -> list[_T]:
    if count > most:
        raise CheckpointError(f"{what}: {count} {things}: expected at most {most}")
    return [get(i) for i in range(count)]


def _indices(count: int, get: Callable[[], Any], what: str) -> tuple[int, ...]:
    if count > _MAX_OPERANDS:
        raise CheckpointError(f"{what}: {count} operands: expected at most {_MAX_OPERANDS}")
    return tuple(int(index) for index in get()) if count else ()


def _kinds(model: Any, what: str, schema: ModuleType) -> list[str]:
    """The name of each of the file's operator codes."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    count = model.OperatorCodesLength()
    codes = _all(count, model.OperatorCodes, _MAX_OPERATORS, "operator codes", what)
    # Codes up to 127 stood in another field before there were more of them.
    numbers = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    kinds = [names.get(number, f"operator code {number}") for number in numbers]
    for i, code in enumerate(codes):
        if kinds[i] == "CUSTOM" and code.CustomCode():
            kinds[i] = bytes(code.CustomCode())[:80].decode("utf-8", "replace")
    return kinds


def _tensor(model: Any, tensor: Any, types: dict[int, str], what: str) -> Tensor:
    rank = tensor.ShapeLength()
    if rank > _MAX_RANK:
        raise CheckpointError(f"{what}: a tensor of {rank} axes: expected at most {_MAX_RANK}")
    shape = tuple(int(extent) for extent in tensor.ShapeAsNumpy()) if rank else ()
    if any(extent < 0 for extent in shape):
        raise CheckpointError(f"{what}: a tensor has the impossible shape {shape}")
    signature = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() == rank > 0 else ()
    kind = types.get(tensor.Type(), f"type {tensor.Type()}")
    if tensor.Sparsity() is not None:
        kind = f"sparse {kind}"
    buffer = tensor.Buffer()
    if buffer >= model.BuffersLength():
        raise CheckpointError(f"{what}: a tensor uses buffer {buffer}, which the file has not")
    data = model.Buffers(buffer).DataAsNumpy() if model.Buffers(buffer).DataLength() else None
    fixed = all(int(extent) >= 0 for extent in signature[1:])
    return Tensor(shape, kind, data, _quantisation(tensor.Quantization(), what), fixed)


def _quantisation(stated: Any, what: str) -> Quantisation | None:
    import numpy as np

    if stated is None or not stated.ScaleLength():
        return None
    scales = stated.ScaleAsNumpy().astype(np.float64)
    zero_points = np.zeros(1, np.int64)
    if stated.ZeroPointLength():
        zero_points = stated.ZeroPointAsNumpy().astype(np.int64)
    if not (np.isfinite(scales).all() and (scales >= 0).all()):
        raise CheckpointError(f"{what}: a tensor's scale is negative or not finite")
    return Quantisation(scales, zero_points, int(stated.QuantizedDimension()))


def _operator(index: int, stated: Any, kinds: list[str], what: str, schema: ModuleType) -> Operator:
    code = stated.OpcodeIndex()
    if code >= len(kinds):
        raise CheckpointError(f"{what}: operator {index} has code {code} of {len(kinds)}")
    kind = kinds[code]
    options: dict[str, Any] = {}
    table = stated.BuiltinOptions()
    if kind in _OPTIONS and table is not None:
        name, fields = _OPTIONS[kind]
        if stated.BuiltinOptionsType() != getattr(schema.BuiltinOptions, name):
            raise CheckpointError(f"{what}: operator {index}, {kind}, has another one's options")
        reader = getattr(schema, name)()
        reader.Init(table.Bytes, table.Pos)
        options = {field: getattr(reader, field)() for field in fields}
    elif kind == DETECTION:
        options = _flexible_options(stated, index, what)
    return Operator(
        index,
        kind,
        _indices(stated.InputsLength(), stated.InputsAsNumpy, what),
        _indices(stated.OutputsLength(), stated.OutputsAsNumpy, what),
        options,
    )


def _flexible_options(stated: Any, index: int, what: str) -> dict[str, Any]:
    """The numbers that a custom operator's options hold by name, a flexbuffer."""
    count = stated.CustomOptionsLength()
    if not 0 < count <= _MAX_OPTIONS:
        raise CheckpointError(
            f"{what}: operator {index}, {DETECTION}, has {count} bytes of options"
        )
    content = bytes(stated.CustomOptionsAsNumpy())
    found = import_module("flatbuffers.flexbuffers").Loads(content)
    if not isinstance(found, dict):
        raise CheckpointError(f"{what}: operator {index}, {DETECTION}: its options are no map")
    return {
        str(key): value for key, value in found.items() if isinstance(value, (bool, int, float))
    }


def _metadata(model: Any, what: str) -> bytes | None:
    count = model.MetadataLength()
    for entry in _all(count, model.Metadata, _MAX_OPERANDS, "metadata entries", what):
        if entry.Name() == _METADATA and entry.Buffer() < model.BuffersLength():
            buffer = model.Buffers(entry.Buffer())
            return bytes(buffer.DataAsNumpy()) if buffer.DataLength() else None
    return None
