"""OpenVINO: latency, one stream, float32, in an int8 network for what is not int8: by itself it
takes bfloat16 where the CPU has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedError
from .session import Input, Session, chosen_outputs, layout, threaded

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Operators behind a softmax that change no order among the classes.
_PASSED_OVER = ("Convert", "Reshape", "FakeQuantize", "Squeeze", "Identity")

_DTYPES = {"f32": np.float32, "f16": np.float16, "u8": np.uint8, "i8": np.int8}


class OpenVino(Session):
    """An .onnx file, or an .xml with its .bin beside it."""

    def __init__(
        self,
        module: Any,
        path: str,
        threads: int,
        resolution: tuple[int, int] | None,
        as_is: bool,
        precision: str = "f32",
    ) -> None:
        core = module.Core()
        model = core.read_model(path)
        self.notes = ()
        (source,) = model.inputs
        extents = [None if e.is_dynamic else e.get_length() for e in source.partial_shape]
        planar, size = layout(extents, resolution, path)
        model.reshape((1, 3, *size) if planar else (1, *size, 3))  # the batch may be dynamic
        if not as_is:
            model = self._ending_in_logits(module, model)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = core.compile_model(model, "CPU", settings)
        kind = compiled.inputs[0].element_type.get_type_name()
        if kind not in _DTYPES:
            raise UnsupportedError(f"{path}: its input is {kind}: expected {', '.join(_DTYPES)}")
        self.input = Input(np.dtype(_DTYPES[kind]), planar, size)
        self._request = compiled.create_infer_request()
        self._source = self._request.get_input_tensor()
        chosen = chosen_outputs([_name(port) for port in compiled.outputs])
        self._outputs = [self._request.get_tensor(compiled.outputs[i]) for i in chosen]
        self.classes = sum(int(np.prod(tuple(compiled.outputs[i].shape))) for i in chosen)
        self.notes += (f"latency, one stream, {precision}, {threaded(threads)}",)

    def bind(self, image: NDArray[Any]) -> None:
        """Puts an image where the engine reads it."""
        self._source.data[:] = self.input.prepared(image)

    def invoke(self) -> list[Any]:
        """Runs, and gives the engine's own outputs."""
        self._request.infer()
        return [output.data.copy() for output in self._outputs]

    def _ending_in_logits(self, module: Any, model: Any) -> Any:
        """The network up to its last softmax, or itself where it ends in none."""
        names = [_name(port) for port in model.outputs]
        at = model.outputs[chosen_outputs(names)[0]].get_node().input_value(0)
        while at.get_node().get_type_name() in _PASSED_OVER:
            at = at.get_node().input_value(0)
        if at.get_node().get_type_name().lower() != "softmax":
            return model
        self.notes += ("without its softmax",)
        return module.Model([at.get_node().input_value(0)], model.get_parameters(), "logits")


def _name(port: Any) -> str:
    return str(port.get_any_name()) if port.get_names() else ""
