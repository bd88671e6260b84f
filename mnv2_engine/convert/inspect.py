"""What a checkpoint is, and what converting it still needs: nothing is written."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from .conversion import read_source
from .options import Options, missing_options, said_by


class Inspection(NamedTuple):
    """What `mnv2 inspect` tells."""

    what: str
    sha256: str
    format: str
    name: str
    classes: int
    layers: tuple[tuple[str, str, str], ...]  # name, operation, shape
    said: tuple[str, ...]  # what the file says of its use, a line each
    missing: tuple[str, ...]  # options that `mnv2 convert` needs
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "file": self.what,
            "sha256": self.sha256,
            "format": self.format,
            "network": self.name,
            "classes": self.classes,
            "layers": [
                {"name": name, "operation": operation, "shape": shape}
                for name, operation, shape in self.layers
            ],
            "says": list(self.said),
            "missing": list(self.missing),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [
            f"{self.what}: {self.format}",
            f"network: {self.name}, {self.classes} classes",
            *(f"says: {line}" for line in self.said),
            *(f"note: {line}" for line in self.notes),
            *(f"needs: --{line}" for line in self.missing),
        ]
        if not self.missing:
            lines.append("needs: nothing; mnv2 convert FILE OUT.npz")
        width = max(len(name) for name, _, _ in self.layers)
        lines.append("layers:")
        lines += [f"  {name:{width}}  {kind:9}  {shape}" for name, kind, shape in self.layers]
        return "\n".join(lines)


def inspect(source: str | os.PathLike[str]) -> Inspection:
    """Look at the checkpoint `source`. Raises what `convert` raises for a file it cannot read."""
    checkpoint, what, digest = read_source(source, Options())
    size = checkpoint.resolution or (checkpoint.own_resolution,) * 2
    padding = checkpoint.paddings[0] if checkpoint.paddings else "same"
    answer = checkpoint.answer or ("softmax" if checkpoint.classes != 1 else "linear")
    network = checkpoint.network(size, padding, answer)
    layers = []
    for layer in network.layers:
        height, width = layer.out_size
        window = f" k{layer.kernel} s{layer.stride}" if layer.kernel > 1 else ""
        activation = "" if layer.activation == "linear" else f" {layer.activation}"
        shape = f"{height}x{width}x{layer.out_channels}{window}{activation}"
        layers.append((layer.name, layer.operation, shape))
    return Inspection(
        what,
        digest,
        checkpoint.format,
        network.name,
        network.classes,
        tuple(layers),
        said_by(checkpoint),
        tuple(missing_options(checkpoint, Options())),
        checkpoint.notes,
    )
