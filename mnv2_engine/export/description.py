"""What a model file says beside its weights, as texts for the metadata of other formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import __version__
from ..input_spec import to_json

if TYPE_CHECKING:
    from ..modelfile import ModelFile

_ARCHITECTURE_KEYS = ("family", "width", "divisor", "resolution", "classes", "padding")


def description(model: ModelFile) -> dict[str, str]:
    """Texts by name, all but the first two JSON as in the `meta` of docs/model-file.md.

    `labels` is absent where there are none.
    """
    import json

    network = model.architecture
    said: dict[str, object] = {
        "architecture": {key: getattr(network, key) for key in _ARCHITECTURE_KEYS},
        "preprocessing": to_json(model.input_spec),
        "provenance": dict(sorted(model.provenance.items())),
    }
    if model.labels is not None:
        said["labels"] = model.labels
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in said.items()}
    return {"name": network.name, "exporter": f"mnv2_engine {__version__}", **texts}
