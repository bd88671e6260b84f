"""The model of time that the planner compares schedules with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.plan.cost import cycles_of, pointwise_cycles, reread_cycles
from mnv2_engine.plan.planner import every_schedule, make_plan
from mnv2_engine.plan.shapes import Shapes

sizes = st.integers(1, 300)


@given(pixels=sizes, depth=sizes, panels=st.integers(1, 80))
def test_no_convolution_beats_the_rate_of_its_multiply_adds(pixels, depth, panels):
    cycles = pointwise_cycles(pixels, depth, panels)
    assert cycles > pixels * panels // 2 * depth
    assert cycles <= pointwise_cycles(pixels + 1, depth, panels)
    assert cycles <= pointwise_cycles(pixels, depth, panels + 1)


def test_weights_that_are_read_once_are_not_read_again():
    assert reread_cycles(1 << 20, 0) == 0 < reread_cycles(1 << 20, 1)


def test_the_model_knows_what_was_measured():
    """What benches/schedules.py finds faster, it finds faster."""
    shapes = Shapes(mobilenet_v2(1.0, 224), 1)
    choices = every_schedule(shapes)

    def cycles(block: int, kind: str, **sizes: int) -> int:
        return min(
            cycles_of(shapes, s)
            for s in choices[block]
            if s.kind == kind
            and len(s.blocks) == 1
            and all(getattr(s, name) == size for name, size in sizes.items())
        )

    assert cycles(2, "rows", strip=28) < cycles(2, "rows", strip=14)
    assert cycles(15, "tiles", tile=64) < cycles(15, "tiles", tile=32)
    # Weights of hundreds of kilobytes are not read for every row.
    assert cycles(14, "tiles") < 0.6 * cycles(14, "rows")


def test_threads_share_the_work_of_every_block():
    network = mobilenet_v2(1.0, 224)
    one, two = (
        sum(
            min(cycles_of(shapes, s) / len(s.blocks) for s in each)
            for each in every_schedule(shapes)[:-2]
        )
        for shapes in (Shapes(network, 1), Shapes(network, 2))
    )
    assert one / 2 < two < 0.6 * one
    assert make_plan(network, 2).arena_bytes < 2 * make_plan(network).arena_bytes
