"""An ONNX file being made, node by node."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import UnsupportedError, missing_extra
from ..network.layer import IMAGE_CHANNELS, Layer, Network
from .description import description, feeding
from .trunk import raw_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..model.modelfile import ModelFile

# 13 is the first in which DequantizeLinear takes a scale for each channel. Runtimes from 2020 on
# read it, and nothing newer is needed.
OPSET = 13
IR_VERSION = 8


class OnnxGraph:
    """Nodes and constants, by the names of what they make.

    Raises MissingExtraError without the package `onnx`.
    """

    def __init__(self) -> None:
        try:
            self._onnx = import_module("onnx")
            self._numpy_helper = import_module("onnx.numpy_helper")
        except ImportError:
            raise missing_extra("onnx", "onnx", "writing an .onnx file") from None
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def node(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its first output."""
        self._nodes.append(
            self._onnx.helper.make_node(kind, inputs, outputs, outputs[0], **attributes)
        )
        return outputs[0]

    def constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        """Add a constant, unless there is one of that name, and return the name."""
        import numpy as np

        if name not in self._constants:
            # A scalar has to stay one, with the shape ().
            self._constants[name] = self._numpy_helper.from_array(np.asarray(values), name)
        return name

    def convolution(self, layer: Layer, inputs: list[str], name: str, padded: bool = True) -> str:
        """Add a Conv of `layer`; its pads are left out if they are not `padded` by it."""
        (top, bottom), (left, right) = layer.pad_rows, layer.pad_columns
        return self.node(
            "Conv",
            inputs,
            name,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[top, left, bottom, right] if padded else [0] * 4,
            group=layer.in_channels if layer.operation == "depthwise" else 1,
        )

    def activation(self, layer: Layer, at: str, name: str) -> str:
        """`at` behind the layer's activation."""
        if layer.activation == "linear":
            return at
        if layer.activation == "relu":
            return self.node("Relu", [at], name)
        bounds = [self.constant("zero", np.float32(0)), self.constant("six", np.float32(6))]
        return self.node("Clip", [at, *bounds], name)

    def dense(self, layer: Layer, at: str, parameters: list[str], is_last: bool) -> str:
        """A dense layer of float32; the last one gives `logits`."""
        name = "logits" if is_last else layer.name
        sums = name if layer.activation == "linear" else f"{name}.sums"
        at = self.node("Gemm", [at, *parameters], sums, transB=1)
        return self.activation(layer, at, name)

    def rows(self, at: str, name: str, shape: tuple[int, int]) -> str:
        """A map as rows and columns, (batch, *shape): pixel by pixel, the channels of each."""
        at = self.node("Transpose", [at], f"{name}.last", perm=[0, 2, 3, 1])
        shaped = self.constant(f"{name}.shape", np.array([0, *shape], np.int64))
        return self.node("Reshape", [at, shaped], name)

    def file(
        self,
        model: ModelFile,
        batch: int | str,
        input_dtype: str,
        more: Sequence[tuple[str, str, tuple[int | str, ...]]] = (),
    ) -> bytes:
        """The graph from `input` to the answer, checked by onnx, with what the model file says.
        `more` are further outputs: name, type, shape."""
        helper, network = self._onnx.helper, model.network
        types = self._onnx.TensorProto
        kinds = {"float32": types.FLOAT, "uint8": types.UINT8, "int64": types.INT64}
        shape = [batch, IMAGE_CHANNELS, *network.resolution]
        answers = [
            *((name, "float32", (batch, *extents)) for name, extents in answers_of(network)),
            *more,
        ]
        graph = helper.make_graph(
            self._nodes,
            network.name,
            [helper.make_tensor_value_info("input", kinds[input_dtype], shape)],
            [
                helper.make_tensor_value_info(name, kinds[kind], each)
                for name, kind, each in answers
            ],
            list(self._constants.values()),
            doc_string=f"input: {feeding(model)}",
        )
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="mnv2_engine",
            producer_version=__version__,
        )
        helper.set_model_props(made, description(model))
        try:
            self._onnx.checker.check_model(made)
        except self._onnx.checker.ValidationError as error:
            reason = " ".join(str(error).split())
            raise UnsupportedError(
                f"{network.name}: ONNX does not hold this network, or its layers have names that "
                f"the file needs itself, such as `input`: {reason:.300}"
            ) from error
        return bytes(made.SerializeToString(deterministic=True))


def answers_of(network: Network) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of what a network answers with, without the batch."""
    if network.detection is not None:
        return [(each.name, (each.anchors, each.columns)) for each in raw_outputs(network)]
    if network.classes:
        return [("logits", (network.classes,))]
    return [("features", (network.features,))]
