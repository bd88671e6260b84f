"""What an actor needs: CPUs, and bytes that are stated before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..engine import Engine
from .shipping import ShippedModel

if TYPE_CHECKING:
    from ..network.layer import Network

# Measured: a process that has imported Ray Data, pandas and pyarrow has 158 MiB resident, and 163
# with an engine; an actor at work, its batch included, 196.
PROCESS_BYTES = 168 << 20
# Bytes of a batch that is worked on and of one that waits, before and after.
BATCH_BYTES = 64 << 20


def remote_args(
    model: str | ShippedModel,
    photograph: tuple[int, int],
    check: Callable[[Network], None],
    *,
    threads: int = 1,
    backend: str | None = None,
    precision: str | None = None,
    decode: str | None = None,
) -> dict[str, Any]:
    """`num_cpus` and `memory` for `ray.remote` and `map_batches`, if `check` passes the model."""
    path = model.path if isinstance(model, ShippedModel) else model
    with Engine.load(path, threads, backend, precision, decode=decode) as engine:
        check(engine.info.network)
        width, height = photograph
        plan = engine.photo_plan(width, height, "jpeg", progressive=True)
        needed = max(plan.peak_bytes, engine.memory_plan().arena_bytes)
    return {"num_cpus": threads, "memory": PROCESS_BYTES + BATCH_BYTES + needed}
