"""The operations of an ONNX file as nodes of the neutral graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...errors import CheckpointError, UnsupportedError
from ..graph import (
    NCHW,
    NHWC,
    Constant,
    Graph,
    Integers,
    Node,
    Quantised,
    constant_of,
    image_of_shape,
)
from .onnx_file import File, Operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIMPLE = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Identity": "identity",
    "Dropout": "identity",
    "Cast": "identity",
    "Squeeze": "flatten",
    "Flatten": "flatten",
}
_ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}
_QUANTISES = ("QuantizeLinear", "DequantizeLinear")
_RANGES = {"u": (0, 255), "i": (-128, 127)}
_UINT8, _INT8, _FLOATS = 2, 3, (1, 10, 11)


def to_graph(file: File) -> Graph:
    """The neutral graph. Raises UnsupportedError where the input is no image."""
    return _Nodes(file).graph()


class _Nodes:
    def __init__(self, file: File) -> None:
        self.file = file
        self.what = file.what
        self.constants = dict(file.constants)
        self.quantised: dict[str, Quantised] = {}
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        file = self.file
        if len(file.inputs) != 1:
            raise UnsupportedError(
                f"{self.what}: {len(file.inputs)} inputs: expected one, the image"
            )
        ((name, shape, kind),) = file.inputs
        image = image_of_shape(name, shape, NCHW)
        if image is None:
            raise UnsupportedError(
                f"{self.what}: input of shape {shape}: expected (1, 3, height, width) or "
                "(1, height, width, 3), or 1 in the place of 3 for grey"
            )
        if kind not in (_UINT8, _INT8, *_FLOATS):
            raise UnsupportedError(
                f"{self.what}: input of ONNX's element type {kind}: expected floating point, uint8 "
                "or int8"
            )
        for operation in file.operations:
            self._operation(operation)
        quantised = self.quantised.get(name)
        if kind == _UINT8 and quantised is None:
            quantised = Quantised(1.0, 0, 0, 255)  # numbers as they are
        if kind in (_UINT8, _INT8):
            image = image._replace(quantised=quantised)
        return Graph(
            self.what,
            "ONNX",
            image,
            tuple(self.nodes),
            file.outputs,
            self.constants,
            self.quantised,
        )

    def _refuse(self, operation: Operation, reason: str) -> NoReturn:
        raise UnsupportedError(f"{self.what}: {operation.where}: {reason}")

    def _constant(self, operation: Operation, index: int) -> Constant | None:
        """An input that is a constant; None where it is left out."""
        name = operation.inputs[index] if index < len(operation.inputs) else ""
        if not name:
            return None
        found = self.constants.get(name)
        if found is None:
            self._refuse(operation, f"its input {index} is not a constant in the file")
        return found

    def _needed(self, operation: Operation, index: int) -> Constant:
        found = self._constant(operation, index)
        if found is None:
            raise CheckpointError(f"{self.what}: {operation.where}: it lacks its input {index}")
        return found

    def _keep(self, operation: Operation, part: str, constant: Constant) -> str:
        name = f"\0{operation.number}:{part}"  # which no tensor of the file is named
        self.constants[name] = constant
        return name

    def _numbers(self, constant: Constant | None) -> list[int] | None:
        if constant is None:
            return None
        values = constant.load().reshape(-1)
        if values.size > 64 or values.dtype.kind not in "iu":
            return None
        return [int(each) for each in values]

    def _add(self, op: str, operation: Operation, inputs: list[str], **attributes: Any) -> None:
        self.nodes.append(
            Node(op, operation.where, tuple(inputs), operation.outputs[:1], attributes)
        )

    # Operations

    def _operation(self, operation: Operation) -> None:
        kind, given = operation.kind, operation.attributes
        if kind == "Constant":
            self._take_constant(operation)
        elif kind in _QUANTISES:
            self._quantisation(operation)
        elif self._folds(operation):
            pass
        elif kind == "Conv":
            self._convolution(operation)
        elif kind == "Gemm":
            self._gemm(operation)
        elif kind == "MatMul":
            weight = self._needed(operation, 1)
            self._dense(operation, weight.reordered((1, 0)) if len(weight.shape) == 2 else weight)
        elif kind == "BatchNormalization":
            names = [*operation.inputs[:5]]
            if len(names) != 5:
                raise CheckpointError(f"{self.what}: {operation.where}: expected five inputs")
            self._add("batch_norm", operation, names, epsilon=float(given.get("epsilon", 1e-5)))
        elif kind == "Clip":
            self._clip(operation)
        elif kind in _ARITHMETIC:
            self._add(_ARITHMETIC[kind], operation, list(operation.inputs))
        elif kind == "GlobalAveragePool":
            self._add("mean", operation, list(operation.inputs[:1]), axes=(2, 3), keep=True)
        elif kind == "ReduceMean":
            axes: Any = given.get("axes")
            if axes is None:
                axes = self._numbers(self._constant(operation, 1)) or ()
            keep = bool(given.get("keepdims", 1))
            self._add("mean", operation, list(operation.inputs[:1]), axes=tuple(axes), keep=keep)
        elif kind == "AveragePool":
            self._average(operation)
        elif kind == "Reshape":
            shape = self._numbers(self.constants.get(operation.inputs[1])) if (
                len(operation.inputs) > 1
            ) else None  # fmt: skip
            stated = tuple(shape[1:]) if shape and len(shape) > 1 else None
            if stated is not None and 0 in stated:
                stated = None
            self._add("reshape", operation, list(operation.inputs[:1]), shape=stated)
        elif kind == "Transpose":
            perm = tuple(given.get("perm", ()))
            self._add("transpose", operation, list(operation.inputs[:1]), axes=perm)
        elif kind == "Softmax":
            self._add("softmax", operation, list(operation.inputs[:1]))
        elif kind == "Pad":
            self._pad(operation)
        elif kind in _SIMPLE:
            self._add(_SIMPLE[kind], operation, list(operation.inputs[:1]))
        elif kind.rpartition(".")[2] in _INTEGER:
            _INTEGER[kind.rpartition(".")[2]](self, operation)
        else:
            self._add(kind, operation, list(operation.inputs))

    def _take_constant(self, operation: Operation) -> None:
        given = operation.attributes
        value = given.get("value")
        if isinstance(value, Constant):
            self.constants[operation.outputs[0]] = value
            return
        for key in ("value_float", "value_int", "value_floats", "value_ints"):
            if key in given:
                self.constants[operation.outputs[0]] = constant_of(np.asarray(given[key]))
                return
        self._refuse(operation, "a constant that is no tensor of numbers")

    def _folds(self, operation: Operation) -> bool:
        """Whether an operation on constants alone was folded: those that change no value."""
        kind = operation.kind
        if kind not in ("Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Transpose"):
            return False
        source = self.constants.get(operation.inputs[0]) if operation.inputs else None
        if source is None:
            return False
        if kind == "Transpose":
            perm = tuple(operation.attributes.get("perm", range(len(source.shape))[::-1]))
            if sorted(perm) != list(range(len(source.shape))):
                self._refuse(operation, f"the axes {perm} of a tensor of {len(source.shape)}")
            source = source.reordered(perm)
        elif kind == "Reshape":
            shape = self._numbers(self.constants.get((*operation.inputs, "", "")[1]))
            if shape is None:
                return False
            made = source.reshaped(shape)
            if made is None:
                self._refuse(operation, f"it makes {shape} of numbers of the shape {source.shape}")
            source = made
        elif kind == "Unsqueeze":
            axes = operation.attributes.get("axes") or self._numbers(
                self.constants.get((*operation.inputs, "", "")[1])
            )
            rank = len(source.shape) + len(axes or ())
            due = list(source.shape)
            places = sorted(each % rank if -rank <= each < rank else -1 for each in axes or ())
            if rank > 8 or -1 in places or len({*places}) < len(places):
                self._refuse(operation, f"the axes {axes}")
            for place in places:
                due.insert(place, 1)
            source = source.reshaped(due) or source
        elif kind == "Squeeze":
            source = source.reshaped([each for each in source.shape if each != 1]) or source
        self.constants[operation.outputs[0]] = source
        return True

    # Layers

    def _window(self, operation: Operation, rank: int = 2) -> dict[str, Any]:
        given = operation.attributes
        strides = tuple(given.get("strides", (1,) * rank))
        dilations = tuple(given.get("dilations", (1,) * rank))
        automatic = given.get("auto_pad", "NOTSET")
        pads: Any = tuple(given.get("pads", (0,) * (2 * rank)))
        if automatic == "SAME_UPPER":
            pads = "same"
        elif automatic == "VALID":
            pads = "valid"
        elif automatic != "NOTSET":
            self._refuse(operation, f"auto_pad {automatic!r:.40}: expected SAME_UPPER or VALID")
        if len(strides) != rank or len(dilations) != rank or len(pads) not in (4, 5):
            self._refuse(operation, "a window that has not two axes")
        return {"strides": strides, "dilations": dilations, "pads": pads, "layout": NCHW}

    def _convolution(self, operation: Operation) -> None:
        names = list(operation.inputs[:3])
        attributes = self._window(operation)
        self._needed(operation, 1)
        attributes["groups"] = int(operation.attributes.get("group", 1))
        self._add("conv", operation, names, **attributes)

    def _gemm(self, operation: Operation) -> None:
        given = operation.attributes
        weight = self._needed(operation, 1)
        if given.get("transA", 0) or given.get("alpha", 1.0) != 1.0 or len(weight.shape) != 2:
            self._refuse(operation, "a matrix product that is no dense layer")
        bias = self._constant(operation, 2)
        if bias is not None and given.get("beta", 1.0) != 1.0:
            self._refuse(operation, "a bias that is scaled")
        turned = weight if given.get("transB", 0) else weight.reordered((1, 0))
        self._dense(operation, turned, operation.inputs[2] if bias is not None else "")

    def _dense(self, operation: Operation, weight: Constant, bias: str = "") -> None:
        names = [operation.inputs[0], self._keep(operation, "weight", weight)]
        if bias:
            constant = self.constants[bias]
            if len(constant.shape) == 2 and constant.shape[0] == 1:  # (1, classes)
                constant = constant.reordered((0, 1), constant.shape[1:])
            names.append(self._keep(operation, "bias", constant))
        self._add("dense", operation, names)

    def _clip(self, operation: Operation) -> None:
        ends: list[float | None] = []
        for index, key in ((1, "min"), (2, "max")):
            if key in operation.attributes:
                ends.append(float(operation.attributes[key]))
                continue
            constant = self._constant(operation, index)
            if constant is None:
                ends.append(None)
                continue
            values = constant.load().reshape(-1)
            if values.size != 1:
                self._refuse(operation, "it keeps numbers between lists of numbers")
            ends.append(float(values[0]))
        low, high = ends
        # Exporters write the largest float32 for no end.
        high = None if high is not None and high > 3e38 else high
        self._add("clip", operation, list(operation.inputs[:1]), low=low, high=high)

    def _average(self, operation: Operation) -> None:
        given = operation.attributes
        window = tuple(given.get("kernel_shape", ()))
        if len(window) != 2 or given.get("ceil_mode", 0):
            self._refuse(operation, "a pool that has not two axes, or rounds up")
        attributes = self._window(operation)
        attributes.pop("dilations")
        self._add("average", operation, list(operation.inputs[:1]), window=window, **attributes)

    def _pad(self, operation: Operation) -> None:
        given = operation.attributes
        pads = given.get("pads") or self._numbers(self._constant(operation, 1))
        if given.get("mode", "constant") != "constant" or pads is None or len(pads) != 8:
            self._refuse(operation, "it pads otherwise than by zeros around rows and columns")
        filler = given.get("value", 0.0)
        third = self._constant(operation, 2)
        if filler or (third is not None and third.load().any()):
            self._refuse(operation, "it pads by other numbers than zero")
        nchw = (pads[2], pads[3], pads[6], pads[7])
        nhwc = (pads[1], pads[2], pads[5], pads[6])
        spatial = nchw if not any((pads[1], pads[5])) else nhwc
        layout = NCHW if spatial is nchw else NHWC
        if pads[0] or pads[4] or sum(spatial) != sum(pads) or min(pads) < 0:
            self._refuse(operation, f"it pads by {pads}: expected rows and columns alone")
        attributes = {"pads": spatial} | ({"layout": layout} if any(spatial) else {})
        self._add("pad", operation, list(operation.inputs[:1]), **attributes)

    # Integers

    def _scales(
        self, operation: Operation, scale: int, zero: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], str]:
        """Scales, zero points, and numpy's kind of the 8-bit type ("u" or "i")."""
        scales = np.asarray(self._needed(operation, scale).load(), np.float64).reshape(-1)
        points = self._constant(operation, zero)
        if points is None:
            return scales, np.zeros(1, np.int64), "u"
        values = points.load()
        if values.dtype.kind not in "iu" or values.dtype.itemsize not in (1, 4):
            self._refuse(operation, f"a zero point of type {values.dtype}: expected 8 bits")
        if not (np.isfinite(scales).all() and (scales >= 0).all()):
            raise CheckpointError(f"{self.what}: {operation.where}: a scale below zero")
        return scales, values.astype(np.int64).reshape(-1), values.dtype.kind

    def _quantisation(self, operation: Operation) -> None:
        scales, points, kind = self._scales(operation, 1, 2)
        (source,) = operation.inputs[:1] or ("",)
        out = operation.outputs[0]
        constant = self.constants.get(source)
        axis = int(operation.attributes.get("axis", 1))
        if constant is not None:
            if operation.kind == "QuantizeLinear":
                # Fake quantisation of a constant: its DequantizeLinear gives the rounded numbers.
                self.constants[out] = self._quantised_constant(
                    operation, constant, scales, points, kind, axis
                )
            else:
                self.constants[out] = self._dequantised(operation, constant, scales, points, axis)
            return
        if scales.size == points.size == 1:
            low, high = _RANGES[kind]
            said = Quantised(float(scales[0]), int(points[0]), low, high)
            self.quantised[out] = said
            if operation.kind == "DequantizeLinear":
                self.quantised.setdefault(source, said)
        op = "quantize" if operation.kind == "QuantizeLinear" else "dequantize"
        self._add(op, operation, [source])

    def _spread(
        self, operation: Operation, constant: Constant, values: NDArray[Any], axis: int
    ) -> NDArray[Any]:
        """Scales or zero points in a shape that meets their axis of a constant."""
        if values.size == 1:
            return values.reshape(())
        rank = len(constant.shape)
        axis = axis % rank if rank else 0
        if not rank or constant.shape[axis] != values.size:
            raise CheckpointError(
                f"{self.what}: {operation.where}: {values.size} scales for axis {axis} of the "
                f"shape {constant.shape}"
            )
        return values.reshape([-1 if i == axis else 1 for i in range(rank)])

    def _dequantised(
        self,
        operation: Operation,
        constant: Constant,
        scales: NDArray[np.float64],
        points: NDArray[np.int64],
        axis: int,
    ) -> Constant:
        scale = self._spread(operation, constant, scales, axis)
        point = self._spread(operation, constant, points, axis)

        def load() -> NDArray[Any]:
            return np.asarray(scale * (constant.load().astype(np.float64) - point))

        stored = constant.load()
        integers = None
        if stored.dtype.itemsize in (1, 4) and stored.dtype.kind in _RANGES:
            bits = 8 * stored.dtype.itemsize
            half = 1 << bits - 1
            low, high = (0, 2 * half - 1) if stored.dtype.kind == "u" else (-half, half - 1)
            kind = f"INT{bits}" if stored.dtype.kind == "i" else f"UINT{bits}"
            first = scales.size == 1 or (axis % max(1, len(constant.shape))) == 0
            integers = Integers(constant.load, low, high, scales, points, kind, first)
        return Constant(constant.shape, load, integers)

    def _quantised_constant(
        self,
        operation: Operation,
        constant: Constant,
        scales: NDArray[np.float64],
        points: NDArray[np.int64],
        kind: str,
        axis: int,
    ) -> Constant:
        scale = self._spread(operation, constant, scales, axis)
        point = self._spread(operation, constant, points, axis)
        low, high = _RANGES[kind]

        def load() -> NDArray[Any]:
            with np.errstate(divide="ignore", invalid="ignore"):
                steps = np.rint(constant.load() / scale) + point
            steps = np.nan_to_num(np.clip(steps, low, high))
            return np.asarray(steps, np.uint8 if kind == "u" else np.int8)

        return Constant(constant.shape, load)

    def _say(self, operation: Operation, scale: int, zero: int) -> None:
        """Note how an integer operation's output is quantised."""
        scales, points, kind = self._scales(operation, scale, zero)
        if scales.size == points.size == 1:
            low, high = _RANGES[kind]
            self.quantised[operation.outputs[0]] = Quantised(
                float(scales[0]), int(points[0]), low, high
            )

    def _integer_weight(
        self, operation: Operation, at: int, axis: int
    ) -> tuple[Constant, NDArray[np.float64]]:
        weight = self._needed(operation, at)
        scales, points, _ = self._scales(operation, at + 1, at + 2)
        return self._dequantised(operation, weight, scales, points, axis), scales

    def _integer_bias(self, operation: Operation, index: int, unit: NDArray[np.float64]) -> str:
        bias = self._constant(operation, index)
        if bias is None:
            return ""
        zero = np.zeros(1, np.int64)
        integers = Integers(bias.load, -(1 << 31), (1 << 31) - 1, unit, zero, "INT32", True)
        return self._keep(
            operation,
            "bias",
            Constant(bias.shape, lambda: bias.load().astype(np.float64) * unit, integers),
        )

    def _linear_convolution(self, operation: Operation) -> None:
        """QLinearConv: x, its scale and zero point, w, its own, y's, and an int32 bias."""
        weight, scales = self._integer_weight(operation, 3, 0)
        entry, _, _ = self._scales(operation, 1, 2)
        self._say(operation, 6, 7)
        names = [operation.inputs[0], self._keep(operation, "weight", weight)]
        bias = self._integer_bias(operation, 8, entry * scales)
        names += [bias] if bias else []
        attributes = self._window(operation)
        attributes["groups"] = int(operation.attributes.get("group", 1))
        self._add("conv", operation, names, **attributes)

    def _linear_product(self, operation: Operation) -> None:
        """QLinearMatMul: a, its scale and zero point, b, its own, y's."""
        weight, _ = self._integer_weight(operation, 3, 1)
        self._say(operation, 6, 7)
        turned = weight.reordered((1, 0)) if len(weight.shape) == 2 else weight
        self._dense(operation, turned)

    def _linear_gemm(self, operation: Operation) -> None:
        """QGemm: as QLinearMatMul, with an int32 bias before the output's scale."""
        transposed = operation.attributes.get("transB", 0)
        weight, scales = self._integer_weight(operation, 3, 0 if transposed else 1)
        entry, _, _ = self._scales(operation, 1, 2)
        if operation.attributes.get("alpha", 1.0) != 1.0 or len(weight.shape) != 2:
            self._refuse(operation, "a matrix product that is no dense layer")
        turned = weight if transposed else weight.reordered((1, 0))
        self._dense(operation, turned, self._integer_bias(operation, 6, entry * scales))

    def _linear_sum(self, operation: Operation) -> None:
        self._say(operation, 6, 7)
        self._add("add", operation, [operation.inputs[0], operation.inputs[3]])

    def _linear_pool(self, operation: Operation) -> None:
        self._say(operation, 3, 4)
        axes = (1, 2) if operation.attributes.get("channels_last", 0) else (2, 3)
        self._add("mean", operation, list(operation.inputs[:1]), axes=axes, keep=True)


_INTEGER = {
    "QLinearConv": _Nodes._linear_convolution,
    "QLinearMatMul": _Nodes._linear_product,
    "QGemm": _Nodes._linear_gemm,
    "QLinearAdd": _Nodes._linear_sum,
    "QLinearGlobalAveragePool": _Nodes._linear_pool,
}
