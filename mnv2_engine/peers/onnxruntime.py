"""onnxruntime: all graph optimisations; the batch fixed to 1; input and output bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedError, missing_extra
from .session import Input, Session, chosen_outputs, layout, threaded

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Operators behind a softmax that change no order among the classes.
_PASSED_OVER = ("QuantizeLinear", "DequantizeLinear", "Reshape", "Flatten", "Cast", "Identity")

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}


class OnnxRuntime(Session):
    """An .onnx file. `level`, a name of its GraphOptimizationLevel, is how far it is rewritten."""

    def __init__(
        self,
        module: Any,
        path: str,
        threads: int,
        resolution: tuple[int, int] | None,
        as_is: bool,
        level: str = "ORT_ENABLE_ALL",
    ) -> None:
        content, self.notes = (None, ()) if as_is else _ending_in_logits(path)
        options = module.SessionOptions()
        options.graph_optimization_level = getattr(module.GraphOptimizationLevel, level)
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_free_dimension_override_by_name("N", 1)
        self._session = module.InferenceSession(
            content or path, options, providers=["CPUExecutionProvider"]
        )
        source = self._session.get_inputs()[0]
        if source.type not in _DTYPES:
            raise UnsupportedError(
                f"{path}: its input is a {source.type}: expected {', '.join(_DTYPES)}"
            )
        shape = [extent if isinstance(extent, int) else None for extent in source.shape]
        planar, size = layout(shape, resolution, path)
        self.input = Input(np.dtype(_DTYPES[source.type]), planar, size)
        outputs = self._session.get_outputs()
        targets = [outputs[i] for i in chosen_outputs([output.name for output in outputs])]
        self._bound = np.zeros((1, 3, *size) if planar else (1, *size, 3), self.input.dtype)
        self._binding = self._session.io_binding()
        self._binding.bind_cpu_input(source.name, self._bound)  # which does not keep it alive
        for target in targets:
            self._binding.bind_output(target.name)
        # Files made by hand may not say: then one run does.
        shapes = [target.shape[1:] if target.shape else () for target in targets]
        known = all(shape and all(isinstance(each, int) for each in shape) for shape in shapes)
        sizes = map(np.prod, shapes) if known else (output.size for output in self.invoke())
        self.classes = int(sum(sizes))
        self.notes += (f"{level}, {threaded(threads)}",)

    def bind(self, image: NDArray[Any]) -> None:
        """Puts an image where the engine reads it."""
        self._bound[:] = self.input.prepared(image)

    def invoke(self) -> list[Any]:
        """Runs, and gives the engine's own outputs."""
        self._session.run_with_iobinding(self._binding)
        return [output.numpy() for output in self._binding.get_outputs()]


def _ending_in_logits(path: str) -> tuple[bytes | None, tuple[str, ...]]:
    """The file with the input of its last softmax for an output, and a note; or None where it
    ends in no softmax."""
    try:
        import onnx
    except ImportError as error:
        raise missing_extra("onnx", "bench", "finding the logits of an .onnx file") from error

    model = onnx.load(path)
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    name = graph.output[chosen_outputs([output.name for output in graph.output])[0]].name
    while name in producers and producers[name].op_type in _PASSED_OVER:
        name = producers[name].input[0]
    if name not in producers or producers[name].op_type != "Softmax":
        return None, ()
    del graph.output[:]
    graph.output.append(onnx.ValueInfoProto(name=producers[name].input[0]))
    return model.SerializeToString(), ("without its softmax",)
