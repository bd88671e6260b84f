"""What executors have in common whose buffers are arrays of NumPy."""

from __future__ import annotations

import numpy as np

from ..untyped import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ArrayExecutor:
    """The part of an `Executor` that surrounds a run."""

    threads = 1
    isa: str | None = None  # the libraries' own choice

    def new_floats(self, count: int) -> Any:
        """A fresh array of `count` float32."""
        return np.empty(count, np.float32)

    def first_not_finite(self, values: Any) -> int:
        """Index of the first value of a float32 buffer that is NaN or infinite, or -1."""
        found = np.flatnonzero(~np.isfinite(np.frombuffer(values, np.float32)))
        return int(found[0]) if found.size else -1

    def top_k(self, logits: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """(index, softmax probability) of the `k` largest logits, ties to the lower index."""
        order = np.argsort(-logits, kind="stable")[:k]
        shares = np.exp(logits.astype(np.float64) - logits.max())
        shares /= shares.sum()
        return [(int(index), float(shares[index])) for index in order]
