"""Zip archives from strangers: opened and read within bounds.

PyTorch files, .npz checkpoints and the label files behind a TFLite model are zip archives whose
directory may lie about everything. The bytes spent on finding and parsing it are metered, every
member is read up to a limit, and whatever `zipfile` raises becomes a CheckpointError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from ...errors import CheckpointError

if TYPE_CHECKING:
    from zipfile import ZipInfo

# `zipfile` makes an object of some 600 bytes of each directory entry of 46 or more, so that the
# directory of a large file could fill the memory. The 1500 members of a state_dict of
# EfficientNet-Lite4 need 150 KB.
MAX_DIRECTORY_BYTES = 2 << 20


class Archive:
    """The zip archive at the end of an open file. Members are found by name."""

    def __init__(self, handle: BinaryIO, what: str) -> None:
        """`what` names the file in messages. Raises CheckpointError for anything but a zip whose
        directory is of a bounded size and names each member once."""
        import zipfile

        self.what = what
        metered = _Metered(handle, what, MAX_DIRECTORY_BYTES)
        try:
            self._zip = zipfile.ZipFile(cast(BinaryIO, metered))
        except CheckpointError:
            raise
        except Exception as error:  # zipfile raises struct.error, ValueError and others on lies
            raise CheckpointError(
                f"{what}: its zip directory cannot be read ({_reason(error)}): the file was cut "
                "short or altered; copy or download it again"
            ) from None
        metered.allowance = None
        self.file_bytes = handle.seek(0, 2)
        self.members: dict[str, ZipInfo] = {}
        for member in self._zip.infolist():
            if member.filename in self.members:
                raise CheckpointError(f"{what}: holds two members named {member.filename[:200]!r}")
            self.members[member.filename] = member

    def size(self, name: str) -> int:
        """Bytes of a member once inflated, as the directory says."""
        return self.members[name].file_size

    def read(self, name: str, limit: int) -> bytes:
        """All of a member, or its first `limit` bytes where it is larger.

        Never inflates more than `limit` bytes. Raises CheckpointError if the member is damaged,
        encrypted, or compressed by anything but deflate.
        """
        import zipfile

        member = self.members[name]
        try:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NotImplementedError("it is neither stored nor deflated")
            if member.compress_size > self.file_bytes:
                raise EOFError(f"its {member.compress_size} bytes are more than the file has")
            with self._zip.open(member) as stream:
                content = stream.read(limit)
            if len(content) < min(limit, member.file_size):
                raise EOFError(f"it ends after {len(content)} of {member.file_size} bytes")
        except Exception as error:  # as above
            raise CheckpointError(
                f"{self.what}: member {name[:200]!r} cannot be read ({_reason(error)}): the file "
                "is damaged; copy or download it again"
            ) from None
        return content


class _Metered:
    """A file that refuses to be read beyond an allowance of bytes, while there is one."""

    def __init__(self, handle: BinaryIO, what: str, allowance: int) -> None:
        self._handle = handle
        self._what = what
        self.allowance: int | None = allowance
        self.seek = handle.seek
        self.tell = handle.tell
        self.seekable = handle.seekable

    def read(self, count: int = -1) -> bytes:
        if self.allowance is None:
            return self._handle.read(count)
        if not 0 <= count <= self.allowance:
            count = self.allowance + 1
        content = self._handle.read(count)
        self.allowance -= len(content)
        if self.allowance < 0:
            raise CheckpointError(
                f"{self._what}: the zip's directory is larger than {MAX_DIRECTORY_BYTES} bytes; "
                "no checkpoint has that many members"
            )
        return content


def _reason(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
