"""The plan as text: its table, its drawing, and the copy of the table in docs/memory.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import networks
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_engine.network.blocks import match
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.shown.drawing import drawing
from mnv2_engine.plan.shown.figures import live_buffers, per_block
from mnv2_engine.plan.shown.table import PEAK, kib_number, table
from mnv2_engine.plan.steps import Step

MEMORY = Path(__file__).parents[1] / "docs" / "memory.md"
NETWORKS = [mobilenet_v2(1.0, 224), mobilenet_v2(0.35, 96), efficientnet_lite(4)]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_table_has_the_figures_of_every_step(network, threads, precision):
    plan = make_plan(network, threads, precision)
    without = per_block(plan)
    lines = table(plan).splitlines()
    for line, step, least in zip(lines[1:], plan.steps, without.steps, strict=False):
        assert line.startswith(f"{step.name} ")
        assert ("in place" in line) == step.in_place
        numbers = [kib_number(count) for count in (step.bytes, least, step.unfused_bytes)]
        assert line.replace(PEAK, "").split()[-3:] == numbers
    sums = dict(re.findall(r"^(\w+(?: \w+)?) +([\d,.]+) KiB", "\n".join(lines), re.MULTILINE))
    assert sums == {
        "arena": kib_number(plan.arena_bytes),
        "per block": kib_number(without.arena_bytes),
        "unfused": kib_number(plan.unfused_bytes),
        "weights": kib_number(plan.weight_bytes),
        "image": kib_number(plan.image_bytes),
    }
    most = max(step.bytes for step in plan.steps)
    highest = next(step.name for step in plan.steps if step.bytes == most)
    marked = [line for line in lines[: 1 + len(plan.steps)] if PEAK in line]
    assert [line.startswith(f"{highest} ") for line in marked] == [True]
    assert lines[len(plan.steps) + 2].endswith(f"at {highest}")
    assert max(map(len, str(plan).splitlines())) < 100
    assert str(plan) == f"{table(plan)}\n\n{drawing(plan)}"


def drawn_steps(plan) -> dict[str, list[str]]:
    """The lines of each step's drawing, the title first, by the step's name."""
    _, *parts = re.split(r"^(?=\S)", drawing(plan), flags=re.MULTILINE)
    found = {
        re.split(r": |, \d+ threads|  ", part)[0]: part.rstrip().splitlines() for part in parts
    }
    return {step.name: found[step.name] for step in plan.steps}


@settings(max_examples=30)
@given(network=networks, threads=st.sampled_from([1, 1, 2, 5]))
def test_the_drawing_goes_from_the_image_through_every_block_to_the_logits(network, threads):
    plan = make_plan(network, threads)
    nodes = []
    for lines in drawn_steps(plan).values():
        nodes += [
            re.split(r"\s{2,}", line)[1].lstrip("↓ ") for line in lines[1:] if line[4:6].strip()
        ]
    named = [node for node in nodes if node[0].isalpha() and node not in ("shared", "others")]
    assert named == [
        "image",
        "stem",
        *(f"block{index}" for index in range(len(match(network).blocks))),
        "head + pool",
        "classifier",
        "logits",
    ]


@settings(max_examples=30)
@given(
    network=networks,
    threads=st.sampled_from([1, 1, 2, 5]),
    precision=st.sampled_from(["float32", "int8"]),
)
def test_the_drawing_has_every_buffer_once(network, threads, precision):
    plan = make_plan(network, threads, precision)
    most = max(step.bytes for step in plan.steps)
    for step, lines in zip(plan.steps, drawn_steps(plan).values(), strict=True):
        assert f"  {kib_number(step.bytes)}" in lines[0]
        assert (PEAK in lines[0]) == (step.bytes == most and is_first(step, plan.steps))
        found = []
        for line in lines[1:]:
            if row := re.fullmatch(
                r".*?(\w+) +(\d+ \w+(?: × \d+ \w+)*) +([\d,.]+) +([\d,.]+)", line
            ):
                shape = tuple(int(extent) for extent in re.findall(r"\d+", row[2]))
                found.append((row[1], shape, row[3], row[4]))
        expected = [
            (
                each.name,
                each.buffer.shape,
                kib_number(each.buffer.bytes),
                kib_number(each.buffer.offset),
            )
            for each in live_buffers(step)
            if not each.thread  # those of one thread stand for all
        ]
        others = [line for line in lines if line.startswith("    others ")]
        more = (threads - 1) * step.thread_bytes
        assert [line.split()[-1] for line in others] == ([kib_number(more)] if more else [])
        assert sorted(found) == sorted(expected)
        assert any("over the input" in line for line in lines) == step.in_place


def is_first(step: Step, steps: tuple[Step, ...]) -> bool:
    return step is next(each for each in steps if each.bytes == step.bytes)


def test_shapes_are_in_words():
    text = drawing(make_plan(mobilenet_v2(1.0, 224)))
    assert "↓ block2       thin      2 rows × 56 pixels × 24 channels " in text
    assert " partial   1 row × 6 panels × 56 pixels × 16 channels " in text


def test_the_legend_of_an_int8_plan():
    text = drawing(make_plan(mobilenet_v2(1.0, 224), 1, "int8"))
    assert re.search(r" ring +1 row × 6 panels × 113 pixels × 16 channels ", text)
    assert re.search(r" sums +\d+ panels × 7 rows × 7 pixels × 16 channels ", text)
    legend = text[text.index("\nthin ") :]
    assert {line.split()[0] for line in legend.strip().splitlines()} >= {"ring", "sums"}
    assert "partial" not in legend


@pytest.mark.skipif(not MEMORY.is_file(), reason="the docs are in a clone only")
def test_the_docs_show_the_table_as_it_is():
    blocks = re.findall(
        r"^```text\n(.*?)\n```$", MEMORY.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    (shown,) = [block for block in blocks if block.startswith("step (KiB)")]
    assert shown == table(make_plan(mobilenet_v2(1.0, 224)))
