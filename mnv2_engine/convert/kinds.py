"""What a graph is by its operations, where it is another kind of network: for one sentence."""

from __future__ import annotations

from collections.abc import Iterable

from .graph import Graph, Node

# (a part of an operation's name, what has it), the surest first.
_MARKS = (
    ("DETECTION_POSTPROCESS", "an object detector, not a classifier"),
    ("NON_MAX_SUPPRESSION", "an object detector, not a classifier"),
    ("NONMAXSUPPRESSION", "an object detector, not a classifier"),
    ("LSTM", "a recurrent network (LSTM)"),
    ("GRU", "a recurrent network (GRU)"),
    ("RNN", "a recurrent network"),
    ("EMBEDDING", "a network for text (it looks up embeddings)"),
    ("MULTIHEADATTENTION", "a transformer"),
    ("ATTENTION", "a transformer"),
    ("BATCH_MATMUL", "a transformer"),
    ("LAYERNORM", "a transformer or a ConvNeXt (layer normalisation)"),
    ("HARD_SWISH", "a network with hard-swish, such as MobileNetV3"),
    ("HARDSWISH", "a network with hard-swish, such as MobileNetV3"),
    ("HARDSIGMOID", "a network with hard-swish, such as MobileNetV3"),
    ("HARD_SIGMOID", "a network with hard-swish, such as MobileNetV3"),
    ("HARD_SILU", "a network with hard-swish, such as MobileNetV3"),
    ("SWISH", "a network with swish, such as EfficientNet-B"),
    ("SILU", "a network with swish, such as EfficientNet-B"),
    ("TRANSPOSE_CONV", "a network that enlarges maps, such as a segmenter"),
    ("CONVTRANSPOSE", "a network that enlarges maps, such as a segmenter"),
    ("RESIZE", "a network that resizes maps, such as a segmenter"),
    ("MAX_POOL", "a network with max-pooling, such as ResNet or VGG"),
    ("MAXPOOL", "a network with max-pooling, such as ResNet or VGG"),
    ("CONCAT", "a network that joins channels, such as DenseNet or Inception"),
)


def kind_of(graph: Graph, nodes: Iterable[Node]) -> str:
    """What the graph is, or "" where nothing speaks against a MobileNet."""
    found = {node.op.upper().replace("-", "_") for node in nodes}
    for mark, kind in _MARKS:
        if any(mark in op for op in found):
            return kind
    gates = [
        node for node in nodes if node.op == "mul" and not set(node.inputs) & set(graph.constants)
    ]
    if gates:
        if len({node.op for node in nodes} & {"sigmoid", "SIGMOID"}):
            return "a network with swish or squeeze-and-excitation, such as EfficientNet-B"
        return "a network with squeeze-and-excitation"
    return ""
