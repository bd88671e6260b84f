"""Detectors of TensorFlow's detection API (SSD) in a frozen graph: what is around the network.

In front of it each image is resized; behind it boxes are decoded relative to anchors, logits become
scores, and overlapping boxes are dropped. All numbers of that are read from the graph: the anchors
are computed as TensorFlow computes them, from the constants in the file. Only graphs for
TensorFlow.js end before overlapping boxes are dropped; those take the API's thresholds, and a note
says so. Between the two lies the network, a graph like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

from ...errors import CheckpointError, UnsupportedError
from ..checkpoint import Geometry
from ..detector import Detector, Head
from ..graph import Constant
from .tensorflow_operation import Operation
from .tensorflow_values import Unknown, Values, split

_SUPPRESSION = "NonMaxSuppression"  # in the name of the operation that drops overlapping boxes
# TensorFlow's takes two pixels whatever the scale, by whether it counts from their middles.
_RESIZES = {True: "bilinear-no-antialias", False: "bilinear-from-corner"}
_RESIZE = "ResizeBilinear"
_CONVERSIONS = {"Sigmoid": "sigmoid", "Softmax": "softmax"}
_PASSING = ("Identity", "Enter", "Reshape", "Squeeze", "Transpose", "ExpandDims", "CheckNumerics")
_ARITHMETIC = ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Identity", "BiasAdd")
_SOURCES = ("TensorArrayReadV3", "TensorListGetItem", "Placeholder")  # of one image
_IMAGES = ("TensorArrayGatherV3", "TensorListStack", _RESIZE)
MAX_MAPS = 16
# The detection API's configuration of SSDLite, for graphs that leave the choice of boxes to others.
_UNSTATED = (1e-8, 0.6, 100)  # score, overlap, objects: of a class and in all
_UNSTATED_NOTE = (
    "the graph does not drop overlapping boxes, its user does; here of two boxes of a class that "
    f"overlap by more than {_UNSTATED[1]:g} the better one stays, as in TensorFlow's detection API"
)


class Surroundings(NamedTuple):
    """What a graph of the detection API says around its network."""

    image: str  # the tensor that the network begins with: the resized image, 0 to 255
    size: tuple[int, int]  # (height, width) of it
    geometry: Geometry
    detector: Detector
    notes: tuple[str, ...]


def is_detector(operations: list[Operation]) -> bool:
    """Whether a graph drops overlapping boxes, or decodes boxes and leaves the rest to others."""
    kinds = {operation.op for operation in operations}
    return {"Exp", "Unpack"} <= kinds or any(_SUPPRESSION in kind for kind in kinds)


def network_of(operations: list[Operation], around: Surroundings) -> list[Operation]:
    """The nodes of the network alone, with the resized image as its placeholder."""
    by_name = {operation.name: operation for operation in operations}
    image = split(around.image)[0]
    wanted: set[str] = set()
    stack = [split(name)[0] for name in around.detector.outputs]
    while stack:
        name = stack.pop()
        if name in wanted or name == image or name not in by_name:
            continue
        wanted.add(name)
        stack += [split(each)[0] for each in by_name[name].inputs if not each.startswith("^")]
    height, width = around.size
    entrance = Operation(image, "Placeholder", (), {"shape": [1, height, width, 3]})
    return [entrance, *(each for each in operations if each.name in wanted)]


def surroundings(
    operations: list[Operation], constants: Mapping[str, Constant], what: str
) -> Surroundings:
    """What a graph says. Raises UnsupportedError, naming the node, for what it says in another
    way than SSD in the detection API, CheckpointError for a damaged graph."""
    return _Detector(operations, constants, what).read()


class _Detector:
    def __init__(
        self, operations: list[Operation], constants: Mapping[str, Constant], what: str
    ) -> None:
        self.what = what
        self.constants = constants
        self.by_name = {operation.name: operation for operation in operations}
        self.operations = operations
        self.values = Values(self.by_name, constants, what)
        self.readers: dict[str, list[Operation]] = {}
        for operation in operations:
            for each in operation.inputs:
                if not each.startswith("^"):
                    node, number = split(each)
                    self.readers.setdefault(f"{node}:{number}", []).append(operation)

    def read(self) -> Surroundings:
        boxes, coding, anchors = self._decoding()
        scores, conversion, made = self._scores(len(boxes))
        background = self._drops_first(made)
        heads, columns = self._heads(boxes, self._parts(scores), len(anchors))
        image = self._image(heads)
        size, resample = self._resize(image)
        classes = columns - background
        (score_threshold, iou_threshold, per_class), most = self._choice(classes)
        detector = Detector(
            heads=heads,
            classes=classes,
            background=background,
            score_conversion=conversion,
            anchors=anchors,
            box_coding=coding,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_per_class=per_class,
            max_objects=most or per_class,
        )
        return Surroundings(
            image,
            size,
            Geometry(resample, 1.0, "the graph's resize", "squash"),
            detector,
            () if most else (_UNSTATED_NOTE,),
        )

    def _refuse(self, operation: Operation, reason: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.what}: a detector: node {operation.name[:120]!r} ({operation.op[:40]}): "
            f"{reason}"
        )

    def _lacks(self, what: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.what}: a detector without {what} that is known here: expected SSD as "
            "TensorFlow's detection API freezes it"
        )

    def _node(self, tensor: str) -> Operation | None:
        return self.by_name.get(split(tensor)[0])

    def _read_by(self, operation: Operation, number: int = 0) -> list[Operation]:
        return self.readers.get(f"{operation.name}:{number}", [])

    def _behind(self, tensor: str, passing: Iterable[str] = _PASSING) -> Operation | None:
        """The node whose value `tensor` is, but for its shape."""
        for _ in range(64):
            node = self._node(tensor)
            if node is None or node.op not in passing or not node.inputs:
                return node
            tensor = node.inputs[0]
        return None

    # Boxes

    def _decoding(self) -> tuple[list[str], tuple[float, float, float, float], Any]:
        """The tensors of the maps' boxes, the scales of their coding, and the anchors."""
        import numpy as np

        exps = [each for each in self.operations if each.op == "Exp"]
        unpacked: dict[str, dict[int, tuple[float, str]]] = {}
        for exp in exps:
            scale, code = self._scaled(exp.inputs[0])
            size = self._other(self._only(exp, "Mul"), exp.name)
            unpacked.setdefault(split(code)[0], {})[split(code)[1]] = (scale, size)
        codes = [name for name, found in unpacked.items() if set(found) == {2, 3}]
        node = self.by_name.get(codes[0]) if len(codes) == 1 else None
        if node is None or node.op != "Unpack":
            self._lacks("a decoding of boxes")
        scales, sizes, centres = {}, {}, {}
        for at in (2, 3):
            scales[at], sizes[at] = unpacked[node.name][at]
        for at in (0, 1):
            readers = self._read_by(node, at)
            if len(readers) != 1:
                self._refuse(node, f"{len(readers)} nodes use its output {at}: expected one")
            (reader,) = readers
            scales[at], through = 1.0, f"{node.name}:{at}"
            if (divisor := self._divisor(reader, through)) is not None:
                scales[at], through = divisor, reader.name
                reader = self._only(reader, "Mul")
            size = self._other(reader, through) if reader.op == "Mul" else ""
            if not size or not self._same_size(size, sizes[at + 2]):
                self._refuse(reader, "expected the code of a centre times the anchor's size")
            sizes[at + 2] = size
            added = self._only(reader, "Add", "AddV2")
            centres[at] = self._other(added, reader.name)
        tensors = (centres[0], centres[1], sizes[2], sizes[3])
        try:
            columns = [self.values.value(each).reshape(-1) for each in tensors]
        except Unknown as error:
            raise UnsupportedError(
                f"{self.what}: a detector: its anchors depend on more than constants "
                f"({str(error)[:120]!r})"
            ) from None
        if len({each.size for each in columns}) != 1 or not columns[0].size:
            raise CheckpointError(f"{self.what}: its anchors have different numbers of coordinates")
        anchors = np.stack(columns, axis=1).astype(np.float32)
        if not np.isfinite(anchors).all():
            raise CheckpointError(f"{self.what}: an anchor is NaN or infinite; it is damaged")
        coding = (scales[0], scales[1], scales[2], scales[3])
        turned = self._behind(node.inputs[0])
        if turned is None or turned.op != "ConcatV2":
            self._refuse(node, "expected boxes that are joined from several maps")
        return self._parts(turned), coding, anchors

    def _scaled(self, tensor: str) -> tuple[float, str]:
        """What `tensor` is divided by, and the tensor before that."""
        node = self._node(tensor)
        for each in () if node is None else node.inputs:
            if (divisor := self._divisor(node, each)) is not None:
                return divisor, each
        return 1.0, tensor

    def _divisor(self, node: Operation | None, tensor: str) -> float | None:
        """The one number by which `node` divides `tensor`, or whose reciprocal it takes."""
        import numpy as np

        if node is None or len(node.inputs) != 2:
            return None
        if node.op == "RealDiv" and split(node.inputs[0]) == split(tensor):
            return self._number(node, 1)
        if node.op != "Mul":
            return None
        numbers = self.values.numbers(self._other(node, tensor))
        if numbers is None or len(numbers) != 1 or not numbers[0]:
            return None
        return float(np.float32(1) / np.float32(numbers[0]))

    def _same_size(self, size: str, scaled: str) -> bool:
        """Whether the anchor's size that scales a centre is that which scales the exponential, or
        twice it: an optimiser may halve the constants before the box's corners are made."""
        if split(size) == split(scaled):
            return True
        import numpy as np

        try:
            one, other = self.values.value(size), self.values.value(scaled)
        except Unknown:
            return False
        return np.array_equal(one, other) or np.array_equal(one, other * np.float32(2))

    def _number(self, node: Operation, index: int) -> float:
        numbers = self.values.numbers(node.inputs[index]) if index < len(node.inputs) else None
        if numbers is None or len(numbers) != 1:
            self._refuse(node, f"its input {index} is not one constant number")
        return numbers[0]

    def _only(self, node: Operation, *kinds: str) -> Operation:
        readers = self._read_by(node)
        if len(readers) != 1 or readers[0].op not in kinds:
            self._refuse(node, f"expected {' or '.join(kinds)} behind it, and nothing else")
        return readers[0]

    def _other(self, node: Operation, one: str) -> str:
        """The input of `node`, which has two, that is not the tensor `one`."""
        others = [each for each in node.inputs if split(each) != split(one)]
        if len(node.inputs) != 2 or len(others) != 1:
            self._refuse(node, "expected two inputs")
        return others[0]

    def _parts(self, joined: Operation) -> list[str]:
        """What a concatenation along the boxes joins: one tensor for each map."""
        *parts, axis = joined.inputs
        if self.values.numbers(axis) not in ([1.0],) or not 1 <= len(parts) <= MAX_MAPS:
            self._refuse(joined, f"expected up to {MAX_MAPS} maps, joined along their boxes")
        return parts

    # Scores

    def _scores(self, maps: int) -> tuple[Operation, str, Operation]:
        """The concatenation of the logits, what makes scores of them, and the node that does."""
        found: list[tuple[Operation, str, Operation]] = []
        for node in self.operations:
            conversion = _CONVERSIONS.get(node.op)
            joined = self._behind(node.inputs[0], (*_PASSING, "RealDiv")) if conversion else None
            if joined is not None and joined.op == "ConcatV2" and len(joined.inputs) == maps + 1:
                found.append((joined, str(conversion), node))
        if len(found) != 1:
            self._lacks("one sigmoid or softmax of all its scores")
        node = found[0][2]
        while node.op != "ConcatV2":
            node = self.by_name[split(node.inputs[0])[0]]
            if node.op == "RealDiv" and self._number(node, 1) != 1:
                self._refuse(node, "logits that are scaled")
        return found[0]

    def _drops_first(self, converted: Operation) -> bool:
        """Whether the first column of the scores, the background's, is left out."""
        seen, stack = set[str](), [converted]
        while stack:
            for reader in self._read_by(stack.pop()):
                if reader.op == "Slice":
                    if self.values.numbers(reader.inputs[1]) == [0.0, 0.0, 1.0]:
                        return True
                elif reader.op in _PASSING and reader.name not in seen:
                    seen.add(reader.name)
                    stack.append(reader)
        return False

    def _heads(
        self, boxes: list[str], scores: list[str], anchors: int
    ) -> tuple[tuple[Head, ...], int]:
        """The heads, and how many columns the scores have."""
        heads, columns = [], set[int]()
        for box, score in zip(boxes, scores, strict=True):
            ends = [self._behind(each) for each in (box, score)]
            node = self._node(score)
            last = None if node is None else self._last_extent(node)
            if ends[0] is None or ends[1] is None or node is None or last is None:
                self._lacks("heads of its maps")
            wide, tall = (self._channels(each) for each in (ends[0], ends[1]))
            if wide % 4 or wide // 4 * last != tall:
                self._refuse(
                    ends[1], f"{tall} channels for {wide / 4:g} boxes and {last} columns of scores"
                )
            columns.add(last)
            heads.append(Head(ends[0].name, ends[1].name, wide // 4))
        if len(columns) != 1:
            self._lacks("scores of the same classes on every map")
        return tuple(heads), columns.pop()

    def _last_extent(self, node: Operation) -> int | None:
        """The last extent of the shape that a head's scores are brought to: columns."""
        if node.op != "Reshape":
            return None
        shape = self._node(node.inputs[1])
        last = None
        if shape is not None and shape.op == "Pack":
            last = self.values.numbers(shape.inputs[-1])
        else:
            stated = self.values.numbers(node.inputs[1])
            last = stated[-1:] if stated else None
        return int(last[0]) if last and last[0] >= 1 else None

    def _channels(self, node: Operation) -> int:
        """Channels of a head: those of its bias, or of its weight."""
        for each in reversed(node.inputs):
            constant = self._constant(each)
            if constant is not None and constant.shape:
                return constant.shape[-1]
        self._refuse(node, "expected a convolution with a bias")

    def _constant(self, tensor: str) -> Constant | None:
        """A constant, also behind the Identity that freezing leaves."""
        for _ in range(8):
            name = split(tensor)[0]
            if name in self.constants:
                return self.constants[name]
            node = self.by_name.get(name)
            if node is None or node.op != "Identity" or not node.inputs:
                return None
            tensor = node.inputs[0]
        return None

    # The image

    def _image(self, heads: tuple[Head, ...]) -> str:
        """The tensor that the network begins with."""
        found = set[str]()
        seen, stack = set[str](), [heads[0].boxes]
        while stack:
            name = split(stack.pop())[0]
            node = self.by_name.get(name)
            if name in seen or node is None:
                continue
            seen.add(name)
            if node.op in _IMAGES or node.op == "Placeholder":
                found.add(name)
                continue
            stack += [each for each in node.inputs if not each.startswith("^")]
        if len(found) != 1:
            self._lacks("one image that its network begins with")
        return found.pop()

    def _resize(self, image: str) -> tuple[tuple[int, int], str]:
        """(height, width) that each image is resized to, and the filter."""
        resizes = [each for each in self.operations if each.op.startswith("Resize")]
        if len(resizes) != 1 or resizes[0].op != _RESIZE:
            self._lacks("one bilinear resize of its image to a fixed size")
        (resize,) = resizes
        if resize.attributes.get("align_corners"):
            self._refuse(resize, "corners that are aligned, which is not supported")
        size = self.values.numbers(resize.inputs[1])
        if size is None or len(size) != 2 or not all(1 <= each <= 1 << 16 for each in size):
            self._refuse(resize, "its size is not constant, or impossible")
        source = self._behind(resize.inputs[0], (*_PASSING, "Cast"))
        if source is None or source.op not in _SOURCES:
            self._refuse(resize, "something is done to the image before it")
        if resize.name != split(image)[0]:
            seen, stack = set[str](), [resize]
            ends = set[str]()
            while stack:
                for reader in self._read_by(stack.pop()):
                    if reader.name in seen:
                        continue
                    seen.add(reader.name)
                    if reader.op in _PASSING:
                        stack.append(reader)
                    else:
                        ends.add(reader.op)
            if not ends <= {"TensorArrayWriteV3", "TensorListSetItem", "Shape"}:
                self._refuse(resize, "something is done to the image behind it, before its batch")
        return (int(size[0]), int(size[1])), _RESIZES[
            bool(resize.attributes.get("half_pixel_centers"))
        ]

    # Suppression

    def _choice(self, classes: int) -> tuple[tuple[float, float, int], int | None]:
        """What drops boxes of a class, and how many of all are kept: None where nothing does."""
        suppressions = [each for each in self.operations if _SUPPRESSION in each.op]
        if not suppressions:
            return _UNSTATED, None
        if len(suppressions) != classes:
            self._refuse(
                suppressions[0],
                f"{len(suppressions)} of them for {classes} classes: expected one for each class",
            )
        thresholds = {self._suppression(each) for each in suppressions}
        if len(thresholds) != 1:
            self._refuse(suppressions[0], "classes whose thresholds differ")
        return thresholds.pop(), self._most(suppressions)

    def _suppression(self, node: Operation) -> tuple[float, float, int]:
        """The score and the overlap from which a box is dropped, and how many are kept."""
        if node.op not in ("NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5"):
            self._refuse(node, "expected NonMaxSuppressionV3 to V5")
        if node.op.endswith("V5") and self._number(node, 5) != 0:
            self._refuse(node, "soft suppression, which changes scores, is not supported")
        most = self._bound(node.inputs[2])
        if most is None:
            self._refuse(node, "how many boxes it keeps is not constant")
        return self._number(node, 4), self._number(node, 3), most

    def _bound(self, tensor: str) -> int | None:
        """The constant of a tensor that is one, or the lesser of one and what is computed."""
        node = self._node(tensor)
        inputs = node.inputs if node is not None and node.op == "Minimum" else (tensor,)
        for each in inputs:
            numbers = self.values.numbers(each)
            if numbers is not None and len(numbers) == 1 and numbers[0] >= 1:
                return int(numbers[0])
        return None

    def _most(self, suppressions: list[Operation]) -> int:
        """How many boxes of all classes are kept: the bound of the range that takes them."""
        inner = {split(each.inputs[2])[0] for each in suppressions}
        found = set[int]()
        for node in self.operations:
            if node.op != "Minimum" or node.name in inner:
                continue
            bound = self._bound(node.name)
            if bound is not None and any(each.op == "Range" for each in self._read_by(node)):
                found.add(bound)
        if len(found) != 1:
            self._lacks("a bound on the number of its objects")
        return found.pop()
