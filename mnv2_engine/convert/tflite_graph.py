"""The walk along a TFLite graph that finds MobileNetV2's layers in it.

The graph is followed from its input, and everything on the way must be what an inverted-residual
network has: a stem, blocks of expand, depthwise and project with a shortcut where the shapes allow
one, a head, a global average, a classifier. What exporters vary is accepted: padding as an operator
or an attribute, activations and batch-norm fused or apart, the pool and the classifier in either
form, softmax and reshapes at the end, weights behind DEQUANTIZE. What would compute something else
is refused, by the name of its operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..errors import CheckpointError, UnsupportedError
from ..network.layer import MAX_RESOLUTION, padding_of
from .tflite_schema import EIGHT_BITS, Graph, Operator

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Values of the schema's enumerations Padding and ActivationFunctionType.
_SAME, _VALID = 0, 1
_ACTIVATIONS = {0: "none", 1: "ReLU", 2: "ReLU -1..1", 3: "ReLU6", 4: "tanh", 5: "sign bit"}
_ACTIVATION_OPERATORS = {"RELU6": "ReLU6", "RELU": "ReLU"}

_MAX_STRIDE = 8
_MAX_PAD = 64


class Pads(NamedTuple):
    """One axis of a convolution, in pixels: `before` and `after` are the pads."""

    out: int
    before: int
    after: int


class FoundLayer(NamedTuple):
    """A convolution or the classifier, as the graph has it."""

    where: str  # for messages
    kind: str  # "CONV_2D", "DEPTHWISE_CONV_2D" or "FULLY_CONNECTED"
    shape: tuple[int, ...]  # of the canonical weight
    stride: int
    in_size: tuple[int, int]
    pads: tuple[Pads, Pads]  # rows, columns
    data: int  # tensor of the input
    weight: int  # constant tensor
    bias: int | None  # constant tensor
    affine: tuple[tuple[str, int], ...]  # MUL, ADD or SUB by a constant tensor, in order
    out: int  # tensor of the output, behind the activation and the shortcut

    def canonical(self, weight: NDArray[Any]) -> NDArray[Any]:
        """The layer's weight as it is stored, made OIHW; the classifier's (out, in)."""
        if self.kind == "DEPTHWISE_CONV_2D":  # (1, height, width, channels)
            weight = weight.transpose(3, 0, 1, 2)
        elif self.kind == "CONV_2D":  # (out, height, width, in)
            weight = weight.transpose(0, 3, 1, 2)
        return weight.reshape(self.shape)


class FoundNetwork(NamedTuple):
    """A network, found in a graph."""

    resolution: tuple[int, int]
    layers: dict[str, FoundLayer]  # by canonical name
    shortcuts: tuple[bool, ...]  # of the blocks


def find_network(graph: Graph) -> FoundNetwork:
    """The network in `graph`, from its input to its output.

    Raises UnsupportedError where it is none that this engine could run.
    """
    return _Walk(graph).network()


class _Walk:
    """`at` is the tensor that the walk has come to, `size` that tensor's height and width."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.what = graph.what
        self.used: set[int] = set()  # operators
        self.consumers: dict[int, list[Operator]] = {}
        self.producers: dict[int, Operator] = {}
        for operator in graph.operators:
            for tensor in set(operator.inputs):
                self.consumers.setdefault(tensor, []).append(operator)
            for tensor in operator.outputs:
                if tensor in self.producers or graph.tensors[tensor].data is not None:
                    raise CheckpointError(
                        f"{self.what}: {self._where(operator)}: it overwrites a tensor"
                    )
                self.producers[tensor] = operator
        self.at, self.size = self._entry()

    def network(self) -> FoundNetwork:
        resolution = self.size
        layers: dict[str, FoundLayer] = {}
        shortcuts: list[bool] = []
        while self._step("QUANTIZE", "DEQUANTIZE"):
            pass
        layers["stem"] = self._convolution("the stem", "CONV_2D", "ReLU6")
        while True:
            block = f"block{len(shortcuts)}"
            entry = self.at
            if self._ahead() == "CONV_2D":
                layer = self._convolution(f"{block}.expand or the head", "CONV_2D", "ReLU6")
                if self._ahead() != "DEPTHWISE_CONV_2D":
                    layers["head"] = layer
                    break
                layers[f"{block}.expand"] = layer
            depthwise, project = f"{block}.depthwise", f"{block}.project"
            layers[depthwise] = self._convolution(depthwise, "DEPTHWISE_CONV_2D", "ReLU6")
            layers[project] = self._convolution(project, "CONV_2D", "none")
            shortcuts.append(self._shortcut(entry))
            layers[project] = layers[project]._replace(out=self.at)
        self._pool()
        while self._step("RESHAPE", "SQUEEZE"):
            pass
        features = self.at
        self._step("DEQUANTIZE")  # before a classifier with float32 sums
        layers["classifier"] = self._classifier()._replace(data=features)
        self._end()
        return FoundNetwork(resolution, layers, tuple(shortcuts))

    # Moving along

    def _where(self, operator: Operator) -> str:
        into = self.graph.name_of(operator.outputs[0]) if operator.outputs else "nothing"
        return f"operator {operator.number}, {operator.kind} into {into}"

    def _refuse(self, operator: Operator, reason: str) -> NoReturn:
        raise UnsupportedError(f"{self.what}: {self._where(operator)}: {reason}")

    def _following(self, tensor: int) -> Operator | None:
        """The one operator that goes on from a tensor, the ends of shortcuts left aside."""
        following = [each for each in self.consumers.get(tensor, []) if not self._joins(each)]
        if (
            len(following) != 1
            or len(following[0].outputs) != 1
            or following[0].number in self.used
        ):
            return None
        return following[0]

    def _joins(self, operator: Operator) -> bool:
        """Whether an operator adds computed tensors, as the end of a shortcut does."""
        return operator.kind == "ADD" and all(
            self._constant(tensor) is None for tensor in operator.inputs
        )

    def _ahead(self) -> str:
        """The kind of the next operator, that behind a PAD if there is one."""
        following = self._following(self.at)
        if following is not None and following.kind == "PAD":
            following = self._following(following.outputs[0])
        return "nothing" if following is None else following.kind

    def _step(self, *kinds: str) -> Operator | None:
        """Walk over the next operator if it is one of `kinds`."""
        following = self._following(self.at)
        if following is None or following.kind not in kinds:
            return None
        if following.kind not in ("ADD", "MUL") and following.inputs[0] != self.at:
            self._refuse(following, "its first input is not the data")
        self.used.add(following.number)
        self.at = following.outputs[0]
        return following

    def _need(self, layer: str, *kinds: str) -> Operator:
        """Walk over the next operator, which has to be one of `kinds`."""
        operator = self._step(*kinds)
        if operator is not None:
            return operator
        following = [self._where(each) for each in self.consumers.get(self.at, [])[:3]]
        raise UnsupportedError(
            f"{self.what}: {layer}: expected {' or '.join(kinds)} after tensor "
            f"{self.graph.name_of(self.at)}, found {' and '.join(following) or 'the end'}; "
            "expected a MobileNetV2 or EfficientNet-Lite classifier"
        )

    def _constant(self, tensor: int) -> int | None:
        """The tensor that holds the data of a constant, before its DEQUANTIZE if it has one."""
        if tensor < 0:
            return None
        if self.graph.tensors[tensor].data is not None:
            return tensor
        producer = self.producers.get(tensor)
        if producer is None or producer.kind != "DEQUANTIZE" or len(producer.inputs) != 1:
            return None
        source = producer.inputs[0]
        return source if source >= 0 and self.graph.tensors[source].data is not None else None

    def _operand(self, operator: Operator, index: int) -> int:
        """The constant tensor that is an operator's input number `index`."""
        given = operator.inputs[index] if index < len(operator.inputs) else -1
        constant = self._constant(given)
        if constant is None:
            self._refuse(operator, f"its input {index} is not a constant in the file")
        if constant != given:
            self.used.add(self.producers[given].number)
        return constant

    def _bias(self, operator: Operator) -> int | None:
        if len(operator.inputs) < 3 or operator.inputs[2] < 0:
            return None
        return self._operand(operator, 2)

    # What is found on the way

    def _entry(self) -> tuple[int, tuple[int, int]]:
        """The input, and its height and width."""
        if len(self.graph.inputs) != 1:
            raise UnsupportedError(
                f"{self.what}: {len(self.graph.inputs)} inputs: expected one, the image"
            )
        (entry,) = self.graph.inputs
        tensor = self.graph.tensors[entry]
        if len(tensor.shape) != 4 or tensor.shape[3] != 3:
            raise UnsupportedError(
                f"{self.what}: input of shape {tensor.shape}: expected (1, height, width, 3)"
            )
        if tensor.type not in ("FLOAT32", "UINT8", "INT8"):
            raise UnsupportedError(
                f"{self.what}: input of type {tensor.type}: expected FLOAT32, UINT8 or INT8"
            )
        _, height, width, _ = tensor.shape
        if not tensor.fixed or not 1 <= min(height, width) <= max(height, width) <= MAX_RESOLUTION:
            size = f"{height}x{width}" if tensor.fixed else "any number of"
            raise UnsupportedError(
                f"{self.what}: input of {size} pixels: expected a fixed size from 1 to "
                f"{MAX_RESOLUTION}; state it when exporting the model"
            )
        return entry, (height, width)

    def _convolution(self, name: str, kind: str, activation: str) -> FoundLayer:
        """A convolution with the PAD before it, the batch-norm and the activation after it."""
        pad = self._step("PAD")
        explicit = ((0, 0), (0, 0)) if pad is None else self._explicit_pads(pad)
        data = self.at
        operator = self._need(name, kind)
        options = operator.options
        if not options:
            raise CheckpointError(f"{self.what}: {self._where(operator)}: it has no options")
        if (options["DilationHFactor"], options["DilationWFactor"]) != (1, 1):
            self._refuse(operator, "dilated convolutions are not supported")
        stride = options["StrideH"]
        if stride != options["StrideW"] or not 1 <= stride <= _MAX_STRIDE:
            self._refuse(operator, f"strides {stride} and {options['StrideW']} are not supported")
        weight = self._operand(operator, 1)
        stored = self.graph.tensors[weight].shape
        if len(stored) != 4 or stored[1] != stored[2] or 0 in stored:
            self._refuse(operator, f"its weight has shape {stored}: expected a square kernel")
        kernel = stored[1]
        shape = (stored[0], stored[3], kernel, kernel)
        if kind == "DEPTHWISE_CONV_2D":
            shape = (stored[3], 1, kernel, kernel)
            if stored[0] != 1 or options["DepthMultiplier"] != 1:
                self._refuse(operator, "a depth multiplier other than 1 is not supported")
        rows, columns = (
            self._pads(operator, extent, before_after, kernel, stride)
            for extent, before_after in zip(self.size, explicit, strict=True)
        )
        affine, last = self._affine(operator)
        self._check_activation(name, last, activation)
        in_size, self.size = self.size, (rows.out, columns.out)
        return FoundLayer(
            f"{name} ({self._where(operator)})",
            kind,
            shape,
            stride,
            in_size,
            (rows, columns),
            data,
            weight,
            self._bias(operator),
            affine,
            self.at,
        )

    def _pads(
        self, operator: Operator, extent: int, explicit: tuple[int, int], kernel: int, stride: int
    ) -> Pads:
        """One axis of a convolution, the pads of a PAD before it included."""
        mode = operator.options["Padding"]
        padded = extent + sum(explicit)
        out, before = (padded - kernel) // stride + 1, 0
        if mode == _SAME:
            out, before, _ = padding_of(padded, kernel, stride, "same")
        if mode not in (_SAME, _VALID) or out < 1:
            self._refuse(operator, f"padding {mode} of {extent} pixels for a kernel of {kernel}")
        before += explicit[0]
        # What the last output does not reach is no pad, as in `padding_of`.
        return Pads(out, before, max((out - 1) * stride + kernel - extent - before, 0))

    def _explicit_pads(self, operator: Operator) -> tuple[tuple[int, int], tuple[int, int]]:
        """(top, bottom) and (left, right) of a PAD."""
        pads = self.graph.stored(self._operand(operator, 1))
        if pads.shape != (4, 2) or pads.dtype.kind != "i":
            self._refuse(operator, f"its paddings have shape {pads.shape}: expected (4, 2)")
        batch, rows, columns, channels = ((int(a), int(b)) for a, b in pads)
        spatial = all(0 <= pad <= _MAX_PAD for pad in (*rows, *columns))
        if batch != (0, 0) or channels != (0, 0) or not spatial:
            self._refuse(operator, f"it pads by {pads.tolist()}: expected rows and columns alone")
        return rows, columns

    def _affine(self, operator: Operator) -> tuple[tuple[tuple[str, int], ...], Operator]:
        """MUL, ADD and SUB by constants behind an operator, and the last of them or itself."""
        affine: list[tuple[str, int]] = []
        while self._activation(operator) == "none":
            data = self.at
            following = self._step("MUL", "ADD", "SUB")
            if following is None:
                break
            other = 1 if following.inputs[0] == data else 0
            affine.append((following.kind, self._operand(following, other)))
            operator = following
        return tuple(affine), operator

    def _activation(self, operator: Operator) -> str:
        number = operator.options.get("FusedActivationFunction", 0)
        return _ACTIVATIONS.get(number, f"number {number}")

    def _check_activation(self, layer: str, operator: Operator, due: str) -> None:
        """Walk over an activation of its own, and refuse any but the one due."""
        activation = self._activation(operator)
        if activation == "none":
            apart = self._step(*_ACTIVATION_OPERATORS)
            if apart is not None:
                operator, activation = apart, _ACTIVATION_OPERATORS[apart.kind]
        saturates = activation in ("none", "ReLU") and self._holds_0_to_6()
        if activation != due and not (due == "ReLU6" and saturates):
            self._refuse(operator, f"{layer} has the activation {activation}: expected {due}")

    def _holds_0_to_6(self) -> bool:
        """Whether the tensor come to is quantised so that it cannot hold but 0 to 6."""
        tensor = self.graph.tensors[self.at]
        stated = tensor.quantisation
        if stated is None or tensor.type not in EIGHT_BITS or stated.scales.size != 1:
            return False
        scale, zero_point = float(stated.scales[0]), int(stated.zero_points[0])
        low, high = ((end - zero_point) * scale for end in EIGHT_BITS[tensor.type])
        return low == 0 and abs(high - 6) <= scale

    def _shortcut(self, entry: int) -> bool:
        """Walk over the addition of the block's input, if there is one."""
        ends = sorted((self.at, entry))
        # What is added to another tensor is the shortcut that begins here; were it anything else,
        # it would be left over at the end of the walk.
        joins = [
            each
            for each in self.consumers.get(self.at, [])
            if self._joins(each) and sorted(each.inputs) == ends
        ]
        if not joins:
            return False
        join = joins[0]
        if len(joins) != 1 or len(join.outputs) != 1:
            self._refuse(join, "it is not the shortcut of a block")
        if self._activation(join) != "none":
            self._refuse(join, f"a shortcut with the activation {self._activation(join)}")
        self.used.add(join.number)
        self.at = join.outputs[0]
        return True

    def _pool(self) -> None:
        operator = self._need("the pool", "AVERAGE_POOL_2D", "MEAN")
        options = operator.options
        if operator.kind == "MEAN":
            axes = self.graph.stored(self._operand(operator, 1)).flatten()
            if axes.dtype.kind != "i" or {int(axis) % 4 for axis in axes} != {1, 2}:
                self._refuse(operator, "expected the mean over rows and columns, axes 1 and 2")
        elif not options or (options["FilterHeight"], options["FilterWidth"]) != self.size:
            window = f"{options.get('FilterHeight')}x{options.get('FilterWidth')}"
            height, width = self.size
            self._refuse(operator, f"it averages {window} pixels: expected all, {height}x{width}")
        elif options["Padding"] != _VALID and (
            options["StrideH"] < self.size[0] or options["StrideW"] < self.size[1]
        ):
            self._refuse(operator, "it has more than one output: expected one, for all pixels")
        if self._activation(operator) != "none":
            self._refuse(operator, f"a pool with the activation {self._activation(operator)}")
        self.size = (1, 1)

    def _classifier(self) -> FoundLayer:
        if self._ahead() == "CONV_2D":
            layer = self._convolution("the classifier", "CONV_2D", "none")
            if layer.shape[2:] != (1, 1):
                raise UnsupportedError(f"{self.what}: {layer.where}: its kernel is not 1x1")
            return layer._replace(shape=layer.shape[:2])
        data = self.at
        operator = self._need("the classifier", "FULLY_CONNECTED", "CONV_2D")
        if operator.options.get("WeightsFormat", 0) != 0:
            self._refuse(operator, "weights in another order are not supported")
        weight = self._operand(operator, 1)
        bias = self._bias(operator)
        shape = self.graph.tensors[weight].shape
        if len(shape) != 2:
            self._refuse(operator, f"its weight has shape {shape}: expected (classes, channels)")
        self._check_activation("the classifier", operator, "none")
        pads = Pads(1, 0, 0)
        where = f"the classifier ({self._where(operator)})"
        return FoundLayer(
            where, operator.kind, shape, 1, (1, 1), (pads, pads), data, weight, bias, (), self.at
        )

    def _end(self) -> None:
        """From the classifier to the output; no operator may be left over."""
        while operator := self._step("RESHAPE", "SQUEEZE", "SOFTMAX", "QUANTIZE", "DEQUANTIZE"):
            if operator.kind == "SOFTMAX" and operator.options.get("Beta", 1.0) != 1.0:
                self._refuse(operator, f"a softmax of beta {operator.options['Beta']:g}")
        left = [each for each in self.graph.operators if each.number not in self.used]
        if left or self.graph.outputs != (self.at,):
            found = " and ".join(self._where(each) for each in left[:3])
            raise UnsupportedError(
                f"{self.what}: expected a classifier and nothing else; "
                f"found {found or f'{len(self.graph.outputs)} outputs'}"
            )
