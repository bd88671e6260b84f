"""The operators of a TFLite file as nodes of the neutral graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...errors import CheckpointError, UnsupportedError
from ..graph import COLOUR_CHANNELS, NHWC, Constant, Graph, Image, Integers, Node, Quantised
from .tflite_schema import EIGHT_BITS, Operator
from .tflite_schema import Graph as File

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Values of the schema's enumerations Padding and ActivationFunctionType.
_PADDINGS = {0: "same", 1: "valid"}
_ACTIVATIONS = {0: "linear", 1: "relu", 2: "ReLU -1..1", 3: "relu6", 4: "tanh", 5: "sign bit"}

_INTEGERS = EIGHT_BITS | {"INT32": (-(1 << 31), (1 << 31) - 1)}  # of weights and biases
_SIMPLE = {
    "RELU": "relu",
    "LOGISTIC": "sigmoid",
    "QUANTIZE": "quantize",
    "DEQUANTIZE": "dequantize",
    "SQUEEZE": "flatten",
    "CAST": "identity",
}
_ARITHMETIC = {"ADD": "add", "SUB": "sub", "MUL": "mul", "DIV": "div"}


def name(tensor: int) -> str:
    """The neutral graph's name of a tensor; "" of one that is left out."""
    return f"t{tensor}" if tensor >= 0 else ""


def number(tensor: str) -> int:
    """The inverse."""
    return int(tensor[1:])


def to_graph(file: File) -> Graph:
    """The neutral graph. Raises UnsupportedError where the input is no image of a fixed size."""
    return _Nodes(file).graph()


class _Nodes:
    def __init__(self, file: File) -> None:
        self.file = file
        self.what = file.what
        self.constants: dict[str, Constant] = {}
        for i, tensor in enumerate(file.tensors):
            if tensor.data is not None:
                self.constants[name(i)] = self._constant(i)

    def graph(self) -> Graph:
        file = self.file
        image = self._image()
        nodes = []
        for operator in file.operators:
            if not self._dequantises_constant(operator):
                nodes.append(self._node(operator))
        quantised = {}
        for i in range(len(file.tensors)):
            found = self._quantised(i)
            if found is not None:
                quantised[name(i)] = found
        return Graph(
            self.what,
            "TFLite",
            image,
            tuple(nodes),
            tuple(map(name, file.outputs)),
            self.constants,
            quantised,
            {name(i): file.name_of(i) for i in range(len(file.tensors))},
        )

    # Tensors

    def _image(self) -> Image:
        if len(self.file.inputs) != 1:
            raise UnsupportedError(
                f"{self.what}: {len(self.file.inputs)} inputs: expected one, the image"
            )
        (entry,) = self.file.inputs
        tensor = self.file.tensors[entry]
        if len(tensor.shape) != 4 or tensor.shape[3] not in COLOUR_CHANNELS:
            raise UnsupportedError(
                f"{self.what}: input of shape {tensor.shape}: expected (1, height, width, 3), or "
                "1 in the place of 3 for grey"
            )
        if tensor.type not in ("FLOAT32", "UINT8", "INT8"):
            raise UnsupportedError(
                f"{self.what}: input of type {tensor.type}: expected FLOAT32, UINT8 or INT8"
            )
        _, height, width, channels = tensor.shape
        size = (height, width) if tensor.fixed else None
        return Image(name(entry), size, channels, NHWC, self._quantised(entry))

    def _quantised(self, tensor: int) -> Quantised | None:
        """How a computed tensor of 8 bits is quantised, where it is as a whole."""
        stated = self.file.tensors[tensor]
        if stated.type not in EIGHT_BITS or stated.data is not None:
            return None
        said = stated.quantisation
        if said is None or said.scales.size != 1 or said.zero_points.size != 1:
            return None
        low, high = EIGHT_BITS[stated.type]
        return Quantised(float(said.scales[0]), int(said.zero_points[0]), low, high)

    def _constant(self, tensor: int) -> Constant:
        stated = self.file.tensors[tensor]
        said = stated.quantisation
        integers = None
        if stated.type in _INTEGERS and said is not None:
            low, high = _INTEGERS[stated.type]
            integers = Integers(
                lambda: self.file.stored(tensor),
                low,
                high,
                said.scales,
                said.zero_points,
                stated.type,
                True,
            )
        return Constant(stated.shape, lambda: self.file.values(tensor), integers)

    def _dequantises_constant(self, operator: Operator) -> bool:
        """Whether an operator only dequantises a constant, which is then one itself."""
        if operator.kind not in ("DEQUANTIZE", "QUANTIZE") or len(operator.inputs) != 1:
            return False
        source = self.constants.get(name(operator.inputs[0]))
        if source is None or len(operator.outputs) != 1:
            return False
        out = name(operator.outputs[0])
        if out in self.constants or out == name(operator.inputs[0]):
            raise CheckpointError(f"{self.what}: {self._where(operator)}: it overwrites a tensor")
        self.constants[out] = source
        return True

    # Operators

    def _where(self, operator: Operator) -> str:
        into = self.file.name_of(operator.outputs[0]) if operator.outputs else "nothing"
        return f"operator {operator.number}, {operator.kind} into {into}"

    def _refuse(self, operator: Operator, reason: str) -> NoReturn:
        raise UnsupportedError(f"{self.what}: {self._where(operator)}: {reason}")

    def _node(self, operator: Operator) -> Node:
        kind = operator.kind
        inputs = tuple(map(name, operator.inputs))
        outputs = tuple(map(name, operator.outputs))
        where = self._where(operator)
        options = operator.options
        attributes: dict[str, Any] = {}
        if "FusedActivationFunction" in options:
            fused = options["FusedActivationFunction"]
            attributes["activation"] = _ACTIVATIONS.get(fused, f"number {fused}")
        if kind in _SIMPLE:
            return Node(_SIMPLE[kind], where, inputs[:1], outputs)
        if kind in _ARITHMETIC:
            return Node(_ARITHMETIC[kind], where, inputs, outputs, attributes)
        if kind == "RELU6":
            return Node("clip", where, inputs, outputs, {"low": 0.0, "high": 6.0})
        if kind == "SOFTMAX":
            return Node("softmax", where, inputs, outputs, {"beta": options.get("Beta", 1.0)})
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return self._convolution(operator, inputs, outputs, attributes)
        if kind == "FULLY_CONNECTED":
            return self._dense(operator, inputs, outputs, attributes)
        if kind == "AVERAGE_POOL_2D":
            self._need_options(operator)
            attributes |= {
                "window": (options["FilterHeight"], options["FilterWidth"]),
                "strides": (options["StrideH"], options["StrideW"]),
                "pads": _PADDINGS.get(options["Padding"], "valid"),
                "layout": NHWC,
            }
            return Node("average", where, inputs, outputs, attributes)
        if kind == "MEAN":
            axes = self._stored(operator, 1).flatten()
            if axes.dtype.kind != "i":
                self._refuse(operator, "its axes are not whole numbers")
            keep = bool(outputs) and len(self.file.tensors[operator.outputs[0]].shape) == 4
            attributes |= {"axes": [int(axis) for axis in axes], "keep": keep}
            return Node("mean", where, inputs[:1], outputs, attributes)
        if kind in ("PAD", "PADV2"):
            return self._pad(operator, inputs, outputs)
        if kind == "RESHAPE":
            shape = None
            if outputs:
                made = self.file.tensors[operator.outputs[0]].shape
                shape = made[1:] if len(made) > 1 else made
            return Node("reshape", where, inputs[:1], outputs, {"shape": shape})
        if kind == "TRANSPOSE":
            axes = self._stored(operator, 1).flatten()
            return Node("transpose", where, inputs[:1], outputs, {"axes": tuple(axes.tolist())})
        return Node(kind, where, inputs, outputs)

    def _need_options(self, operator: Operator) -> None:
        if not operator.options:
            raise CheckpointError(f"{self.what}: {self._where(operator)}: it has no options")

    def _stored(self, operator: Operator, index: int) -> NDArray[Any]:
        tensor = operator.inputs[index] if index < len(operator.inputs) else -1
        if tensor < 0 or self.file.tensors[tensor].data is None:
            self._refuse(operator, f"its input {index} is not a constant in the file")
        return self.file.stored(tensor)

    def _convolution(
        self,
        operator: Operator,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: dict[str, Any],
    ) -> Node:
        self._need_options(operator)
        options = operator.options
        mode = options["Padding"]
        if mode not in _PADDINGS:
            self._refuse(operator, f"padding {mode}, which the schema has not")
        attributes |= {
            "strides": (options["StrideH"], options["StrideW"]),
            "dilations": (options["DilationHFactor"], options["DilationWFactor"]),
            "pads": _PADDINGS[mode],
            "layout": NHWC,
        }
        depthwise = operator.kind == "DEPTHWISE_CONV_2D"
        # (out, height, width, in), or (1, height, width, channels)
        weight, turned = self._weight(operator, 4)
        if depthwise:
            # TFLite's converter makes such a layer of a convolution of one channel, grey.
            grey = self.file.tensors[operator.inputs[0]].shape[3:] == (1,)
            if weight.shape[0] != 1 or (options["DepthMultiplier"] != 1 and not grey):
                self._refuse(operator, "a depth multiplier other than 1 is not supported")
            self.constants[turned] = weight.reordered((3, 0, 1, 2))
        else:
            self.constants[turned] = weight.reordered((0, 3, 1, 2))
        axis = 3 if depthwise else 0
        op = "depthwise" if depthwise else "conv"
        return self._weighted(op, operator, inputs, outputs, attributes, turned, axis)

    def _dense(
        self,
        operator: Operator,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: dict[str, Any],
    ) -> Node:
        if operator.options.get("WeightsFormat", 0) != 0:
            self._refuse(operator, "weights in another order are not supported")
        weight, turned = self._weight(operator, 2)
        self.constants[turned] = weight
        return self._weighted("dense", operator, inputs, outputs, attributes, turned, 0)

    def _weight(self, operator: Operator, rank: int) -> tuple[Constant, str]:
        tensor = operator.inputs[1] if len(operator.inputs) > 1 else -1
        constant = self.constants.get(name(tensor))
        if constant is None:
            self._refuse(operator, "its input 1 is not a constant in the file")
        if len(constant.shape) != rank or 0 in constant.shape:
            self._refuse(operator, f"its weight has shape {constant.shape}: expected {rank} axes")
        return constant, f"w{operator.number}"

    def _weighted(
        self,
        op: str,
        operator: Operator,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: dict[str, Any],
        turned: str,
        axis: int,
    ) -> Node:
        """A layer with its weight in the canonical order and its bias in real numbers."""
        weight = self.file.tensors[operator.inputs[1]].quantisation
        made = self.constants[turned]
        if made.integers is not None and weight is not None:
            per_channel = weight.scales.size == 1 or weight.axis == axis
            self.constants[turned] = made._replace(
                integers=made.integers._replace(per_channel=per_channel)
            )
        bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
        given = [inputs[0] if inputs else "", turned]
        if bias >= 0:
            if name(bias) not in self.constants:
                self._refuse(operator, "its input 2 is not a constant in the file")
            given.append(self._bias(operator, bias))
        return Node(op, self._where(operator), tuple(given), outputs, attributes)

    def _bias(self, operator: Operator, bias: int) -> str:
        """An integer bias that states no scale has that of its input times its weight's."""
        tensor = self.file.tensors[bias]
        if tensor.quantisation is not None or tensor.type in ("FLOAT32", "FLOAT16"):
            return name(bias)
        data, weight = (self.file.tensors[each].quantisation for each in operator.inputs[:2])
        if tensor.data is None or data is None or weight is None or data.scales.size != 1:
            return name(bias)
        scales: NDArray[np.float64] = data.scales * weight.scales
        made = f"b{operator.number}"
        low, high = _INTEGERS["INT32"]
        zero = np.zeros(1, np.int64)
        integers = Integers(
            lambda: self.file.stored(bias), low, high, scales, zero, tensor.type, True
        )
        self.constants[made] = Constant(
            tensor.shape, lambda: self.file.values(bias, scales), integers
        )
        return made

    def _pad(self, operator: Operator, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Node:
        pads = self._stored(operator, 1)
        if pads.shape != (4, 2) or pads.dtype.kind != "i":
            self._refuse(operator, f"its paddings have shape {pads.shape}: expected (4, 2)")
        if len(operator.inputs) > 2:
            filler = self.constants.get(name(operator.inputs[2]))
            if filler is None or filler.load().any():
                self._refuse(operator, "it pads by other numbers than zero")
        batch, (top, bottom), (left, right), channels = ((int(a), int(b)) for a, b in pads)
        if batch != (0, 0) or channels != (0, 0) or (pads < 0).any():
            self._refuse(operator, f"it pads by {pads.tolist()}: expected rows and columns alone")
        attributes = {"pads": (top, left, bottom, right), "layout": NHWC}
        return Node("pad", self._where(operator), inputs[:1], outputs, attributes)
