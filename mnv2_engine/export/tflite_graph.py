"""A TensorFlow Lite file being made, tensor by tensor and operator by operator.

The schema comes from the package `tflite`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import missing_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of a buffer in the file, bytes: the schema's force_align
_FIRST_BYTES = 1 << 20  # of the file being made, which grows
_OLD_CODES = 127  # operator codes up to it stand in another field too


class Scales(NamedTuple):
    """real = scale * (stored - zero_point), for all of a tensor or each index of an axis."""

    scale: NDArray[np.float32]
    zero_point: int
    axis: int = 0


class TfliteGraph:
    """A file with one subgraph. Tensors are numbered as they are added.

    Raises MissingExtraError without the package `tflite`.
    """

    def __init__(self) -> None:
        try:
            self._schema = import_module("tflite")
            self._builder = import_module("flatbuffers").Builder(_FIRST_BYTES)
        except ImportError:
            raise missing_extra("tflite", "tflite", "writing a .tflite file") from None
        self._tensors: list[int] = []
        self._buffers: list[int] = [self._table("Buffer")]  # the first is that of no data
        self._operators: list[int] = []
        self._codes: list[tuple[str, int]] = []
        self._metadata: list[int] = []

    def tensor(
        self,
        name: str,
        shape: tuple[int | str, ...],
        dtype: str,
        scales: Scales | None = None,
        values: NDArray[Any] | None = None,
    ) -> int:
        """Add a tensor, a constant if it has `values`, and return its number. An extent that is a
        name may be anything."""
        import numpy as np

        fields: dict[str, Any] = {}
        if scales is not None:
            zero_points = np.full(scales.scale.shape, scales.zero_point, np.int64)
            fields["Quantization"] = self._table(
                "QuantizationParameters",
                Scale=self._numbers(scales.scale, "<f4"),
                ZeroPoint=self._numbers(zero_points, "<i8"),
                QuantizedDimension=scales.axis,
            )
        if values is not None:
            fields["Buffer"] = self.buffer(values.tobytes())
        if any(isinstance(extent, str) for extent in shape):
            free = [-1 if isinstance(extent, str) else extent for extent in shape]
            fields["ShapeSignature"] = self._numbers(free, "<i4")
        extents = [1 if isinstance(extent, str) else extent for extent in shape]
        text = self._builder.CreateString(name)
        shapes = self._numbers(extents, "<i4")
        kind = getattr(self._schema.TensorType, dtype.upper())
        self._tensors.append(self._table("Tensor", Shape=shapes, Type=kind, Name=text, **fields))
        return len(self._tensors) - 1

    def operator(
        self,
        kind: str,
        version: int,
        inputs: list[int],
        outputs: list[int],
        options: str = "",
        **fields: Any,
    ) -> None:
        """Add an operator of that version; `options` is the schema's name of the table with
        `fields`. Runtimes refuse a version that they do not know."""
        stated: dict[str, Any] = {}
        if options:
            stated["BuiltinOptions"] = self._table(options, **fields)
            stated["BuiltinOptionsType"] = getattr(self._schema.BuiltinOptions, options)
        if (kind, version) not in self._codes:
            self._codes.append((kind, version))
        self._operators.append(
            self._table(
                "Operator",
                OpcodeIndex=self._codes.index((kind, version)),
                Inputs=self._numbers(inputs, "<i4"),
                Outputs=self._numbers(outputs, "<i4"),
                **stated,
            )
        )

    def buffer(self, content: bytes) -> int:
        """Add bytes, and return the number of their buffer."""
        builder = self._builder
        builder.StartVector(1, len(content), _ALIGNMENT)
        start = builder.Head() - len(content)
        builder.head = start
        builder.Bytes[start : start + len(content)] = content
        data = builder.EndVector()
        self._buffers.append(self._table("Buffer", Data=data))
        return len(self._buffers) - 1

    def metadata(self, name: str, content: bytes) -> None:
        """Add bytes under a name of the model."""
        buffer = self.buffer(content)
        text = self._builder.CreateString(name)
        self._metadata.append(self._table("Metadata", Name=text, Buffer=buffer))

    def file(self, name: str, described: str, inputs: list[int], outputs: list[int]) -> bytes:
        """The file, whose subgraph has a `name` and whose model is `described`."""
        builder = self._builder
        codes = [self._code(kind, version) for kind, version in self._codes]
        text = builder.CreateString(name)
        graph = self._table(
            "SubGraph",
            Tensors=self._offsets(self._tensors),
            Inputs=self._numbers(inputs, "<i4"),
            Outputs=self._numbers(outputs, "<i4"),
            Operators=self._offsets(self._operators),
            Name=text,
        )
        text = builder.CreateString(described)
        root = self._table(
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=self._offsets(codes),
            Subgraphs=self._offsets([graph]),
            Description=text,
            Buffers=self._offsets(self._buffers),
            Metadata=self._offsets(self._metadata),
        )
        builder.Finish(root, _IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, kind: str, version: int) -> int:
        number = getattr(self._schema.BuiltinOperator, kind)
        return self._table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, _OLD_CODES),
            BuiltinCode=number,
            Version=version,
        )

    def _table(self, name: str, **fields: Any) -> int:
        getattr(self._schema, f"{name}Start")(self._builder)
        for field, value in fields.items():
            getattr(self._schema, f"{name}Add{field}")(self._builder, value)
        return int(getattr(self._schema, f"{name}End")(self._builder))

    def _numbers(self, values: Any, dtype: str) -> int:
        import numpy as np

        return int(self._builder.CreateNumpyVector(np.asarray(values, dtype).reshape(-1)))

    def _offsets(self, offsets: list[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())
