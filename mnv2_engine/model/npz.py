"""The .npz container by hand: a zip of .npy arrays, written aligned and read in place.

Reading costs one small read for each member and imports neither `zipfile` nor numpy. It believes
nothing: every offset and size is checked against the file and against its second mention in the
zip before it is used, and an array header is compared with the one expected, never evaluated.

Accepted are members STORED or DEFLATED in a file below 4 GiB with one disk, no comment and no
encryption: all that `numpy.savez`, `numpy.savez_compressed` and `write_npz` make.
"""

from __future__ import annotations

import struct
from binascii import crc32

from ..errors import InputError, ModelFileError
from ..untyped import TYPE_CHECKING, Any, BinaryIO, Iterable, NamedTuple

if TYPE_CHECKING:
    from mmap import mmap

    Bytes = bytes | bytearray | memoryview | mmap

ALIGNMENT = 64  # bytes, of the data of every member that `write_npz` writes
MAX_MEMBERS = 4096
MAX_NPY_HEADER = 4096  # bytes; numpy writes 128 for every array of ours
MAX_FILE = 0xFFFFFFFE  # bytes; beyond it zip64 begins
STORED, DEFLATED = 0, 8

# PKWARE APPNOTE 4.3.7, 4.3.12 and 4.3.16, without the signatures' variable tails
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_NPY_MAGIC = b"\x93NUMPY"

_DESCRIPTOR_FLAG = 0x0008  # sizes and CRC follow the data, the local header has zeros
_HARMLESS_FLAGS = 0x0006 | _DESCRIPTOR_FLAG | 0x0800  # deflate effort; UTF-8 names
_ZIP64_EXTRA = 0x0001
_ALIGNMENT_EXTRA = 0xD935  # as in Android's zipalign: the alignment, then zeros
_EARLIEST = (1 << 5) | 1  # 1980-01-01, so that equal arrays make equal files


class Member(NamedTuple):
    """Where one member of the zip lies. Everything here was checked against the file's size."""

    name: str  # without ".npy"
    deflated: bool
    crc: int  # of the inflated bytes
    packed_size: int  # bytes in the file
    size: int  # bytes inflated: .npy header and data
    start: int  # offset in the file of the first byte after the local header


def npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """The version 1.0 .npy header, a multiple of 64 bytes, as numpy writes it."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    length = -(-(len(text) + 11) // ALIGNMENT) * ALIGNMENT - 10
    return _NPY_MAGIC + struct.pack("<BBH", 1, 0, length) + text.ljust(length - 1) + b"\n"


def npy_data_offset(head: bytes, member_bytes: int, descr: str, shape: tuple[int, ...]) -> int:
    """Offset of the data inside a .npy member that begins with `head`.

    Raises ModelFileError unless the header says exactly `descr`, C order and `shape`, and the
    data fills the member to its last byte. Spaces do not count; versions 1.0 to 3.0 are read.
    """
    ours = npy_header(descr, shape)
    if head.startswith(ours):  # the usual case; others take more words to compare
        _check_data(len(ours), member_bytes, descr, shape)
        return len(ours)
    if len(head) < 12 or not head.startswith(_NPY_MAGIC):
        raise ModelFileError("is not a .npy array")
    version = (head[6], head[7])
    if version == (1, 0):
        start, length = 10, int.from_bytes(head[8:10], "little")
    elif version in ((2, 0), (3, 0)):
        start, length = 12, int.from_bytes(head[8:12], "little")
    else:
        raise ModelFileError(f"has .npy version {version[0]}.{version[1]}: expected 1.0 to 3.0")
    end = start + length
    if length > MAX_NPY_HEADER or end > len(head):
        raise ModelFileError(f"has a .npy header of {length} bytes that does not fit")
    found = head[start:end]
    wanted = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}"
    squeezed = found.strip(b" \n").replace(b" ", b"").replace(b",}", b"}")
    if squeezed != wanted.replace(" ", "").replace(",}", "}").encode():
        text = found.strip(b" \n")[:200].decode("ascii", "backslashreplace")
        raise ModelFileError(f"has the array header {text}: expected {wanted}")
    _check_data(end, member_bytes, descr, shape)
    return end


def _check_data(start: int, member_bytes: int, descr: str, shape: tuple[int, ...]) -> None:
    """Whether the data fills the member from `start` on to its last byte."""
    data = int(descr[-1])  # bytes of an element
    for extent in shape:
        data *= extent
    if start + data != member_bytes:
        raise ModelFileError(
            f"has {member_bytes - start} bytes of data: expected {data} for shape {shape}"
        )


def read_directory(buffer: Bytes) -> dict[str, Member]:
    """Every member of the zip in `buffer`, by name without ".npy".

    Raises ModelFileError for a file that is not a zip, is cut short, or contradicts itself:
    duplicate names, members that overlap each other or the directory or reach beyond the file,
    local headers that disagree with the directory, encryption, zip64, unknown compression.
    """
    end_at = len(buffer) - _END.size
    if end_at < 0 or buffer[end_at : end_at + 4] != _END_MAGIC:
        if buffer[:4] == _LOCAL_MAGIC:
            raise ModelFileError(
                f"the zip's directory is not at the end of its {len(buffer)} bytes: the file was "
                "cut short or something was appended; copy or download it again"
            )
        raise ModelFileError(
            f"not a .npz model file: it begins with {bytes(buffer[:8])!r}; "
            "make one with: mnv2 convert CHECKPOINT OUT.npz"
        )
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(buffer, end_at)
    if 0xFFFFFFFF in (size, start) or count == 0xFFFF:
        raise ModelFileError("uses zip64, which no model file below 4 GiB needs")
    if disk or first_disk or here != count or comment:
        raise ModelFileError("the zip spans several disks or has a comment; model files do not")
    if start + size != end_at:
        raise ModelFileError(
            f"the zip's directory is said to be bytes {start} to {start + size}, but ends at "
            f"{end_at}: the file was cut short or altered"
        )
    if count > MAX_MEMBERS:
        raise ModelFileError(f"holds {count} members: expected at most {MAX_MEMBERS}")

    members: dict[str, Member] = {}
    extents: list[tuple[int, int, str]] = []
    at = start
    for _ in range(count):
        if at + _CENTRAL.size > end_at:
            raise ModelFileError(
                f"the zip's directory holds fewer than the {count} members it says"
            )
        member, local_at, at = _read_member(buffer, at, start, end_at)
        if member.name in members:
            raise ModelFileError(f"holds two members named {member.name!r}")
        members[member.name] = member
        extents.append((local_at, member.start + member.packed_size, member.name))
    if at != end_at:
        raise ModelFileError(f"the zip's directory holds more than the {count} members it says")
    extents.sort()
    last_end, last_name = 0, ""
    for begin, end, name in extents:
        if begin < last_end:
            raise ModelFileError(f"members {last_name!r} and {name!r} overlap")
        last_end, last_name = end, name
    return members


def directory_crc(buffer: Bytes) -> int:
    """Checksum of the directory of a zip that `read_directory` took: names, sizes, checksums."""
    start = _END.unpack_from(buffer, len(buffer) - _END.size)[6]
    return crc32(buffer[start:])


def _read_member(buffer: Bytes, at: int, directory: int, end_at: int) -> tuple[Member, int, int]:
    """One member, the offset of its local header, and that of the next directory entry."""
    entry = _CENTRAL.unpack_from(buffer, at)
    magic, _, _, flags, method, _, _, crc, packed, size = entry[:10]
    name_length, extra_length, comment_length, disk, _, _, local_at = entry[10:]
    name_at = at + _CENTRAL.size
    following = name_at + name_length + extra_length + comment_length
    if magic != _CENTRAL_MAGIC or following > end_at:
        raise ModelFileError(f"the zip's directory is damaged at byte {at}")
    raw_name = bytes(buffer[name_at : name_at + name_length])
    shown = raw_name[:80].decode("ascii", "backslashreplace")
    if not raw_name.endswith(b".npy") or not raw_name.isascii():
        raise ModelFileError(f"holds {shown!r}: expected only .npy arrays")
    if flags & ~_HARMLESS_FLAGS:
        raise ModelFileError(f"member {shown!r} is encrypted or patched (zip flags {flags:#06x})")
    if method not in (STORED, DEFLATED):
        raise ModelFileError(
            f"member {shown!r} has zip compression {method}: expected stored or deflated"
        )
    if 0xFFFFFFFF in (packed, size, local_at):
        raise ModelFileError(f"member {shown!r} uses zip64, which no model file needs")
    if disk or (method == STORED and packed != size):
        raise ModelFileError(f"member {shown!r}: the zip's directory contradicts itself")

    if local_at + _LOCAL.size > directory:
        raise ModelFileError(f"member {shown!r} is said to begin at {local_at}, outside the file")
    local = _LOCAL.unpack_from(buffer, local_at)
    magic, _, local_flags, local_method, _, _, local_crc, local_packed, local_size = local[:9]
    local_name_at = local_at + _LOCAL.size
    extra_at = local_name_at + local[9]
    data_at = extra_at + local[10]
    if data_at + packed > directory:
        raise ModelFileError(
            f"member {shown!r} is said to end at byte {data_at + packed}, beyond the "
            f"{directory} bytes of members"
        )
    said = (local_crc, *_local_sizes(buffer, extra_at, data_at, local_packed, local_size))
    streamed = flags & _DESCRIPTOR_FLAG and not any(said)
    if (
        magic != _LOCAL_MAGIC
        or buffer[local_name_at:extra_at] != raw_name
        or (local_flags, local_method) != (flags, method)
        or not (streamed or said == (crc, packed, size))
    ):
        raise ModelFileError(f"member {shown!r}: its own header and the zip's directory disagree")
    name = raw_name[: -len(b".npy")].decode("ascii")
    return Member(name, method == DEFLATED, crc, packed, size, data_at), local_at, following


def _local_sizes(
    buffer: Bytes, extra_at: int, extra_end: int, packed: int, size: int
) -> tuple[int, int]:
    """(packed, inflated) bytes of a local header; numpy.savez always moves both to zip64."""
    if (packed, size) != (0xFFFFFFFF, 0xFFFFFFFF):
        return packed, size
    at = extra_at
    while at + 4 <= extra_end:
        kind, length = struct.unpack_from("<HH", buffer, at)
        if kind == _ZIP64_EXTRA and length >= 16 and at + 20 <= extra_end:
            size, packed = struct.unpack_from("<QQ", buffer, at + 4)
            return packed, size
        at += 4 + length
    return packed, size


def read_member(buffer: Bytes, member: Member, limit: int) -> bytes:
    """All of `member`, inflated, its CRC checked.

    Never holds more than `limit` bytes of output, whatever the member would inflate to. Raises
    ModelFileError if it is larger, or differs from what the zip's directory says.
    """
    if member.size > limit:
        raise ModelFileError(f"has {member.size} bytes: expected at most {limit}")
    with (
        memoryview(buffer) as whole,
        whole[member.start : member.start + member.packed_size] as stored,
    ):
        content = _inflate(stored, member.size) if member.deflated else bytes(stored)
    if crc32(content) != member.crc:
        raise ModelFileError("does not match its checksum: the file is damaged")
    return content


def _inflate(stored: memoryview, size: int) -> bytes:
    """The raw deflate stream `stored`, which must make exactly `size` bytes and end."""
    import zlib

    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than due, so that a stream that goes on shows itself.
        content = stream.decompress(stored, size + 1)
    except zlib.error as error:
        raise ModelFileError(f"cannot be inflated: {error}") from None
    if not stream.eof or len(content) != size or stream.unused_data:
        raise ModelFileError(f"does not inflate to the {size} bytes that the zip's directory says")
    return content


def write_npz(file: BinaryIO, arrays: Iterable[tuple[str, str, tuple[int, ...], Any]]) -> None:
    """Write (name, descr, shape, C-contiguous data) members, STORED, their data aligned to
    `ALIGNMENT` bytes. Equal arrays make equal bytes. Raises InputError beyond 4 GiB."""
    directory: list[bytes] = []
    at = 0
    for name, descr, shape, array in arrays:
        head = npy_header(descr, shape)
        with memoryview(array).cast("B") as data:
            size = len(head) + len(data)
            crc = crc32(data, crc32(head))
            raw_name = f"{name}.npy".encode()
            extra = _alignment_extra(at + _LOCAL.size + len(raw_name))
            fields = (20, 0, STORED, 0, _EARLIEST, crc, size, size, len(raw_name))
            if at + size + (1 << 20) > MAX_FILE:
                raise InputError(
                    f"{name}: a model file holds at most 4 GiB; choose a smaller width"
                )
            directory.append(
                _CENTRAL.pack(_CENTRAL_MAGIC, 20, *fields, 0, 0, 0, 0, 0, at) + raw_name
            )
            file.write(_LOCAL.pack(_LOCAL_MAGIC, *fields, len(extra)) + raw_name + extra + head)
            file.write(data)
        at += _LOCAL.size + len(raw_name) + len(extra) + size
    entries = b"".join(directory)
    count = len(directory)
    file.write(entries + _END.pack(_END_MAGIC, 0, 0, count, count, len(entries), at, 0))


def _alignment_extra(at: int) -> bytes:
    """A zip extra field that makes what follows it, begun at offset `at`, aligned."""
    length = 6 + -(at + 6) % ALIGNMENT
    return struct.pack("<HHH", _ALIGNMENT_EXTRA, length - 4, ALIGNMENT).ljust(length, b"\0")
