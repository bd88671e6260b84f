"""A Keras model's configuration as nodes of the neutral graph.

HDF5 files, .keras archives and TensorFlow.js's layers models hold the same description: JSON that
names classes and their arguments. It is read, never built: Lambda layers and custom classes are
refused by name, and none of their code is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ...errors import CheckpointError, MnvError, UnsupportedError
from ...network.layer import MAX_RESOLUTION
from ..graph import MAX_NODES, NCHW, NHWC, Constant, Graph, Node, constant_of, image_of_shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODELS = ("Sequential", "Functional", "Model")
_MAX_DEPTH = 16  # of models within models
_MAX_LAYERS = 1 << 12  # MobileNetV2 has about 160

# What does nothing to an image when a network is used.
_IDLE = (
    "InputLayer", "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise",
    "AlphaDropout", "ActivityRegularization", "Identity", "RandomFlip", "RandomRotation",
    "RandomZoom", "RandomContrast", "RandomBrightness", "RandomTranslation",
    "RandomHeight", "RandomWidth", "RandAugment", "AugMix", "RandomColorJitter", "RandomHue",
    "RandomSaturation", "RandomShear", "RandomSharpness", "RandomGrayscale",
    "RandomPosterization", "RandomColorDegeneration", "RandomInvert", "RandomErasing",
    "RandomGaussianBlur", "AutoContrast", "MixUp", "CutMix",
)  # fmt: skip
_CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda", "KerasLayer", "TFSMLayer")
_OPERATORS = {
    "TrueDivide": "div",
    "Divide": "div",
    "Subtract": "sub",
    "Multiply": "mul",
    "Add": "add",
}
# TensorFlow's functions that Keras 2 kept as layers.
_FUNCTIONS = {
    "math.truediv": "div",
    "math.divide": "div",
    "math.subtract": "sub",
    "math.multiply": "mul",
    "math.add": "add",
    "__operators__.add": "add",
    "nn.relu6": "relu6",
    "nn.relu": "relu",
    "cast": "identity",
    "identity": "identity",
}


class Variables(Protocol):
    """Where a file keeps the weights of its layers."""

    def find(self, place: Place, names: Sequence[Sequence[str]]) -> list[Constant]:
        """The weights of the layer at `place`: one for each of `names`, which are alternatives.
        Raises CheckpointError where one is missing."""
        ...


class Place:
    """Where a layer is: its name, and its model's, from the outermost in."""

    def __init__(self, names: tuple[str, ...], numbered: tuple[str, ...]) -> None:
        self.names = names  # as the configuration has them
        self.numbered = numbered  # as .keras archives name them: the class and a number

    @property
    def shown(self) -> str:
        """The place for messages."""
        return "/".join(name[:80] for name in self.names)


def to_graph(config: object, variables: Variables, what: str, form: str) -> Graph:
    """The neutral graph of a model's configuration, parsed JSON.

    Raises UnsupportedError for a subclassed model, a Lambda layer or an unknown shape of input,
    CheckpointError for a configuration that no Keras writes.
    """
    try:
        return _Model(variables, what, form).graph(config)
    except MnvError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{what}: the model's configuration is damaged ({type(error).__name__}: "
            f"{str(error)[:120]}); save the model again"
        ) from None


class _Model:
    def __init__(self, variables: Variables, what: str, form: str) -> None:
        self.variables, self.what, self.form = variables, what, form
        self.nodes: list[Node] = []
        self.constants: dict[str, Constant] = {}
        self._layout = NHWC

    def graph(self, config: Any) -> Graph:
        kind = config["class_name"]
        if kind not in MODELS:
            raise UnsupportedError(
                f"{self.what}: the model is of the class {kind!r:.80}, whose layers only its own "
                "Python code knows; export it to TFLite or ONNX instead"
            )
        shape = self._input_shape(config, 0)
        if shape is None:
            raise UnsupportedError(
                f"{self.what}: the model states no shape of its input; build it before saving: "
                "model.build((None, HEIGHT, WIDTH, 3))"
            )
        if len(shape) != 4:
            raise UnsupportedError(
                f"{self.what}: input of shape {tuple(shape)}: expected images, (None, height, "
                "width, 3)"
            )
        stated = [each if _natural(each) else None for each in shape]
        image = image_of_shape("image", stated, NHWC)
        if image is None:
            raise UnsupportedError(
                f"{self.what}: input of shape {tuple(shape)}: expected (None, height, width, 3), "
                "or 1 in the place of 3 for grey"
            )
        self._layout = image.layout
        outputs = self._model(config, ["image"], Place((), ()), "", 0)
        return Graph(
            self.what,
            self.form,
            image,
            tuple(self.nodes),
            tuple(outputs),
            self.constants,
        )

    def _input_shape(self, config: Any, depth: int) -> list[Any] | None:
        """The shape that the first layer to state one states."""
        if depth > _MAX_DEPTH:
            raise ValueError("models within models without end")
        inside = config["config"]
        for layer in _layers(config):
            given = layer["config"] if isinstance(layer["config"], dict) else {}
            for key in ("batch_input_shape", "batch_shape"):
                if isinstance(given.get(key), list):
                    return list(given[key])
            if layer["class_name"] in MODELS:
                found = self._input_shape(layer, depth + 1)
                if found is not None:
                    return found
            built = layer.get("build_config") or {}
            if isinstance(built.get("input_shape"), list):
                return list(built["input_shape"])
            if layer["class_name"] not in _IDLE:
                break
        built = inside.get("build_input_shape") if isinstance(inside, dict) else None
        return list(built) if isinstance(built, list) else None

    # Models

    def _model(
        self, config: Any, given: list[str], place: Place, prefix: str, depth: int
    ) -> list[str]:
        """Add a model's nodes, called with the tensors `given`; the tensors that it gives."""
        if depth > _MAX_DEPTH:
            raise ValueError("models within models without end")
        if len(_layers(config)) > _MAX_LAYERS:
            raise CheckpointError(
                f"{self.what}: a model of {len(_layers(config))} layers: expected at most "
                f"{_MAX_LAYERS}; save the model again"
            )
        if config["class_name"] == "Sequential":
            return self._sequential(config, given, place, prefix, depth)
        inside = config["config"]
        numbers = _Numbers()
        entries = [name for name, _, _ in _references(inside["input_layers"])]
        if len(entries) != len(given):
            raise UnsupportedError(
                f"{self.what}: model {inside.get('name')!r:.80} has {len(entries)} inputs: "
                "expected one, the image"
            )
        calls = {
            layer["config"].get("name") or layer["name"]: max(1, len(layer["inbound_nodes"]))
            for layer in inside["layers"]
        }

        def tensor(reference: tuple[str, int, int]) -> str:
            name, call, index = reference
            if name not in calls:
                raise ValueError(f"layer {name!r:.80} is not there")
            # Keras numbers calls from the layer's first, which may lie outside this model.
            call = call if call < calls[name] else calls[name] - 1
            return f"{prefix}{name}:{call}:{index}"

        for layer in inside["layers"]:
            name = layer["config"].get("name") or layer["name"]
            here = Place((*place.names, name), (*place.numbered, numbers.of(layer["class_name"])))
            if name in entries:
                source = given[entries.index(name)]
                self._node(Node("identity", self._where(layer), (source,), (tensor((name, 0, 0)),)))
                continue
            for call, inbound in enumerate(layer["inbound_nodes"]):
                references, others = _arguments(inbound)
                inputs = [tensor(each) for each in references]
                out = f"{prefix}{name}:{call}:0"
                if layer["class_name"] in MODELS:
                    inner = f"{prefix}{name}#{call}/"
                    for index, each in enumerate(
                        self._model(layer, inputs, here, inner, depth + 1)
                    ):
                        passed = f"{prefix}{name}:{call}:{index}"
                        self._node(Node("identity", self._where(layer), (each,), (passed,)))
                else:
                    self._layer(layer, inputs, others, out, here)
        return [tensor(each) for each in _references(inside["output_layers"])]

    def _sequential(
        self, config: Any, given: list[str], place: Place, prefix: str, depth: int
    ) -> list[str]:
        numbers = _Numbers()
        at = list(given)
        for index, layer in enumerate(_layers(config)):
            name = layer["config"].get("name") if isinstance(layer["config"], dict) else None
            name = name or layer.get("name") or layer["class_name"].lower()
            here = Place((*place.names, name), (*place.numbered, numbers.of(layer["class_name"])))
            if layer["class_name"] in MODELS:
                at = self._model(layer, at, here, f"{prefix}{index}/", depth + 1)
                continue
            out = f"{prefix}{index}"
            self._layer(layer, at, [], out, here)
            at = [out]
        return at

    # Layers

    def _where(self, layer: Any) -> str:
        name = layer["config"].get("name") or layer.get("name") or "without a name"
        return f"layer {str(name)[:80]!r} ({str(layer['class_name'])[:80]})"

    def _node(self, node: Node) -> None:
        if len(self.nodes) >= MAX_NODES:
            raise CheckpointError(f"{self.what}: more than {MAX_NODES} layers")
        self.nodes.append(node)

    def _refuse(self, layer: Any, reason: str) -> NoReturn:
        raise UnsupportedError(f"{self.what}: {self._where(layer)}: {reason}")

    def _keep(self, name: str, constant: Constant) -> str:
        self.constants[name] = constant
        return name

    def _layer(
        self, layer: Any, inputs: list[str], others: list[Any], out: str, place: Place
    ) -> None:
        """Add the node of a layer; `others` are the plain numbers that it is called with."""
        kind = layer["class_name"]
        config = layer["config"]
        if kind == "TFOpLambda":
            kind = _FUNCTIONS.get(str(config.get("function")), kind)
        if kind in _IDLE or kind == "identity":
            self._simple("identity", layer, inputs[:1], out)
        elif kind in ("relu", "relu6"):
            self._activation(kind, layer, inputs, out)
        elif kind in _OPERATORS or kind in _OPERATORS.values():
            self._operator(_OPERATORS.get(kind, kind), layer, inputs, others, out)
        elif kind in _WEIGHTED:
            _WEIGHTED[kind](self, layer, config, inputs, out, place)
        elif kind in _PLAIN:
            _PLAIN[kind](self, layer, config, inputs, out)
        elif kind in _CODE or layer.get("registered_name", kind) not in (None, kind):
            self._refuse(
                layer,
                "it holds code of its own, which is never executed; if it only prepares the image, "
                "leave it out of the saved model, or export the model to TFLite",
            )
        else:
            self._simple(str(kind)[:80], layer, inputs, out)

    def _simple(
        self, op: str, layer: Any, inputs: Sequence[str], out: str, **attributes: Any
    ) -> None:
        self._node(Node(op, self._where(layer), tuple(inputs), (out,), attributes))

    def _activation(self, kind: object, layer: Any, inputs: Sequence[str], out: str) -> None:
        """A layer that is an activation alone."""
        name = _activation_name(kind)
        if name == "relu6":
            self._simple("clip", layer, inputs, out, low=0.0, high=6.0)
        elif name in ("relu", "sigmoid", "softmax"):
            self._simple(name, layer, inputs, out)
        elif name == "linear":
            self._simple("identity", layer, inputs, out)
        else:
            self._simple(name, layer, inputs, out)

    def _activated(self, layer: Any, inputs: Sequence[str], out: str, node: Node) -> None:
        """A layer whose configuration names the activation behind it."""
        self._node(
            node._replace(
                attributes={
                    **node.attributes,
                    "activation": _activation_name(layer["config"].get("activation")),
                }
            )
        )

    def _operator(
        self, op: str, layer: Any, inputs: list[str], others: list[Any], out: str
    ) -> None:
        import numpy as np

        if len(inputs) == 1 and len(others) == 1:
            values = np.asarray(others[0], np.float64)
            if values.ndim > 4 or values.size > 1 << 16:
                raise ValueError("a constant of many numbers")
            inputs = [inputs[0], self._keep(f"{out}:other", constant_of(values))]
        self._simple(op, layer, inputs, out)

    def _weights(self, place: Place, *names: Sequence[str]) -> list[Constant]:
        return self.variables.find(place, names)

    def _window(self, config: Any) -> dict[str, Any]:
        return {
            "strides": _two(config.get("strides", 1)),
            "dilations": _two(config.get("dilation_rate", 1)),
            "pads": str(config.get("padding", "valid")).lower(),
            "layout": self._layout_of(config),
        }

    def _layout_of(self, config: Any) -> str:
        return NCHW if config.get("data_format") == "channels_first" else NHWC

    def _convolution(
        self, layer: Any, config: Any, inputs: list[str], out: str, place: Place
    ) -> None:
        depthwise = layer["class_name"] == "DepthwiseConv2D"
        if depthwise and config.get("depth_multiplier", 1) != 1:
            self._refuse(layer, "a depth multiplier other than 1 is not supported")
        kernels = ("depthwise_kernel", "kernel") if depthwise else ("kernel",)
        biased = config.get("use_bias", True)
        weight, *bias = self._weights(place, kernels, *([("bias",)] if biased else []))
        self._add_convolution(
            "depthwise" if depthwise else "conv", layer, inputs, out, weight, bias,
            self._window(config) | {"groups": 1 if depthwise else config.get("groups", 1)},
        )  # fmt: skip

    def _add_convolution(
        self,
        op: str,
        layer: Any,
        inputs: Sequence[str],
        out: str,
        weight: Constant,
        bias: list[Constant],
        attributes: dict[str, Any],
        activated: bool = True,
    ) -> None:
        if len(weight.shape) != 4:
            raise CheckpointError(
                f"{self.what}: {self._where(layer)}: its kernel has shape {weight.shape}: expected "
                "four axes"
            )
        # (height, width, in, out), or (height, width, channels, 1)
        axes = (2, 3, 0, 1) if op == "depthwise" else (3, 2, 0, 1)
        names = [*inputs[:1], self._keep(f"{out}:kernel", weight.reordered(axes))]
        names += [self._keep(f"{out}:bias", each) for each in bias]
        node = Node(op, self._where(layer), tuple(names), (out,), attributes)
        if activated:
            self._activated(layer, inputs, out, node)
        else:
            self._node(node)

    def _separable(
        self, layer: Any, config: Any, inputs: list[str], out: str, place: Place
    ) -> None:
        if config.get("depth_multiplier", 1) != 1:
            self._refuse(layer, "a depth multiplier other than 1 is not supported")
        biased = config.get("use_bias", True)
        depthwise, pointwise, *bias = self._weights(
            place, ("depthwise_kernel",), ("pointwise_kernel",), *([("bias",)] if biased else [])
        )
        middle = f"{out}:depthwise"
        window = self._window(config)
        self._add_convolution(
            "depthwise", layer, inputs, middle, depthwise, [], window, activated=False
        )
        self._add_convolution(
            "conv", layer, [middle], out, pointwise, bias, {"layout": window["layout"]}
        )

    def _dense(self, layer: Any, config: Any, inputs: list[str], out: str, place: Place) -> None:
        biased = config.get("use_bias", True)
        weight, *bias = self._weights(place, ("kernel",), *([("bias",)] if biased else []))
        if len(weight.shape) != 2:
            raise CheckpointError(
                f"{self.what}: {self._where(layer)}: its kernel has shape {weight.shape}: expected "
                "(channels, units)"
            )
        names = [*inputs[:1], self._keep(f"{out}:kernel", weight.reordered((1, 0)))]
        names += [self._keep(f"{out}:bias", each) for each in bias]
        self._activated(layer, inputs, out, Node("dense", self._where(layer), tuple(names), (out,)))

    def _batch_norm(
        self, layer: Any, config: Any, inputs: list[str], out: str, place: Place
    ) -> None:
        axis = config.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if axis not in (-1, 1, 3):
            self._refuse(layer, f"a batch-norm over the axis {axis!r:.40}")
        parts = [
            (part, stated)
            for part, stated in (("gamma", "scale"), ("beta", "center"))
            if config.get(stated, True)
        ]
        found = self._weights(
            place, *[(part,) for part, _ in parts], ("moving_mean",), ("moving_variance",)
        )
        by_name = dict(zip([*(part for part, _ in parts), "mean", "variance"], found, strict=True))
        names = [
            self._keep(f"{out}:{part}", by_name[part]) if part in by_name else ""
            for part in ("gamma", "beta", "mean", "variance")
        ]
        self._simple(
            "batch_norm", layer, [*inputs[:1], *names], out, epsilon=float(config["epsilon"])
        )

    def _normalization(
        self, layer: Any, config: Any, inputs: list[str], out: str, place: Place
    ) -> None:
        """Keras's Normalization, whose mean and variance are arguments or were learnt."""
        import numpy as np

        axis = config.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        if config.get("invert") or axis not in (None, -1, 3, []):
            self._refuse(layer, "a normalisation over other axes, or inverted")
        if config.get("mean") is not None:
            mean, variance = (
                np.asarray(_numbers(config[part]), np.float64) for part in ("mean", "variance")
            )
        else:
            mean, variance = (
                np.asarray(each.load(), np.float64).reshape(-1)
                for each in self._weights(place, ("mean",), ("variance",))
            )
        if not (variance >= 0).all():
            raise CheckpointError(f"{self.what}: {self._where(layer)}: a negative variance")
        deviation = np.maximum(np.sqrt(variance), 1e-7)  # Keras's epsilon
        self._scale(layer, inputs, out, 1 / deviation, -mean / deviation)

    # Layers without weights

    def _scale(
        self,
        layer: Any,
        inputs: list[str],
        out: str,
        scale: NDArray[np.float64],
        shift: NDArray[np.float64],
    ) -> None:
        names = [
            self._keep(f"{out}:{part}", constant_of(values.reshape(-1)))
            for part, values in (("scale", scale), ("shift", shift))
        ]
        self._simple("affine", layer, [*inputs[:1], *names], out)

    def _rescaling(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        import numpy as np

        scale, shift = (
            np.asarray(_numbers(config.get(part, default)), np.float64)
            for part, default in (("scale", 1.0), ("offset", 0.0))
        )
        self._scale(layer, inputs, out, scale, shift)

    def _resizing(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        kind = str(config.get("interpolation", "bilinear")).lower()
        if kind != "bilinear":
            self._refuse(layer, f"it resizes by {kind!r:.40}: expected 'bilinear'")
        if config.get("pad_to_aspect_ratio") or config.get("antialias"):
            self._refuse(layer, "it pads to the aspect ratio, or antialiases")
        size = (int(config["height"]), int(config["width"]))
        if not 1 <= min(size) <= max(size) <= MAX_RESOLUTION:
            self._refuse(layer, f"it resizes to {size}: expected 1 to {MAX_RESOLUTION} pixels")
        # RandomCrop takes the middle when a network is used, in the image's largest size that fits.
        crops = config.get("crop_to_aspect_ratio") or layer["class_name"] == "RandomCrop"
        fit = "crop" if crops else "squash"
        self._simple(
            "resize", layer, inputs, out, size=size, resample="bilinear-no-antialias", fit=fit
        )

    def _relu_layer(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        slope, threshold = config.get("negative_slope", 0), config.get("threshold", 0)
        if slope or threshold:
            self._refuse(layer, f"a ReLU of slope {slope!r:.20} and threshold {threshold!r:.20}")
        high = config.get("max_value")
        high = None if high is None else float(high)
        self._simple("clip", layer, inputs, out, low=0.0, high=high)

    def _activation_layer(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        self._activation(config.get("activation"), layer, inputs, out)

    def _softmax(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        self._simple("softmax", layer, inputs, out)

    def _zero_padding(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        padding = config["padding"]
        if isinstance(padding, int):
            padding = [padding, padding]
        rows, columns = padding
        (top, bottom), (left, right) = _two(rows), _two(columns)
        self._simple(
            "pad", layer, inputs, out, pads=(top, left, bottom, right),
            layout=self._layout_of(config),
        )  # fmt: skip

    def _global_average(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        layout = self._layout_of(config)
        axes = (1, 2) if layout == NHWC else (2, 3)
        keep = bool(config.get("keepdims", False))
        self._simple("mean", layer, inputs, out, axes=axes, keep=keep, layout=layout)

    def _average(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        window = _two(config["pool_size"])
        strides = config.get("strides")
        self._simple(
            "average", layer, inputs, out, window=window,
            strides=window if strides is None else _two(strides),
            pads=str(config.get("padding", "valid")).lower(), layout=self._layout_of(config),
        )  # fmt: skip

    def _flatten(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        self._simple("flatten", layer, inputs, out)

    def _reshape(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        shape = tuple(int(extent) for extent in config["target_shape"])
        self._simple("reshape", layer, inputs, out, shape=shape)

    def _permute(self, layer: Any, config: Any, inputs: list[str], out: str) -> None:
        axes = (0, *(int(axis) for axis in config["dims"]))
        self._simple("transpose", layer, inputs, out, axes=axes)


_WEIGHTED: dict[str, Callable[..., None]] = {
    "Conv2D": _Model._convolution,
    "Convolution2D": _Model._convolution,
    "DepthwiseConv2D": _Model._convolution,
    "SeparableConv2D": _Model._separable,
    "Dense": _Model._dense,
    "BatchNormalization": _Model._batch_norm,
    "BatchNormalizationV1": _Model._batch_norm,
    "SyncBatchNormalization": _Model._batch_norm,
    "Normalization": _Model._normalization,
}
_PLAIN: dict[str, Callable[..., None]] = {
    "Rescaling": _Model._rescaling,
    "Resizing": _Model._resizing,
    "RandomCrop": _Model._resizing,
    "ReLU": _Model._relu_layer,
    "Activation": _Model._activation_layer,
    "Softmax": _Model._softmax,
    "ZeroPadding2D": _Model._zero_padding,
    "GlobalAveragePooling2D": _Model._global_average,
    "AveragePooling2D": _Model._average,
    "Flatten": _Model._flatten,
    "Reshape": _Model._reshape,
    "Permute": _Model._permute,
}


class _Numbers:
    """The names that .keras archives give to layers: the class in snake case, and a number."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def of(self, kind: str) -> str:
        name = re.sub(r"\W+", "", str(kind))
        name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
        name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
        if kind == "Model":
            name = "functional"
        count = self._used[name] = self._used.get(name, -1) + 1
        return f"{name}_{count}" if count else name


def _layers(config: Any) -> list[Any]:
    """A model's layers; old Sequential models are the list itself."""
    inside = config["config"]
    return list(inside) if isinstance(inside, list) else list(inside["layers"])


def _references(stated: Any) -> list[tuple[str, int, int]]:
    """[name, call, index] lists, of which Keras 3 writes one without a list around it."""
    if isinstance(stated, dict):
        stated = list(stated.values())
    if stated and isinstance(stated[0], str):
        stated = [stated]
    return [(str(name), int(call), int(index)) for name, call, index, *_ in stated]


def _arguments(inbound: Any) -> tuple[list[tuple[str, int, int]], list[Any]]:
    """The tensors that a layer is called with, and the plain numbers."""
    references: list[tuple[str, int, int]] = []
    others: list[Any] = []
    if isinstance(inbound, dict):  # Keras 3
        pending = list(inbound["args"])
        while pending:
            each = pending.pop(0)
            if isinstance(each, dict) and each.get("class_name") == "__keras_tensor__":
                name, call, index = each["config"]["keras_history"]
                references.append((str(name), int(call), int(index)))
            elif isinstance(each, list) and any(isinstance(inner, dict) for inner in each):
                pending = each + pending
            elif isinstance(each, (int, float, list)):
                others.append(each)
        return references, others
    if inbound and isinstance(inbound[0], str):  # a function of TensorFlow in Keras 2
        inbound = [inbound]
    for name, call, index, *keywords in inbound:
        references.append((str(name), int(call), int(index)))
        given = keywords[0] if keywords and isinstance(keywords[0], dict) else {}
        other = given.get("y")
        if isinstance(other, (int, float)):
            others.append(other)
        elif isinstance(other, list) and len(other) == 3 and isinstance(other[0], str):
            references.append((str(other[0]), int(other[1]), int(other[2])))
        elif isinstance(other, list):
            others.append(other)
    return references, others


def _activation_name(stated: object) -> str:
    """Keras's name of an activation, "linear" for none; of objects, their class."""
    if isinstance(stated, dict):
        inside: Any = stated.get("config")
        stated = inside if isinstance(inside, str) else stated.get("class_name")
        if stated == "ReLU" and isinstance(inside, dict):
            high = inside.get("max_value")
            return "relu" if high is None else f"relu{high:g}"
    return "linear" if stated is None else str(stated)[:80]


def _two(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def _numbers(value: Any) -> Any:
    """A number or a list of them; Keras 3 wraps arrays."""
    if isinstance(value, Mapping):
        value = value["config"]["value"]
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
