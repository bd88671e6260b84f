"""What the engine asks of an executor."""

from __future__ import annotations

from ..untyped import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Executor(Protocol):
    """Buffers need not be arrays of numpy."""

    backend: str  # "c", "numba" or "numpy"

    @property
    def threads(self) -> int:
        """Threads that share the work of one image."""

    @property
    def isa(self) -> str | None:
        """Name of the instruction set in use, or None where it is not the executor's choice."""

    def new_floats(self, count: int) -> Any:
        """A fresh writable buffer of `count` float32."""

    def run(
        self,
        image: Any,
        is_float: bool,
        logits: Any = None,
        features: Any = None,
        maps: Any = None,
        boxes: Any = None,
        scores: Any = None,
    ) -> None:
        """Runs one image of the network's own size, a contiguous buffer of (H, W, 3): uint8
        pixels, or float32 that is normalised. Fills `logits` (classes float32), `features`
        (pooled channels float32) and `maps` (an array of float32 for each tap of the plan) where
        they are given; of a detector `boxes` (anchors, 4), coded, and `scores` (anchors, classes
        and background), before sigmoid or softmax."""

    def first_not_finite(self, values: Any) -> int:
        """Index of the first value of a float32 buffer that is NaN or infinite, or -1."""

    def top_k(self, logits: Any, k: int) -> Sequence[tuple[int, float]]:
        """(index, softmax probability) of the `k` largest logits, largest first."""
