"""LiteRT, formerly TensorFlow Lite, with XNNPACK: its default for float32 and for 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .session import Input, Session, chosen_outputs, layout, threaded

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Operators behind the softmax that change no order among the classes.
_PASSED_OVER = ("QUANTIZE", "DEQUANTIZE", "RESHAPE")


class LiteRT(Session):
    """A .tflite file. `resolver`, a name of LiteRT's OpResolverType, chooses the kernels."""

    def __init__(
        self,
        module: Any,
        path: str,
        threads: int,
        resolution: tuple[int, int] | None,
        as_is: bool,
        resolver: str = "AUTO",
    ) -> None:
        content, self.notes = (None, ()) if as_is else _ending_in_logits(path)
        source = {"model_path": path} if content is None else {"model_content": content}
        self._interpreter = module.Interpreter(
            **source,
            num_threads=threads,
            experimental_op_resolver_type=module.OpResolverType[resolver],
        )
        self._interpreter.allocate_tensors()
        source, targets = self._interpreter.get_input_details()[0], self._targets()
        planar, size = layout(source["shape"].tolist(), resolution, path)
        self.input = Input(np.dtype(source["dtype"]), planar, size, _quantization(source))
        self.classes = sum(int(np.prod(target["shape"])) for target in targets)
        self._source = source["index"]
        self._outputs = [target["index"] for target in targets]
        self._quantizations = [_quantization(target) for target in targets]
        self.notes += (f"{resolver} kernels, {threaded(threads)}",)

    def bind(self, image: NDArray[Any]) -> None:
        """Puts an image where the engine reads it."""
        self._interpreter.set_tensor(self._source, self.input.prepared(image))

    def invoke(self) -> list[Any]:
        """Runs, and gives the engine's own outputs."""
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def real(self, outputs: list[Any]) -> NDArray[np.float32]:
        """The outputs as real numbers."""
        wide = [
            output if said is None else (output.astype(np.float64) - said[1]) * said[0]
            for output, said in zip(outputs, self._quantizations, strict=True)
        ]
        return super().real(wide)

    def _targets(self) -> list[Any]:
        details = self._interpreter.get_output_details()
        return [details[i] for i in chosen_outputs([each["name"] for each in details])]


def _quantization(details: Any) -> tuple[float, int] | None:
    scale, zero_point = details["quantization"]
    return (float(scale), int(zero_point)) if scale else None


def _ending_in_logits(path: str) -> tuple[bytes | None, tuple[str, ...]]:
    """The file with the input of its last softmax for an output, and a note; or None where it
    ends in no softmax. In 8 bits, little of the logits is left behind one."""
    from ..convert.sources.tflite_schema import read_graph

    content = Path(path).read_bytes()
    graph = read_graph(content, path)
    producers = {tensor: each for each in graph.operators for tensor in each.outputs}
    tensor = graph.outputs[0]
    while tensor in producers and producers[tensor].kind in _PASSED_OVER:
        tensor = producers[tensor].inputs[0]
    if tensor not in producers or producers[tensor].kind != "SOFTMAX":
        return None, ()
    import tflite

    altered = bytearray(content)
    logits = producers[tensor].inputs[0]
    tflite.Model.GetRootAs(altered, 0).Subgraphs(0).OutputsAsNumpy()[0] = logits
    return bytes(altered), ("without its softmax",)
