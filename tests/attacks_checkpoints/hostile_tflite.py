"""TFLite models that lie, each in one way: a valid one, altered in place.

Imported after a check for `tflite`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import tflite
from conftest import make_weights, small_network
from hostile_checkpoints import Lie
from tflite_files import Constant, Form, Graph, model

from mnv2_engine.errors import CheckpointError, InputError, MnvError, UnsupportedError

NETWORK = small_network(padding="symmetric")
WEIGHTS = make_weights(NETWORK)
FLOAT = model(NETWORK, WEIGHTS, Form(explicit_pads=True)).content
INTEGER = model(
    NETWORK, WEIGHTS, Form(types="int8", explicit_pads=True, input=(1 / 255, -128))
).content

LIES: list[Lie] = []

Alter = Callable[["Open"], None]


class Open:
    """A model whose numbers can be changed where they lie."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.model = tflite.Model.GetRootAs(self.content, 0)
        self.graph = self.model.Subgraphs(0)

    def operator(self, kind: str, number: int = 0) -> Any:
        """One of the operators of a kind."""
        code = getattr(tflite.BuiltinOperator, kind)
        found = [self.graph.Operators(i) for i in range(self.graph.OperatorsLength())]
        codes = [self.model.OperatorCodes(each.OpcodeIndex()).BuiltinCode() for each in found]
        return [each for each, is_it in zip(found, codes, strict=True) if is_it == code][number]

    def tensor(self, kind: str, operand: int, number: int = 0) -> Any:
        """An operand of one of the operators of a kind."""
        return self.graph.Tensors(self.operator(kind, number).Inputs(operand))

    def put(self, table: Any, field: int, layout: str, value: Any) -> None:
        """Change a field that is there."""
        offset = table._tab.Offset(4 + 2 * field)
        assert offset
        struct.pack_into(layout, self.content, table._tab.Pos + offset, value)

    def count(self, table: Any, field: int, value: int) -> None:
        """Change the length of a vector."""
        offset = table._tab.Offset(4 + 2 * field)
        assert offset
        struct.pack_into("<I", self.content, table._tab.Vector(offset) - 4, value)


def lie(
    message: str,
    error: type[MnvError] = CheckpointError,
    content: bytes = FLOAT,
    lies: list[Lie] = LIES,
) -> Callable[[Alter], Alter]:
    def register(alter: Alter) -> Alter:
        def make() -> bytes:
            opened = Open(content)
            alter(opened)
            assert opened.content != content
            return bytes(opened.content)

        make.__name__ = make.__qualname__ = alter.__name__
        lies.append(Lie(make, error, message))
        return alter

    return register


# Field numbers of the schema's tables.
SUBGRAPHS, BUFFERS = 2, 4
TENSORS, INPUTS, OUTPUTS, OPERATORS = 0, 1, 2, 3
SHAPE, TYPE, BUFFER = 0, 1, 2
OPCODE, OPERANDS, RESULTS, OPTIONS_TYPE = 0, 1, 2, 3
SCALES = 2

DAMAGED = "the flatbuffer is damaged|the file is damaged"


@lie(DAMAGED)
def a_root_beyond_the_end(file: Open) -> None:
    struct.pack_into("<I", file.content, 0, 0x7FFFFFF0)


@lie(DAMAGED)
def only_a_header(file: Open) -> None:
    del file.content[8:]


@lie(DAMAGED)
def nothing_but_ones(file: Open) -> None:
    file.content[8:] = b"\xff" * (len(file.content) - 8)


@lie("it has no graph")
def no_graph(file: Open) -> None:
    file.count(file.model, SUBGRAPHS, 0)


@lie("4294967295 tensors: expected at most")
def four_billion_tensors(file: Open) -> None:
    file.count(file.graph, TENSORS, 0xFFFFFFFF)


@lie("1000000 operators: expected at most")
def a_million_operators(file: Open) -> None:
    file.count(file.graph, OPERATORS, 1_000_000)


@lie("uses a tensor beyond the 60 that it has")
def fewer_tensors_than_are_used(file: Open) -> None:
    file.count(file.graph, TENSORS, 60)


@lie("a tensor uses buffer .*, which the file has not")
def fewer_buffers_than_are_used(file: Open) -> None:
    file.count(file.model, BUFFERS, 5)


@lie("1000000000 operands: expected at most")
def a_billion_operands(file: Open) -> None:
    file.count(file.operator("ADD"), OPERANDS, 1_000_000_000)


@lie("it uses a tensor beyond")
def a_tensor_beyond_the_last(file: Open) -> None:
    file.operator("ADD").InputsAsNumpy()[0] = 30_000


@lie("it uses a tensor beyond")
def a_tensor_before_the_first(file: Open) -> None:
    file.operator("ADD").OutputsAsNumpy()[0] = -5


@lie("operator .* has code 4000 of")
def an_operator_without_a_code(file: Open) -> None:
    file.put(file.operator("CONV_2D", 3), OPCODE, "<I", 4000)


@lie("operator .*, CONV_2D, has another one's options")
def options_of_another_operator(file: Open) -> None:
    other = tflite.BuiltinOptions.DepthwiseConv2DOptions
    file.put(file.operator("CONV_2D", 3), OPTIONS_TYPE, "<B", other)


@lie("it overwrites a tensor")
def a_graph_that_bites_its_tail(file: Open) -> None:
    file.operator("CONV_2D", 9).OutputsAsNumpy()[0] = file.operator("CONV_2D", 1).Outputs(0)


@lie("it overwrites a tensor")
def a_constant_that_is_overwritten(file: Open) -> None:
    file.operator("CONV_2D", 9).OutputsAsNumpy()[0] = file.operator("CONV_2D", 9).Inputs(1)


@lie("the graph goes in a circle")
def an_operator_that_feeds_itself(file: Open) -> None:
    operator = file.operator("CONV_2D", 9)
    operator.InputsAsNumpy()[0] = operator.Outputs(0)


@lie("a tensor has the impossible shape")
def a_negative_shape(file: Open) -> None:
    file.tensor("CONV_2D", 1).ShapeAsNumpy()[0] = -4


@lie(r"its weight has shape \(4, 2147483647, 3, 3\), but 3 channels go into it")
def a_weight_of_two_billion_channels(file: Open) -> None:
    file.tensor("CONV_2D", 1).ShapeAsNumpy()[3] = 2147483647


@lie("a tensor of 1000 axes: expected at most 8")
def a_thousand_axes(file: Open) -> None:
    file.count(file.tensor("CONV_2D", 1), SHAPE, 1000)


@lie("1073741824 channels: expected 1 to 1048576", UnsupportedError)
def a_billion_classes(file: Open) -> None:
    file.tensor("FULLY_CONNECTED", 1).ShapeAsNumpy()[0] = 1 << 30
    file.tensor("FULLY_CONNECTED", 2).ShapeAsNumpy()[0] = 1 << 30


@lie("has 25600 bytes: expected 512000000")
def many_classes_in_the_bytes_of_five(file: Open) -> None:
    file.tensor("FULLY_CONNECTED", 1).ShapeAsNumpy()[0] = 100_000
    file.tensor("FULLY_CONNECTED", 2).ShapeAsNumpy()[0] = 100_000


@lie("has elements of type STRING: expected", UnsupportedError, INTEGER)
def weights_of_text(file: Open) -> None:
    file.put(file.tensor("CONV_2D", 1), TYPE, "<b", tflite.TensorType.STRING)


@lie("has 108 bytes: expected 864", content=INTEGER)
def weights_of_another_type(file: Open) -> None:
    file.put(file.tensor("CONV_2D", 1), TYPE, "<b", tflite.TensorType.INT64)


@lie("is not a constant in the file", UnsupportedError)
def weights_that_are_computed(file: Open) -> None:
    file.put(file.tensor("CONV_2D", 1), BUFFER, "<I", 0)


@lie("input of shape", UnsupportedError)
def an_image_of_two_channels(file: Open) -> None:
    file.graph.Tensors(file.graph.Inputs(0)).ShapeAsNumpy()[3] = 2


@lie("but 1 channels go into it", CheckpointError)
def an_image_of_one_channel(file: Open) -> None:
    file.graph.Tensors(file.graph.Inputs(0)).ShapeAsNumpy()[3] = 1


@lie("input of 2000000000x32 pixels", UnsupportedError)
def an_image_of_many_kilometres(file: Open) -> None:
    file.graph.Tensors(file.graph.Inputs(0)).ShapeAsNumpy()[1] = 2_000_000_000


@lie("it pads by", UnsupportedError)
def pads_that_cut(file: Open) -> None:
    pads = file.model.Buffers(file.tensor("PAD", 1).Buffer()).DataAsNumpy()
    pads.view("<i4").reshape(4, 2)[1] = (-1, 3)


@lie("it pads by", UnsupportedError)
def pads_of_a_billion_pixels(file: Open) -> None:
    pads = file.model.Buffers(file.tensor("PAD", 1).Buffer()).DataAsNumpy()
    pads.view("<i4").reshape(4, 2)[1] = (1 << 30, 1 << 30)


@lie("padding 'symmetric' contradicts the checkpoint, whose padding is explicit", InputError)
def pads_of_nobody(file: Open) -> None:
    pads = file.model.Buffers(file.tensor("PAD", 1).Buffer()).DataAsNumpy()
    pads.view("<i4").reshape(4, 2)[1] = (2, 0)


@lie("expected the mean over rows and columns", UnsupportedError)
def a_mean_over_channels(file: Open) -> None:
    axes = file.model.Buffers(file.tensor("MEAN", 1).Buffer()).DataAsNumpy()
    axes.view("<i4")[0] = 3


@lie("a tensor's scale is negative or not finite", content=INTEGER)
def a_scale_that_is_no_number(file: Open) -> None:
    file.tensor("CONV_2D", 1, 4).Quantization().ScaleAsNumpy()[0] = np.nan


@lie("its input has the zero point 128: expected -128 to 127", content=INTEGER)
def a_zero_point_that_no_pixel_has(file: Open) -> None:
    file.graph.Tensors(file.graph.Inputs(0)).Quantization().ZeroPointAsNumpy()[0] = 128


@lie("scales or zero points for axis", content=INTEGER)
def fewer_scales_than_channels(file: Open) -> None:
    file.count(file.tensor("CONV_2D", 1, 4).Quantization(), SCALES, 2)


@lie("holds integers without a scale", content=INTEGER)
def integers_without_a_scale(file: Open) -> None:
    file.count(file.tensor("CONV_2D", 1, 4).Quantization(), SCALES, 0)


@lie("holds NaN, infinity or values beyond float32", content=INTEGER)
def scales_that_overflow(file: Open) -> None:
    file.tensor("CONV_2D", 1, 4).Quantization().ScaleAsNumpy()[:] = np.float32(3e38)


# What only matters where the integers are taken as they are

INT8_LIES: list[Lie] = []


def int8_lie(message: str, error: type[MnvError] = CheckpointError) -> Callable[[Alter], Alter]:
    return lie(message, error, INTEGER, INT8_LIES)


def _output(file: Open, kind: str, number: int = 0) -> Any:
    return file.graph.Tensors(file.operator(kind, number).Outputs(0))


@int8_lie(r"CONV_2D into .* the scale 0 and the zero point -128: expected a scale above 0")
def an_activation_of_scale_zero(file: Open) -> None:
    _output(file, "CONV_2D", 2).Quantization().ScaleAsNumpy()[:] = 0


@int8_lie(r"the scale of its weight's channel 2 is 0")
def a_channel_of_scale_zero(file: Open) -> None:
    file.tensor("DEPTHWISE_CONV_2D", 1).Quantization().ScaleAsNumpy()[2] = 0


@int8_lie("is not quantised as a whole", InputError)
def an_activation_without_a_scale(file: Open) -> None:
    file.count(_output(file, "ADD").Quantization(), SCALES, 0)


@int8_lie("the zero point 128: expected a scale above 0 and a zero point that 8 bits hold")
def an_activation_whose_zero_point_is_no_number_of_its_own(file: Open) -> None:
    _output(file, "ADD", 1).Quantization().ZeroPointAsNumpy()[:] = 128


@int8_lie("its weight has a zero point that INT8 does not hold")
def a_zero_point_at_the_end_of_64_bits(file: Open) -> None:
    zero_points = file.tensor("CONV_2D", 1, 3).Quantization().ZeroPointAsNumpy()
    zero_points[:] = np.iinfo(np.int64).min


@int8_lie("is not quantised as a whole", InputError)
def a_weight_without_a_scale(file: Open) -> None:
    file.count(file.tensor("CONV_2D", 1, 4).Quantization(), SCALES, 0)


@int8_lie("scales or zero points: expected one, or one for each of")
def fewer_scales_than_output_channels(file: Open) -> None:
    file.count(file.tensor("CONV_2D", 1, 4).Quantization(), SCALES, 2)


@int8_lie("its bias states another scale than its input's times its weight's")
def a_bias_of_another_scale(file: Open) -> None:
    file.tensor("CONV_2D", 2, 2).Quantization().ScaleAsNumpy()[:] *= 2


@int8_lie("its bias states another scale")
def a_bias_with_a_zero_point(file: Open) -> None:
    file.tensor("CONV_2D", 2, 2).Quantization().ZeroPointAsNumpy()[0] = 1


@int8_lie("has the zero point 3: expected 0 behind a ReLU6", UnsupportedError)
def a_hidden_tensor_that_begins_below_zero(file: Open) -> None:
    _output(file, "DEPTHWISE_CONV_2D", 3).Quantization().ZeroPointAsNumpy()[:] = -125


@int8_lie("the pooled features' scale .* is too coarse for the head's", UnsupportedError)
def features_of_one_step(file: Open) -> None:
    file.count(file.tensor("FULLY_CONNECTED", 2).Quantization(), SCALES, 0)
    _output(file, "MEAN").Quantization().ScaleAsNumpy()[:] = 1e12


@int8_lie("its bias states another scale than its input's times its weight's")
def an_output_of_the_least_scale(file: Open) -> None:
    _output(file, "CONV_2D", 3).Quantization().ScaleAsNumpy()[:] = 1e-38


@int8_lie("its input is quantised anew", UnsupportedError)
def a_pad_that_changes_the_scale(file: Open) -> None:
    _output(file, "PAD", 1).Quantization().ScaleAsNumpy()[:] *= 2


@int8_lie("is not quantised as a whole: .* from its pixels to its classifier", InputError)
def one_tensor_of_floats(file: Open) -> None:
    file.put(_output(file, "CONV_2D", 4), TYPE, "<b", tflite.TensorType.FLOAT32)


@int8_lie("classifier.scale holds NaN or infinity")
def a_classifier_beyond_float32(file: Open) -> None:
    file.count(file.tensor("FULLY_CONNECTED", 2).Quantization(), SCALES, 0)
    file.tensor("FULLY_CONNECTED", 1).Quantization().ScaleAsNumpy()[:] = 3e38
    _output(file, "MEAN").Quantization().ScaleAsNumpy()[:] = 2


def _shared() -> bytes:
    """A MUL of a thousand constants behind the stem, each of them the whole file."""
    graph = Graph()
    entry = graph.tensor((1, 32, 32, 3), "FLOAT32")
    weight = Constant(np.ones((4, 3, 3, 3), np.float32))
    bias = Constant(np.ones(4, np.float32))
    constants = [
        graph.tensor(weight.stored.shape, "FLOAT32", weight),
        graph.tensor((4,), "FLOAT32", bias),
    ]
    at = graph.tensor((1, 16, 16, 4), "FLOAT32")
    fields = {"StrideH": 2, "StrideW": 2, "DilationHFactor": 1, "DilationWFactor": 1}
    graph.operator("CONV_2D", [entry, *constants], [at], "Conv2DOptions", Padding=0, **fields)
    for _ in range(1000):
        into = graph.tensor((1, 16, 16, 4), "FLOAT32")
        graph.operator("MUL", [at, constants[1]], [into], "MulOptions")
        at = into
    return graph.file([entry], [at])


LIES.append(Lie(_shared, UnsupportedError, "is a stem without an activation"))
