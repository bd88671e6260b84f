"""One inverted residual, and where a table of layers has one:

[pointwise `expand`] -> depthwise -> pointwise `project` [-> add of the block's input]
"""

from __future__ import annotations

from ..untyped import NamedTuple
from .layer import Layer
from .supported import refuse


class Block(NamedTuple):
    """One inverted residual with a linear bottleneck, or a kin of it."""

    expand: Layer | None  # None: the depthwise layer reads the thin input (t = 1)
    depthwise: Layer
    project: Layer
    residual: bool  # a shortcut joins the thin ends (section 3.3)
    source: str  # the layer whose value is the thin input
    output: str  # the layer whose value is the thin output: the project layer, or the add

    @property
    def name(self) -> str:
        """What its layers' names begin with, "block3", else its output's name."""
        return self.project.name.removesuffix(".project")

    @property
    def in_channels(self) -> int:
        """Channels of the block's thin input."""
        return (self.expand or self.depthwise).in_channels

    @property
    def hidden(self) -> int:
        """Channels of the expanded tensor."""
        return self.depthwise.out_channels

    @property
    def out_channels(self) -> int:
        """Channels of its thin output."""
        return self.project.out_channels

    @property
    def kernel(self) -> int:
        """Extent of the depthwise kernel."""
        return self.depthwise.kernel

    @property
    def stride(self) -> int:
        """Stride of the depthwise layer."""
        return self.depthwise.stride


def match_block(
    layers: tuple[Layer, ...], at: int, thin: str, readers: dict[str, list[Layer]]
) -> Block | None:
    """The block whose first layer is `layers[at]` and whose input is `thin`; None where none is."""

    def follows(i: int, operation: str, source: str) -> bool:
        return (
            i < len(layers) and layers[i].operation == operation and layers[i].inputs == (source,)
        )

    first = layers[at]
    expand = None
    if follows(at, "pointwise", thin) and follows(at + 1, "depthwise", first.name):
        expand = first
        at += 1
    elif not follows(at, "depthwise", thin):
        return None
    depthwise = layers[at]
    if not follows(at + 1, "pointwise", depthwise.name):
        refuse(depthwise.name, "is not followed by a 1×1 convolution")
    project = layers[at + 1]
    residual = False
    for inner in (expand, depthwise):
        if inner is not None and len(readers[inner.name]) != 1:
            names = [layer.name for layer in readers[inner.name]]
            refuse(inner.name, f"is read by several layers, {', '.join(names[:3])}")
    output = project.name
    if at + 2 < len(layers) and layers[at + 2].operation == "add":
        joined = layers[at + 2]
        if set(joined.inputs) != {project.name, thin}:
            refuse(joined.name, "does not add a block's input to its output")
        residual, output = True, joined.name
    if residual and len(readers[project.name]) != 1:
        refuse(project.name, "is read by several layers")
    expected = {(expand or depthwise).name, output} if residual else {(expand or depthwise).name}
    others = [layer.name for layer in readers[thin] if layer.name not in expected]
    if others:
        refuse(others[0], f"reads {thin!r}, which is the input of another block")
    return Block(expand, depthwise, project, residual, thin, output)
