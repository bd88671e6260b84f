"""What a model file says beside its weights, as texts for people and for other formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import __version__
from ..model.meta import encode

if TYPE_CHECKING:
    from ..model.modelfile import ModelFile

_SAID = ("network", "preprocessing", "labels", "provenance")


def description(model: ModelFile) -> dict[str, str]:
    """Texts by name, all but the first two JSON as in the `meta` of docs/model-file.md.

    `labels` and `provenance` are absent where there are none.
    """
    import json

    network = model.network
    meta = encode(network, model.input_spec, model.labels, model.provenance)
    said = {key: value for key, value in json.loads(meta).items() if key in _SAID and value}
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in said.items()}
    return {"name": network.name, "exporter": f"mnv2_engine {__version__}", **texts}


def feeding(model: ModelFile) -> str:
    """How a pixel of 0 to 255 becomes an element of the exported network's input."""
    if model.dtype == "int8":
        return "RGB pixels, 0 to 255, as they are"
    mean, std = (_three(values) for values in model.input_spec[:2])
    return f"RGB, (pixel - {mean}) / {std}, of pixels from 0 to 255"


def _three(values: tuple[float, ...]) -> str:
    """A number for each channel, or one for all."""
    texts = [f"{value:.9g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"
