"""The ways to run a block, each with its exact bytes; `plan` chooses among them.

In neither of these does the expanded tensor exist (section 5.1 of the paper):

- **rows**: an input row is expanded strip by strip and scattered at once into the sums of the
  output rows that it lies under; weights stay, activations stream. Blocks stream into each other
  (a cascade) with a few thin rows in between; the first begins at the stem. The step runs in place
  where its output rows never reach an input row that is still needed. In 8 bits not the sums are
  kept, which are 32, but the expanded rows that the next output row needs, a ring.
- **tiles**: one tile of hidden channels at a time, F(x) = Σᵢ Bᵢ(N(Aᵢ x)); activations stay,
  weights stream. A detector in 8 bits may cut the output rows into a few bands and run through all
  tiles once for each: the sums, which are 32 bits, are those of one band then. The weights are read
  again for each, and the few rows between two bands are expanded twice.

What they are measured against, and no planner chooses:

- **layers**: a block layer by layer, as engines without fusion run it, or, as the paper writes it,
  in a few splits of its hidden channels, each with an expanded tensor of its own.

Threads cut rows into bands of output rows, which do not run in place and make the few rows between
two bands twice; they share the channels, then the pixels, of a tile, or, where it is known what
that saves, make bands in tiles apart. Each has scratch of its own.
"""

from __future__ import annotations

from ..errors import UnsupportedError
from ..model.packed import PANEL
from ..network.layer import IMAGE_CHANNELS, Layer
from ..network.supported import STEM_KERNEL, STEM_STRIDE
from ..untyped import NamedTuple
from .shapes import BFLOAT16, INT8, Shapes, elements, panels_of

EXPANDED_PANELS = 2  # that are expanded at a time: those of the widest register tile
# Output pixels of a strip, by precision: multiples of the widest register tile's. What it costs to
# begin a strip weighs more where its values are smaller and faster.
STRIP_PIXELS = {"float32": (14, 28), "bfloat16": (56,), "int8": (28, 56)}
TILE_CHANNELS = (32, 64, 128, 192)  # hidden channels of a thread's part of a tile
LEAST_TILES = 3  # that a block is cut into, where its tiles are not of the smallest size
# An expanded tensor of this size may be cut coarsely: it fits into the first cache anyway.
FIRST_CACHE_BYTES = 32 << 10
LONGEST_CASCADE = 6  # blocks; the sums of a longer one outgrow the tensors that it saves
BANDS = (2, 3, 4)  # that tiles may be cut into; more gain little


class Array(NamedTuple):
    """An array of scratch."""

    name: str  # as in kernels/mnv2.h, those of a block after its number
    shape: tuple[int, ...]
    bytes: int
    shared: bool = False  # by all threads; else each has one


Scratch = tuple[Array, ...]


def _array(
    shapes: Shapes, name: str, shape: tuple[int, ...], item_bytes: int, shared: bool = False
) -> Array:
    return Array(name, shape, shapes.bytes_of(shape, item_bytes), shared)


class Schedule(NamedTuple):
    """A way to run some blocks, not yet placed. A planner holds hundreds of them, so they are
    numbers alone; `scratch_of` gives the arrays of one."""

    kind: str
    blocks: range
    input_bytes: int
    output_bytes: int
    bytes: int
    strip: int = 0  # rows: output pixels of a strip, at most
    tile: int = 0  # tiles: hidden channels of a thread's part of one, at most; layers: of a split
    in_place: bool = False
    number: int = 0  # conv, dense: which of them
    bands: int = 1  # tiles: of output rows
    apart: bool = False  # tiles: each thread makes one of as many bands alone
    # Bytes at the arena's high end that belong to a detector's outputs, above the input and above
    # the output.
    above: tuple[int, int] = (0, 0)


def schedules_from(shapes: Shapes, first: int) -> list[Schedule]:
    """Every way to run the blocks from `first` on, one or a cascade of several."""
    count = shapes.chain
    may_be_in_place = first > 0 and shapes.threads == 1
    found = []
    widest = 0
    strips = STRIP_PIXELS[shapes.precision.name]
    for last in range(first, min(count, first + LONGEST_CASCADE)):
        if shapes.only_tiles(last):
            break
        blocks = range(first, last + 1)
        widest = max(widest, shapes.blocks[last].depthwise.out_size[1])
        in_place = may_be_in_place and _runs_in_place(shapes, blocks)
        for most in strips:
            found.append(_rows(shapes, blocks, _strip(shapes, blocks, most)))
            if in_place:
                found.append(_in_place(found[-1]))
            if most >= widest:
                break
        if last in shapes.taps or shapes.heads_behind(last):  # whose output has to be a tensor
            break
    if first > 0:
        hidden, threads = shapes.blocks[first].hidden, shapes.threads
        for most in TILE_CHANNELS:
            least = most == TILE_CHANNELS[0]
            tile = min(most, -(-hidden // threads))
            if not (least and shapes.only_tiles(first)) and not _is_cut(shapes, first, tile):
                continue
            if least or most * threads * LEAST_TILES <= hidden:
                found += [tiles_schedule(shapes, first, tile, n) for n in _bands(shapes, first)]
            if _may_be_apart(shapes, first) and (least or most * LEAST_TILES <= hidden):
                found.append(tiles_schedule(shapes, first, min(most, hidden), threads, True))
    return [_below_outputs(shapes, each) for each in found] if shapes.parts.heads else found


def _below_outputs(shapes: Shapes, schedule: Schedule) -> Schedule:
    """The same where a detector's outputs lie at the arena's high end."""
    first, last = schedule.blocks[0], schedule.blocks[-1]
    if first >= shapes.chain:  # a head, whose input stays
        first = last = shapes.parts.heads[first - shapes.chain].at + 1
    room, begins = shapes.outputs.bytes, shapes.outputs.first
    above = (room if first >= begins else 0, room if last + 1 >= begins else 0)
    return schedule._replace(above=above, bytes=schedule.bytes + max(above))


def tail_schedules(shapes: Shapes) -> list[Schedule]:
    """The one way to run each step behind the blocks: convolutions from map to map, the head with
    the pool, dense layers. A detector has none."""
    parts = shapes.parts
    if parts.heads:
        return []
    convs = [conv_schedule(shapes, i) for i in range(len(parts.convs))]
    return [
        *convs,
        head_schedule(shapes),
        *(dense_schedule(shapes, i) for i in range(len(parts.dense))),
    ]


def conv_schedule(shapes: Shapes, index: int) -> Schedule:
    """A convolution from map to map behind the blocks."""
    layer = shapes.parts.convs[index]
    source, target = (shapes.thin_bytes(shape) for shape in map_shapes(layer))
    return Schedule("conv", range(0), source, target, source + target, number=index)


def map_shapes(layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes, (height, width, channels), of a layer's input and output."""
    return (*layer.in_size, layer.in_channels), (*layer.out_size, layer.out_channels)


def head_schedule(shapes: Shapes) -> Schedule:
    """The last 1×1 convolution with the pool, or, where the network has none, the pool alone."""
    pool = shapes.parts.pool
    source, _ = map_shapes(shapes.parts.head or pool)
    thin = shapes.thin_bytes(source)
    features = vector_bytes(shapes, pool.out_channels)
    return Schedule("head", range(0), thin, features, thin + features)


def dense_schedule(shapes: Shapes, index: int) -> Schedule:
    """A dense layer; the last one writes the caller's logits."""
    layer = shapes.parts.dense[index]
    source = vector_bytes(shapes, layer.in_channels)
    is_last = index == len(shapes.parts.dense) - 1
    target = 0 if is_last else vector_bytes(shapes, layer.out_channels)
    own = sum(array.bytes for array in _dense_scratch(shapes, index))
    live = source + target + shapes.threads * own
    return Schedule("dense", range(0), source, target, live, number=index)


def vector_bytes(shapes: Shapes, channels: int) -> int:
    """Bytes of features: whole panels of sums, or of float32, which are as large."""
    return shapes.bytes_of((panels_of(channels), PANEL), shapes.precision.sums)


def scratch_of(shapes: Shapes, schedule: Schedule) -> Scratch:
    """The scratch arrays of a schedule, shared ones first; their bytes are in its sum."""
    first = schedule.blocks.start
    match schedule.kind:
        case "rows":
            return _rows_scratch(shapes, schedule.blocks, schedule.strip)
        case "tiles":
            return _tiles_scratch(shapes, first, schedule.tile, schedule.bands, schedule.apart)
        case "layers":
            return _layers_scratch(shapes, first, schedule.tile)
        case "dense":
            return _dense_scratch(shapes, schedule.number)
    return ()


def _dense_scratch(shapes: Shapes, index: int) -> Scratch:
    """The features as 8 bits; floats are used as they are, and so by later dense layers."""
    if shapes.precision is not INT8 or index > 0:
        return ()
    panels = panels_of(shapes.parts.dense[0].in_channels)
    return (_array(shapes, "filtered", (panels, PANEL), 1),)


# --- rows ---------------------------------------------------------------------------------


class _RowsBlock(NamedTuple):
    """What a block of a cascade asks for."""

    expanded: int  # pixels of an expanded strip of a panel
    halo: int  # columns that the next strip needs, of all hidden panels
    filtered: int  # panels of a strip: of its hidden channels, and what the stem's pixels take
    own: Scratch
    own_bytes: int


def _rows_blocks(shapes: Shapes, blocks: range, strip: int) -> list[_RowsBlock]:
    found = []
    for index in blocks:
        key = index, strip, index == blocks.start
        if key not in shapes.known:
            shapes.known[key] = _rows_block(shapes, *key)
        found.append(shapes.known[key])
    return found


def _rows_block(shapes: Shapes, index: int, strip: int, is_first: bool) -> _RowsBlock:
    block, depthwise = shapes.blocks[index], shapes.blocks[index].depthwise
    _, thin, expanded, _, sums, _ = shapes.precision
    integers = shapes.precision is INT8
    panels, overlap = panels_of(block.hidden), block.kernel - block.stride
    in_width, out_width = depthwise.in_size[1], depthwise.out_size[1]
    columns = (min(strip, out_width) - 1) * block.stride + block.kernel
    lines = 1  # that are expanded before they are filtered
    if integers:  # the rows that the next output needs, not its sums
        lines = block.stride
        shape = (overlap, panels, (out_width - 1) * block.stride + block.kernel, PANEL)
        own = [_array(shapes, f"{index} ring", shape, expanded)]
    else:
        pending = (block.kernel - 1) // block.stride  # output rows in progress
        own = [_array(shapes, f"{index} partial", (pending, panels, out_width, PANEL), sums)]
    # A shortcut waits for as many input rows as the kernel reaches below its padding.
    waiting = block.kernel - depthwise.pad_rows[0] if block.residual else 1
    thin_rows = max(lines, waiting)
    filtered = panels
    behind_stem = index == 0 and block.expand is None  # whose outputs are the expanded ones
    if not is_first or (index == 0 and not behind_stem):
        own.append(_array(shapes, f"{index} thin", (thin_rows, in_width, block.in_channels), thin))
    if index == 0:
        filtered += -(-STEM_KERNEL * _stem_row(shapes, columns) // (strip * PANEL))
        if behind_stem and block.residual:
            own.append(_array(shapes, f"{index} thin", (thin_rows, panels, in_width, PANEL), thin))
    halo = panels * lines * overlap
    own_bytes = sum(array.bytes for array in own)
    return _RowsBlock(lines * columns, halo, filtered, tuple(own), own_bytes)


def _rows_scratch(shapes: Shapes, blocks: range, strip: int) -> Scratch:
    parts = _rows_blocks(shapes, blocks, strip)
    return _rows_common(shapes, parts, strip) + sum((each.own for each in parts), ())


def _rows_common(shapes: Shapes, blocks: list[_RowsBlock], strip: int) -> Scratch:
    """What the blocks of a cascade use in turn."""
    expanded, filtered = shapes.precision.expanded, shapes.precision.filtered
    pixels = max(each.expanded for each in blocks)
    return (
        _array(shapes, "expanded", (EXPANDED_PANELS, pixels, PANEL), expanded),
        _array(shapes, "halo", (max(each.halo for each in blocks), PANEL), expanded),
        _array(shapes, "filtered", (max(each.filtered for each in blocks), strip, PANEL), filtered),
    )


def _strip(shapes: Shapes, blocks: range, most: int) -> int:
    """The longest strip when every row is cut evenly into strips of at most `most` pixels."""
    widths = (shapes.blocks[index].depthwise.out_size[1] for index in blocks)
    return max(-(-width // -(-width // most)) for width in widths)


def _rows(shapes: Shapes, blocks: range, strip: int) -> Schedule:
    parts = _rows_blocks(shapes, blocks, strip)
    own = sum(array.bytes for array in _rows_common(shapes, parts, strip))
    own += sum(each.own_bytes for each in parts)
    source = shapes.thin_bytes(shapes.thin_input(blocks.start)) if blocks.start else 0
    target = shapes.thin_bytes(shapes.thin_output(blocks[-1]))
    live = source + target + shapes.threads * own
    return Schedule("rows", blocks, source, target, live, strip=strip)


def _in_place(schedule: Schedule) -> Schedule:
    """The same with the output over the input: only the larger of the two is live."""
    live = schedule.bytes - min(schedule.input_bytes, schedule.output_bytes)
    return schedule._replace(in_place=True, bytes=live)


def _runs_in_place(shapes: Shapes, blocks: range) -> bool:
    """Whether an output row never reaches the input row that is read while it is written."""
    rows_in, columns_in, channels_in = shapes.thin_input(blocks.start)
    rows_out, columns_out, channels_out = shapes.thin_output(blocks[-1])
    last = shapes.blocks[blocks[-1]]
    # Integers read as many rows at once as the stride, while they write.
    at_once = last.stride if shapes.precision is INT8 else 1
    # How far reading is ahead of writing is a concave function of the row, so the ends decide.
    for r in (0, rows_out - 1):
        reading = r
        for index in reversed(blocks):
            depthwise = shapes.blocks[index].depthwise
            reading = reading * depthwise.stride - depthwise.pad_rows[0] + depthwise.kernel
            reading -= at_once
            reading = min(reading, depthwise.in_size[0])
        written = (r + 1) * columns_out * channels_out
        if written > min(reading, rows_in) * columns_in * channels_in:
            return False
    return True


# --- tiles --------------------------------------------------------------------------------


def _is_cut(shapes: Shapes, index: int, tile: int) -> bool:
    """Whether the expanded panels, padding included, are less than a third of the expanded tensor:
    the paper's point. On a small map with few channels rows are."""
    depthwise = shapes.blocks[index].depthwise
    tensor = shapes.bytes_of((*depthwise.in_size, depthwise.in_channels), shapes.precision.expanded)
    *_, expanded = _tiles_scratch(shapes, index, tile)
    return tensor <= FIRST_CACHE_BYTES or expanded.bytes * 3 < tensor


def _bands(shapes: Shapes, index: int) -> list[int]:
    """Into how many bands of output rows a step of tiles may be cut."""
    if shapes.precision is not INT8 or not shapes.parts.heads:
        return [1]
    rows = min(shapes.blocks[i].depthwise.out_size[0] for i in shapes.branches(index))
    return [1, *(bands for bands in BANDS if bands <= rows)]


def _may_be_apart(shapes: Shapes, index: int) -> bool:
    """Whether threads may make bands of a block apart: on a family of CPUs of which it is known
    what that saves, where a band's expanded panels stay in the first cache."""
    threads, rows = shapes.threads, shapes.blocks[index].depthwise.out_size[0]
    if shapes.costs.shared == 0 or shapes.only_tiles(index) or not 1 < threads <= rows:
        return False
    size = elements((EXPANDED_PANELS, *_expanded_size(shapes, index, threads), PANEL))
    return size * shapes.precision.expanded <= FIRST_CACHE_BYTES


def tiles_schedule(
    shapes: Shapes, index: int, tile: int, bands: int = 1, apart: bool = False
) -> Schedule:
    """Block `index`, not the first, in tiles of `tile` hidden channels a thread; for each of so
    many bands of output rows, of which each thread makes one `apart` or none alone."""
    source = shapes.thin_bytes(shapes.thin_input(index))
    own = _bytes_of_all(shapes, _tiles_scratch(shapes, index, tile, bands, apart))
    blocks = range(index, index + 1)
    made = Schedule("tiles", blocks, source, 0, 0, tile=tile, bands=bands, apart=apart)
    if index >= shapes.chain:  # a head leaves its input, and its output has a place of its own
        return made._replace(output_bytes=source, bytes=source + own, in_place=True)
    target = shapes.thin_bytes(shapes.thin_output(index))
    return made._replace(output_bytes=target, bytes=source + target + own)


def _bytes_of_all(shapes: Shapes, scratch: Scratch) -> int:
    return sum(array.bytes * (1 if array.shared else shapes.threads) for array in scratch)


def _tiles_scratch(
    shapes: Shapes, index: int, tile: int, bands: int = 1, apart: bool = False
) -> Scratch:
    threads, panels = 1 if apart else shapes.threads, panels_of(tile)
    # Threads project one tile while they filter the next.
    turns = 2 if threads > 1 else 1
    expanded = (min(EXPANDED_PANELS, panels), *_expanded_size(shapes, index, bands), PANEL)
    within: list[Array] = []
    for head in shapes.heads_within(index):
        found = (
            _filtered(shapes, head, turns * threads * panels, bands),
            *_sums(shapes, head, tile * threads, bands),
        )
        within += [array._replace(name=f"{head} {array.name}") for array in found]
    made = (
        _filtered(shapes, index, turns * threads * panels, bands),
        *_sums(shapes, index, tile * threads, bands),
        *within,
        _array(shapes, "expanded", expanded, shapes.precision.expanded),
    )
    return tuple(array._replace(shared=False) for array in made) if apart else made


def band_lines(shapes: Shapes, index: int, bands: int, band: int) -> range:
    """The lines of the expanded tensor, from the first one's padding (below 0) on, that lie under
    output rows of one of `bands` bands, of any branch."""
    firsts, ends = [], []
    for branch in shapes.branches(index):
        layer = shapes.blocks[branch].depthwise
        first, end = (layer.out_size[0] * n // bands for n in (band, band + 1))
        firsts.append(first * layer.stride - layer.pads[0])
        ends.append((end - 1) * layer.stride - layer.pads[0] + layer.kernel)
    return range(min(firsts), max(ends))


def _expanded_size(shapes: Shapes, index: int, bands: int) -> tuple[int, int]:
    """Height and width of what a step of tiles holds of the expanded tensor."""
    lines, columns = _padded_size(shapes, index)
    if bands > 1:
        lines = max(len(band_lines(shapes, index, bands, band)) for band in range(bands))
    return lines, columns


def _padded_size(shapes: Shapes, index: int) -> tuple[int, int]:
    """Height and width of the expanded tensor with its zero padding, as much as any of its
    depthwise layers asks for."""
    readers = [shapes.blocks[i].depthwise for i in (index, *shapes.heads_within(index))]
    before = [max(each.pads[axis] for each in readers) for axis in (0, 1)]
    behind = [
        max(
            (each.out_size[axis] - 1) * each.stride + each.kernel - each.pads[axis]
            for each in readers
        )
        for axis in (0, 1)
    ]
    size = readers[0].in_size
    lines, columns = (before[axis] + max(size[axis], behind[axis]) for axis in (0, 1))
    return lines, columns


def _band_size(shapes: Shapes, index: int, bands: int) -> tuple[int, int]:
    """Height and width of the largest band of a block's output."""
    rows, columns = shapes.blocks[index].depthwise.out_size
    return -(-rows // bands), columns


def _filtered(shapes: Shapes, index: int, panels: int, bands: int = 1) -> Array:
    """Panels of whole maps, or of a band of them."""
    shape = (panels, elements(_band_size(shapes, index, bands)), PANEL)
    return _array(shapes, "filtered", shape, shapes.precision.filtered, True)


def _sums(shapes: Shapes, index: int, at_once: int, bands: int = 1) -> Scratch:
    """The sums of the output, or of a band of it, where `at_once` hidden channels are not all and
    the thin output is too small a type to hold them."""
    precision, block = shapes.precision, shapes.blocks[index]
    if precision.thin == precision.sums or at_once >= block.hidden:
        return ()
    size = _band_size(shapes, index, bands)
    shape: tuple[int, ...] = (*size, block.out_channels)
    if precision is INT8:
        shape = (panels_of(block.out_channels), *size, PANEL)
    return (_array(shapes, "sums", shape, precision.sums, True),)


# --- layers -------------------------------------------------------------------------------


def layers_schedule(shapes: Shapes, index: int, splits: int = 1) -> Schedule:
    """Block `index` layer by layer, in so many splits of its hidden channels, or as many as their
    panels allow; of block 0 with the stem as its expand layer.

    Raises UnsupportedError where block 0 has a shortcut or an expand layer: only rows keep the
    stem's output for it.
    """
    block = shapes.blocks[index]
    if index == 0 and block.expand is not None:
        raise UnsupportedError("a first block that expands runs by rows, not layer by layer")
    if index == 0 and block.residual:
        raise UnsupportedError("a first block with a shortcut runs by rows, not layer by layer")
    # In bfloat16 sums are cut at multiples of 32 terms (docs/bfloat16.md).
    unit = 2 * PANEL if shapes.precision is BFLOAT16 else PANEL
    tile = min(-(-block.hidden // (splits * unit)) * unit, block.hidden)
    source = shapes.thin_bytes(shapes.thin_input(index)) if index else 0
    target = shapes.thin_bytes(shapes.thin_output(index))
    live = source + target + _bytes_of_all(shapes, _layers_scratch(shapes, index, tile))
    return Schedule("layers", range(index, index + 1), source, target, live, tile=tile)


def _layers_scratch(shapes: Shapes, index: int, tile: int) -> Scratch:
    panels, precision = panels_of(tile), shapes.precision
    expanded = (panels, *_padded_size(shapes, index), PANEL)
    scratch = (
        _array(shapes, "expanded", expanded, precision.expanded, True),
        _filtered(shapes, index, panels),
        *_sums(shapes, index, tile),
    )
    if index > 0:
        return scratch
    columns = shapes.blocks[0].depthwise.in_size[1]
    row = _stem_row(shapes, columns)
    return (*scratch, _array(shapes, "pixels", (STEM_KERNEL, row), precision.thin))


def _stem_row(shapes: Shapes, columns: int) -> int:
    """Values of an image row under so many outputs of the stem."""
    # Integers are read in groups of four, past the last column.
    past = -IMAGE_CHANNELS * STEM_KERNEL % 4 if shapes.precision is INT8 else 0
    return ((columns - 1) * STEM_STRIDE + STEM_KERNEL) * IMAGE_CHANNELS + past
