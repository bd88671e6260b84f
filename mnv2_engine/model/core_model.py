"""A model file as the C core reads it: in a tenth of the time that Python takes
(kernels/model/). Python reads what the core refuses, and so says why; and the layers, where someone
asks.
"""

from __future__ import annotations

import mmap

from ..untyped import TYPE_CHECKING, Any
from . import Outline
from .open_file import private_memory

if TYPE_CHECKING:
    from .class_labels import Labels
    from .input_spec import InputSpec

# Of memory to read in, most of which is not touched; a file that may need more is left to Python.
MOST_MEMORY = 8 << 20


class CoreModel:
    """What the core found in a file: a `mnv2_network *`, whose offsets count from the first byte of
    the file, and the `mnv2_model *` that tells of it."""

    def __init__(self, ffi: Any, lib: Any, memory: Any, said: Any) -> None:
        text = ffi.string
        self._memory = memory  # of the network
        self.network = ffi.cast("mnv2_network *", memory)
        self.blocks = int(said.blocks)  # of a plan
        self.outline = Outline(
            text(said.name).decode(),
            (said.height, said.width),
            text(said.answer).decode(),
            said.classes,
            said.features,
        )
        self.dtype: str = text(said.dtype).decode()
        self.weight_bytes: int = said.weight_bytes
        self.directory_crc: int = said.directory_crc
        self.meta = slice(said.meta, said.meta + said.meta_bytes)  # of the file: the JSON
        self.label_count: int = said.label_count
        self._labels = b""  # one behind another, each with its NUL
        if self.label_count:
            self._labels = bytes(ffi.buffer(said.labels, said.label_bytes))
        self._said, self._ffi, self._lib = said, ffi, lib

    def label(self, index: int) -> str:
        """One of the names of the classes, as there are."""
        with self._ffi.from_buffer("char[]", self._labels) as first:
            found = self._lib.mnv2_label(first, index)
            return str(self._ffi.string(found).decode())

    @property
    def labels(self) -> Labels | None:
        """All of them."""
        if not self.label_count:
            return None
        from .class_labels import Labels

        return Labels(self._labels[:-1].decode().split("\0"))

    @property
    def input_spec(self) -> InputSpec:
        """What pixels the network was trained on."""
        from .input_spec import InputSpec

        said = self._said
        (a, b, c), (d, e, f) = said.mean, said.std
        filter, fit = (self._ffi.string(each).decode() for each in (said.filter, said.fit))
        return InputSpec((a, b, c), (d, e, f), filter, said.crop_fraction, fit)


def read_by_core(buffer: mmap.mmap) -> CoreModel | None:
    """The model file in `buffer`; None where the C core is absent, or does not take the file."""
    try:
        from .. import _core
    except ImportError:
        return None
    ffi, lib = _core.ffi, _core.lib
    size = lib.mnv2_reading_bytes(ffi.from_buffer(buffer), len(buffer))
    if not 0 < size <= MOST_MEMORY:
        return None
    memory, said = ffi.new("char[]", lib.mnv2_network_bytes()), ffi.new("mnv2_model *")
    network = ffi.cast("mnv2_network *", memory)
    with (
        private_memory(size) as room,
        ffi.from_buffer(buffer) as file,
        ffi.from_buffer(room, require_writable=True) as start,
    ):
        if lib.mnv2_read_model(file, len(buffer), start, size, network, said) != lib.MNV2_OK:
            return None
        return CoreModel(ffi, lib, memory, said)
