"""Checkpoints that lie, each in one way.

`LIES` lists them: every function returns the bytes of a hostile file. Pickles that would call
something would make a file named after CANARY in the working folder.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from conftest import make_weights, small_network
from torch_files import (
    View,
    dictionary,
    legacy_file,
    named,
    number,
    numbers,
    program,
    state_file,
    tensor,
    text,
    torchvision_state,
    views_of,
    zip_file,
)

from mnv2_engine.errors import CheckpointError, MnvError, UnsupportedError
from mnv2_engine.network.families import mobilenet_v2

CANARY = "executed"
COMMAND = f"touch {CANARY}"

NETWORK = small_network(padding="symmetric")
STATE = torchvision_state(NETWORK)
WEIGHTS = make_weights(small_network())
STEM = "features.0.0.weight"


class Lie(NamedTuple):
    make: Callable[[], bytes]
    error: type[MnvError]
    message: str  # a regular expression

    @property
    def name(self) -> str:
        return self.make.__name__


LIES: list[Lie] = []

Make = Callable[[], bytes]


def lie(message: str, error: type[MnvError] = CheckpointError) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        LIES.append(Lie(make, error, message))
        return make

    return register


# Pickles that are programs


def torch_zip(value: bytes) -> bytes:
    """A PyTorch file around a pickle, with no storages."""
    return zip_file(program(value), {})


@lie("asks for posix.system, which was not executed")
def a_pickle_that_calls() -> bytes:
    return torch_zip(named("posix", "system") + b"(" + text(COMMAND) + b"tR")


@lie("asks for posix.system, which was not executed")
def a_call_deep_inside_a_state_dict() -> bytes:
    entries = {name: tensor(view) for name, view in views_of(STATE.arrays).items()}
    entries[STEM] = named("posix", "system") + text(COMMAND) + b"\x85R"
    return zip_file(program(dictionary(entries)), {})


@lie("asks for builtins.eval")
def a_call_by_names_on_the_stack() -> bytes:
    words = text("builtins") + text("eval") + b"\x93"
    return torch_zip(words + text(f"__import__('os').system('{COMMAND}')") + b"\x85R")


class _Caller:
    def __reduce__(self) -> Any:
        import os

        return os.system, (COMMAND,)


@lie("asks for posix.system, which was not executed")
def what_python_itself_pickles() -> bytes:
    return zip_file(pickle.dumps({"state_dict": _Caller()}, 4), {})


@lie("asks for posix.system, which was not executed")
def a_call_in_the_legacy_format() -> bytes:
    return legacy_file(pickle.dumps(_Caller(), 2), {})


@lie("asks for posix.system, which was not executed")
def a_call_in_the_list_of_storages() -> bytes:
    honest = state_file(STATE.arrays, "legacy")
    start = honest.rindex(pickle.dumps([], 2)[:2] + b"]")
    return honest[:start] + pickle.dumps([_Caller()], 2) + honest[start:]


@lie("asks for numpy.core.multiarray._reconstruct")
def a_global_of_numpy() -> bytes:
    return torch_zip(named("numpy.core.multiarray", "_reconstruct") + b"(tR")


@lie(r"asks for posix.\\x1b\[2Jsystem\\x1b\[31m, which was not executed")
def a_name_that_would_clear_the_terminal() -> bytes:
    return torch_zip(named("posix", "\x1b[2Jsystem\x1b[31m") + b")R")


@lie(r"has the unknown features.0.0.weight\\x1b\[2J")
def a_layer_that_would_clear_the_terminal() -> bytes:
    arrays = {**STATE.arrays, f"{STEM}\x1b[2J": STATE.arrays[STEM]}
    return state_file(arrays, "zip")


@lie(r"asks for torch._utils._rebuild_tensor_v2.__globals__")
def attributes_of_a_known_global() -> bytes:
    return torch_zip(text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93")


OPCODES = {
    "INST": b"(" + text(COMMAND) + b"iposix\nsystem\n",
    "OBJ": b"(" + named("collections", "OrderedDict") + b"o",
    "NEWOBJ": named("collections", "OrderedDict") + b")\x81",
    "EXT1": b"\x82\x01",
    "PERSID": b"Pstorage\n",
    "INT": b"I999999999999\n",
    "FLOAT": b"F1.5\n",
    "LONG4": b"\x8b" + struct.pack("<i", 1 << 30),
    "BINBYTES8": b"\x8e" + struct.pack("<Q", 1 << 62),
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 1 << 62),
    "nonsense": b"\xff",
}


def _of_opcode(name: str) -> Make:
    def make() -> bytes:
        return torch_zip(OPCODES[name])

    make.__name__ = f"the_instruction_{name}"
    return make


for _name in OPCODES:
    lie("has the instruction .* which no state_dict needs; nothing was executed")(_of_opcode(_name))


@lie("collections.OrderedDict is called with what PyTorch never gives it")
def a_known_global_called_otherwise() -> bytes:
    return torch_zip(named("collections", "OrderedDict") + text("x") + b"\x85R")


@lie("int is called with what PyTorch never gives it")
def a_call_of_a_number() -> bytes:
    return torch_zip(b"K\x01)R")


@lie("state is set on something that is not a dict")
def state_set_on_a_name() -> bytes:
    return torch_zip(named("torch", "FloatStorage") + b"}b")


# Pickles that are damaged or endless


@lie("it ends too early: the file was cut short")
def a_pickle_without_an_end() -> bytes:
    return zip_file(b"\x80\x02" + dictionary({}), {})


@lie("an instruction lacks its operands")
def a_pickle_with_an_empty_stack() -> bytes:
    return torch_zip(b"s")


@lie("a mark is missing|lacks its operands")
def a_pickle_without_a_mark() -> bytes:
    return torch_zip(b"}t")


@lie("value 5 is used before it is made")
def a_value_never_made() -> bytes:
    return torch_zip(b"h\x05")


@lie("a string is not UTF-8")
def a_string_of_no_text() -> bytes:
    return torch_zip(b"X" + struct.pack("<I", 2) + b"\xff\xfe")


@lie("it ends too early")
def a_string_longer_than_the_file() -> bytes:
    return torch_zip(b"X" + struct.pack("<I", 0xFFFFFFF0))


@lie("a name does not end")
def a_name_without_an_end() -> bytes:
    return torch_zip(b"c" + b"a" * 5000)


@lie("its protocol is newer than 5")
def a_newer_protocol() -> bytes:
    return zip_file(b"\x80\x06}.", {})


@lie("longer than 262144 instructions")
def a_pickle_of_a_million_instructions() -> bytes:
    return torch_zip(b"]" * (1 << 20))


@lie("holds a tuple: expected a state_dict")
def a_tower_of_tuples() -> bytes:
    return torch_zip(b")" + b"\x85" * 250_000)


@lie("a dict has a key of 7340032 characters")
def two_equal_keys_of_megabytes() -> bytes:
    """To set one key again and again compares it with the other, megabytes each time."""
    key = b"X" + struct.pack("<I", 7 << 20) + bytes(7 << 20)
    again = b"h\0Ns" + b"h\1Ns"
    return torch_zip(key + b"q\0" + key + b"q\1" + b"}" + again * 40_000 + b".")


@lie("a storage has a name of 7340032 characters")
def two_equal_storages_of_megabytes() -> bytes:
    key = b"X" + struct.pack("<I", 7 << 20) + bytes(7 << 20)
    start = b"(X\x07\0\0\0storagectorch\nFloatStorage\n"
    end = b"X\3\0\0\0cpuK\1tQ"
    return torch_zip(
        key + b"q\0" + key + b"q\1" + (start + b"h\0" + end + start + b"h\1" + end) * 9
    )


@lie("a dict has a key of type tuple")
def a_tower_as_a_key() -> bytes:
    return torch_zip(b"}" + b")" + b"\x85" * 250_000 + b"Ns")


@lie("longer than 262144 instructions")
def a_list_used_over_and_over() -> bytes:
    pairs = b"](" + b"".join(text(f"{i}") + b"N\x86" for i in range(1000)) + b"eq\x01"
    again = named("collections", "OrderedDict") + b"q\x02"
    return torch_zip(pairs + again + b"".join(b"h\x02h\x01\x85R" for _ in range(1000)))


@lie("expected a state_dict, a dict of tensors; found other things under")
def a_dict_within_itself() -> bytes:
    return torch_zip(b"}q\x00" + text("model") + b"h\x00s")


# Tensors that reach beyond their storage


def _stem(**claims: Any) -> bytes:
    """The state_dict, its first tensor described otherwise."""
    views = views_of(STATE.arrays)
    views[STEM] = views[STEM]._replace(**claims)
    storages = {views[name].key: STATE.arrays[name].tobytes() for name in views}
    entries = {name: tensor(view) for name, view in views.items()}
    return zip_file(program(dictionary(entries)), storages)


@lie("does not fit into its storage of 108")
def a_tensor_behind_its_storage() -> bytes:
    return _stem(offset=1)


@lie("a tensor has no storage")
def a_tensor_before_its_storage() -> bytes:
    return _stem(offset=-4)


@lie("a tensor's shape or strides are not whole numbers")
def a_tensor_with_negative_strides() -> bytes:
    return _stem(strides=(-27, 9, 3, 1))


@lie("a tensor's shape or strides are not whole numbers")
def a_tensor_of_a_negative_shape() -> bytes:
    return _stem(shape=(-4, 3, 3, 3))


@lie("does not fit into its storage")
def a_tensor_of_a_terabyte_out_of_nothing() -> bytes:
    return _stem(shape=(1 << 20, 1 << 20, 1, 1), strides=(0, 0, 0, 0))


@lie("a tensor's shape or strides are not whole numbers")
def a_shape_that_overflows() -> bytes:
    return _stem(shape=(1 << 63, 3, 3, 3))


@lie("does not fit into its storage")
def extents_whose_product_overflows() -> bytes:
    return _stem(shape=((1 << 47), (1 << 47), 4, 1), strides=(0, 0, 0, 0))


@lie("a tensor's shape and strides do not match")
def a_tensor_of_300_axes() -> bytes:
    return _stem(shape=(1,) * 300, strides=(1,) * 300)


@lie("stem|channels")
def an_empty_tensor() -> bytes:
    return _stem(shape=(0, 3, 3, 3), strides=(0, 0, 0, 0))


@lie(r"member 'archive/data/0' has 432 bytes .*: expected 864, not compressed")
def a_storage_shorter_than_described() -> bytes:
    return _stem(elements=216)


@lie(r"member 'archive/data/0' .*: expected 4398046511104")
def a_storage_of_four_terabytes() -> bytes:
    return _stem(elements=1 << 40)


@lie(r"lacks 'archive/data/../../../../etc/passwd', which holds one of its tensors")
def a_storage_elsewhere() -> bytes:
    view = views_of(STATE.arrays)[STEM]._replace(key="../../../../etc/passwd")
    entries = {name: tensor(each) for name, each in views_of(STATE.arrays).items()}
    return zip_file(program(dictionary({**entries, STEM: tensor(view)})), {})


@lie("byte order 'middle': expected little or big")
def an_unheard_of_byte_order() -> bytes:
    entries = {name: tensor(view) for name, view in views_of(STATE.arrays).items()}
    return zip_file(program(dictionary(entries)), {}, order="middle")


def _with_deflated(elements: int, claim: bool) -> bytes:
    """The first tensor's storage deflated, as PyTorch never does."""
    view = views_of(STATE.arrays)[STEM]._replace(elements=elements)
    entries = {name: tensor(each) for name, each in views_of(STATE.arrays).items()}
    storages = {
        each.key: STATE.arrays[name].tobytes() for name, each in views_of(STATE.arrays).items()
    }
    del storages[view.key]
    made = io.BytesIO(zip_file(program(dictionary({**entries, STEM: tensor(view)})), storages))
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"archive/data/{view.key}", bytes(4 * elements))
        packed = archive.getinfo(f"archive/data/{view.key}").compress_size
    content = made.getvalue()
    if claim:
        size = struct.pack("<I", 4 * elements)
        content = content.replace(struct.pack("<I", packed) + size, size + size)
    return content


@lie("has .* bytes and is said to become 432: expected 432, not compressed")
def a_storage_that_is_compressed() -> bytes:
    return _with_deflated(108, claim=False)


@lie("its 268435456 bytes are more than the file has")
def a_storage_that_inflates_to_all_it_claims() -> bytes:
    return _with_deflated(1 << 26, claim=True)


@lie("storage '0' is described in two ways")
def one_storage_of_two_types() -> bytes:
    views = views_of(STATE.arrays)
    other = next(name for name in views if name != STEM)
    entries = {name: tensor(view) for name, view in views.items()}
    entries[other] = tensor(views[STEM]._replace(storage="DoubleStorage"))
    return zip_file(program(dictionary(entries)), {})


@lie("a storage is not described as PyTorch does")
def a_storage_without_a_type() -> bytes:
    words = text("storage") + text("FloatStorage") + text("0") + text("cpu") + number(1)
    return torch_zip(b"(" + words + b"tQ")


@lie("its pickle holds other things than tensors")
def the_source_of_a_module() -> bytes:
    return torch_zip(b"(" + text("module") + b"NNtQ")


@lie("is called with what PyTorch never gives it")
def a_tensor_of_too_few_arguments() -> bytes:
    return torch_zip(named("torch._utils", "_rebuild_tensor_v2") + numbers((1, 2)) + b"R")


@lie("1073741824 classes; at most 1048576 are supported", UnsupportedError)
def a_classifier_of_a_billion_classes() -> bytes:
    views = views_of(STATE.arrays)
    count = 1 << 30
    claims = {"elements": count * 1280, "shape": (count, 1280), "strides": (1280, 1)}
    views["classifier.1.weight"] = views["classifier.1.weight"]._replace(**claims)
    views["classifier.1.bias"] = View("FloatStorage", "b", count, 0, (count,), (1,))
    return zip_file(program(dictionary({n: tensor(v) for n, v in views.items()})), {})


# The legacy stream


@lie("ends at byte .* was cut short")
def a_legacy_stream_that_is_cut() -> bytes:
    return state_file(STATE.arrays, "legacy")[:-100]


@lie("ends at byte")
def a_legacy_storage_of_a_petabyte() -> bytes:
    view = View("FloatStorage", "0", 1 << 47, 0, (4, 3, 3, 3), (27, 9, 3, 1))
    pickled = program(dictionary({STEM: tensor(view, legacy=True)}))
    return legacy_file(pickled, {"0": (1 << 47, bytes(432))})


@lie("no tensor describes storage 'other'")
def a_legacy_storage_of_no_tensor() -> bytes:
    view = View("FloatStorage", "0", 108, 0, (4, 3, 3, 3), (27, 9, 3, 1))
    pickled = program(dictionary({STEM: tensor(view, legacy=True)}))
    return legacy_file(pickled, {"other": (108, bytes(432))})


@lie("not PyTorch's legacy format, protocol 1001")
def another_legacy_protocol() -> bytes:
    honest = state_file(STATE.arrays, "legacy")
    return honest.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2), 1)


@lie("its list of storages is damaged")
def legacy_keys_that_are_no_list() -> bytes:
    return legacy_file(program(dictionary({})) + pickle.dumps({}, 2), {}).replace(
        program(dictionary({})), program(dictionary({"a": tensor(_NOTHING, legacy=True)}))
    )


_NOTHING = View("FloatStorage", "0", 0, 0, (0,), (1,))


# Zip archives


def npz(arrays: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            if isinstance(array, bytes):
                content.write(array)
            else:
                np.lib.format.write_array(content, np.asarray(array), allow_pickle=True)
            archive.writestr(f"{name}.npy", content.getvalue())
    return made.getvalue()


@lie("its zip directory cannot be read")
def a_zip_cut_short() -> bytes:
    return npz(WEIGHTS)[:-200]


@lie("its zip directory cannot be read")
def a_zip_of_its_first_bytes_alone() -> bytes:
    return b"PK\x03\x04" + bytes(1000)


@lie("the zip's directory is larger than 2097152 bytes")
def a_zip_of_fifty_thousand_members() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for i in range(50_000):
            archive.writestr(f"{i}.npy", b"")
    return made.getvalue()


@lie("holds two members named 'stem.weight.npy'")
def a_name_used_twice() -> bytes:
    content = npz({**WEIGHTS, "mets.weight": WEIGHTS["stem.weight"]})
    return content.replace(b"mets.weight", b"stem.weight")


@lie("a zip archive of archive/data.pkl, ")
def two_pickles() -> bytes:
    made = io.BytesIO(state_file(STATE.arrays))
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("other/data.pkl", program(dictionary({})))
    return made.getvalue()


def _zeros(folder: str, size: int) -> bytes:
    """A gigabyte of zeros in a megabyte of zip, a piece at a time."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(folder, "w", force_zip64=True) as member,
    ):
        piece = bytes(1 << 22)
        for _ in range(size >> 22):
            member.write(piece)
    return made.getvalue()


@lie(r"instruction b'\\x00'")
def a_pickle_that_inflates_to_a_gigabyte() -> bytes:
    return _zeros("archive/data.pkl", 1 << 30)


@lie("stem.weight.npy is not a .npy array")
def an_array_that_inflates_to_a_gigabyte() -> bytes:
    return _zeros("stem.weight.npy", 1 << 30)


@lie("bytes would inflate to .*, more than weights ever do: refused")
def a_network_of_nothing_but_zeros() -> bytes:
    """A valid one of width 6: half a gigabyte, in half a megabyte."""
    arrays = io.BytesIO()
    network = mobilenet_v2(6.0)
    with zipfile.ZipFile(arrays, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for layer in network.weighted:
            shapes = {"weight": layer.weight_shape, "bias": (layer.out_channels,)}
            for part, shape in shapes.items():
                with archive.open(f"{layer.name}.{part}.npy", "w") as member:
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(member, header)
                    left = int(np.prod(shape)) * 4
                    while left > 0:
                        member.write(bytes(min(left, 1 << 20)))
                        left -= 1 << 20
    return arrays.getvalue()


def _compressed_by(method: int) -> Make:
    def make() -> bytes:
        return npz(WEIGHTS, method)

    make.__name__ = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}[method]
    return make


for _method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    lie(r"member '.*' cannot be read \(it is neither stored nor deflated\)")(
        _compressed_by(_method)
    )


@lie("cannot be read .*(?:encrypted|password)")
def an_encrypted_member() -> bytes:
    content = bytearray(npz(WEIGHTS))
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    content[6] |= 1
    return bytes(content)


@lie("cannot be read .*CRC")
def a_flipped_bit() -> bytes:
    content = bytearray(npz(WEIGHTS))
    content[content.index(b"head.weight.npy") + 4000] ^= 1
    return bytes(content)


# Arrays


def _with_stem(array: Any) -> bytes:
    return npz({**WEIGHTS, "stem.weight": array})


@lie("stem.weight.npy holds pickled objects, which are never loaded")
def an_array_of_objects_that_call() -> bytes:
    return _with_stem(np.array([_Caller()], object))


def _header(text_of_it: str, data: bytes = b"") -> bytes:
    content = text_of_it.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + data


def _described(shape: str, descr: str = "'<f4'") -> bytes:
    return _header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", bytes(432))


@lie("holds 432 bytes of data: expected 4722366482869645213696")
def an_array_of_a_zettabyte() -> bytes:
    return _with_stem(_described("(1073741824, 1073741824, 1024)"))


@lie("has the impossible shape")
def an_array_of_a_negative_shape() -> bytes:
    return _with_stem(_described("(-4, -27)"))


@lie("is not a .npy array")
def a_header_that_calls() -> bytes:
    return _with_stem(_header(f"__import__('os').system('{COMMAND}')"))


@lie("is not a .npy array")
def a_header_of_brackets() -> bytes:
    return _with_stem(_header("(" * 3000))


@lie("is not a .npy array")
def a_header_longer_than_the_member() -> bytes:
    return _with_stem(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{}")


@lie(r"holds dtype \[\('a', ")
def an_element_type_of_fields() -> bytes:
    return _with_stem(_described("(27,)", "[('a', '<f4'), ('b', '<f4'), ('c', '<f8')]"))


@lie(r"holds dtype \|V0: expected float32")
def an_element_type_without_a_size() -> bytes:
    return _with_stem(_described("(4, 3, 3, 3)", "'|V0'"))


@lie(r"version 3.0: expected 1.0 or 2.0")
def a_newer_npy() -> bytes:
    return _with_stem(b"\x93NUMPY\x03\x00" + bytes(100))


@lie("a network without blocks")
def only_a_stem() -> bytes:
    return npz({name: WEIGHTS[name] for name in WEIGHTS if not name.startswith("block")})


@lie("stem")
def an_empty_stem() -> bytes:
    return npz(
        {**WEIGHTS, "stem.weight": np.zeros((0, 3, 3, 3), "f4"), "stem.bias": np.zeros(0, "f4")}
    )


@lie("no MobileNetV2 of any width", UnsupportedError)
def a_thousand_blocks() -> bytes:
    one = {"weight": np.zeros((1, 1, 1, 1), "f4"), "bias": np.zeros(1, "f4")}
    arrays: dict[str, Any] = {
        "stem.weight": np.zeros((1, 3, 3, 3), "f4"),
        "stem.bias": one["bias"],
        "head.weight": one["weight"],
        "head.bias": one["bias"],
        "classifier.weight": np.zeros((1, 1), "f4"),
        "classifier.bias": one["bias"],
    }
    for i in range(1000):
        for part in ("expand", "depthwise", "project"):
            for kind, array in one.items():
                arrays[f"block{i}.{part}.{kind}"] = array
    return npz(arrays)
