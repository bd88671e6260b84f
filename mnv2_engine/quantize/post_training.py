"""Post-training quantisation: from a float32 model file and photographs to an int8 model file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..executors import integer, reference
from ..executors.reference import first_outputs, joined_outputs
from ..model.input_spec import InputSpec
from ..model.modelfile import open_model, write_model
from ..network.blocks import match
from ..network.detection import ANCHORS
from ..network.layer import Network
from ..network.quantization import CALIBRATION_LIMIT, DEFAULT_RANGE_METHOD, RANGE_METHODS
from .equalisation import ChannelRange, equalise
from .frames import NEEDED, calibration_frames, with_mosaics, without_copies
from .head_ranges import widened
from .origin import check_output, origin_of
from .report import Agreement, FoundAgreement, Quantised, agreement_of
from .stepwise import Made, Stepwise

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_IMAGES = 12
HELD_OUT_FROM, HELD_OUT_EVERY = 20, 5  # of so many images or more, every fifth is measured on


def quantize(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    calibrate: object,
    *,
    method: str = DEFAULT_RANGE_METHOD,
    limit: int = CALIBRATION_LIMIT,
    advance: Callable[[int, int], object] | None = None,
) -> Quantised:
    """Make the int8 model file `out` of the model file `model`. `out` appears whole or not at all.

    `calibrate` is a folder of images, image files, or uint8 pixels (N, height, width, 3) of the
    network's own size; of more than `limit` images, so many are taken, evenly spread. `method`
    says how far the activations reach (see `ranges.choose_reach`). `advance`, if given, is called
    with the work done since the last call and all the work there is, in like units. Equal
    arguments make equal bytes on one machine, with one number of threads in NumPy's products.

    Raises InputError where there is no image to calibrate with, for a model that is int8 already
    and for other arguments; UnsupportedError for weights that 8 bits cannot stand for; and
    ModelFileError or MnvError where a file cannot be read or written.
    """
    if method not in RANGE_METHODS:
        raise InputError(f"method {method!r}: expected one of {', '.join(RANGE_METHODS)}")
    if calibrate is None:
        raise InputError(f"no image to calibrate with: {NEEDED}")
    with open_model(model) as source:
        if source.quantization is not None:
            raise InputError(
                f"{source.path}: is quantised already; give the model file it was made of"
            )
        check_output(out, source.path)
        network, spec = source.network, source.input_spec
        frames = without_copies(calibration_frames(calibrate, spec, network.resolution, limit))
        source.verify()
        pixels, held_out = _split(frames.pixels)
        provenance = origin_of(source, f"{method}, {len(pixels)} calibration images")
        images = len(pixels)
        if network.detection is not None:
            pixels = with_mosaics(pixels)
        weights = source.weights()
        made = _made(network, spec, weights, pixels, method, advance)
        anchors = weights.get(ANCHORS)
        if anchors is not None:
            made.arrays[ANCHORS] = anchors
        given = (first_outputs(each, images) for each in (made.real, made.integers))
        measured = agreement_of(network, anchors, *given)
        if len(held_out):
            measured = _measured(network, spec, weights, made, held_out)
        write_model(
            out,
            network,
            made.arrays,
            spec,
            source.labels,
            provenance,
            quantization=made.quantization,
        )
    return Quantised(
        network.name,
        method,
        made.reports,
        measured,
        os.path.getsize(out),
        _notes(frames.skipped, images, made),
    )


def _split(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images to calibrate with, and others to measure on where there are enough: on the former the
    network is corrected, so on them it is better than on others."""
    if len(pixels) < HELD_OUT_FROM:
        return pixels, pixels[:0]
    held_out = np.arange(len(pixels)) % HELD_OUT_EVERY == HELD_OUT_EVERY // 2
    return pixels[~held_out], pixels[held_out]


def _measured(
    network: Network,
    spec: InputSpec,
    weights: dict[str, NDArray[np.float32]],
    made: Made,
    pixels: NDArray[np.uint8],
) -> Agreement | FoundAgreement:
    """How both networks agree on images that neither was made with."""
    real, integers = [], []
    for i in range(len(pixels)):
        one = pixels[i : i + 1]
        real.append(reference.run(network, weights, reference.normalise(spec, one)))
        integers.append(integer.run(network, made.arrays, made.quantization, spec, one))
    both = (joined_outputs(each) for each in (real, integers))
    return agreement_of(network, weights.get(ANCHORS), *both)._replace(held_out=True)


def _made(
    network: Network,
    spec: InputSpec,
    weights: dict[str, NDArray[np.float32]],
    pixels: NDArray[np.uint8],
    method: str,
    advance: Callable[[int, int], object] | None,
) -> Made:
    work = len(pixels) * (1 + len(network.weighted))

    def done(count: int) -> None:
        if advance is not None:
            advance(count, work)

    ranges, reaches = _ranges(network, spec, weights, pixels, done)
    if network.detection is not None:
        ranges = widened(network.detection, ranges)
    equal, thin = equalise(network, weights, ranges)
    return Stepwise(network, spec, equal, thin, reaches, pixels, method, done).make()


def _ranges(
    network: Network,
    spec: InputSpec,
    weights: dict[str, NDArray[np.float32]],
    pixels: NDArray[np.uint8],
    done: Callable[[int], object],
) -> tuple[dict[str, ChannelRange], dict[str, float]]:
    """Image by image: the range of each channel of every block's output, and of a detector's heads,
    by the name of the layer that gives it; and the largest distance from 0 of any layer's output.
    """
    parts = match(network)
    outputs = {block.output for block in parts.blocks}
    outputs |= {head.project.name for head in parts.heads}
    found: dict[str, ChannelRange] = {}
    reaches: dict[str, float] = {}
    for i in range(len(pixels)):
        seen: dict[str, NDArray[np.floating]] = {}
        reference.run(network, weights, reference.normalise(spec, pixels[i : i + 1]), seen=seen)
        for name, output in seen.items():
            reaches[name] = max(reaches.get(name, 0.0), float(np.abs(output).max()))
            if name not in outputs:
                continue
            low, high = (
                each.astype(np.float64) for each in (output.min((0, 1, 2)), output.max((0, 1, 2)))
            )
            if name in found:
                low, high = np.minimum(low, found[name].low), np.maximum(high, found[name].high)
            found[name] = ChannelRange(low, high)
        done(1)
    return found, reaches


def _notes(skipped: tuple[str, ...], images: int, made: Made) -> tuple[str, ...]:
    notes = list(skipped)
    if images < FEW_IMAGES:
        notes.append(f"calibrated with {images} images only: some dozens make the ranges surer")
    silenced = sum(made.silenced.values())
    if silenced:
        named = [f"{count} of {name}" for name, count in made.silenced.items()]
        more = f" and {len(named) - 4} other layers" if len(named) > 4 else ""
        notes.append(
            f"channels whose weights are too small for 8 bits became constant: {silenced}, "
            f"{', '.join(named[:4])}{more}"
        )
    return tuple(notes)
