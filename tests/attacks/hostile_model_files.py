"""Model files that lie, each in one way.

`LIES` lists them: every function below takes the members of a valid model file, by name, and
returns the bytes of a hostile one. The zip is written by hand, because the libraries that write
zips do not lie.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from conftest import small_network
from hypothesis import strategies as st

from mnv2_engine.errors import MnvError, ModelFileError, UnsupportedError
from mnv2_engine.network.quantization import (
    LayerQuantization,
    PoolQuantization,
    Quantization,
    to_json,
)

Members = dict[str, bytes]  # name in the zip -> .npy file
STORED, DEFLATED, BZIP2 = 0, 8, 12
TENSOR = "block0.project.weight.npy"  # the one that most lies are about
META = "meta.npy"


class Lie(NamedTuple):
    make: Callable[[Members], bytes]
    error: type[MnvError]
    message: str  # a regular expression

    @property
    def name(self) -> str:
        return self.make.__name__


LIES: list[Lie] = []


def lie(
    message: str, error: type[MnvError] = ModelFileError
) -> Callable[[Callable[[Members], bytes]], Callable[[Members], bytes]]:
    def register(make: Callable[[Members], bytes]) -> Callable[[Members], bytes]:
        LIES.append(Lie(make, error, message))
        return make

    return register


class Entry(NamedTuple):
    """One member of a zip. `local` and `central` replace fields of the one or the other header:
    flags, method, crc, packed, size, name, of `local` also magic, of `central` offset and disk."""

    name: str
    content: bytes
    method: int = STORED
    payload: bytes | None = None  # what is stored, if not `content` compressed by `method`
    local: dict[str, Any] = {}  # noqa: RUF012  never changed
    central: dict[str, Any] = {}  # noqa: RUF012
    extra: bytes = b""
    descriptor: bytes = b""  # after the data


def deflate(content: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(content) + stream.flush()


def zip_of(entries: Iterable[Entry], **end: int) -> bytes:
    """A zip; `end` replaces fields of the end record: disk, here, count, size, start, comment."""
    body, directory, count = bytearray(), bytearray(), 0
    for entry in entries:
        payload = entry.payload
        if payload is None:
            payload = deflate(entry.content) if entry.method == DEFLATED else entry.content
        true = {
            "flags": 0,
            "method": entry.method,
            "crc": zlib.crc32(entry.content),
            "packed": len(payload),
            "size": len(entry.content),
            "name": entry.name,
        }
        here = {**true, "magic": 0x04034B50, **entry.local}
        there = {**true, "offset": len(body), "disk": 0, "comment": 0, **entry.central}
        fields = ("flags", "method", "crc", "packed", "size")
        name = here["name"].encode()
        body += struct.pack("<IHHHIIII", here["magic"], 20, *_two_and_time(here, fields))
        body += struct.pack("<HH", len(name), len(entry.extra))
        body += name + entry.extra + payload + entry.descriptor
        name = there["name"].encode()
        directory += struct.pack("<IHHHHIIII", 0x02014B50, 20, 20, *_two_and_time(there, fields))
        directory += struct.pack(
            "<HHHHHII", len(name), 0, there["comment"], there["disk"], 0, 0, there["offset"]
        )
        directory += name
        count += 1
    record = {
        "disk": 0,
        "first": 0,
        "here": count,
        "count": count,
        "size": len(directory),
        "start": len(body),
        "comment": 0,
        **end,
    }
    return bytes(body + directory) + struct.pack("<IHHHHIIH", 0x06054B50, *record.values())


def _two_and_time(record: dict[str, Any], fields: tuple[str, ...]) -> tuple[int, ...]:
    flags, method, *rest = (record[field] for field in fields)
    return (flags, method, 0x00210000, *rest)


def entries(members: Members, **changes: Entry) -> list[Entry]:
    """The honest entries, but for TENSOR (`tensor=`) and META (`meta=`)."""
    swap = {TENSOR: changes.get("tensor"), META: changes.get("meta")}
    return [swap.get(name) or Entry(name, content) for name, content in members.items()]


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def npy_of(header: str, data: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def with_tensor(members: Members, content: bytes) -> bytes:
    return zip_of(entries(members, tensor=Entry(TENSOR, content)))


def with_meta(members: Members, content: bytes) -> bytes:
    array = np.frombuffer(content, np.uint8)
    return zip_of(entries(members, meta=Entry(META, npy(array))))


def meta_of(members: Members) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(members[META][128:])
    return document


def of_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """The document of the same network in version 1, which names its family."""
    made = {key: value for key, value in document.items() if key != "network"}
    family = {"family": "mobilenet_v2", "width": 0.1, "divisor": 4}
    size = {"resolution": [32, 32], "classes": 5, "padding": "same"}
    return {**made, "version": 1, "architecture": {**family, **size}}


def edited_of_version_1(members: Members, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    document = of_version_1(meta_of(members))
    edit(document)
    return with_meta(members, json.dumps(document).encode())


def edited_layer(members: Members, name: str, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    """With one row of the table of layers changed."""
    document = meta_of(members)
    edit(next(row for row in document["network"]["layers"] if row["name"] == name))
    return with_meta(members, json.dumps(document).encode())


def edited(members: Members, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    document = meta_of(members)
    edit(document)
    return with_meta(members, json.dumps(document).encode())


def data_of(members: Members) -> bytes:
    return members[TENSOR][128:]


# --- not a zip, or not all of it ---------------------------------------------------------------


@lie("an empty file; expected")
def nothing(members: Members) -> bytes:
    return b""


@lie(r"not a \.npz model file: it begins with b'\\x89PNG")
def another_kind_of_file(members: Members) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(1000)


@lie(r"not a \.npz model file.*NUMPY")
def a_single_array(members: Members) -> bytes:
    return members[TENSOR]


@lie(r"not a \.npz model file")
def a_pickle(members: Members) -> bytes:
    return pickle.dumps({"stem.weight": [0.0] * 100})


@lie("cut short")
def magic_and_nothing_more(members: Members) -> bytes:
    return b"PK\x03\x04"


@lie("cut short")
def half_a_file(members: Members) -> bytes:
    whole = zip_of(entries(members))
    return whole[: len(whole) // 2]


@lie("cut short")
def one_byte_short(members: Members) -> bytes:
    return zip_of(entries(members))[:-1]


@lie("cut short or altered")
def the_middle_missing(members: Members) -> bytes:
    whole = zip_of(entries(members))
    return whole[:5000] + whole[6000:]


@lie("appended")
def something_appended(members: Members) -> bytes:
    return zip_of(entries(members)) + b"x"


@lie("directory is said to be")
def something_prepended(members: Members) -> bytes:
    return b"#!/bin/sh\n" + zip_of(entries(members))


@lie("without 'meta'")
def a_zip_of_nothing(members: Members) -> bytes:
    return zip_of([])


# --- the zip's directory -----------------------------------------------------------------------


@lie("fewer than the")
def one_member_too_many_counted(members: Members) -> bytes:
    count = len(members) + 1
    return zip_of(entries(members), count=count, here=count)


@lie("more than the")
def one_member_too_few_counted(members: Members) -> bytes:
    count = len(members) - 1
    return zip_of(entries(members), count=count, here=count)


@lie("directory is said to be bytes 0 to")
def the_directory_at_zero(members: Members) -> bytes:
    return zip_of(entries(members), start=0)


@lie("directory is said to be")
def the_directory_beyond_the_file(members: Members) -> bytes:
    return zip_of(entries(members), start=0xFFFFFFF0)


@lie("directory is damaged")
def the_directory_is_all_of_the_file(members: Members) -> bytes:
    whole = zip_of(entries(members))
    return zip_of(entries(members), start=0, size=len(whole) - 22)


@lie("zip64")
def a_zip64_end(members: Members) -> bytes:
    return zip_of(entries(members), count=0xFFFF, here=0xFFFF)


@lie("zip64")
def a_zip64_directory(members: Members) -> bytes:
    return zip_of(entries(members), start=0xFFFFFFFF)


@lie("several disks")
def a_second_disk(members: Members) -> bytes:
    return zip_of(entries(members), disk=1)


@lie("several disks")
def a_directory_on_a_second_disk(members: Members) -> bytes:
    return zip_of(entries(members), first=1)


@lie("several disks")
def most_of_the_directory_elsewhere(members: Members) -> bytes:
    return zip_of(entries(members), here=1)


@lie("contradicts itself")
def a_member_on_another_disk(members: Members) -> bytes:
    return zip_of(entries(members, tensor=Entry(TENSOR, members[TENSOR], central={"disk": 1})))


@lie("comment")
def a_comment_that_is_not_there(members: Members) -> bytes:
    return zip_of(entries(members), comment=100)


@lie("5000 members: expected at most")
def thousands_of_members(members: Members) -> bytes:
    return zip_of(Entry(f"a{i}.npy", b"") for i in range(5000))


@lie("directory is damaged")
def a_name_that_runs_out_of_the_directory(members: Members) -> bytes:
    last = list(members)[-1]
    return zip_of(
        Entry(name, content, central={"comment": 60000} if name == last else {})
        for name, content in members.items()
    )


# --- members against members -------------------------------------------------------------------


@lie("two members named 'block0.project.weight'")
def a_member_twice(members: Members) -> bytes:
    return zip_of([*entries(members), Entry(TENSOR, members[TENSOR])])


@lie("overlap")
def two_members_that_overlap(members: Members) -> bytes:
    """The stem's data holds, where its own header says so, another member whole."""
    inner = zip_of([Entry(TENSOR, members[TENSOR])])
    inner = inner[: inner.index(b"PK\x01\x02")]
    outer = members["stem.weight.npy"]
    assert len(inner) < len(outer)
    payload = outer[:128] + inner + outer[128 + len(inner) :]
    at = payload.index(b"PK\x03\x04")
    first = Entry("stem.weight.npy", payload)
    offset = 30 + len(first.name) + at
    rest = [entry for entry in entries(members) if entry.name not in (first.name, TENSOR)]
    whole = [first, *rest, Entry(TENSOR, members[TENSOR], central={"offset": offset})]
    return zip_of(whole)


@lie("own header and the zip's directory disagree")
def two_names_for_one_member(members: Members) -> bytes:
    return zip_of(entries(members, tensor=Entry(TENSOR, b"", central={"offset": 0})))


@lie("said to end at byte .* beyond")
def a_member_beyond_the_file(members: Members) -> bytes:
    huge = {"packed": 0x7FFFFFFF, "size": 0x7FFFFFFF}
    tensor = Entry(TENSOR, members[TENSOR], local=huge, central=huge)
    return zip_of(entries(members, tensor=tensor))


@lie("outside the file")
def a_member_that_begins_beyond_the_file(members: Members) -> bytes:
    tensor = Entry(TENSOR, members[TENSOR], central={"offset": 0xFFFFFFF0})
    return zip_of(entries(members, tensor=tensor))


@lie("said to end at byte .* beyond")
def a_member_inside_the_directory(members: Members) -> bytes:
    last = list(members)[-1]
    content = members[last]
    longer = {"packed": len(content) + 64, "size": len(content) + 64}
    return zip_of(
        Entry(name, data, local=longer, central=longer) if name == last else Entry(name, data)
        for name, data in members.items()
    )


@lie("lacks head.bias")
def a_missing_member(members: Members) -> bytes:
    return zip_of(entry for entry in entries(members) if entry.name != "head.bias.npy")


@lie("unknown block99.expand.weight")
def one_member_more(members: Members) -> bytes:
    return zip_of([*entries(members), Entry("block99.expand.weight.npy", members[TENSOR])])


@lie("lacks block0.project.weight")
def a_member_renamed(members: Members) -> bytes:
    return zip_of(entries(members, tensor=Entry("../../project.weight.npy", members[TENSOR])))


@lie("expected only .npy arrays")
def a_member_that_is_no_array(members: Members) -> bytes:
    return zip_of([*entries(members), Entry("setup.py", b"import os")])


@lie("expected only .npy arrays")
def a_name_beyond_ascii(members: Members) -> bytes:
    return zip_of([*entries(members), Entry("mod\u00e8le.npy", members[TENSOR])])


# --- a member against itself -------------------------------------------------------------------


def _disagreeing(members: Members, **local: Any) -> bytes:
    return zip_of(entries(members, tensor=Entry(TENSOR, members[TENSOR], local=local)))


@lie("disagree")
def local_header_without_its_signature(members: Members) -> bytes:
    return _disagreeing(members, magic=0x04034B51)


@lie("disagree")
def local_header_with_another_size(members: Members) -> bytes:
    return _disagreeing(members, packed=64, size=64)


@lie("disagree")
def local_header_with_another_name(members: Members) -> bytes:
    return _disagreeing(members, name=TENSOR.replace("0", "1"))


@lie("disagree")
def local_header_with_another_checksum(members: Members) -> bytes:
    return _disagreeing(members, crc=1)


@lie("disagree")
def local_header_with_another_method(members: Members) -> bytes:
    return _disagreeing(members, method=DEFLATED)


@lie("disagree")
def local_header_with_other_flags(members: Members) -> bytes:
    return _disagreeing(members, flags=1)


@lie("disagree")
def local_sizes_of_zero_without_a_descriptor(members: Members) -> bytes:
    return _disagreeing(members, crc=0, packed=0, size=0)


@lie("disagree")
def local_zip64_without_its_field(members: Members) -> bytes:
    return _disagreeing(members, packed=0xFFFFFFFF, size=0xFFFFFFFF)


@lie("disagree")
def local_zip64_with_another_size(members: Members) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, 1 << 40, 1 << 40)
    local = {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF}
    tensor = Entry(TENSOR, members[TENSOR], local=local, extra=extra)
    return zip_of(entries(members, tensor=tensor))


@lie("disagree")
def local_zip64_field_cut_short(members: Members) -> bytes:
    local = {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF}
    extra = struct.pack("<HHI", 1, 60000, 0)
    tensor = Entry(TENSOR, members[TENSOR], local=local, extra=extra)
    return zip_of(entries(members, tensor=tensor))


@lie("uses zip64")
def a_zip64_member(members: Members) -> bytes:
    central = {"packed": 0xFFFFFFFF, "size": 0xFFFFFFFF}
    tensor = Entry(TENSOR, members[TENSOR], central=central)
    return zip_of(entries(members, tensor=tensor))


@lie("contradicts itself")
def stored_in_fewer_bytes_than_it_has(members: Members) -> bytes:
    wrong = {"packed": 64}
    return zip_of(
        entries(members, tensor=Entry(TENSOR, members[TENSOR], local=wrong, central=wrong))
    )


@lie("encrypted")
def an_encrypted_member(members: Members) -> bytes:
    flags = {"flags": 1}
    return zip_of(
        entries(members, tensor=Entry(TENSOR, members[TENSOR], local=flags, central=flags))
    )


@lie("zip compression 12")
def an_unknown_compression(members: Members) -> bytes:
    return zip_of(entries(members, tensor=Entry(TENSOR, members[TENSOR], BZIP2)))


# --- compressed members ------------------------------------------------------------------------


@lie("does not inflate to the")
def a_bomb_that_says_the_right_size(members: Members) -> bytes:
    payload = deflate(members[TENSOR] + bytes(50 << 20))
    tensor = Entry(TENSOR, members[TENSOR], DEFLATED, payload)
    return zip_of(entries(members, tensor=tensor))


@lie(r"has 1073741824 bytes: expected \d+ and a \.npy header")
def a_bomb_that_says_its_size(members: Members) -> bytes:
    size = {"size": 1 << 30}
    tensor = Entry(TENSOR, bytes(1000), DEFLATED, local=size, central=size)
    return zip_of(entries(members, tensor=tensor))


@lie("more than weights ever do")
def a_bomb_that_is_a_valid_network_of_zeros(members: Members) -> bytes:
    document = meta_of(members)
    document["network"]["layers"][-1]["channels"] = classes = 20000
    document["labels"] = None
    meta = npy(np.frombuffer(json.dumps(document).encode(), np.uint8))
    changed = {
        **members,
        META: meta,
        "classifier.weight.npy": npy(np.zeros((classes // 16, 1280, 16), np.float32)),
        "classifier.bias.npy": npy(np.zeros(classes, np.float32)),
    }
    return zip_of(Entry(name, content, DEFLATED) for name, content in changed.items())


@lie("'meta' has 1073741824 bytes: expected at most")
def a_meta_bomb_that_says_its_size(members: Members) -> bytes:
    size = {"size": 1 << 30}
    meta = Entry(META, bytes(1000), DEFLATED, local=size, central=size)
    return zip_of(entries(members, meta=meta))


@lie("'meta' does not inflate to the")
def a_meta_bomb_that_says_another_size(members: Members) -> bytes:
    meta = Entry(META, members[META], DEFLATED, deflate(bytes(50 << 20)))
    return zip_of(entries(members, meta=meta))


@lie("does not inflate to the")
def a_stream_that_ends_early(members: Members) -> bytes:
    tensor = Entry(TENSOR, members[TENSOR], DEFLATED, deflate(members[TENSOR])[:-9])
    return zip_of(entries(members, tensor=tensor))


@lie("does not inflate to the")
def a_stream_that_never_ends(members: Members) -> bytes:
    """All data is there, and the mark that says so is not."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = stream.compress(members[TENSOR]) + stream.flush(zlib.Z_SYNC_FLUSH)
    return zip_of(entries(members, tensor=Entry(TENSOR, members[TENSOR], DEFLATED, payload)))


@lie("does not inflate to the")
def a_stream_of_fewer_bytes(members: Members) -> bytes:
    payload = deflate(members[TENSOR][:-4])
    return zip_of(entries(members, tensor=Entry(TENSOR, members[TENSOR], DEFLATED, payload)))


@lie("does not inflate to the")
def something_after_the_stream(members: Members) -> bytes:
    tensor = Entry(TENSOR, members[TENSOR], DEFLATED, deflate(members[TENSOR]) + b"payload")
    return zip_of(entries(members, tensor=tensor))


@lie("cannot be inflated")
def a_stream_that_is_noise(members: Members) -> bytes:
    tensor = Entry(TENSOR, members[TENSOR], DEFLATED, b"\xff" * 500)
    return zip_of(entries(members, tensor=tensor))


@lie("does not match its checksum")
def a_compressed_member_with_a_flipped_bit(members: Members) -> bytes:
    flipped = bytearray(members[TENSOR])
    flipped[200] ^= 1
    tensor = Entry(TENSOR, members[TENSOR], DEFLATED, deflate(bytes(flipped)))
    return zip_of(entries(members, tensor=tensor))


# --- arrays ------------------------------------------------------------------------------------

SHAPE = "(1, 4, 16)"  # of TENSOR


@lie("array header .*'fortran_order': True")
def fortran_order(members: Members) -> bytes:
    array = np.frombuffer(data_of(members), np.float32).reshape(1, 4, 16)
    return with_tensor(members, npy(np.asfortranarray(array)))


@lie("array header .*'<f8'")
def double_precision(members: Members) -> bytes:
    return with_tensor(members, npy(np.zeros((1, 4, 16))))


@lie("array header .*'>f4'")
def big_endian(members: Members) -> bytes:
    return with_tensor(members, npy(np.zeros((1, 4, 16), ">f4")))


@lie("array header .*'<i4'")
def integers(members: Members) -> bytes:
    return with_tensor(members, npy(np.zeros((1, 4, 16), np.int32)))


@lie(r"array header .*\(4, 16\)")
def another_rank(members: Members) -> bytes:
    return with_tensor(members, npy(np.zeros((4, 16), np.float32)))


@lie(r"array header .*\(4, 1, 16\)")
def another_shape_of_the_same_size(members: Members) -> bytes:
    return with_tensor(members, npy(np.zeros((4, 1, 16), np.float32)))


@lie("array header")
def a_negative_shape(members: Members) -> bytes:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4, 16), }"
    return with_tensor(members, npy_of(header, data_of(members)))


@lie("array header")
def a_shape_beyond_all_memory(members: Members) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 62}, 4, 16), }}"
    return with_tensor(members, npy_of(header, data_of(members)))


class Detonator:
    """What unpickling this does is seen by the test: it ends the process."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os._exit, (66,)


@lie(r"array header .*'\|O'")
def a_pickled_object_array(members: Members) -> bytes:
    array = np.empty(64, object)
    array[:] = [Detonator()] * 64
    return with_tensor(members, npy(array.reshape(1, 4, 16), allow_pickle=True))


@lie(r"'meta' has the array header .*'\|O'")
def a_pickled_meta(members: Members) -> bytes:
    array = np.empty(1, object)
    array[0] = Detonator()
    return zip_of(entries(members, meta=Entry(META, npy(array, allow_pickle=True))))


@lie("array header .*_exit")
def a_header_that_would_run(members: Members) -> bytes:
    header = f"{{'descr': __import__('os')._exit(66), 'fortran_order': False, 'shape': {SHAPE}}}"
    return with_tensor(members, npy_of(header, data_of(members)))


@lie("array header")
def a_header_with_one_key_more(members: Members) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {SHAPE}, 'x': 1}}"
    return with_tensor(members, npy_of(header, data_of(members)))


@lie("array header")
def a_header_of_nested_brackets(members: Members) -> bytes:
    return with_tensor(members, npy_of("[" * 4000, data_of(members)))


@lie("a .npy header of 4294967295 bytes")
def a_header_longer_than_the_file(members: Members) -> bytes:
    content = b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + members[TENSOR][12:]
    return with_tensor(members, content)


@lie("a .npy header of 60000 bytes")
def a_header_longer_than_its_member(members: Members) -> bytes:
    return with_tensor(members, b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + bytes(300))


@lie("a .npy header of 4000 bytes that does not fit")
def a_modest_header_longer_than_its_member(members: Members) -> bytes:
    return with_tensor(members, b"\x93NUMPY\x01\x00" + struct.pack("<H", 4000) + bytes(300))


@lie("'meta' has a .npy header of 5001 bytes")
def a_header_of_thousands_of_spaces(members: Members) -> bytes:
    data = members[META][128:]
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(data)},), }}"
    return zip_of(entries(members, meta=Entry(META, npy_of(header.ljust(5000), data))))


@lie("is not a .npy array")
def the_npy_magic_and_nothing_more(members: Members) -> bytes:
    return with_tensor(members, b"\x93NUMPY")


@lie(r"\.npy version 9\.0")
def an_unknown_npy_version(members: Members) -> bytes:
    return with_tensor(members, b"\x93NUMPY\x09\x00" + members[TENSOR][8:])


@lie("is not a .npy array")
def no_npy_at_all(members: Members) -> bytes:
    return with_tensor(members, b"\x00" * len(members[TENSOR]))


@lie("is not a .npy array")
def an_empty_member(members: Members) -> bytes:
    return with_tensor(members, b"")


@lie("has 252 bytes of data: expected 256")
def four_bytes_of_data_too_few(members: Members) -> bytes:
    return with_tensor(members, members[TENSOR][:-4])


@lie("has 260 bytes of data: expected 256")
def four_bytes_of_data_too_many(members: Members) -> bytes:
    return with_tensor(members, members[TENSOR] + bytes(4))


@lie(r"'stem\.weight' has the array header .*\(1, 27, 16\).*expected .*\(2, 27, 16\)")
def the_weights_of_another_width(members: Members) -> bytes:
    """The names are the same for all widths."""
    return edited_of_version_1(members, lambda meta: meta["architecture"].update(width=1.0))


# --- meta --------------------------------------------------------------------------------------


@lie("without 'meta'.*mnv2 convert")
def no_meta(members: Members) -> bytes:
    return zip_of(entry for entry in entries(members) if entry.name != META)


@lie("'meta' does not match its checksum")
def meta_with_a_flipped_bit(members: Members) -> bytes:
    whole = bytearray(zip_of(entries(members)))
    whole[whole.index(b"mobilenet_v2")] ^= 0x20
    return bytes(whole)


@lie("'meta' has 2097281 bytes: expected at most")
def meta_beyond_the_limit(members: Members) -> bytes:
    return with_meta(members, b" " * ((2 << 20) + 1))


@lie("'meta' has the array header")
def meta_of_two_dimensions(members: Members) -> bytes:
    array = np.frombuffer(members[META][128:], np.uint8)
    return zip_of(entries(members, meta=Entry(META, npy(array[None]))))


@lie("not JSON")
def meta_that_is_no_json(members: Members) -> bytes:
    return with_meta(members, b"{'format': 'mnv2_engine'}")


@lie("not JSON")
def meta_that_is_no_utf8(members: Members) -> bytes:
    return with_meta(members, b"\xff\xfe{}")


@lie("not JSON")
def meta_nested_without_end(members: Members) -> bytes:
    return with_meta(members, b"[" * 200_000)


@lie("labels: expected nothing but text")
def meta_of_half_a_million_lists(members: Members) -> bytes:
    count = 600_000
    text = json.dumps({**meta_of(members), "labels": []}).replace(" ", "")
    text = text.replace('"channels":5,', f'"channels":{count},')
    text = text.replace('"labels":[]', f'"labels":[{"[]," * (count - 1)}[]]')
    return with_meta(members, text.encode())


@lie("not JSON.*twice")
def meta_with_a_key_twice(members: Members) -> bytes:
    text = json.dumps(meta_of(members))
    return with_meta(members, text.replace('"version": 2', '"version": 2, "version": 2').encode())


@lie("not JSON.*NaN")
def meta_with_nan(members: Members) -> bytes:
    return edited_of_version_1(
        members, lambda meta: meta["architecture"].update(width=float("nan"))
    )


@lie("meta: list found")
def meta_that_is_a_list(members: Members) -> bytes:
    return with_meta(members, b"[]")


@lie("format 'safetensors'")
def meta_of_another_program(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(format="safetensors"))


@lie("version 3 is newer.*upgrade", UnsupportedError)
def a_newer_version(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(version=3, invented_later={}))


@lie("version 0")
def version_zero(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(version=0))


@lie("version '1'")
def a_version_that_is_text(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(version="1"))


@lie("version True")
def a_version_that_is_true(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(version=True))


@lie(r"dtype \[\]", UnsupportedError)
def a_dtype_that_is_a_list(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(dtype=[]))


@lie("dtype 'float8'", UnsupportedError)
def a_dtype_that_nobody_knows(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(dtype="float8"))


@lie("'stem.weight' has the array header .*'<f4'.*: expected .*'<f2'")
def float32_weights_that_are_said_to_be_float16(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(dtype="float16"))


@lie("'stem.weight' has the array header .*'<f4'.*: expected .*'<u2'")
def float32_weights_that_are_said_to_be_bfloat16(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(dtype="bfloat16"))


@lie("expected exactly format, version")
def an_int8_dtype_without_a_quantization(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(dtype="int8"))


@lie("expected exactly format, version")
def a_quantization_of_float32_weights(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(quantization={"layers": {}, "pool": []}))


@lie(r"lacks stem\.requantise")
def float32_weights_that_are_said_to_be_int8(members: Members) -> bytes:
    network = small_network()
    said = {layer.name: LayerQuantization(0.02, 0, 5) for layer in network.weighted[:-1]}
    quantization = to_json(Quantization(said, PoolQuantization(0.02, 5, 0, 1, 0)))
    return edited(members, lambda meta: meta.update(dtype="int8", quantization=quantization))


@lie("expected exactly format, version")
def an_unknown_key(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(shell="rm"))


@lie("expected exactly format, version")
def a_missing_key(members: Members) -> bytes:
    return edited(members, lambda meta: meta.pop("labels"))


@lie("architecture 'mobilenet_v9'", UnsupportedError)
def an_unknown_family(members: Members) -> bytes:
    return edited_of_version_1(
        members, lambda meta: meta["architecture"].update(family="mobilenet_v9")
    )


@lie("architecture: list found")
def an_architecture_that_is_a_list(members: Members) -> bytes:
    return edited_of_version_1(members, lambda meta: meta.update(architecture=[]))


@lie("architecture: expected exactly")
def an_architecture_without_padding(members: Members) -> bytes:
    return edited_of_version_1(members, lambda meta: meta["architecture"].pop("padding"))


def _wrong_architecture(key: str, value: object, what: str, message: str) -> None:
    def make(members: Members) -> bytes:
        return edited_of_version_1(members, lambda meta: meta["architecture"].update({key: value}))

    make.__name__ = what
    lie(f"architecture: {message}")(make)


_WRONG_ARCHITECTURES: list[tuple[str, Any, str, str]] = [
    ("family", 7, "a_family_that_is_a_number", "expected texts"),
    ("family", None, "no_family", "expected texts"),
    ("width", "1.0", "a_width_that_is_text", "expected texts"),
    ("width", True, "a_width_that_is_true", "expected texts"),
    ("width", 0, "width_zero", "width multiplier"),
    ("width", 1e308, "a_width_beyond_all_memory", "width multiplier"),
    ("width", 10**400, "a_width_beyond_floats", "width multiplier"),
    ("divisor", 1 << 60, "a_huge_divisor", "channel divisor"),
    ("divisor", 0, "divisor_zero", "channel divisor"),
    ("divisor", 4.0, "a_divisor_that_is_a_float", "expected texts"),
    ("resolution", 32, "a_resolution_that_is_a_number", "expected texts"),
    ("resolution", [32], "a_resolution_of_one", "resolution"),
    ("resolution", [0, 32], "a_resolution_of_zero", "resolution"),
    ("resolution", [32, 1 << 40], "a_huge_resolution", "resolution"),
    ("resolution", [32.0, 32.0], "a_resolution_of_floats", "resolution"),
    ("resolution", [[32], 32], "a_resolution_of_lists", "resolution"),
    ("resolution", list(range(100_000)), "a_resolution_of_many", "resolution"),
    ("classes", 0, "no_classes", "class count"),
    ("classes", -5, "negative_classes", "class count"),
    ("classes", 10**400, "more_classes_than_atoms", "class count"),
    ("classes", {}, "classes_that_are_an_object", "expected texts"),
    ("padding", "valid", "an_unknown_padding", "padding"),
    ("padding", ["same"], "a_padding_that_is_a_list", "expected texts"),
]
for _wrong in _WRONG_ARCHITECTURES:
    _wrong_architecture(*_wrong)


# --- the table of layers -----------------------------------------------------------------------

LAST = "block16.project"


def _of_network(what: str, message: str, edit: Callable[[dict[str, Any]], Any]) -> None:
    def make(members: Members) -> bytes:
        return edited(members, lambda meta: edit(meta["network"]))

    make.__name__ = what
    lie(message)(make)


def _of_layer(
    what: str,
    name: str,
    values: dict[str, Any],
    message: str,
    error: type[MnvError] = ModelFileError,
) -> None:
    def make(members: Members) -> bytes:
        return edited_layer(members, name, lambda row: row.update(values))

    make.__name__ = what
    lie(message, error)(make)


def _many(network: dict[str, Any], count: int) -> None:
    rows = network["layers"]
    rows[1:1] = [
        {"name": f"more{i}", "operation": "add", "inputs": ["stem"] * 2} for i in range(count)
    ]


def _same_name(network: dict[str, Any]) -> None:
    network["layers"][4]["name"] = network["layers"][3]["name"]


_OF_NETWORK: list[tuple[str, str, Callable[[dict[str, Any]], Any]]] = [
    ("a_network_without_layers", "layers: 0 of them", lambda n: n.update(layers=[])),
    ("layers_that_are_text", "layers: 'stem'", lambda n: n.update(layers="stem")),
    ("layers_that_are_numbers", "layer 0: operation None", lambda n: n.update(layers=[1] * 5)),
    ("ten_thousand_layers", "layers: 10065 of them", lambda n: _many(n, 10_000)),
    ("two_layers_of_one_name", "two layers have it", _same_name),
    ("no_outputs", "outputs \\(\\)", lambda n: n.update(outputs=[])),
    (
        "two_outputs_of_one_name",
        "outputs .*expected one",
        lambda n: n.update(outputs=["classifier"] * 2),
    ),
    ("an_output_inside", "outputs .*expected one", lambda n: n.update(outputs=["head"])),
    ("outputs_that_are_lists", "outputs .*expected one", lambda n: n.update(outputs=[["head"]])),
    ("an_unknown_answer", "answer 'pictures'", lambda n: n.update(answer="pictures")),
    ("a_detector_of_nothing", "exactly the keys", lambda n: n.update(answer="boxes")),
    ("an_answer_that_is_a_number", "a text for answer", lambda n: n.update(answer=3)),
    ("a_table_without_a_name", "expected exactly the keys", lambda n: n.pop("name")),
    ("a_network_named_by_a_terminal", "printable", lambda n: n.update(name="\x1b[31m")),
    ("a_network_with_a_long_name", "printable", lambda n: n.update(name="a" * 1000)),
    ("a_table_of_no_size", "resolution", lambda n: n.update(resolution=[0, 32])),
    ("a_table_of_a_huge_size", "resolution", lambda n: n.update(resolution=[32, 1 << 40])),
    ("a_table_of_three_sizes", "resolution", lambda n: n.update(resolution=[32, 32, 3])),
    ("a_table_of_float_sizes", "resolution", lambda n: n.update(resolution=[32.0, 32.0])),
    ("layers_upside_down", "is no layer before it", lambda n: n["layers"].reverse()),
    (
        "layers_without_the_pool",
        "expected pooled features|is no layer",
        lambda n: n["layers"].pop(-2),
    ),
]
for _each in _OF_NETWORK:
    _of_network(*_each)

_OF_LAYER: list[tuple[Any, ...]] = [
    ("an_unknown_operation", "stem", {"operation": "transformer"}, "operation 'transformer'"),
    ("an_operation_that_is_a_list", "stem", {"operation": []}, r"operation \[\]"),
    ("a_layer_with_a_key_too_many", "stem", {"bias": True}, "expected exactly the keys"),
    ("a_cycle", "block2.expand", {"inputs": ["block3.project"]}, "is no layer before it"),
    ("a_layer_that_reads_itself", "head", {"inputs": ["head"]}, "is no layer before it"),
    ("an_input_that_is_not_there", "head", {"inputs": ["nowhere"]}, "'nowhere' is no layer"),
    ("no_input", "head", {"inputs": []}, "1 names of inputs"),
    ("two_inputs_of_one", "head", {"inputs": [LAST, LAST]}, "1 names of inputs"),
    ("an_input_that_is_a_number", "head", {"inputs": [7]}, "expected texts"),
    (
        "a_shortcut_of_another_shape",
        "block2.add",
        {"inputs": ["block2.project", "stem"]},
        "one shape",
    ),
    ("zero_channels", "head", {"channels": 0}, "0 channels"),
    ("negative_channels", "head", {"channels": -16}, "-16 channels"),
    ("channels_beyond_memory", "head", {"channels": 1 << 60}, "channels: expected 1 to"),
    ("channels_beyond_weights", "head", {"channels": 1 << 20}, r"header .*\(80, |more than"),
    ("channels_that_are_floats", "head", {"channels": 1280.0}, "channels: expected"),
    ("channels_that_are_true", "head", {"channels": True}, "channels: expected"),
    ("hidden_of_another_size", "block3.expand", {"channels": 20}, "has the array header|one shape"),
    ("kernel_zero", "block0.depthwise", {"kernel": 0}, "kernel 0"),
    (
        "an_even_kernel",
        "block0.depthwise",
        {"kernel": 4, "pads": [1, 1, 2, 2]},
        "4×4",
        UnsupportedError,
    ),
    ("a_huge_kernel", "block0.depthwise", {"kernel": 1 << 40}, "kernel 1099511627776"),
    ("stride_zero", "block0.depthwise", {"stride": 0}, "stride 0"),
    ("a_stride_that_leaves_no_map", "block1.depthwise", {"stride": 3}, "does not fit a map"),
    ("stride_three", "block13.depthwise", {"stride": 3}, "stride 3", UnsupportedError),
    (
        "a_dilation",
        "block16.depthwise",
        {"dilation": 2, "pads": [2, 2, 2, 2]},
        "dilation 2",
        UnsupportedError,
    ),
    ("pads_of_three", "block0.depthwise", {"pads": [1, 1, 1]}, "pads"),
    ("negative_pads", "block0.depthwise", {"pads": [-1, 1, 1, 1]}, "pads"),
    ("pads_beyond_the_kernel", "block0.depthwise", {"pads": [9, 9, 9, 9]}, "pads"),
    ("pads_that_are_text", "block0.depthwise", {"pads": "same"}, "pads"),
    ("pads_that_no_output_reaches", "stem", {"pads": [0, 0, 2, 1]}, "its outputs reach|one shape"),
    ("an_unknown_activation", "head", {"activation": "swish"}, "activation 'swish'"),
    ("an_activation_that_is_a_number", "head", {"activation": 6}, "expected texts"),
    (
        "an_activation_behind_the_answer",
        "classifier",
        {"activation": "relu"},
        "behind the last dense",
    ),
    ("a_name_with_a_slash", "head", {"name": "../head"}, "layer name"),
    ("a_name_with_an_escape", "head", {"name": "\x1b[31m"}, "layer name"),
    ("an_empty_name", "head", {"name": ""}, "layer name"),
    ("a_layer_named_image", "head", {"name": "image"}, "layer name"),
    ("one_softmax", "classifier", {"channels": 1}, "sigmoid"),
    (
        "a_linear_depthwise",
        "block1.depthwise",
        {"activation": "linear"},
        "no activation",
        UnsupportedError,
    ),
    (
        "a_stem_of_stride_one",
        "stem",
        {"stride": 1, "pads": [1, 1, 1, 1]},
        "stride 1",
        UnsupportedError,
    ),
]
for _row in _OF_LAYER:
    _of_layer(*_row)


@lie("follows the stem", UnsupportedError)
def nine_hundred_useless_layers(members: Members) -> bytes:
    return edited(members, lambda meta: _many(meta["network"], 900))


@lie("expected exactly format, version")
def both_a_table_and_a_family(members: Members) -> bytes:
    document = meta_of(members)
    return with_meta(members, json.dumps({**of_version_1(document), **document}).encode())


@lie(r"has the array header .*\(1, 1280, 16\).*expected .*65536, 1280, 16")
def a_classifier_larger_than_the_file(members: Members) -> bytes:
    return edited_of_version_1(
        members,
        lambda meta: (meta["architecture"].update(classes=1 << 20), meta.update(labels=None)),
    )


@lie("labels: 4 labels: expected 5")
def one_label_short(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(labels=["a"] * 4))


@lie("labels: 'abcde': expected 5")
def labels_that_are_a_text(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(labels="abcde"))


@lie("labels: expected nothing but text")
def a_label_that_is_no_text(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(labels=["a", "b", "c", "d", None]))


@lie("labels: .*control character")
def a_label_that_commands_the_terminal(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(labels=["\x1b]0;owned\x07", *"bcde"]))


@lie("labels: .*half a pair")
def a_label_that_cannot_be_encoded(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(labels=["\ud800", *"bcde"]))


@lie("preprocessing: std")
def a_deviation_of_zero(members: Members) -> bytes:
    return edited(members, lambda meta: meta["preprocessing"].update(std=[0, 0, 0]))


@lie("preprocessing: mean")
def a_mean_of_infinity(members: Members) -> bytes:
    text = json.dumps(meta_of(members)).replace("[127.5, 127.5, 127.5]", "[1e999, 0, 0]", 1)
    return with_meta(members, text.encode())


@lie("preprocessing: resample")
def an_unknown_filter(members: Members) -> bytes:
    return edited(members, lambda meta: meta["preprocessing"].update(resample="__import__"))


@lie("preprocessing: fit")
def an_unknown_fit(members: Members) -> bytes:
    return edited(members, lambda meta: meta["preprocessing"].update(fit="letterbox"))


@lie("provenance: expected nothing but text")
def a_provenance_that_is_no_text(members: Members) -> bytes:
    return edited(members, lambda meta: meta["provenance"].update(source=["a"]))


@lie("provenance: NoneType found")
def no_provenance(members: Members) -> bytes:
    return edited(members, lambda meta: meta.update(provenance=None))


# --- odd, but honest: these are read -----------------------------------------------------------


def _reversed(members: Members) -> bytes:
    return zip_of(Entry(name, content) for name, content in reversed(members.items()))


def _streamed(members: Members) -> bytes:
    """As by a writer that cannot seek: sizes and checksums only after the data."""
    absent = {"flags": 8, "crc": 0, "packed": 0, "size": 0}
    return zip_of(
        Entry(name, content, local=absent, central={"flags": 8}, descriptor=bytes(16))
        for name, content in members.items()
    )


def _partly_deflated(members: Members) -> bytes:
    return zip_of(entries(members, tensor=Entry(TENSOR, members[TENSOR], DEFLATED)))


def _array(header: str, version: tuple[int, int]) -> Callable[[Members], bytes]:
    def make(members: Members) -> bytes:
        return with_tensor(members, npy_of(header, members[TENSOR][128:], version))

    return make


PLAIN = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {SHAPE}, }}"


ODD: list[Callable[[Members], bytes]] = [
    _reversed,
    _streamed,
    _partly_deflated,
    _array(PLAIN, (1, 0)),
    _array(PLAIN, (2, 0)),
    _array(PLAIN + " " * 100, (3, 0)),
    _array(PLAIN.replace(", }", "}"), (1, 0)),
    _array(PLAIN.replace(" ", ""), (1, 0)),
]


class Fuzzed:
    """A valid file, and where in it there is structure: headers, the directory, meta."""

    def __init__(self, whole: bytes) -> None:
        self.whole = whole
        directory = whole.index(b"PK\x01\x02")
        at = {*range(directory, len(whole)), *(i for i, byte in enumerate(whole[:1024]) if byte)}
        for marker in (b"PK\x03\x04", b"\x93NUMPY"):
            found = whole.find(marker)
            while found >= 0:
                at.update(range(found, found + 100))
                found = whole.find(marker, found + 1)
        self.structure = sorted(at)

    def altered(self, data: st.DataObject) -> bytes:
        """The file with some bytes of its structure changed, perhaps cut. Weights may hold
        anything."""
        whole = bytearray(self.whole)
        for at in data.draw(st.lists(st.sampled_from(self.structure), min_size=1, max_size=3)):
            whole[at] = data.draw(st.integers(0, 255))
        cut = data.draw(st.sampled_from([0, 0, 0, 1, 22, 5000]))
        return bytes(whole[: len(whole) - cut])
