"""The table of layers as JSON, as a model file stores it, and back.

{"name": "mobilenet_v2_1.0_224", "resolution": [224, 224], "layers": [
   {"name": "stem", "operation": "conv", "inputs": ["image"], "channels": 32, "kernel": 3,
    "stride": 2, "dilation": 1, "pads": [top, left, bottom, right], "activation": "relu6"},
   {"name", "operation": "depthwise", "inputs", "kernel", "stride", "dilation", "pads",
    "activation"},
   {"name", "operation": "pointwise" or "dense", "inputs", "channels", "activation"},
   {"name", "operation": "add" or "pool", "inputs"}, ...],
 "outputs": ["classifier"], "answer": "softmax"}

and, where the answer is "boxes", "detection": {"maps": [{"boxes", "scores", "anchors"}, ...],
"classes", "background", "score_conversion", "box_coding", ...}, as detection.py has it. Every
shape follows from the table. Reading it goes through `Builder`, which checks each.
"""

from __future__ import annotations

from ..errors import InputError, ModelFileError
from ..untyped import Any
from .builder import Builder
from .layer import MAX_LAYERS, Layer, Network

_MAX_LABEL = 200  # characters of a network's name
_KEYS = ("name", "resolution", "layers", "outputs", "answer")
_SAME = ("name", "operation", "inputs")
_WINDOW = ("kernel", "stride", "dilation", "pads")
_OF_OPERATION = {
    "conv": {*_SAME, *_WINDOW, "channels", "activation"},
    "depthwise": {*_SAME, *_WINDOW, "activation"},
    "pointwise": {*_SAME, "channels", "activation"},
    "dense": {*_SAME, "channels", "activation"},
    "add": {*_SAME},
    "pool": {*_SAME},
}
_TEXTS = ("name", "activation")


def to_json(network: Network) -> dict[str, object]:
    """Plain JSON values, the inverse of `from_json`."""
    made: dict[str, object] = {
        "name": network.name,
        "resolution": list(network.resolution),
        "layers": [_layer_json(layer) for layer in network.layers],
        "outputs": list(network.outputs),
        "answer": network.answer,
    }
    if network.detection is not None:
        from .detection import to_json as detection_json

        made["detection"] = detection_json(network.detection)
    return made


def _layer_json(layer: Layer) -> dict[str, object]:
    values = {
        "name": layer.name,
        "operation": layer.operation,
        "inputs": list(layer.inputs),
        "channels": layer.out_channels,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "dilation": layer.dilation,
        "pads": list(layer.pads),
        "activation": layer.activation,
    }
    wanted = _OF_OPERATION[layer.operation]
    return {key: value for key, value in values.items() if key in wanted}


def from_json(obj: object) -> Network:
    """The network that parsed JSON describes. Raises ModelFileError or InputError unless every
    layer is complete, holds nothing else, and fits those before it."""
    is_detector = isinstance(obj, dict) and obj.get("answer") == "boxes"
    keys = (*_KEYS, "detection") if is_detector else _KEYS
    if not isinstance(obj, dict) or set(obj) != set(keys):
        raise ModelFileError(f"network: expected exactly the keys {', '.join(keys)}")
    name, size, rows = obj["name"], obj["resolution"], obj["layers"]
    if not isinstance(name, str) or len(name) > _MAX_LABEL or not _is_plain(name):
        raise ModelFileError(f"network: name {name!r:.80}: expected printable text")
    if not isinstance(size, list):
        raise ModelFileError(f"network: resolution {size!r:.80}: expected [height, width]")
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_LAYERS:
        found = f"{len(rows)} of them" if isinstance(rows, list) else f"{rows!r:.80}"
        raise ModelFileError(f"network: layers: {found}: expected a list of 1 to {MAX_LAYERS}")
    build = Builder(tuple(size))  # whose types it checks
    for i, row in enumerate(rows):
        _add(build, i, row)
    outputs, answer = obj["outputs"], obj["answer"]
    if not isinstance(outputs, list) or not isinstance(answer, str):
        raise ModelFileError("network: expected a list of outputs and a text for answer")
    if not all(isinstance(each, str) for each in outputs):
        raise ModelFileError(f"outputs {outputs!r:.80}: expected one name, or a detector's names")
    detection = None
    if is_detector:
        from .detection import from_json as detection_from_json

        detection = detection_from_json(obj["detection"])
    network = build.network(name, tuple(outputs), answer, detection)
    for row, layer in zip(rows, network.layers, strict=True):
        if row.get("pads", list(layer.pads)) != list(layer.pads):
            raise ModelFileError(
                f"layer {layer.name}: pads {row['pads']!r:.80}: its outputs reach {layer.pads}"
            )
    return network


def _is_plain(text: str) -> bool:
    """Whether it can be encoded and leaves a terminal as it was. As for labels, and in any version
    of Unicode, which str.isprintable follows and a reader in C does not."""
    return not any(c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c < "\ue000" for c in text)


def _add(build: Builder, i: int, row: Any) -> None:
    """Add the layer of one row of the table."""
    operation = row.get("operation") if isinstance(row, dict) else None
    wanted = _OF_OPERATION.get(operation) if isinstance(operation, str) else None
    if wanted is None:
        raise ModelFileError(
            f"layer {i}: operation {operation!r:.80}: expected one of {', '.join(_OF_OPERATION)}"
        )
    if set(row) != wanted:
        raise ModelFileError(f"layer {i}: expected exactly the keys {', '.join(sorted(wanted))}")
    inputs = row["inputs"]
    count = 2 if operation == "add" else 1
    if (
        not isinstance(inputs, list)
        or len(inputs) != count
        or not all(isinstance(each, str) for each in inputs)
        or not all(isinstance(row[key], str) for key in _TEXTS if key in row)
    ):
        raise ModelFileError(f"layer {i}: expected texts, and {count} names of inputs")
    name, source = row["name"], inputs[0]
    if operation == "add":
        build.add(name, *inputs)
    elif operation == "pool":
        build.pool(name, source)
    elif operation == "pointwise":
        build.pointwise(name, source, row["channels"], row["activation"])
    elif operation == "dense":
        build.dense(name, source, row["channels"], row["activation"])
    else:
        if not isinstance(row["pads"], list):
            raise InputError(f"{name:.80}: pads {row['pads']!r:.80}: expected four numbers")
        window = {key: row[key] for key in _WINDOW[:3]}
        pads = tuple(row["pads"])
        if operation == "depthwise":
            build.depthwise(name, source, pads=pads, activation=row["activation"], **window)
        else:
            build.conv(
                name, source, row["channels"], pads=pads, activation=row["activation"], **window
            )
