"""Detectors in TensorFlow Lite: the custom operator that decodes boxes and chooses among them.

It takes codes of boxes, scores and anchors. The codes and the scores of all maps are joined in
front of it; the network ends where the heads' convolutions do. Float files and quantised ones are
read alike, their anchors dequantised.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn

from ...errors import CheckpointError, UnsupportedError
from ..detector import Detector, Head
from .tflite_nodes import name
from .tflite_schema import DETECTION, Graph, Operator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PASSING = ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE")
_CONVERSIONS = {"LOGISTIC": "sigmoid", "SOFTMAX": "softmax"}
# By default, as the operator has it.
_PER_CLASS = 100


def is_detector(file: Graph) -> bool:
    """Whether a file ends in the operator that chooses boxes."""
    return any(operator.kind == DETECTION for operator in file.operators)


def detector_of(file: Graph) -> tuple[Detector, Graph, tuple[str, ...]]:
    """What the file says of its boxes, the file without what makes boxes of its heads, and notes.

    Raises UnsupportedError for what is said in another way, CheckpointError for a damaged file.
    """
    return _Reader(file).read()


class _Reader:
    def __init__(self, file: Graph) -> None:
        self.file, self.what = file, file.what
        self.made: dict[int, Operator] = {}
        for operator in file.operators:
            for tensor in operator.outputs:
                self.made.setdefault(tensor, operator)
        (self.last, *others) = [each for each in file.operators if each.kind == DETECTION]
        if others:
            self._refuse("two of them")
        self.options = self.last.options

    def _refuse(self, reason: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.what}: a detector: operator {self.last.number}, {DETECTION}: {reason}"
        )

    def read(self) -> tuple[Detector, Graph, tuple[str, ...]]:
        if len(self.last.inputs) != 3:
            self._refuse(f"{len(self.last.inputs)} inputs: expected codes, scores and anchors")
        codes, scores, anchors = self.last.inputs
        boxes = self._parts(codes)
        conversion, logits = self._conversion(scores)
        columns = self._extent(scores)
        classes = self._whole("num_classes")
        if columns - classes not in (0, 1):
            self._refuse(f"{columns} scores of {classes} classes: expected as many, or one more")
        heads = []
        for box, score in zip(boxes, logits, strict=False):
            wide = self._extent(box)
            if wide % 4 or wide // 4 * columns != self._extent(score):
                self._refuse(
                    f"{self._extent(score)} channels of scores for {wide / 4:g} boxes a cell"
                )
            heads.append(Head(name(box), name(score), wide // 4))
        if len(boxes) != len(logits):
            self._refuse(f"boxes of {len(boxes)} maps and scores of {len(logits)}")
        regular = bool(self.options.get("use_regular_nms", False))
        most = self._whole("max_detections")
        detector = Detector(
            heads=tuple(heads),
            classes=classes,
            background=columns > classes,
            score_conversion=conversion,
            anchors=self._anchors(anchors),
            box_coding=(
                self._number("y_scale"),
                self._number("x_scale"),
                self._number("h_scale"),
                self._number("w_scale"),
            ),
            score_threshold=max(self._number("nms_score_threshold"), 0.0),
            iou_threshold=self._number("nms_iou_threshold"),
            max_per_class=self._whole("detections_per_class", _PER_CLASS) if regular else most,
            max_objects=most,
        )
        notes: tuple[str, ...] = ()
        if not regular and classes > 1:
            notes = (
                "its own suppression compares boxes of all classes with each other; here those of "
                "one class are compared, so that things of two classes in one place both stay",
            )
        ends = {int(each[1:]) for each in detector.outputs}
        return detector, self._network(ends), notes

    def _network(self, ends: set[int]) -> Graph:
        """The file with the operators that the heads depend on."""
        wanted: set[int] = set()
        stack = list(ends)
        while stack:
            operator = self.made.get(stack.pop())
            if operator is not None and operator.number not in wanted:
                wanted.add(operator.number)
                stack += operator.inputs
        kept = tuple(each for each in self.file.operators if each.number in wanted)
        return self.file._replace(operators=kept, outputs=tuple(sorted(ends)))

    def _behind(self, tensor: int) -> tuple[int, Operator]:
        """The operator whose value `tensor` is, but for shape and scale, and its tensor."""
        for _ in range(len(self.file.operators)):
            operator = self.made.get(tensor)
            if operator is None:
                break
            if operator.kind not in _PASSING or not operator.inputs:
                return tensor, operator
            tensor = operator.inputs[0]
        self._refuse(f"its input {self.file.name_of(tensor)} is not computed from the image")

    def _parts(self, tensor: int) -> list[int]:
        """The tensors of the heads' convolutions that are joined in `tensor`."""
        tensor, operator = self._behind(tensor)
        joined = operator.inputs if operator.kind == "CONCATENATION" else (tensor,)
        parts = []
        for each in joined:
            end, made = self._behind(each)
            if made.kind != "CONV_2D":
                self._refuse(f"{made.kind} in front of it: expected convolutions, joined")
            parts.append(end)
        return parts

    def _conversion(self, tensor: int) -> tuple[str, list[int]]:
        _, operator = self._behind(tensor)
        if operator.kind not in _CONVERSIONS or not operator.inputs:
            self._refuse(f"scores by {operator.kind}: expected {' or '.join(_CONVERSIONS)}")
        return _CONVERSIONS[operator.kind], self._parts(operator.inputs[0])

    def _extent(self, tensor: int) -> int:
        shape = self.file.tensors[tensor].shape
        return shape[-1] if shape else 0

    def _anchors(self, tensor: int) -> NDArray[np.float32]:
        import numpy as np

        if tensor < 0 or self.file.tensors[tensor].data is None:
            self._refuse("its anchors are not constants in the file")
        values = np.asarray(self.file.values(tensor), np.float32)
        if values.ndim != 2 or values.shape[1] != 4 or not np.isfinite(values).all():
            raise CheckpointError(
                f"{self.what}: anchors of shape {values.shape}: expected finite numbers, four each"
            )
        return values

    def _number(self, option: str) -> float:
        value: Any = self.options.get(option)
        if value is None or not math.isfinite(value):
            self._refuse(f"its option {option} is {value!r}: expected a number")
        return float(value)

    def _whole(self, option: str, default: int | None = None) -> int:
        value: Any = self.options.get(option, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 1 << 16:
            self._refuse(f"its option {option} is {value!r:.40}: expected a whole number above 0")
        return int(value)
