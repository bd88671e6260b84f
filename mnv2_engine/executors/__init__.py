"""Who runs a network: each module executes the same architecture in its own way.

An `Order` says how it is to be planned and run, to an executor that makes its plan.
"""

from __future__ import annotations

from ..untyped import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..network.layer import Network
    from ..plan.steps import Plan


FASTEST = "fastest"  # a precision that a caller may ask for: the engine chooses


def natural_precision(dtype: str) -> str:
    """What a model file with weights of `dtype` is computed in unless a caller says otherwise."""
    return "int8" if dtype == "int8" else "float32"


class Order(NamedTuple):
    """How a network is to be planned; the C core makes the steps faster than Python does."""

    threads: int
    precision: str  # what it is computed in, one of shapes.PRECISIONS
    dtype: str  # of the weights, one of packing.DTYPES
    cpu: str  # the family of CPUs that it is to be fast on, of cpu_costs.py
    batch: int = 1  # images that a call runs together

    def plan(self, network: Network) -> Plan:
        """The plan, as Python makes it."""
        from ..plan.planner import make_plan

        threads, precision, dtype, cpu, batch = self
        return make_plan(network, threads, precision, dtype, cpu=cpu)._replace(batch=batch)
