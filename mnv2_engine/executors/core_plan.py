"""A plan as the C core reads it: the structures of kernels/mnv2.h, filled in.

For a run (native.py), and for the C file that `mnv2 export` writes.
"""

from __future__ import annotations

from ..errors import UnsupportedError
from ..model.input_spec import InputSpec
from ..model.packed import classifier_dtype
from ..network.blocks import match
from ..network.parts import IDENTITY
from ..untyped import TYPE_CHECKING, Any, NamedTuple
from .core_precision import core_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..model.modelfile import ModelFile
    from ..network.block import Block
    from ..network.detection import Detection
    from ..network.layer import Layer, Network
    from ..network.parts import Parts
    from ..network.quantization import Quantization
    from ..plan.steps import Plan, Step
    from . import Order

    Places = Callable[[Layer | None], tuple[int, int]]


class CorePlan(NamedTuple):
    """A `mnv2_plan *`, and what it points into, which has to live as long."""

    struct: Any
    kept: list[Any]


def core_plan(ffi: Any, lib: Any, model: ModelFile, plan: Plan) -> CorePlan:
    """The plan of a network with the weights of `model`."""
    built, kept, blocks, table = _network(ffi, lib, model, plan.network, plan)
    taps = table("taps", len(plan.taps) + len(plan.expanded), "mnv2_tap")
    steps = table("steps", len(plan.steps), "mnv2_step")
    built.tap_count, built.step_count = len(taps), len(steps)
    built.arena_bytes = plan.arena_bytes
    parts = match(plan.network)
    for number, index in enumerate(plan.expanded, len(plan.taps)):
        block, tap = blocks[index], taps[number]
        block.expanded_tap = number + 1
        tap.height, tap.width, tap.channels = block.in_height, block.in_width, block.hidden
        tap.values = -1
    for index, tap in zip(plan.taps, list(taps)[: len(plan.taps)], strict=True):
        project = parts.blocks[index].project
        tap.height, tap.width = project.out_size
        tap.channels = project.out_channels
        values = model.tensors.get(f"{project.name}.values")
        tap.values = -1 if values is None else values.offset
    outputs = {
        head.project.name: block
        for head, block in zip(parts.heads, list(blocks)[len(parts.blocks) :], strict=True)
    }
    for planned, step in zip(plan.steps, steps, strict=True):
        _build_step(lib, planned, step, blocks, outputs)
    return CorePlan(built, kept)


def core_planned(ffi: Any, lib: Any, model: ModelFile, network: Network, order: Order) -> CorePlan:
    """The same of what is yet to be planned: the C core makes the steps, those that Python would.
    The tests compare them."""
    built, kept, blocks, _ = _network(ffi, lib, model, network, order)
    steps = ffi.new("mnv2_step[]", lib.MNV2_MAX_STEPS)
    kept.append(steps)
    if lib.mnv2_make_plan(built, blocks, steps, order.cpu.encode()) != lib.MNV2_OK:
        raise UnsupportedError(f"the C core does not plan {network.name}: it is too large")
    return CorePlan(built, kept)


def _network(
    ffi: Any, lib: Any, model: ModelFile, network: Network, plan: Plan | Order
) -> tuple[Any, list[Any], Any, Callable[[str, int, str], Any]]:
    """A `mnv2_plan *` without steps, what it points into, its blocks, and what makes a table."""
    parts = match(network)
    places = _places(model)
    built = ffi.new("mnv2_plan *")
    kept: list[Any] = []

    def table(name: str, count: int, kind: str) -> Any:
        if not count:
            return ()
        rows = ffi.new(f"{kind}[]", count)
        kept.append(rows)
        setattr(built, name, rows)
        return rows

    heads = [head.block for head in parts.heads]
    blocks = table("blocks", len(parts.blocks) + len(heads), "mnv2_block")
    convs = table("convs", len(parts.convs), "mnv2_conv")
    dense = table("dense", len(parts.dense), "mnv2_dense")
    built.block_count, built.conv_count = len(blocks), len(convs)
    built.dense_count = len(dense)
    built.precision = core_precision(lib, plan.precision, plan.dtype)
    built.threads = plan.threads
    built.weight_bytes = len(model.buffer)

    activations = {"linear": lib.MNV2_LINEAR, "relu": lib.MNV2_RELU, "relu6": lib.MNV2_RELU6}
    _build_stem(built.stem, parts.stem, model.input_spec, places)
    built.stem.activation = activations[parts.stem.activation]
    for spec, block in zip((*parts.blocks, *heads), blocks, strict=True):
        _build_block(block, spec, places)
        if spec.expand:
            block.expand_activation = activations[spec.expand.activation]
        block.depthwise_activation = activations[spec.depthwise.activation]
        block.project_activation = activations[spec.project.activation]
    for layer, conv in zip(parts.convs, convs, strict=True):
        _build_conv(conv, layer, places)
        conv.activation = activations[layer.activation]
    if parts.pooling is not None:
        _build_head(built.head, parts, places)
    if parts.head:
        built.head.activation = activations[parts.head.activation]
    for layer, row in zip(parts.dense, dense, strict=True):
        row.inputs, row.outputs = layer.in_channels, layer.out_channels
        row.activation = activations[layer.activation]
        row.weight, row.bias = places(layer)
    if (classifier := classifier_dtype(plan.dtype)) is not None:
        dense[0].stored = {
            "float16": lib.MNV2_FLOAT16_WEIGHTS,
            "bfloat16": lib.MNV2_BFLOAT16_WEIGHTS,
            "int8": lib.MNV2_INT8,
        }[classifier]
    if model.quantization is not None:
        _build_quantization(built, parts, model.quantization, model.input_spec)
        for head, block in zip(parts.heads, list(blocks)[len(parts.blocks) :], strict=True):
            block.values = model.tensors[f"{head.project.name}.values"].offset
    if network.detection is not None:
        maps = table("maps", len(network.detection.maps), "mnv2_map")
        _build_detector(built, maps, parts, network.detection)
    return built, kept, blocks, table


def _places(model: ModelFile) -> Places:
    """Where the weight and the bias of a layer lie in the file, bytes; -1 where there is none."""

    def places(layer: Layer | None) -> tuple[int, int]:
        if layer is None or f"{layer.name}.weight" not in model.tensors:
            return -1, -1
        weight = model.tensors[f"{layer.name}.weight"].offset
        for behind in ("bias", "requantise", "dequantise"):
            if f"{layer.name}.{behind}" in model.tensors:
                return weight, model.tensors[f"{layer.name}.{behind}"].offset
        raise AssertionError(f"{layer.name} has no bias")

    return places


def _build_stem(stem: Any, layer: Layer, spec: InputSpec, places: Places) -> None:
    stem.in_height, stem.in_width = layer.in_size
    stem.out_height, stem.out_width = layer.out_size
    stem.channels = layer.out_channels
    stem.pad_top, stem.pad_left = layer.pads[:2]
    stem.scale, stem.shift = _normalisation(spec)
    stem.weight, stem.bias = places(layer)


def _build_block(block: Any, spec: Block, places: Places) -> None:
    layer = spec.depthwise
    block.in_height, block.in_width = layer.in_size
    block.out_height, block.out_width = layer.out_size
    block.in_channels, block.hidden = spec.in_channels, spec.hidden
    block.out_channels, block.residual = spec.out_channels, spec.residual
    block.kernel, block.stride = layer.kernel, layer.stride
    block.pad_top, block.pad_left = layer.pads[:2]
    block.expand_weight, block.expand_bias = places(spec.expand)
    filters = layer.operation != IDENTITY
    block.depthwise_weight, block.depthwise_bias = places(layer if filters else None)
    block.project_weight, block.project_bias = places(spec.project)


def _build_detector(built: Any, maps: Any, parts: Parts, detection: Detection) -> None:
    """A detector's heads, which stand behind the blocks, and their maps."""
    built.predictor_count, built.map_count = len(parts.heads), len(maps)
    built.columns = detection.columns
    numbers = {}
    for number, head in enumerate(parts.heads, len(parts.blocks)):
        numbers[head.project.name] = number
        block, where = built.blocks[head.at], "within" if head.expanded else "behind"
        count = getattr(block, f"{where}_count")
        setattr(block, f"{where}_count", count + 1)
        if count == 0:
            setattr(block, where, number)
    for each, row in zip(detection.maps, maps, strict=True):
        row.boxes, row.scores = numbers[each.boxes], numbers[each.scores]
        row.anchors = each.anchors


def _build_conv(conv: Any, layer: Layer, places: Places) -> None:
    conv.in_height, conv.in_width = layer.in_size
    conv.out_height, conv.out_width = layer.out_size
    conv.in_channels, conv.out_channels = layer.in_channels, layer.out_channels
    conv.kernel, conv.stride = layer.kernel, layer.stride
    conv.weight, conv.bias = places(layer)


def _build_head(head: Any, parts: Parts, places: Places) -> None:
    layer = parts.head or parts.pool
    head.height, head.width = layer.in_size
    head.channels, head.features = layer.in_channels, layer.out_channels
    head.head_weight, head.head_bias = places(parts.head)


def _build_step(
    lib: Any, planned: Step, step: Any, blocks: Sequence[Any], heads: Mapping[str, Any]
) -> None:
    kinds = {
        "rows": lib.MNV2_ROWS,
        "tiles": lib.MNV2_TILES,
        "conv": lib.MNV2_CONV,
        "head": lib.MNV2_HEAD,
        "dense": lib.MNV2_DENSE,
        "tap": lib.MNV2_TAP,
        "layers": lib.MNV2_LAYERS,
        "boxes": lib.MNV2_BOXES,
    }
    step.kind = kinds[planned.kind]
    step.input = planned.input.offset if planned.input else 0
    step.output = planned.output.offset if planned.output else 0
    step.count = len(planned.blocks)
    step.first = planned.blocks.start if planned.blocks else planned.number
    step.strip, step.tile = planned.strip, planned.tile
    step.bands = planned.bands if planned.kind == "tiles" else 0
    step.apart = planned.apart
    step.thread_bytes = planned.thread_bytes
    step.layers = lib.MNV2_EXPAND | lib.MNV2_DEPTHWISE | lib.MNV2_PROJECT
    for buffer in planned.outputs:
        heads[buffer.name].output = buffer.offset
    for buffer in planned.scratch:
        name, *of_block = reversed(buffer.name.split())
        setattr(blocks[int(of_block[0])] if of_block else step, name, buffer.offset)
        if name == "thin":
            blocks[int(of_block[0])].thin_rows = buffer.shape[0]
        if planned.kind in ("tiles", "layers") and name == "expanded":
            _, step.lines, step.columns, _ = buffer.shape


def _build_quantization(
    built: Any, parts: Parts, quantization: Quantization, spec: InputSpec
) -> None:
    """What an int8 plan has beyond a float32 one."""
    from ..network.quantization import thin_zeros  # not loaded for floats

    said = quantization.layers
    built.stem.mean, built.stem.std = list(spec.mean), list(spec.std)
    built.stem.pad = [min(max(round(mean), 0), 255) for mean in spec.mean]
    built.stem.fraction = said[parts.stem.name].fraction
    zeros = thin_zeros(parts, quantization)
    for i, layers in enumerate((*parts.blocks, *(head.block for head in parts.heads))):
        block = built.blocks[i]
        if layers.expand is not None:
            block.expand_fraction = said[layers.expand.name].fraction
        else:
            block.pad = zeros.get(layers.source, 0)
        if layers.depthwise.operation != IDENTITY:
            block.depthwise_fraction = said[layers.depthwise.name].fraction
        project = said[layers.project.name]
        block.project_fraction, block.residual = project.fraction, project.shortcut
    for i, layer in enumerate(parts.convs):
        built.convs[i].fraction = said[layer.name].fraction
    if parts.pooling is None:
        return
    pool, head = quantization.pool, built.head
    assert pool is not None  # of a network that pools
    pooled = said[parts.pooled.name]
    head.fraction = pooled.fraction
    head.pool_fraction, head.pool_bias = pool.fraction, pool.bias
    head.pool_multiplier, head.pool_shift = pool.multiplier, pool.shift
    head.feature_scale = pooled.scale / (head.height * head.width)
    head.feature_offset = -pooled.zero_point * pooled.scale


def _normalisation(spec: InputSpec) -> tuple[list[float], list[float]]:
    """x = pixel * scale + shift, from x = (pixel - mean) / std."""
    scale = [1.0 / std for std in spec.std]
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return scale, shift
