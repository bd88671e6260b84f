"""The plan as SVG: well formed, legible to readers without eyes, and true to the plan."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from conftest import networks
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.plan.planner import make_plan
from mnv2_engine.plan.shown.decoding import DECODING_STYLE, Decoding
from mnv2_engine.plan.shown.figures import live_buffers, multiply_adds, peak, per_block
from mnv2_engine.plan.shown.picture import (
    ARENA_BOTTOM,
    ARENA_TOP,
    COLOURS,
    DECODING,
    GAP,
    HIGHEST,
    LEFT,
    NARROWEST,
    RIGHT,
    STYLE,
    WIDTH,
    draw,
)
from mnv2_engine.plan.shown.table import kib
from mnv2_engine.plan.steps import Plan

SVG = "{http://www.w3.org/2000/svg}"
ROUNDING = 0.011  # pixels


def rects(root: ElementTree.Element, class_: str) -> list[ElementTree.Element]:
    return [each for each in root.iter(f"{SVG}rect") if class_ in each.attrib["class"].split()]


def sides(rect: ElementTree.Element) -> tuple[float, float, float, float]:
    """(left, top, width, height) in pixels."""
    x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
    return x, y, width, height


def title(element: ElementTree.Element) -> str:
    return element.findtext(f"{SVG}title") or ""


def columns(root: ElementTree.Element) -> list[tuple[float, float]]:
    """(left, width) of each step."""
    return [sides(rect)[::2] for rect in rects(root, "step")]


@settings(max_examples=40)
@given(
    network=networks,
    threads=st.sampled_from([1, 1, 2, 5]),
    precision=st.sampled_from(["float32", "int8"]),
)
def test_every_buffer_is_a_rectangle_at_its_place(network, threads, precision):
    plan = make_plan(network, threads, precision)
    root = ElementTree.fromstring(draw(plan))
    scale = (ARENA_BOTTOM - ARENA_TOP) / plan.arena_bytes
    drawn = iter(rects(root, "buffer"))
    for step, (left, width) in zip(plan.steps, columns(root), strict=True):
        for live in live_buffers(step):
            rect, buffer = next(drawn), live.buffer
            bottom = ARENA_BOTTOM - buffer.offset * scale
            x, y, w, h = sides(rect)
            assert (x, w) == (left, width)
            assert h == pytest.approx(buffer.bytes * scale, abs=ROUNDING)
            assert y + h == pytest.approx(bottom, abs=ROUNDING)
            assert y >= ARENA_TOP - ROUNDING
            assert y + h <= ARENA_BOTTOM + ROUNDING
            assert rect.attrib["class"].split() == ["buffer", COLOURS[live.role]]
            words = title(rect)
            assert words.startswith(f"{step.name}: ")
            assert words.endswith(f", {live.axes}, {kib(buffer.bytes)} at {kib(buffer.offset)}")
    assert next(drawn, None) is None


@settings(max_examples=40)
@given(network=networks, threads=st.sampled_from([1, 1, 2, 5]))
def test_steps_are_as_wide_as_their_work(network, threads):
    plan = make_plan(network, threads)
    root = ElementTree.fromstring(draw(plan))
    found = columns(root)
    assert found[0][0] == LEFT
    for (left, width), (following, _) in pairwise(found):
        assert left + width == pytest.approx(following, abs=ROUNDING)
    assert sum(width for _, width in found) == pytest.approx(RIGHT - LEFT, abs=0.01 * len(found))
    narrowest = min(width for _, width in found)
    assert narrowest >= min(NARROWEST, (RIGHT - LEFT) / len(found) / 2) - ROUNDING
    wide = [
        width / count
        for (_, width), count in zip(found, multiply_adds(plan), strict=True)
        if width > narrowest + ROUNDING
    ]
    assert max(wide, default=0) == pytest.approx(min(wide, default=0), rel=0.01)


@settings(max_examples=20)
@given(network=networks, threads=st.sampled_from([1, 1, 2, 5]))
def test_the_lines_rank_what_each_step_needs(network, threads):
    plan = make_plan(network, threads)
    root = ElementTree.fromstring(draw(plan))
    needs = {
        "unfused": [step.unfused_bytes for step in plan.steps],
        "alone": per_block(plan).steps,
        "plan": [step.bytes for step in plan.steps],
    }
    points = []
    for path in root.iter(f"{SVG}path"):
        steps = re.findall(r"[ML]([\d.]+) ([\d.]+) H([\d.]+)", path.attrib["d"])
        counts = needs.pop(path.attrib["class"].split()[1])
        for (left, width), (start, y, end), count in zip(columns(root), steps, counts, strict=True):
            assert float(start) == pytest.approx(left, abs=ROUNDING)
            assert float(end) == pytest.approx(left + width, abs=ROUNDING)
            points.append((count, -float(y)))
    assert not needs
    points.sort()
    for (less, low), (more, high) in pairwise(points):
        assert low == high if less == more else low <= high


def test_what_people_and_screen_readers_find(headline):
    plan, root = headline
    assert root.attrib["viewBox"].startswith(f"0 0 {WIDTH} ")
    assert root.attrib["role"] == "img"
    assert title(root) == "Memory over one prediction: mobilenet_v2_1.0_224"
    assert root.findtext(f"{SVG}desc") == (
        f"this plan: {kib(plan.arena_bytes)}; each block by itself: "
        f"{kib(per_block(plan).arena_bytes)}; unfused: 5,880.0 KiB"
    )
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert "28×28×32, 98.0 KiB" in words
    assert f"What lies where in the arena of {kib(plan.arena_bytes)}" in words
    axis = [step.name.replace("block", "") for step in plan.steps]
    assert words[-1 - len(axis) : -1] == axis
    titles = [title(rect) for rect in rects(root, "step")]
    assert titles[0].startswith(f"stem, block0-3: this plan {kib(plan.steps[0].bytes)}, each block")


def test_the_peak_is_marked(headline):
    plan, root = headline
    at = plan.steps.index(peak(plan))
    place = columns(root)[at]
    assert [sides(rect)[::2] for rect in rects(root, "peak")] == [place, place]
    (mark,) = [text for text in root.iter(f"{SVG}text") if text.text == "peak"]
    assert float(mark.attrib["x"]) == pytest.approx(place[0] + place[1] / 2, abs=ROUNDING)


@pytest.mark.parametrize("variant", [0, 4])
def test_labels_lie_inside_their_rectangles(variant):
    root = ElementTree.fromstring(draw(make_plan(efficientnet_lite(variant))))
    boxes = [sides(rect) for rect in rects(root, "buffer")]
    labels = [each for each in root.iter(f"{SVG}text") if each.get("class") == "label middle"]
    inside = [each for each in labels if float(each.attrib["y"]) < ARENA_BOTTOM]
    assert len(inside) > 20
    for text in inside:
        x, y, words = float(text.attrib["x"]), float(text.attrib["y"]), text.text or ""
        ((width, height),) = [
            (w, h) for left, top, w, h in boxes if left < x < left + w and top < y < top + h
        ]
        # In DejaVu Sans, as wide as any, figures have 0.636 of the font size, and × has 0.838.
        room = height if "transform" in text.attrib else width
        assert 6.3 * len(words) + 2 * words.count("×") <= room + 3


@pytest.mark.parametrize("window", [0, 190_000])
def test_decoding_comes_first(window, headline):
    """In the arena's memory where it fits, else above the arena; every part at its scale."""
    plan, without = headline
    parts = (("taps", 24_000), ("sums", 5_376), ("window", window), ("libjpeg", 150_000))
    whole = sum(size for _, size in parts) + 300
    root = ElementTree.fromstring(draw(plan, Decoding("a <JPEG>", parts, whole, 150_528, 36 << 20)))
    above = plan.arena_bytes if whole > plan.arena_bytes else 0
    assert bool(above) == bool(window)
    height = min((ARENA_BOTTOM - ARENA_TOP) * (above + whole) / plan.arena_bytes, HIGHEST)
    scale = max(height, ARENA_BOTTOM - ARENA_TOP) / max(above + whole, plan.arena_bytes)
    bottom = ARENA_TOP + scale * max(above + whole, plan.arena_bytes)
    drawn = [each for each in rects(root, "buffer") if sides(each)[0] < LEFT + DECODING]
    expected, at = [part for part in parts if part[1]], above
    for each, (name, size) in zip(drawn, expected, strict=True):
        x, y, width, high = sides(each)
        assert (x, width) == (LEFT, DECODING)
        assert (high, y + high) == pytest.approx((size * scale, bottom - at * scale), abs=0.03)
        assert title(each) == f"decoding: {name}, {kib(size)}"
        at += size
    waiting = [title(each) for each in rects(root, "waits")]
    assert waiting == ([f"the arena, {kib(plan.arena_bytes)}, waits"] if above else [])
    assert len(columns(root)) == len(plan.steps) + 1
    (need,) = [e for e in root.iter(f"{SVG}path") if title(e).startswith("decoding: this plan")]
    assert kib(whole) in title(need)
    assert float(re.findall(r"M([\d.]+)", need.attrib["d"])[0]) == LEFT
    network = [left for left, _ in columns(root) if left > LEFT]
    assert min(network) == LEFT + DECODING + GAP
    # The network's own rectangles are as many as without.
    assert len(rects(root, "buffer")) == len(rects(without, "buffer")) + len(expected)
    words = "".join(root.itertext())
    place = "beside the arena, then given back" if above else "in the arena's memory"
    assert (
        f"a <JPEG>: decoding takes {kib(whole)}, {place}, and makes a frame of 147.0 KiB" in words
    )
    lowest = max(float(each.attrib["y"]) for each in root.iter(f"{SVG}text"))
    assert lowest < float(root.attrib["viewBox"].split()[3])


def test_decodings_colours_have_their_dark_counterparts():
    light, dark = DECODING_STYLE.split("@media (prefers-color-scheme: dark)")
    filled = r"^ *(\S+) \{ fill: #"
    assert re.findall(filled, light, re.MULTILINE) == re.findall(filled, dark, re.MULTILINE)


def test_every_colour_has_its_dark_counterpart(headline):
    _, root = headline
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")
    pattern = r"^ *(\S+) \{[^}]*(?:fill|stroke): #"
    coloured = set(re.findall(pattern, light, re.MULTILINE)) - {"text"}
    assert coloured == set(re.findall(pattern, dark, re.MULTILINE)) - {"text"}
    used = {f".{name}" for each in root.iter() for name in each.attrib.get("class", "").split()}
    assert coloured <= used
    assert used <= set(re.findall(r"^(\.\w+) ", light, re.MULTILINE))


def test_text_is_escaped():
    network = mobilenet_v2(0.35, 96)._replace(name='<b>&"</title>')
    root = ElementTree.fromstring(draw(make_plan(network)))
    assert title(root) == f"Memory over one prediction: {network.name}"


@pytest.fixture(scope="module")
def headline() -> tuple[Plan, ElementTree.Element]:
    plan = make_plan(mobilenet_v2(1.0, 224))
    return plan, ElementTree.fromstring(draw(plan))
