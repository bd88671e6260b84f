"""PyTorch's two containers, .pt and .pth files alike, read without PyTorch.

Since 1.6 a file is a zip archive: `data.pkl` describes the tensors, `data/0`, `data/1`, … hold
their storages. The legacy format is a stream: four pickles (a magic number, the protocol, the
writer's machine, the object), a pickled list of storage keys, then for each of these a count of
elements in eight bytes and the elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ...errors import CheckpointError
from ..recognise import listed
from .archive import Archive
from .state import FLOATS, Tensors
from .torch_pickle import MAX_PICKLE_BYTES, SAVE_WEIGHTS, Machine, Storage, Tensor

if TYPE_CHECKING:
    from ..checkpoint import Float32

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_BYTES = {"f4": 4, "f8": 8, "f2": 2, "bfloat16": 2, "i8": 8, "i4": 4, "i2": 2, "i1": 1, "u1": 1}
_WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "weights", "state_dict_ema", "model_ema",
    "ema_state_dict", "ema", "network", "module",
)  # fmt: skip
_MAX_NESTING = 4  # of dicts under these names
# What nn.DataParallel and torch.compile put before every name.
_WRAPPING = ("module.", "_orig_mod.")


class StateDict(NamedTuple):
    """The tensors of a file by name, and the way to their data."""

    what: str  # the file, in messages
    container: str  # "PyTorch zip" or "PyTorch legacy"
    tensors: dict[str, Tensor]
    load: Callable[[Storage], tuple[bytes, str]]  # a storage's bytes and their order, "<" or ">"

    def array(self, name: str) -> Float32:
        """The values of a floating-point tensor as float32."""
        import numpy as np

        tensor = self.tensors[name]
        dtype = tensor.storage.dtype
        if dtype not in FLOATS:
            raise CheckpointError(
                f"{self.what}: {name} holds {dtype} elements: expected floating point; "
                "dequantise the model first"
            )
        content, order = self.load(tensor.storage)
        if len(content) != tensor.storage.elements * _BYTES[dtype]:
            raise CheckpointError(f"{self.what}: the data of {name} were cut short")
        if dtype == "bfloat16":  # the upper half of a float32
            halves = np.frombuffer(content, f"{order}u2").astype(np.uint32)
            elements: np.ndarray[Any, Any] = (halves << 16).view(np.float32)
        else:
            elements = np.frombuffer(content, order + dtype)
        width = elements.itemsize
        view: np.ndarray[Any, Any] = np.ndarray(  # which checks the bounds once more
            tensor.shape,
            elements.dtype,
            elements.data,
            tensor.offset * width,
            tuple(stride * width for stride in tensor.strides),
        )
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, refused later
            return np.array(view, np.float32, order="C")

    def tensors_by_name(self) -> Tensors:
        """The same as names.py takes them."""
        shapes = {name: tensor.shape for name, tensor in self.tensors.items()}
        return Tensors(self.what, self.container, shapes, self.array)


def read_zip(archive: Archive, prefix: str) -> StateDict:
    """The state_dict in a zip archive whose members are `prefix`data.pkl, `prefix`data/0, …"""
    what = archive.what
    if f"{prefix}constants.pkl" in archive.members:
        raise CheckpointError(
            f"{what}: a TorchScript archive, which is a program; save its weights alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), OUT)"
        )
    order = "little"
    if f"{prefix}byteorder" in archive.members:
        order = archive.read(f"{prefix}byteorder", 16).decode("ascii", "replace")
        if order not in ("little", "big"):
            raise CheckpointError(f"{what}: byte order {order!r}: expected little or big")
    program = archive.read(f"{prefix}data.pkl", MAX_PICKLE_BYTES + 1)
    pickled = Machine(program, what).run()

    def load(storage: Storage) -> tuple[bytes, str]:
        member = f"{prefix}data/{storage.key}"
        due = storage.elements * _BYTES[storage.dtype]
        if member not in archive.members:
            raise CheckpointError(f"{what}: lacks {member[:200]!r}, which holds one of its tensors")
        # PyTorch does not compress; what had to be inflated could become any size.
        packed, size = archive.members[member].compress_size, archive.size(member)
        if not packed == size == due:
            raise CheckpointError(
                f"{what}: member {member[:200]!r} has {packed} bytes and is said to become {size}: "
                f"expected {due}, not compressed"
            )
        return archive.read(member, size), "<" if order == "little" else ">"

    return StateDict(what, "PyTorch zip", _tensors(pickled, what), load)


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a legacy stream: a pickle of the magic."""
    return head[:1] == b"\x80" and _LEGACY_MAGIC.to_bytes(10, "little") in head[:32]


def read_legacy(handle: BinaryIO, what: str) -> StateDict:
    """The state_dict in a legacy stream."""
    handle.seek(0)
    machine = Machine(handle.read(MAX_PICKLE_BYTES + 1), what)
    if machine.run() != _LEGACY_MAGIC or machine.run() != _LEGACY_PROTOCOL:
        raise CheckpointError(f"{what}: not PyTorch's legacy format, protocol {_LEGACY_PROTOCOL}")
    system = machine.run()
    little = not isinstance(system, dict) or system.get("little_endian", True) is not False
    tensors = _tensors(machine.run(), what)
    keys = machine.run()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError(f"{what}: its list of storages is damaged")
    order = "<" if little else ">"
    storages = _legacy_storages(handle, machine, keys, order)

    def load(storage: Storage) -> tuple[bytes, str]:
        if storage.key not in storages:
            raise CheckpointError(
                f"{what}: the data of storage {storage.key[:80]!r} are not in the file"
            )
        handle.seek(storages[storage.key])
        return handle.read(storage.elements * _BYTES[storage.dtype]), order

    return StateDict(what, "PyTorch legacy", tensors, load)


def _legacy_storages(
    handle: BinaryIO, machine: Machine, keys: list[str], order: str
) -> dict[str, int]:
    """Where the elements of every storage begin, in a stream that only their counts divide."""
    end = handle.seek(0, 2)
    starts: dict[str, int] = {}
    at = machine.at
    for key in keys:
        storage = machine.storages.get(key)
        if storage is None:
            raise CheckpointError(f"{machine.what}: no tensor describes storage {key[:80]!r}")
        handle.seek(at)
        count = handle.read(8)
        at += 8 + storage.elements * _BYTES[storage.dtype]
        if at > end:
            raise CheckpointError(
                f"{machine.what}: storage {key[:80]!r} ends at byte {at}, but the file has {end}: "
                "it was cut short; copy or download it again"
            )
        (elements,) = struct.unpack(f"{order}q", count)
        if elements != storage.elements:
            raise CheckpointError(
                f"{machine.what}: storage {key[:80]!r} has {elements} elements: expected "
                f"{storage.elements}"
            )
        starts[key] = at - storage.elements * _BYTES[storage.dtype]
    return starts


def _tensors(pickled: object, what: str) -> dict[str, Tensor]:
    """The tensors of a state_dict, out of the dicts and the prefix that training scripts add."""
    for _ in range(_MAX_NESTING):
        if not isinstance(pickled, dict):
            break
        inner = [pickled[name] for name in _WRAPPERS if isinstance(pickled.get(name), dict)]
        if not inner:
            break
        pickled = inner[0]
    if not isinstance(pickled, dict):
        raise CheckpointError(
            f"{what}: holds a {type(pickled).__name__}: expected a state_dict; {SAVE_WEIGHTS}"
        )
    tensors: dict[str, Tensor] = {}
    others: list[str] = []
    for name, value in pickled.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value
        else:
            others.append(str(name))
    if others or not tensors:
        found = f"found other things under {listed(others)}" if others else "found it empty"
        raise CheckpointError(
            f"{what}: expected a state_dict, a dict of tensors; {found}; {SAVE_WEIGHTS}"
        )
    for _ in range(_MAX_NESTING):
        wrapped = [each for each in _WRAPPING if all(name.startswith(each) for name in tensors)]
        if not wrapped:
            break
        tensors = {name.removeprefix(wrapped[0]): tensor for name, tensor in tensors.items()}
    return tensors
