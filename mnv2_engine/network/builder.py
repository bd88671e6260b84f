"""Makes a network layer by layer, and resolves every shape."""

from __future__ import annotations

from ..errors import InputError
from ..untyped import TYPE_CHECKING
from .layer import (
    ACTIVATIONS,
    ANSWERS,
    IMAGE,
    IMAGE_CHANNELS,
    MAX_CHANNELS,
    MAX_KERNEL,
    MAX_LAYERS,
    MAX_NAME,
    MAX_RESOLUTION,
    MAX_VALUES,
    MAX_WEIGHTS,
    PADDINGS,
    Layer,
    Network,
    is_integer,
    is_name,
    padding_of,
)

if TYPE_CHECKING:
    from .detection import Detection


class Builder:
    """Makes a network layer by layer, each behind layers that are there.

    Every method adds one layer, resolves its shapes and returns its name. Raises InputError for a
    name that is taken or malformed, an input that is not there, and sizes out of bounds.
    """

    def __init__(self, resolution: int | tuple[int, int]) -> None:
        size = (resolution, resolution) if isinstance(resolution, int) else resolution
        if (
            not isinstance(size, tuple)
            or len(size) != 2
            or not all(is_integer(extent) and 1 <= extent <= MAX_RESOLUTION for extent in size)
        ):
            raise InputError(
                f"resolution {resolution!r:.80}: expected a size or (height, width), "
                f"each from 1 to {MAX_RESOLUTION} pixels"
            )
        self.resolution = size
        self._layers: dict[str, Layer] = {}
        self._shapes: dict[str, tuple[tuple[int, int], int]] = {IMAGE: (size, IMAGE_CHANNELS)}
        self._pooled: set[str] = set()

    def conv(
        self,
        name: str,
        source: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        pads: str | tuple[int, int, int, int] = "same",
        activation: str = "linear",
        dilation: int = 1,
    ) -> str:
        """A full convolution. `pads` are (top, left, bottom, right), or one of PADDINGS."""
        return self._window(
            "conv", name, source, channels, kernel, stride, pads, activation, dilation
        )

    def depthwise(
        self,
        name: str,
        source: str,
        kernel: int,
        stride: int = 1,
        pads: str | tuple[int, int, int, int] = "same",
        activation: str = "linear",
        dilation: int = 1,
    ) -> str:
        """A convolution of each channel by itself."""
        channels = self._shape(name, source)[1]
        return self._window(
            "depthwise", name, source, channels, kernel, stride, pads, activation, dilation
        )

    def pointwise(self, name: str, source: str, channels: int, activation: str = "linear") -> str:
        """A 1×1 convolution."""
        size, inputs = self._shape(name, source)
        self._check_map(name, source)
        return self._add(
            name, "pointwise", (source,), inputs, channels, 1, 1, 1, size, size, activation
        )

    def add(self, name: str, first: str, second: str) -> str:
        """The sum of two maps of one shape: a shortcut joins."""
        shape = self._shape(name, first)
        if self._shape(name, second) != shape or first in self._pooled:
            raise InputError(f"{name}: adds {first!r} and {second!r}: expected maps of one shape")
        size, channels = shape
        return self._add(
            name, "add", (first, second), channels, channels, 1, 1, 1, size, size, "linear"
        )

    def pool(self, name: str, source: str) -> str:
        """The mean over all pixels."""
        size, channels = self._shape(name, source)
        self._check_map(name, source)
        made = self._add(
            name, "pool", (source,), channels, channels, 1, 1, 1, size, (1, 1), "linear"
        )
        self._pooled.add(name)
        return made

    def dense(self, name: str, source: str, channels: int, activation: str = "linear") -> str:
        """A matrix times pooled features."""
        size, inputs = self._shape(name, source)
        if source not in self._pooled:
            raise InputError(f"{name}: a dense layer of {source!r}: expected pooled features")
        made = self._add(
            name, "dense", (source,), inputs, channels, 1, 1, 1, size, size, activation
        )
        self._pooled.add(name)
        return made

    def network(
        self,
        name: str,
        outputs: tuple[str, ...],
        answer: str = "softmax",
        detection: Detection | None = None,
    ) -> Network:
        """The network, whose answer is the value of the one layer of `outputs`, the last one; or,
        of a detector, those of all `outputs`, as its `detection` says."""
        if answer not in ANSWERS:
            raise InputError(f"answer {answer!r:.80}: expected one of {', '.join(ANSWERS)}")
        if (answer == "boxes") != (detection is not None):
            raise InputError(
                f"answer {answer!r:.80}: expected a detection of boxes, and of no other"
            )
        if detection is not None:
            return self._detector(name, outputs, detection)
        made = tuple(self._layers.values())
        output = made[-1].name if made else ""
        if outputs != (output,):
            raise InputError(f"outputs {outputs!r:.80}: expected one, the last layer of the table")
        if output not in self._pooled:
            raise InputError(f"output {output!r}: expected pooled features or a dense layer")
        if answer == "softmax" and made[-1].operation == "dense" and made[-1].out_channels == 1:
            raise InputError(
                "one class with the answer softmax is 100 % for every image; if the network ends "
                "in a sigmoid, its answer is sigmoid"
            )
        if made[-1].activation != "linear" and made[-1].operation == "dense":
            raise InputError(
                f"{output}: {made[-1].activation} behind the last dense layer: expected linear"
            )
        return Network(name, self.resolution, made, outputs, answer)

    def _detector(self, name: str, outputs: tuple[str, ...], detection: Detection) -> Network:
        from .box_maps import check_detection

        check_detection(detection, self._layers)
        if outputs != detection.outputs:
            raise InputError(
                f"outputs {outputs!r:.80}: expected those of the detection's maps, "
                f"{', '.join(detection.outputs[:2])} and so on"
            )
        read = {source for layer in self._layers.values() for source in layer.inputs}
        for layer in self._layers:
            if (layer in read) == (layer in outputs):
                problem = "is read by a layer, too" if layer in read else "is read by no layer"
                raise InputError(f"{layer}: {problem}: expected outputs at the ends of the network")
        made = tuple(self._layers.values())
        return Network(name, self.resolution, made, outputs, "boxes", detection)

    def _shape(self, name: str, source: str) -> tuple[tuple[int, int], int]:
        if source not in self._shapes:
            raise InputError(f"{name!s:.80}: input {source!r:.80} is no layer before it")
        return self._shapes[source]

    def _check_map(self, name: str, source: str) -> None:
        if source in self._pooled:
            raise InputError(f"{name}: a convolution of {source!r}: expected a map, not features")

    def _window(
        self,
        operation: str,
        name: str,
        source: str,
        channels: int,
        kernel: int,
        stride: int,
        pads: str | tuple[int, int, int, int],
        activation: str,
        dilation: int,
    ) -> str:
        size, inputs = self._shape(name, source)
        self._check_map(name, source)
        for what, value, most in (("kernel", kernel, MAX_KERNEL), ("stride", stride, 16)):
            if not is_integer(value) or not 1 <= value <= most:
                raise InputError(f"{name}: {what} {value!r:.80}: expected 1 to {most}")
        if not is_integer(dilation) or not 1 <= dilation <= 16:
            raise InputError(f"{name}: dilation {dilation!r:.80}: expected 1 to 16")
        reach = (kernel - 1) * dilation + 1
        if isinstance(pads, str):
            if pads not in PADDINGS:
                raise InputError(f"padding {pads!r:.80}: expected one of {', '.join(PADDINGS)}")
            rows, columns = (padding_of(extent, reach, stride, pads) for extent in size)
        else:
            if len(pads) != 4 or not all(is_integer(p) and 0 <= p < reach for p in pads):
                raise InputError(
                    f"{name}: pads {pads!r:.80}: expected (top, left, bottom, right), each from 0 "
                    f"to {reach - 1}"
                )
            top, left, bottom, right = pads
            rows, columns = (
                ((extent + before + after - reach) // stride + 1, before, after)
                for extent, before, after in zip(size, (top, left), (bottom, right), strict=True)
            )
        out = (rows[0], columns[0])
        if min(out) < 1:
            raise InputError(f"{name}: a {kernel}×{kernel} window does not fit a map of {size}")
        # Pixels that no output reaches are no padding: equal pads make equal tables.
        ends = [
            max((o - 1) * stride + reach - extent - before, 0)
            if not isinstance(pads, str)
            else after
            for o, extent, (_, before, after) in zip(out, size, (rows, columns), strict=True)
        ]
        return self._add(
            name,
            operation,
            (source,),
            inputs,
            channels,
            kernel,
            stride,
            dilation,
            size,
            out,
            activation,
            (rows[1], ends[0]),
            (columns[1], ends[1]),
        )

    def _add(
        self,
        name: str,
        operation: str,
        inputs: tuple[str, ...],
        in_channels: int,
        channels: int,
        kernel: int,
        stride: int,
        dilation: int,
        in_size: tuple[int, int],
        out_size: tuple[int, int],
        activation: str,
        pad_rows: tuple[int, int] = (0, 0),
        pad_columns: tuple[int, int] = (0, 0),
    ) -> str:
        if not is_name(name):
            raise InputError(
                f"layer name {name!r:.80}: expected 1 to {MAX_NAME} letters, digits, _, . and -"
            )
        if name in self._layers:
            raise InputError(f"layer name {name!r}: two layers have it")
        if len(self._layers) >= MAX_LAYERS:
            raise InputError(f"more than {MAX_LAYERS} layers: no network that is known has as many")
        if not is_integer(channels) or not 1 <= channels <= MAX_CHANNELS:
            raise InputError(f"{name}: {channels!r:.80} channels: expected 1 to {MAX_CHANNELS}")
        if activation not in ACTIVATIONS:
            raise InputError(
                f"{name}: activation {activation!r:.80}: expected one of {', '.join(ACTIVATIONS)}"
            )
        layer = Layer(
            name=name,
            operation=operation,
            inputs=inputs,
            in_channels=in_channels,
            out_channels=channels,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            in_size=in_size,
            out_size=out_size,
            pad_rows=pad_rows,
            pad_columns=pad_columns,
            activation=activation,
        )
        values = out_size[0] * out_size[1] * channels
        if values > MAX_VALUES or layer.parameters > MAX_WEIGHTS:
            raise InputError(
                f"{name}: {values} values and {layer.parameters} weights: expected at most "
                f"{MAX_VALUES} and {MAX_WEIGHTS}"
            )
        self._layers[name] = layer
        self._shapes[name] = (out_size, channels)
        return name
