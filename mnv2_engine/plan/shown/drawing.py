"""The steps of a plan as a person would draw them: which blocks stream into which, with every
buffer on the way."""

from __future__ import annotations

from ...untyped import TYPE_CHECKING
from .figures import TENSOR, Live, live_buffers, peak
from .table import PEAK, kib_number, shape_text

if TYPE_CHECKING:
    from ..steps import Plan, Step

LEGEND = """\
thin      a ring of the last rows that came in
{kept}
expanded  a strip of an input row, or a tile of the map
halo      columns that the next strip needs
filtered  what the depthwise layer makes of the strip or tile, and the stem's pixels
{sums}at        offset in the arena, in KiB; a panel is 16 channels, {types}"""
PARTIAL_LEGEND = "partial   sums of the output rows in progress"
RING_LEGEND = "ring      the last expanded rows, which the next output row needs too"
SUMS_LEGEND = "sums      of the output of tiles, until they are complete\n"
TYPES = {  # where not all are alike
    "bfloat16": """float32 but for
          tensors, thin and filtered, which are bfloat16""",
    "int8": """8 bits but for
          sums and the features, which are int32""",
}

# A line: the arrow before a node, the node, a buffer's name, its axes or a remark, KiB, offset.
Line = tuple[str, str, str, str, str, str]


def drawing(plan: Plan) -> str:
    """Every step from its input down to its output, each block with the buffers of its own; those
    that the blocks of a step share follow."""
    highest = peak(plan)
    drawn = [(step, _lines(step)) for step in plan.steps]
    every = [line for _, lines in drawn for line in lines]
    node, name, axes = (max(len(line[i]) for line in every) for i in (1, 2, 3))
    wide = 2 + 1 + 1 + node + 2 + name + 2 + axes
    text = [f"{'':{wide}}  {'KiB':>8}  {'at':>7}"]
    for step, lines in drawn:
        mark = f" {PEAK} peak" if step is highest else ""
        text.append(f"{_title(step, plan.threads):{wide}}  {kib_number(step.bytes):>8}{mark}")
        for line in lines:
            cells = f"  {line[0]} {line[1]:{node}}  {line[2]:{name}}  {line[3]:{axes}}"
            text.append(f"{cells}  {line[4]:>8}  {line[5]:>7}".rstrip())
        text.append("")
    has_sums = any(name == "sums" for _, lines in drawn for _, _, name, *_ in lines)
    legend = LEGEND.format(
        kept=RING_LEGEND if plan.precision == "int8" else PARTIAL_LEGEND,
        sums=SUMS_LEGEND if has_sums else "",
        types=TYPES.get(plan.precision, f"all {plan.precision}"),
    )
    return "\n".join([*text, legend])


def _title(step: Step, threads: int) -> str:
    how = f", {threads} threads" if threads > 1 else ""
    if not step.blocks:
        return f"{step.name}{how}"
    strips = f" in strips of {step.strip} pixels" if step.strip else ""
    return f"{step.name}: {step.kind}{strips}{', in place' if step.in_place else ''}{how}"


def _lines(step: Step) -> list[Line]:
    live = [each for each in live_buffers(step) if not each.thread]  # of threads, the first's
    ends = {each.name: [each] for each in live if each.role == TENSOR}
    scratch = [each for each in live if each.role != TENSOR]
    # What several blocks use in turn comes last.
    owned = {index: [each for each in scratch if each.block == index] for index in step.blocks}
    shared = [each for each in scratch if each.block is None]
    if len(step.blocks) == 1:
        owned[step.blocks[0]] += shared
        shared = []

    source = shape_text(step.input.shape) if step.input else "image"
    target = shape_text(step.output.shape) if step.output else "logits"
    lines = _node(" ", source, ends.get("input"), "the caller's")
    if 0 in step.blocks:
        lines += _node("↓", "stem")
    for index, buffers in owned.items():
        # A thin row comes in before it is expanded into the sums.
        lines += _node("↓", f"block{index}", sorted(buffers, key=lambda each: each.name != "thin"))
    if not step.blocks:
        lines += _node("↓", step.name)
    remark = "over the input" if step.output else "the caller's"
    lines += _node("↓", target, ends.get("output"), remark)
    lines += _node(" ", "shared", shared) if shared else []
    others = max((buffer.copies for buffer in step.scratch), default=1) - 1
    if others:
        remark = f"the same for {'the other thread' if others == 1 else f'{others} threads more'}"
        lines.append((" ", "others", "", remark, kib_number(others * step.thread_bytes), ""))
    return lines


def _node(mark: str, node: str, buffers: list[Live] | None = None, remark: str = "") -> list[Line]:
    """A node and its buffers, a line each; the remark where it has none."""
    if not buffers:
        return [(mark, node, "", remark, "", "")]
    return [
        (
            mark if not i or mark == " " else "│",
            "" if i else node,
            each.name,
            each.axes,
            kib_number(each.buffer.bytes),
            kib_number(each.buffer.offset),
        )
        for i, each in enumerate(buffers)
    ]
