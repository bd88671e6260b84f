"""What the service does with an image: one entry an endpoint.

To add one, write its entry into ENDPOINTS. The application then answers `/NAME` and
`/models/MODEL/NAME`, and the OpenAPI document, the list of paths and the metrics know it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..answers import DEFAULT_THRESHOLD
from ..detect.found import Box
from ..engine import Engine
from .limits import Limits
from .request import Refused

MAX_DIGITS = 24  # of a parameter


class Parameter(NamedTuple):
    """A number of the query."""

    name: str
    what: str  # for the OpenAPI document
    kind: type[int] | type[float]
    default: float
    least: float
    most: Callable[[Limits], float]

    def schema(self, limits: Limits) -> dict[str, Any]:
        """Its schema in OpenAPI."""
        return {
            "type": "integer" if self.kind is int else "number",
            "minimum": self.least,
            "maximum": self.most(limits),
            "default": self.default,
        }

    def read(self, text: str | None, limits: Limits) -> float:
        """The number that `text` says. Raises Refused (400)."""
        if text is None:
            return self.default
        most = self.most(limits)
        plain = text.isascii() and len(text) <= MAX_DIGITS and not set(text) & set("_ \t\r\n")
        try:
            value = self.kind(text) if plain else None
        except ValueError:
            value = None
        if value is None or not self.least <= value <= most:  # not a number, either
            raise Refused(
                400,
                "malformed",
                f"{self.name} {text!r:.40}: expected a number from {self.least:g} to {most:g}",
            )
        return value


class Endpoint(NamedTuple):
    """`run(engine, image, **parameters, **bounds)` gives what the answer holds beside the file,
    the model and the time. `bounds` are those of Engine.predict: max_pixels and formats. It runs in
    a thread, and may raise what Engine raises: InputError is answered with 422, UnsupportedError
    with 404."""

    summary: str
    run: Callable[..., dict[str, Any]]
    parameters: tuple[Parameter, ...]
    answer: dict[str, Any]  # OpenAPI schemas of what `run` gives

    def read(self, query: dict[str, str], limits: Limits) -> dict[str, float]:
        """The parameters of a request. Raises Refused (400)."""
        known = [each.name for each in self.parameters]
        for name in query:
            if name not in known:
                raise Refused(
                    400, "malformed", f"parameter {name[:40]!r}: expected {', '.join(known)} alone"
                )
        return {each.name: each.read(query.get(each.name), limits) for each in self.parameters}


def _classify(engine: Engine, image: memoryview, top_k: int, **bounds: Any) -> dict[str, Any]:
    found = engine.predict(image, top_k, **bounds)
    return {"predictions": [each._asdict() for each in found]}


def _detect(
    engine: Engine, image: memoryview, threshold: float, max_objects: int, **bounds: Any
) -> dict[str, Any]:
    found = engine.detect(image, threshold, max_objects, **bounds)
    return {"objects": [{**each._asdict(), "box": each.box._asdict()} for each in found]}


TOP_K = Parameter("top_k", "How many to answer with.", int, 5, 1, lambda limits: limits.top_k)
THRESHOLD = Parameter(
    "threshold", "Leave out what scores so much or less.", float, DEFAULT_THRESHOLD, 0, lambda _: 1
)
MAX_OBJECTS = Parameter(
    "max_objects", "How many to answer with at most.", int, 100, 1, lambda limits: limits.top_k
)
LABEL = {"label": {"type": "string"}, "index": {"type": "integer", "minimum": 0}}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
# In pixels of the upright image.
BOX = {
    "type": "object",
    "required": list(Box._fields),
    "properties": {name: {"type": "number", "minimum": 0} for name in Box._fields},
}


def listed(**properties: Any) -> dict[str, Any]:
    """The schema of a list of objects that have all of these."""
    return {
        "type": "array",
        "items": {"type": "object", "required": list(properties), "properties": properties},
    }


ENDPOINTS: dict[str, Endpoint] = {
    "classify": Endpoint(
        "Classify an image",
        _classify,
        (TOP_K,),
        {"predictions": listed(**LABEL, probability=SHARE)},
    ),
    "detect": Endpoint(
        "Find objects in an image",
        _detect,
        (THRESHOLD, MAX_OBJECTS),
        {"objects": listed(**LABEL, score=SHARE, box=BOX)},
    ),
}
