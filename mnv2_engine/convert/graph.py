"""The neutral graph that every graph of a framework is read into.

A source's reader translates; it does not judge. Nodes carry the operation in the few words below,
weights come in the canonical order whatever the framework's, and `where` is the framework's own
name and place, for messages. walk.py finds the network in it, the same way for every source.

| op | inputs | attributes |
|---|---|---|
| conv | data, weight OIHW, bias | strides, dilations, pads, groups, layout, activation |
| depthwise | data, weight (C, 1, k, k), bias | the same without groups |
| dense | data, weight (out, in), bias | activation |
| batch_norm | data, gamma, beta, mean, variance | epsilon |
| add, sub, mul, div | two; one may be a constant | activation |
| affine | data, scale, shift (constants) | |
| average | data | window, strides, pads, layout |
| mean | data | axes, layout |
| pad | data | pads |
| resize | data | size (height, width), resample, fit |
| relu, clip, sigmoid, softmax | data | clip: low, high; softmax: beta |
| identity, flatten, reshape, transpose | data | transpose: axes; reshape: shape |
| quantize, dequantize | data | |

`pads` are "same", "valid" or (top, left, bottom, right); `layout` is "nhwc" or "nchw". Any other
op stands for itself, is named in upper case or as the framework names it, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NHWC, NCHW, FLAT = "nhwc", "nchw", "flat"
COLOUR_CHANNELS = (3, 1)  # red, green and blue, or grey

# MobileNetV2 has about 160 nodes in Keras; hostile files must not keep the walk busy.
MAX_NODES = 1 << 14


class Integers(NamedTuple):
    """Stored integers of a constant, in the canonical order: real = scale * (stored - zero)."""

    stored: Callable[[], NDArray[Any]]
    low: int  # what the type holds
    high: int
    scales: NDArray[np.float64]  # one, or one for each output channel
    zero_points: NDArray[np.int64]
    kind: str  # "INT8", for messages
    per_channel: bool  # whether several scales are of the output channels


class Constant(NamedTuple):
    """A tensor whose values are in the file. `load` reads them, so unused ones cost nothing."""

    shape: tuple[int, ...]
    load: Callable[[], NDArray[Any]]  # float64 or integers; the caller does not change them
    integers: Integers | None = None

    def reordered(self, axes: tuple[int, ...], shape: tuple[int, ...] | None = None) -> Constant:
        """The same with its axes in another order, then of another shape."""
        due = tuple(self.shape[axis] for axis in axes) if shape is None else shape

        def turn(values: NDArray[Any]) -> NDArray[Any]:
            turned: NDArray[Any] = values.transpose(axes).reshape(due)
            return turned

        said = self.integers
        integers = None
        if said is not None:
            stored = said.stored
            integers = said._replace(stored=lambda: turn(stored()))
        return Constant(due, lambda: turn(self.load()), integers)

    def reshaped(self, shape: Sequence[int]) -> Constant | None:
        """The same in another shape, of which one extent may be -1; None where it does not fit.
        Nothing is read: a file may ask for it a thousand times."""
        size, known = 1, 1
        for extent in self.shape:
            size *= extent
        for extent in shape:
            known *= extent if extent != -1 else 1
        due = tuple(size // max(known, 1) if extent == -1 else int(extent) for extent in shape)
        again = 1
        for extent in due:
            again *= extent
        if again != size or min(due, default=0) < 0 or len(due) > 8 or list(shape).count(-1) > 1:
            return None
        return Constant(due, lambda: self.load().reshape(due))


def constant_of(values: NDArray[Any]) -> Constant:
    """A constant whose values are there already."""
    return Constant(values.shape, lambda: values)


class Quantised(NamedTuple):
    """How a computed tensor's 8 bits stand for numbers: real = scale * (stored - zero point)."""

    scale: float
    zero_point: int
    low: int
    high: int


class Node(NamedTuple):
    """One operation of a graph, in the words of its format."""

    op: str
    where: str  # "operator 12, CONV_2D into 34 'x'", "layer 'block_1_expand' (Conv2D)"
    inputs: tuple[str, ...]  # tensors; "" where one is left out
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where the file does not say it."""
        return self.attributes.get(name, default)


class Image(NamedTuple):
    """The graph's input."""

    name: str
    size: tuple[int, int] | None  # (height, width); None where the source fixes none
    channels: int
    layout: str
    # An 8-bit input holds pixels; a float one holds whatever the program that calls it gives.
    quantised: Quantised | None = None


def image_of_shape(
    name: str, shape: Sequence[int | None], first: str, quantised: Quantised | None = None
) -> Image | None:
    """The input of four axes, the batch first; None where no axis has an image's channels: three,
    or one of grey.

    A size of None or below 0 is open. `first` is the layout of shapes that may have either.
    """
    if len(shape) != 4:
        return None
    layouts = (first, NCHW if first == NHWC else NHWC)
    for channels in COLOUR_CHANNELS:
        for layout in layouts:
            if shape[1 if layout == NCHW else 3] == channels:
                height, width = shape[2:] if layout == NCHW else shape[1:3]
                fixed = height is not None and width is not None and min(height, width) >= 0
                size = (int(height or 0), int(width or 0)) if fixed else None
                return Image(name, size, channels, layout, quantised)
    return None


class Graph(NamedTuple):
    """A checkpoint as a graph of operations, whatever its format."""

    what: str  # the file, in messages
    format: str  # "TFLite", "ONNX", for people
    image: Image
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Constant]
    quantised: Mapping[str, Quantised] = {}  # of computed tensors
    # The names of what lies behind tensors in the framework's words, where they differ.
    shown: Mapping[str, str] = {}

    def name_of(self, tensor: str) -> str:
        """A tensor's name for messages."""
        return self.shown.get(tensor, repr(tensor[:80]))


def producers(graph: Graph) -> dict[str, Node]:
    """Which node makes each tensor. Raises CheckpointError where two do or one is a constant."""
    made: dict[str, Node] = {}
    if len(graph.nodes) > MAX_NODES:
        raise CheckpointError(
            f"{graph.what}: {len(graph.nodes)} nodes: expected at most {MAX_NODES}"
        )
    for node in graph.nodes:
        for tensor in node.outputs:
            if tensor in made or tensor in graph.constants or tensor == graph.image.name:
                raise CheckpointError(f"{graph.what}: {node.where}: it overwrites a tensor")
            made[tensor] = node
    return made


def ordered(graph: Graph) -> list[Node]:
    """The nodes that the outputs depend on, each behind those that it depends on.

    Raises CheckpointError for a graph that uses what nobody makes or that goes in a circle.
    """
    made = producers(graph)
    order: list[Node] = []
    state: dict[int, int] = {}  # 1: on the way to it, 2: done
    stack: list[tuple[Node, bool]] = [
        (made[tensor], False) for tensor in reversed(graph.outputs) if tensor in made
    ]
    while stack:
        node, done = stack.pop()
        key = id(node)
        if done:
            state[key] = 2
            order.append(node)
            continue
        if state.get(key) == 2:
            continue
        state[key] = 1
        stack.append((node, True))
        for tensor in reversed(node.inputs):
            if not tensor or tensor in graph.constants or tensor == graph.image.name:
                continue
            source = made.get(tensor)
            if source is None:
                raise CheckpointError(
                    f"{graph.what}: {node.where}: its input {graph.name_of(tensor)} is made by "
                    "nothing in the graph; the file is damaged"
                )
            if state.get(id(source)) == 1:
                raise CheckpointError(f"{graph.what}: {node.where}: the graph goes in a circle")
            if id(source) not in state:
                stack.append((source, False))
    return order
