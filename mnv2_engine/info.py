"""What an engine is and how it runs, for programs and for people."""

from __future__ import annotations

from .untyped import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .model.input_spec import InputSpec
    from .network.layer import Network


class Info(NamedTuple):
    """What an engine is and how it runs. `str()` is a table for people."""

    backend: str  # "c", "numba" or "numpy"
    threads: int  # that share the work of one image
    isa: str | None  # instruction set of the C core, as MNV2_ISA names it
    mapped: bool  # weights are used where the file is mapped; False: they were copied
    path: str
    network: Network
    input_spec: InputSpec
    labels: int  # how many; 0 where the model file has none
    dtype: str  # of the weights
    precision: str  # what it computes in: "float32", "bfloat16" or "int8"
    provenance: dict[str, str]
    arena_bytes: int
    weight_bytes: int
    private: bool = False  # the weights are a copy that was asked for

    def __str__(self) -> str:
        from .plan.shown.table import kib

        network = self.network
        height, width = network.resolution
        spec = self.input_spec
        rows = [
            ("model", self.path),
            ("architecture", f"{network.name}, {network.padding} padding"),
            ("classes", self._classes()),
            ("input", f"{height} × {width} RGB, (pixel - {spec.mean}) / {spec.std}"),
            ("resize", f"{spec.resample}, {self._framed()}"),
            ("weights", f"{kib(self.weight_bytes)} {self.dtype}, {self._storage()}"),
            ("arena", kib(self.arena_bytes)),
            ("precision", self.precision),
            ("backend", f"{self.backend} ({self.isa})" if self.isa else self.backend),
            ("threads", str(self.threads)),
            *((key, value) for key, value in self.provenance.items()),
        ]
        return "\n".join(f"{key:<14}{value}" for key, value in rows)

    def _framed(self) -> str:
        crop = f"centre crop of {self.input_spec.crop_fraction:g}"
        if self.input_spec.fit == "crop":
            return crop
        return "squashed" if self.input_spec.crop_fraction == 1.0 else f"squashed, {crop}"

    def _classes(self) -> str:
        if not self.network.classes:
            return f"none: {self.network.features} features are the answer"
        said = f"{self.network.classes}, {'labelled' if self.labels else 'no labels'}"
        return said if self.network.answer == "softmax" else f"{said}, by {self.network.answer}"

    def _storage(self) -> str:
        if self.mapped:
            return "mapped"
        if self.private:
            return "copied, as private=True asks"
        return "copied: the file's members are compressed or unaligned"
