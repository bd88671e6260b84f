"""ncnn: float32 throughout, its blobs of 16 bits switched off; the rest is its default."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .session import CHANNELS, Input, Session, layout, threaded

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The names that pnnx gives.
_INPUT, _OUTPUTS = "in0", ("out0", "out1")


class Ncnn(Session):
    """A .param file that pnnx wrote, with its .bin beside it."""

    def __init__(
        self,
        module: Any,
        path: str,
        threads: int,
        resolution: tuple[int, int] | None,
        as_is: bool,
    ) -> None:
        if resolution is None:
            raise InputError(f"{path}: it does not say the image's size: give a resolution")
        weights = os.path.splitext(path)[0] + ".bin"
        self._module, self._net = module, module.Net()
        options = self._net.opt
        options.num_threads = threads
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
            setattr(options, name, False)
        options.use_bf16_storage = False
        if self._net.load_param(path) or not os.path.isfile(weights):
            raise InputError(f"{path}: expected a .param file of ncnn, and {weights} beside it")
        if self._net.load_model(weights):
            raise InputError(f"{weights}: expected the weights of {path}")
        planar, size = layout((1, CHANNELS, *resolution), None, path)
        self.input = Input(np.dtype(np.float32), planar, size)
        self.bind(np.zeros((*size, CHANNELS), np.float32))
        # A detector has two.
        self._outputs = [name for name in _OUTPUTS if name in self._net.output_names()]
        self.classes = sum(int(output.size) for output in self.invoke())
        self.notes = (f"float32, {threaded(threads)}",)

    def bind(self, image: NDArray[Any]) -> None:
        """Puts an image where the engine reads it."""
        planes = np.ascontiguousarray(self.input.prepared(image)[0])
        self._bound = self._module.Mat(planes).clone()

    def invoke(self) -> list[Any]:
        """Runs, and gives the engine's own outputs."""
        extractor = self._net.create_extractor()
        extractor.input(_INPUT, self._bound)
        found = []
        for name in self._outputs:
            failed, output = extractor.extract(name)
            if failed:
                raise InputError(f"ncnn gave no {name!r} (code {failed}): expected pnnx's names")
            found.append(np.array(output))
        return found
