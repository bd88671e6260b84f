"""What a detector's executor gives, as objects in pixels of the caller's image."""

from __future__ import annotations

from ..errors import InputError, UnsupportedError
from ..network.box_maps import anchors_of
from ..network.detection import ANCHORS
from ..untyped import TYPE_CHECKING, Any
from .found import Box, Detection

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..executors.executor import Executor
    from ..model.input_spec import InputSpec
    from ..model.modelfile import ModelFile
    from ..network.detection import Detection as Specification
    from ..network.layer import Network


def specification(network: Network) -> Specification:
    """How the outputs become objects. Raises UnsupportedError, naming what to call instead, for a
    network that finds none."""
    if network.detection is None:
        call = "`predict` names classes" if network.classes else "`embed` gives its features"
        raise UnsupportedError(f"{network.name} is no detector, so it finds no boxes; {call}")
    return network.detection


def checked_threshold(value: Any) -> float:
    """A caller's score threshold, 0 to 1."""
    try:
        threshold = float(value)
    except (TypeError, ValueError):
        threshold = -1.0
    if isinstance(value, (bool, str)) or not 0.0 <= threshold <= 1.0:  # NaN is not within
        raise InputError(f"threshold {value!r:.80}: expected a number from 0 to 1")
    return threshold


class Finder:
    """Finds the objects of one network, an image at a time."""

    def __init__(self, model: ModelFile, threshold: float, most: int | None) -> None:
        self._specification = specification(model.network)
        self._model = model
        self._threshold = max(threshold, self._specification.score_threshold)
        own = self._specification.max_objects
        self._most = own if most is None else min(most, own)
        self._anchors = anchors_of(self._specification, model.network.layers)

    def find(
        self,
        run: Callable[..., None],
        size: tuple[int, int],
        label: Callable[[int], str],
        executor: Executor,
    ) -> list[Detection]:
        """The objects in an image of `size`, (width, height), best first. `run` runs it: it finds
        what is `wanted` in the C core; of other executors it fills the arrays `boxes` and `scores`,
        and NumPy finds the objects."""
        wanting = getattr(executor, "wanting", None)
        if wanting is None:
            codes = executor.new_floats(self._anchors * 4)
            logits = executor.new_floats(self._anchors * self._specification.columns)
            run(boxes=codes, scores=logits)
            found = self._by_definition(codes, logits)
        else:
            given = self._specification._replace(
                score_threshold=self._threshold, max_objects=self._most
            )
            tensor = self._model.tensors[ANCHORS]
            place = slice(tensor.offset, tensor.offset + tensor.size)
            with memoryview(self._model.buffer) as whole, whole[place] as anchors:
                wanted = wanting(given, anchors)
                run(wanted=wanted)
                found = wanted.found
        frame = Placement(size, self._model.input_spec, self._model.network.resolution)
        return [
            Detection(label(index), index, score, frame.box(box)) for _, index, score, box in found
        ]

    def _by_definition(self, codes: Any, logits: Any) -> list[Any]:
        from .decoding import converted, decoded
        from .suppression import suppressed

        given = self._specification
        kept = suppressed(
            decoded(codes.reshape(-1, 4), self._model.array(ANCHORS), given.box_coding),
            converted(logits.reshape(-1, given.columns), given.score_conversion, given.background),
            self._threshold,
            given.iou_threshold,
            given.max_per_class,
            self._most,
        )
        return list(kept)


class Placement:
    """Where a network's frame lies in a picture of `size`, (width, height)."""

    def __init__(self, size: tuple[int, int], spec: InputSpec, resolution: tuple[int, int]) -> None:
        from ..images.framing import covering, framing

        self._size = size
        across, down = covering(framing(*size, 1, spec, resolution))
        height, width = resolution
        # The middle of the resized picture is cut out, as images/resize.py has it.
        self._left = round((across - width) / 2) / across
        self._top = round((down - height) / 2) / down
        self._width, self._height = width / across, height / down

    def box(self, corners: tuple[float, float, float, float]) -> Box:
        """In pixels of the picture, of (top, left, bottom, right) as parts of the frame."""
        top, left, bottom, right = corners
        width, height = self._size
        return Box(
            left=(self._left + left * self._width) * width,
            top=(self._top + top * self._height) * height,
            right=(self._left + right * self._width) * width,
            bottom=(self._top + bottom * self._height) * height,
        )
