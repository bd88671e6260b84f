"""The one walk that finds a network in a graph, whatever framework the graph comes from.

Every tensor on the way stands for something: the image, or what a layer gives, perhaps turned,
padded or scaled. Nodes either make a layer, change what a tensor stands for, or are refused by the
framework's own name and place. What exporters vary is thereby one thing: batch-norms and constants
are folded, paddings belong to the convolution behind them, 1×1 convolutions of pooled features are
dense layers, and arithmetic before the first layer is the preprocessing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ..errors import CheckpointError, UnsupportedError
from ..network.layer import MAX_RESOLUTION, padding_of
from .found import Found, channel_values
from .graph import FLAT, NCHW, NHWC, Constant, Graph, Node, ordered
from .kinds import kind_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

MAX_STRIDE = 8
MAX_PAD = 64
_MAX_OUTPUTS = 8
_NONE = (0, 0, 0, 0)
_ACTIVATIONS = ("linear", "relu", "relu6")


class Affine(NamedTuple):
    """What arithmetic before the first layer does to a number of the input, for each channel."""

    scale: tuple[float, ...]  # three, red, green, blue
    shift: tuple[float, ...]


class Walked(NamedTuple):
    """A network, found in a graph."""

    graph: Graph
    resolution: tuple[int, int]
    layers: tuple[Found, ...]  # in the order of execution
    output: Found  # what the answer is: a dense layer, or the pool
    answer: str | None  # "softmax", "sigmoid"; None where the graph ends in plain numbers
    entrance: Affine | None  # arithmetic before the first layer; None: there is none
    maps: tuple[Found, ...] = ()  # of a detector, in the order of the graph's outputs
    resized: Node | None = None  # what brings an image of any size to the resolution


@dataclass(frozen=True, eq=False)
class _Value:
    """What a tensor stands for."""

    layer: Found | None  # None: the image
    size: tuple[int, int]
    channels: int
    layout: str
    tensor: str
    pads: tuple[int, int, int, int] = _NONE
    affine: tuple[tuple[Float64, Float64], ...] = ()
    answer: str | None = None
    shared: bool = False  # other nodes take it, too, so that its layer cannot be changed

    @property
    def pooled(self) -> bool:
        return self.layer is not None and self.layer.operation in ("pool", "dense")

    @property
    def shape(self) -> tuple[int, ...]:
        height, width = self.size
        if self.layout == NHWC:
            return height, width, self.channels
        return (self.channels, height, width) if self.layout == NCHW else (self.channels,)

    @property
    def channel_axis(self) -> int:
        """Counted from the end."""
        return 3 if self.layout == NCHW else 1


def walk(graph: Graph, resolution: tuple[int, int] | None = None) -> Walked:
    """The network in `graph`. `resolution` serves a graph that fixes no input size.

    Raises UnsupportedError where there is none that is a chain of convolutions and shortcuts into
    a pool and dense layers, CheckpointError for a damaged graph.
    """
    return _Walk(graph, resolution).walked()


def walk_maps(graph: Graph) -> Walked:
    """The network in `graph`, all of whose outputs are maps, each of a convolution.

    Raises as `walk` does.
    """
    return _Walk(graph, None).walked_maps()


@dataclass
class _Walk:
    graph: Graph
    asked: tuple[int, int] | None
    layers: list[Found] = field(default_factory=list)
    values: dict[str, _Value] = field(default_factory=dict)
    resized: Node | None = None

    def walked(self) -> Walked:
        graph = self.graph
        resolution = self._enter()
        order = ordered(graph)
        kind = kind_of(graph, order)
        last = self._last(order, kind)
        self.uses = Counter(tensor for node in order for tensor in node.inputs)
        self.uses[last] += 1
        self._kind = kind
        for node in order:
            self._node(node)
        value = self.values.get(last)
        if value is None or value.layer is None:
            raise UnsupportedError(
                f"{graph.what}: {kind or 'its output is not computed from its input by layers'}: "
                "expected a network of convolutions"
            )
        if not value.pooled:
            # A network without a head gives a map; its pool follows from what it is for.
            value = self._pooled(value, f"the output {graph.name_of(last)}")
        if value.affine:
            raise UnsupportedError(
                f"{graph.what}: its output is a batch-norm of pooled features: expected features "
                "or classes as they are"
            )
        if self.resized is not None:
            resolution = self.resized.get("size")
        return Walked(
            graph, resolution, tuple(self.layers), self._layer(value), value.answer,
            self._entrance, resized=self.resized,
        )  # fmt: skip

    def walked_maps(self) -> Walked:
        graph = self.graph
        resolution = self._enter()
        order = ordered(graph)
        self._kind = kind_of(graph, order)
        self.uses = Counter(tensor for node in order for tensor in node.inputs)
        self.uses.update(graph.outputs)
        for node in order:
            self._node(node)
        maps = []
        for output in graph.outputs:
            value = self.values.get(output)
            if value is None or value.layer is None or value.pooled or value.affine or value.answer:
                raise UnsupportedError(
                    f"{graph.what}: its output {graph.name_of(output)}: expected what a "
                    "convolution gives, as it is"
                )
            maps.append(value.layer)
        if not maps:
            raise UnsupportedError(f"{graph.what}: a detector without outputs")
        return Walked(
            graph, resolution, tuple(self.layers), maps[-1], None, self._entrance, tuple(maps)
        )

    def _last(self, order: list[Node], kind: str) -> str:
        """The output that all others lie on the way to, such as the logits behind the features."""
        outputs = self.graph.outputs
        if len(outputs) <= _MAX_OUTPUTS:
            for output in outputs:
                if len(ordered(self.graph._replace(outputs=(output,)))) == len(order):
                    return output
        raise UnsupportedError(
            f"{self.graph.what}: {kind or f'{len(outputs)} outputs'}: expected a classifier with "
            "one output, its classes"
        )

    @staticmethod
    def _layer(value: _Value) -> Found:
        assert value.layer is not None
        return value.layer

    def _enter(self) -> tuple[int, int]:
        image, what = self.graph.image, self.graph.what
        size = image.size or self.asked
        assert size is not None
        if not 1 <= min(size) <= max(size) <= MAX_RESOLUTION:
            raise UnsupportedError(
                f"{what}: input of {size[0]}x{size[1]} pixels: expected 1 to {MAX_RESOLUTION}"
            )
        self._entrance: Affine | None = None
        self.values[image.name] = _Value(None, size, image.channels, image.layout, image.name)
        return size

    # Nodes

    def _refuse(self, node: Node, reason: str) -> NoReturn:
        kind = f"{self._kind}: " if self._kind else ""
        raise UnsupportedError(f"{self.graph.what}: {kind}{node.where}: {reason}")

    def _node(self, node: Node) -> None:
        if all(not each or each in self.graph.constants for each in node.inputs):
            self._refuse(node, "it computes a constant, which its reader has not folded")
        step = _STEPS.get(node.op)
        if step is None:
            self._refuse(node, "an operation that this engine has not")
        step(self, node)

    def _data(self, node: Node, index: int = 0) -> _Value:
        name = node.inputs[index] if index < len(node.inputs) else ""
        value = self.values.get(name)
        if value is None:
            self._refuse(node, f"its input {index} is a constant: expected what a layer gives")
        return replace(value, shared=True) if self.uses[name] != 1 else value

    def _constant(self, node: Node, index: int) -> Constant | None:
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        found = self.graph.constants.get(name)
        if found is None:
            self._refuse(node, f"its input {index} is not a constant in the file")
        return found

    def _needed(self, node: Node, index: int) -> Constant:
        found = self._constant(node, index)
        if found is None:
            self._refuse(node, f"it lacks its input {index}")
        return found

    def _give(self, node: Node, value: _Value) -> None:
        if not node.outputs:
            self._refuse(node, "it gives nothing")
        (first, *_) = node.outputs
        self.values[first] = replace(value, tensor=first)

    def _map(self, node: Node) -> _Value:
        """The input of what works on rows and columns."""
        value = self._data(node)
        if value.layout == FLAT or value.answer:
            self._refuse(node, "its input has no rows and columns")
        return value

    def _same_layout(self, node: Node, value: _Value) -> None:
        layout = node.get("layout", value.layout)
        if layout != value.layout and not (value.size == (1, 1) and value.layout != FLAT):
            self._refuse(node, f"its input is in the order {value.layout}, but it takes {layout}")

    # Layers

    def _convolution(self, node: Node) -> None:
        value = self._map(node)
        weight = self._needed(node, 1)
        if len(weight.shape) != 4 or 0 in weight.shape:
            self._refuse(node, f"its weight has shape {weight.shape}: expected four axes")
        if value.pooled and weight.shape[2:] == (1, 1) and node.op == "conv":
            self._pointwise_dense(node, value, weight)
            return
        self._same_layout(node, value)
        kernel, dilation, stride = self._window(node, weight)
        groups = node.get("groups", 1)
        depthwise = node.op == "depthwise"
        if groups != 1:
            depthwise = groups == value.channels and weight.shape[:2] == (groups, 1)
            if not depthwise:
                self._refuse(
                    node,
                    f"{groups} groups of {value.channels} channels: a grouped convolution is "
                    "not supported, one group for each channel (depthwise) or one in all is",
                )
        channels, inputs = weight.shape[:2]
        depthwise = depthwise and not (value.layer is None and value.channels == 1)  # of grey
        if inputs != (1 if depthwise else value.channels) or (
            depthwise and channels != value.channels
        ):
            if depthwise and channels % value.channels == 0:
                self._refuse(node, "a depth multiplier other than 1 is not supported")
            raise CheckpointError(
                f"{self.graph.what}: {node.where}: its weight has shape {weight.shape}, but "
                f"{value.channels} channels go into it"
            )
        if value.affine and value.layer is not None:
            self._refuse(node, "what is before it is scaled: a batch-norm before a convolution")
        if value.pooled:
            self._refuse(node, "a convolution behind the pool")
        reach = (kernel - 1) * dilation + 1
        rows, columns = (self._pads(node, value, axis, reach, stride) for axis in (0, 1))
        if value.layer is None:
            self._take_entrance(node, value)
        operation = "depthwise" if depthwise else "conv"
        pads = (rows[1], columns[1], rows[2], columns[2])
        if operation == "conv" and (kernel, stride) == (1, 1) and pads == _NONE:
            operation = "pointwise"
        self._add_layer(
            node,
            value,
            Found(
                node.where,
                operation,
                (value.layer,),
                channels,
                value.size,
                (rows[0], columns[0]),
                kernel,
                stride,
                dilation,
                pads,
                weight=weight,
                bias=self._constant(node, 2),
            ),
        )

    def _window(self, node: Node, weight: Constant) -> tuple[int, int, int]:
        """Kernel, dilation and stride, the same for rows and columns."""
        *_, height, width = weight.shape
        if height != width:
            self._refuse(node, f"a kernel of {height}x{width}: expected a square one")
        dilation, across = node.get("dilations", (1, 1))
        stride, stride_across = node.get("strides", (1, 1))
        if height == 1:
            dilation = across = 1
        if dilation != across or not 1 <= dilation <= MAX_STRIDE:
            self._refuse(node, f"dilated convolutions ({dilation}, {across}) are not supported")
        if stride != stride_across or not 1 <= stride <= MAX_STRIDE:
            self._refuse(node, f"strides {stride} and {stride_across} are not supported")
        return height, dilation, stride

    def _pads(
        self, node: Node, value: _Value, axis: int, reach: int, stride: int
    ) -> tuple[int, int, int]:
        """Output size, and the pads of one axis, those of a PAD before it included."""
        explicit = (value.pads[axis], value.pads[axis + 2])
        extent, padded = value.size[axis], value.size[axis] + sum(explicit)
        stated = node.get("pads", "valid")
        out, before = (padded - reach) // stride + 1, 0
        if stated == "same":
            out, before, _ = padding_of(padded, reach, stride, "same")
        elif stated != "valid":
            if not all(0 <= pad <= MAX_PAD for pad in stated):
                self._refuse(node, f"it pads by {tuple(stated)}: expected 0 to {MAX_PAD}")
            before = stated[axis]
            out = (padded + before + stated[axis + 2] - reach) // stride + 1
        if out < 1:
            self._refuse(node, f"a kernel of {reach} does not fit {extent} pixels")
        before += explicit[0]
        # What the last output does not reach is no pad, as in `padding_of`.
        after = max((out - 1) * stride + reach - extent - before, 0)
        return out, before, after

    def _pointwise_dense(self, node: Node, value: _Value, weight: Constant) -> None:
        if node.get("groups", 1) != 1 or value.pads != _NONE or node.get("pads") not in (
            None, "same", "valid", _NONE,
        ):  # fmt: skip
            self._refuse(node, "a convolution of pooled features that is not a dense layer")
        flat = Constant(
            weight.shape[:2],
            lambda: weight.load().reshape(weight.shape[:2]),
            weight.integers,
        )
        self._dense_of(node, value, flat)

    def _dense(self, node: Node) -> None:
        value = self._data(node)
        weight = self._needed(node, 1)
        if len(weight.shape) != 2 or 0 in weight.shape:
            self._refuse(node, f"its weight has shape {weight.shape}: expected (classes, channels)")
        if value.layer is None or not value.pooled:
            if value.size == (1, 1) and value.layer is not None:
                value = self._pooled(value, node.where)  # a map of one pixel, whose mean it is
            else:
                height, width = value.size
                self._refuse(
                    node,
                    f"a dense layer of a map of {height}x{width} pixels: expected the mean "
                    "over all pixels before it",
                )
        self._dense_of(node, replace(value, layout=FLAT), weight)

    def _dense_of(self, node: Node, value: _Value, weight: Constant) -> None:
        if value.answer:
            self._refuse(node, f"a layer behind the {value.answer}")
        channels, inputs = weight.shape
        if inputs != value.channels:
            raise CheckpointError(
                f"{self.graph.what}: {node.where}: its weight has shape {weight.shape}, but "
                f"{value.channels} features go into it"
            )
        self._add_layer(
            node,
            value,
            Found(
                node.where,
                "dense",
                (value.layer,),
                channels,
                (1, 1),
                (1, 1),
                weight=weight,
                bias=self._constant(node, 2),
                before=list(value.affine),
            ),
        )

    def _add_layer(self, node: Node, value: _Value, layer: Found) -> None:
        layer.data, layer.out, layer.sums = value.tensor, node.outputs[0], node.outputs[0]
        self.layers.append(layer)
        self._give(node, _Value(layer, layer.size, layer.channels, value.layout, node.outputs[0]))
        self._activate(node, node.get("activation", "linear"))

    def _pooled(self, value: _Value, where: str) -> _Value:
        if value.layer is None or value.pads != _NONE or value.affine:
            raise UnsupportedError(
                f"{self.graph.what}: {where}: a mean of what no layer gives as it is"
            )
        layer = Found(where, "pool", (value.layer,), value.channels, value.size, (1, 1))
        layer.data = layer.out = value.tensor
        self.layers.append(layer)
        return replace(value, layer=layer, size=(1, 1))

    # Activations

    def _relu(self, node: Node) -> None:
        self._give(node, self._data(node))
        self._activate(node, "relu")

    def _clip(self, node: Node) -> None:
        low, high = node.get("low"), node.get("high")
        self._give(node, self._data(node))
        if (low, high) == (0.0, 6.0):
            self._activate(node, "relu6")
        elif low == 0.0 and high is None:
            self._activate(node, "relu")
        else:
            self._refuse(node, f"it keeps numbers from {low} to {high}: expected 0 to 6 (ReLU6)")

    def _activate(self, node: Node, activation: str) -> None:
        """Set the activation of the layer whose output the node gives."""
        out = node.outputs[0]
        value = self.values[out]
        saturated = self._saturation(out)
        if activation in ("linear", "relu") and saturated is not None:
            activation = saturated
        if activation in ("softmax", "sigmoid"):
            self._answer(node, activation)
            return
        if activation not in _ACTIVATIONS:
            self._refuse(node, f"the activation {activation}, which this engine has not")
        if activation == "linear":
            if value.layer is not None:
                value.layer.out = out
            return
        layer = value.layer
        if layer is None or layer.operation == "pool" or value.affine:
            self._refuse(node, f"{activation} of what no convolution or dense layer gives")
        if layer.operation == "add":
            self._refuse(node, f"a shortcut with the activation {activation}: expected none")
        if layer.activation == activation or (layer.activation, activation) == ("relu6", "relu"):
            layer.out = out
            return
        if (layer.activation, activation) != ("relu", "relu6"):
            if layer.activation != "linear":
                self._refuse(node, f"{activation} behind {layer.activation}")
            self._only_use(node, value)
        layer.activation, layer.out = activation, out

    def _saturation(self, tensor: str) -> str | None:
        """What a quantised tensor's range does to what it holds: nothing outside of it fits."""
        stated = self.graph.quantised.get(tensor)
        if stated is None:
            return None
        low, high = ((end - stated.zero_point) * stated.scale for end in (stated.low, stated.high))
        if low != 0:
            return None
        return "relu6" if high <= 6 + stated.scale else "relu"

    def _only_use(self, node: Node, value: _Value) -> None:
        """Refuse to change a layer whose output is used in other places as well."""
        if value.shared:
            self._refuse(node, "what goes into it goes into other nodes too, before this one")

    # Arithmetic

    def _batch_norm(self, node: Node) -> None:
        import numpy as np

        value = self._data(node)
        terms = []
        for index, part in enumerate(("gamma", "beta", "mean", "variance"), 1):
            constant = self._constant(node, index)
            if constant is None:
                default = 1.0 if part in ("gamma", "variance") else 0.0
                terms.append(np.full(value.channels, default))
                continue
            if constant.shape != (value.channels,):
                raise CheckpointError(
                    f"{self.graph.what}: {node.where}: its {part} has shape {constant.shape}: "
                    f"expected ({value.channels},)"
                )
            terms.append(np.asarray(constant.load(), np.float64))
        gamma, beta, mean, variance = terms
        if not (variance >= 0).all():
            raise CheckpointError(
                f"{self.graph.what}: {node.where}: its variance is negative or NaN in places: the "
                "checkpoint is damaged"
            )
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scale = gamma / np.sqrt(variance + node.get("epsilon"))
            shift = beta - mean * scale
        self._scale(node, value, scale, shift)

    def _affine(self, node: Node) -> None:
        value = self._data(node)
        self._scale(node, value, *(self._channel_values(node, value, index) for index in (1, 2)))

    def _channel_values(self, node: Node, value: _Value, index: int) -> Float64:
        import numpy as np

        constant = self._needed(node, index)
        found = channel_values(constant, value.channels, value.channel_axis)
        if found is None:
            raise CheckpointError(
                f"{self.graph.what}: {node.where}: a constant of shape {constant.shape}: expected "
                f"one value, or one for each of {value.channels} channels"
            )
        return np.asarray(found, np.float64)

    def _scale(self, node: Node, value: _Value, scale: Float64, shift: Float64) -> None:
        """The value times `scale` plus `shift`: into its layer, or kept for what comes behind."""
        if value.answer:
            self._refuse(node, f"arithmetic behind the {value.answer}")
        if value.pads != _NONE:
            self._refuse(node, "arithmetic on a padded map")
        layer = value.layer
        if layer is not None and layer.operation not in ("add", "pool"):
            if layer.activation == "linear" and not value.affine:
                self._only_use(node, value)
                layer.behind.append((scale, shift))
                layer.sums = node.outputs[0]
                self._give(node, value)
                self._activate(node, node.get("activation", "linear"))
                return
            if layer.operation != "dense":
                self._refuse(node, f"arithmetic behind {layer.activation}, where no layer takes it")
        elif layer is not None and layer.operation == "add":
            self._shift_of_sum(node, value, layer, scale, shift)
            return
        self._give(node, replace(value, affine=(*value.affine, (scale, shift))))
        if node.get("activation", "linear") != "linear":
            self._refuse(node, f"{node.get('activation')} of what no layer gives")

    def _shift_of_sum(
        self, node: Node, value: _Value, layer: Found, scale: Float64, shift: Float64
    ) -> None:
        """A constant behind a shortcut, into the convolution before it: TensorFlow's optimiser
        makes (convolution + shortcut) + bias of (convolution + bias) + shortcut."""
        if layer.shiftable is None or not (scale == 1).all() or self.graph.quantised:
            self._refuse(node, "arithmetic behind a shortcut, where no layer takes it")
        self._only_use(node, value)
        layer.shiftable.behind.append((scale, shift))
        layer.out = node.outputs[0]
        self._give(node, value)
        self._activate(node, node.get("activation", "linear"))

    def _arithmetic(self, node: Node) -> None:
        import numpy as np

        if len(node.inputs) != 2:
            self._refuse(node, f"{len(node.inputs)} inputs: expected two")
        constants = [each in self.graph.constants for each in node.inputs]
        if not any(constants):
            if node.op != "add":
                self._refuse(node, "two tensors that are computed: only sums (shortcuts) are known")
            self._join(node)
            return
        data = constants.index(False)
        value = self._data(node, data)
        other = self._channel_values(node, value, 1 - data)
        one, zero = np.ones(1), np.zeros(1)
        if node.op == "add":
            scale, shift = one, other
        elif node.op == "mul":
            scale, shift = other, zero
        elif node.op == "sub":
            scale, shift = (one, -other) if data == 0 else (-one, other)
        else:
            if data != 0 or not other.all():
                self._refuse(node, "a division by what is computed, or by zero")
            scale, shift = 1 / other, zero
        self._scale(node, value, scale, shift)

    def _join(self, node: Node) -> None:
        first, second = (self._data(node, index) for index in (0, 1))
        fitting = first.size == second.size and first.channels == second.channels
        if not fitting or first.layout != second.layout:
            self._refuse(node, "it adds tensors of different shapes, which is no shortcut")
        for each in (first, second):
            if each.layer is None or each.pooled or each.affine or each.pads != _NONE:
                self._refuse(node, "it adds what no convolution gives as it is")
        layer = Found(
            node.where, "add", (first.layer, second.layer), first.channels, first.size, first.size
        )
        for each in (first, second):
            source = each.layer
            if source and source.weight and source.activation == "linear" and not each.shared:
                layer.shiftable = source
        self._add_layer(node, first, layer)

    # Pools

    def _resize(self, node: Node) -> None:
        """An image of any size, brought to that of the network: so says the input specification."""
        value = self._map(node)
        if value.layer is not None or value.pads != _NONE or value.shared or self.resized:
            self._refuse(node, "a resize: expected one at most, of the image alone")
        self.resized = node
        self._give(node, replace(value, size=node.get("size")))

    def _average(self, node: Node) -> None:
        value = self._map(node)
        self._same_layout(node, value)
        if value.pooled:
            self._give(node, value)
            return
        window = node.get("window", value.size)
        if tuple(window) != value.size:
            height, width = value.size
            self._refuse(
                node,
                f"it averages {window[0]}x{window[1]} pixels: expected all, {height}x{width}",
            )
        stated, strides = node.get("pads", "valid"), node.get("strides", (1, 1))
        more = stated == "same" and any(s < e for s, e in zip(strides, value.size, strict=True))
        if more or stated not in ("same", "valid", _NONE):
            self._refuse(node, "it has more than one output: expected one, for all pixels")
        self._give(node, self._pool_of(node, value))
        self._linear(node)

    def _pool_of(self, node: Node, value: _Value) -> _Value:
        pooled = self._pooled(value, node.where)
        self._layer(pooled).out = node.outputs[0]
        return pooled

    def _linear(self, node: Node) -> None:
        activation = node.get("activation", "linear")
        if activation != "linear":
            self._refuse(node, f"a pool with the activation {activation}")

    def _mean(self, node: Node) -> None:
        value = self._map(node)
        rank = 4
        axes = {axis % rank for axis in node.get("axes", ())}
        spatial = {1, 2} if value.layout == NHWC else {2, 3}
        if axes != spatial:
            self._refuse(
                node,
                f"a mean over the axes {sorted(axes)}: expected the mean over rows and "
                f"columns, axes {sorted(spatial)}",
            )
        pooled = value if value.pooled else self._pool_of(node, value)
        layout = value.layout if node.get("keep", False) else FLAT
        self._give(node, replace(pooled, layout=layout))
        self._linear(node)

    # Shapes

    def _identity(self, node: Node) -> None:
        value = self._data(node)
        self._give(node, value)
        layer = value.layer
        if node.op == "quantize" and layer is not None and layer.out == value.tensor:
            layer.out = node.outputs[0]
        # What is quantised anew may saturate.
        saturated = self._saturation(node.outputs[0])
        weighted = layer is not None and layer.weight is not None and not value.answer
        if saturated and weighted and layer is not None and layer.activation == "linear":
            self._activate(node, saturated)

    def _pad(self, node: Node) -> None:
        value = self._map(node)
        self._same_layout(node, value)
        pads = node.get("pads")
        if not all(0 <= pad <= MAX_PAD for pad in pads):
            self._refuse(node, f"it pads by {pads}: expected 0 to {MAX_PAD}")
        if value.pooled:
            self._refuse(node, "padding behind the pool")
        summed = tuple(one + other for one, other in zip(value.pads, pads, strict=True))
        top, left, bottom, right = summed
        self._give(node, replace(value, pads=(top, left, bottom, right)))

    def _flatten(self, node: Node) -> None:
        value = self._data(node)
        if value.size != (1, 1):
            height, width = value.size
            self._refuse(
                node,
                f"it makes a list of a map of {height}x{width} pixels: expected the mean over all "
                "pixels before it",
            )
        self._give(node, replace(value, layout=FLAT))

    def _reshape(self, node: Node) -> None:
        value = self._data(node)
        shape = node.get("shape")  # without the batch
        if value.size != (1, 1) or value.layer is None:
            if shape is not None and tuple(shape) == value.shape:
                self._give(node, value)
                return
            self._flatten(node)
        if shape is None:  # of any spelling; all the values are channels
            self._give(node, replace(value, layout=FLAT))
            return
        found = [extent for extent in shape if extent != 1]
        if found not in ([], [value.channels], [-1]) or (not found and value.channels != 1):
            self._refuse(node, f"it makes {tuple(shape)} of {value.channels} features")
        layout = FLAT
        if len(shape) == 3:
            layout = NCHW if shape[0] in (value.channels, -1) else NHWC
        self._give(node, replace(value, layout=layout))

    def _transpose(self, node: Node) -> None:
        value = self._data(node)
        axes = tuple(node.get("axes", ()))
        turned = {(0, 2, 3, 1): (NCHW, NHWC), (0, 3, 1, 2): (NHWC, NCHW)}.get(axes)
        if axes in ((0, 1), (0, 1, 2, 3)):
            self._give(node, value)
        elif turned is not None and value.layout == turned[0]:
            self._give(node, replace(value, layout=turned[1]))
        else:
            self._refuse(node, f"it turns the axes {axes} of a tensor in the order {value.layout}")

    # The end

    def _softmax(self, node: Node) -> None:
        beta = node.get("beta", 1.0)
        if beta != 1.0:
            self._refuse(node, f"a softmax of beta {beta:g}")
        self._give(node, self._data(node))
        self._answer(node, "softmax")

    def _sigmoid(self, node: Node) -> None:
        self._give(node, self._data(node))
        self._answer(node, "sigmoid")

    def _answer(self, node: Node, answer: str) -> None:
        out = node.outputs[0]
        value = self.values[out]
        layer = value.layer
        if layer is None or layer.operation != "dense":
            self._refuse(node, f"a {answer} of what no dense layer gives")
        if value.affine or value.answer or layer.activation != "linear":
            self._refuse(node, f"a {answer} behind {value.answer or layer.activation}")
        self.values[out] = replace(value, answer=answer)

    # The entrance

    def _take_entrance(self, node: Node, value: _Value) -> None:
        """What arithmetic before the first layer does to a pixel."""
        import numpy as np

        if any(each is None for layer in self.layers for each in layer.inputs):
            self._refuse(node, "a second layer that takes the image")
        scale, shift = np.ones(3), np.zeros(3)
        with np.errstate(over="ignore", invalid="ignore"):
            for by, plus in value.affine:
                scale, shift = scale * by, shift * by + plus
        if not (np.isfinite(scale).all() and np.isfinite(shift).all() and (scale > 0).all()):
            self._refuse(node, "what is before it scales the image by zero or less")
        if value.affine:
            self._entrance = Affine(tuple(scale.tolist()), tuple(shift.tolist()))


_STEPS: dict[str, Callable[[_Walk, Node], None]] = {
    "conv": _Walk._convolution,
    "depthwise": _Walk._convolution,
    "dense": _Walk._dense,
    "batch_norm": _Walk._batch_norm,
    "affine": _Walk._affine,
    "add": _Walk._arithmetic,
    "sub": _Walk._arithmetic,
    "mul": _Walk._arithmetic,
    "div": _Walk._arithmetic,
    "resize": _Walk._resize,
    "average": _Walk._average,
    "mean": _Walk._mean,
    "pad": _Walk._pad,
    "relu": _Walk._relu,
    "clip": _Walk._clip,
    "sigmoid": _Walk._sigmoid,
    "softmax": _Walk._softmax,
    "identity": _Walk._identity,
    "quantize": _Walk._identity,
    "dequantize": _Walk._identity,
    "flatten": _Walk._flatten,
    "reshape": _Walk._reshape,
    "transpose": _Walk._transpose,
}
