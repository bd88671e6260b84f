"""Counters in memory that a parent and its workers share, and Prometheus's text of them.

Each worker writes a row of its own, from its event loop alone; whoever is asked for /metrics adds
the rows up. A worker that takes a dead one's place goes on with its row, so no counter falls.

What is counted, and what a row holds, is the table _FAMILIES.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

STATUSES = (200, 400, 404, 405, 408, 413, 415, 422, 499, 500, 503)
KINDS = (
    *("malformed", "not_found", "method", "slow", "too_large", "format", "undecodable"),
    *("gone", "internal", "busy", "model"),
)
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, "+Inf")


class _Family(NamedTuple):
    """A metric of Prometheus's; `fields` are places of a row, by the labels of their samples."""

    name: str
    kind: str
    what: str
    fields: Mapping[str, str]


def _labelled(label: str, values: tuple[object, ...]) -> dict[str, str]:
    return {f'{{{label}="{value}"}}': f"{label} {value}" for value in values}


_HISTOGRAM = "request_seconds"
_LASTING = "most_arenas"  # a gauge that stays when a worker begins; the others are 0 again
_FAMILIES = (
    _Family(
        "requests_total",
        "counter",
        "Requests answered, by status (499: the client left).",
        _labelled("code", STATUSES),
    ),
    _Family("errors_total", "counter", "Requests without an answer.", _labelled("kind", KINDS)),
    _Family(
        _HISTOGRAM,
        "histogram",
        "From a request's header to its answer, of requests for predictions.",
        {**_labelled("le", BUCKETS), "_sum": "seconds"},
    ),
    _Family("images_total", "counter", "Images answered.", {"": "images"}),
    _Family(
        "image_seconds_total", "counter", "Decoding, resizing, cropping.", {"": "image_seconds"}
    ),
    _Family("network_seconds_total", "counter", "Running the network.", {"": "network_seconds"}),
    _Family("running", "gauge", "Images that are decoded or run.", {"": "running"}),
    _Family("waiting", "gauge", "Requests that wait for their turn.", {"": "waiting"}),
    _Family("held_bytes", "gauge", "Bytes of bodies held.", {"": "held_bytes"}),
    _Family("arenas_in_use", "gauge", "Arenas in use, when last looked at.", {"": "arenas"}),
    _Family(
        "arenas_peak",
        "gauge",
        "Arenas in use at once at most, added up over workers.",
        {"": _LASTING},
    ),
    _Family("model_reloads_total", "counter", "Models replaced.", {"": "reloads"}),
    _Family("model_reload_failures_total", "counter", "Files refused.", {"": "failed_reloads"}),
    _Family("worker_starts_total", "counter", "Workers begun.", {"": "starts"}),
)
_FIELDS = [field for family in _FAMILIES for field in family.fields.values()]
_GAUGES = [
    field
    for family in _FAMILIES
    for field in family.fields.values()
    if family.kind == "gauge" and field != _LASTING
]
_AT = {field: index for index, field in enumerate(_FIELDS)}


class Metrics:
    """The rows of `workers`; `worker` says which of them this process writes."""

    def __init__(self, workers: int = 1) -> None:
        self._memory = mmap.mmap(-1, 8 * len(_FIELDS) * workers)  # shared with forked children
        self._rows: Any = memoryview(self._memory).cast("d")
        self._base = 0

    def become(self, worker: int) -> None:
        """This process is that worker from now on."""
        self._base = worker * len(_FIELDS)
        for field in _GAUGES:
            self.set(field, 0.0)
        self.add("starts")

    def add(self, field: str, count: float = 1.0) -> None:
        """Adds to a counter of this worker."""
        self._rows[self._base + _AT[field]] += count

    def set(self, field: str, value: float) -> None:
        """Sets a gauge of this worker."""
        self._rows[self._base + _AT[field]] = value

    def raise_to(self, field: str, value: float) -> None:
        """Sets a gauge of this worker that may only grow."""
        at = self._base + _AT[field]
        self._rows[at] = max(self._rows[at], value)

    def answered(self, status: int, kind: str | None, seconds: float | None = None) -> None:
        """A request has got its status; `seconds` if it was one for an answer."""
        self.add(f"code {status if status in STATUSES else 500}")
        if kind is not None:
            self.add(f"kind {kind if kind in KINDS else 'internal'}")
        if seconds is not None:
            self.add(f"le {next(each for each in BUCKETS if seconds <= float(each))}")
            self.add("seconds", seconds)

    def total(self, field: str) -> float:
        """The sum of all workers."""
        rows = range(_AT[field], len(self._rows), len(_FIELDS))
        return float(sum(self._rows[at] for at in rows))

    def answers_of(self, worker: int) -> float:
        """The requests that one worker has answered, whatever with."""
        row = worker * len(_FIELDS)
        return float(sum(self._rows[row + _AT[f"code {status}"]] for status in STATUSES))

    def text(self, models: dict[str, str]) -> str:
        """All rows added up, in Prometheus's text format 0.0.4; `models` are names and
        identities."""
        lines: list[str] = []
        for family in _FAMILIES:
            samples = {labels: self.total(field) for labels, field in family.fields.items()}
            if family.name == _HISTOGRAM:
                samples = _accumulated(samples)
            lines += _family(family.name, family.kind, family.what, samples)
        served = {
            f'{{model="{name}",identity="{identity}"}}': 1.0 for name, identity in models.items()
        }
        lines += _family("model_info", "gauge", "Models served, as this worker has them.", served)
        resident = _resident_bytes()
        if resident is not None:
            lines += _family("worker_resident_bytes", "gauge", "Of this worker.", {"": resident})
        return "\n".join(lines) + "\n"


def _accumulated(samples: dict[str, float]) -> dict[str, float]:
    """Of a histogram: each bucket holds those below it, too."""
    below, found = 0.0, {}
    for labels, count in samples.items():
        if labels.startswith("{"):
            below += count
            found[f"_bucket{labels}"] = below
    return {**found, "_sum": samples["_sum"], "_count": below}


def _family(name: str, kind: str, what: str, samples: Mapping[str, float]) -> list[str]:
    return [
        f"# HELP mnv2_{name} {what}",
        f"# TYPE mnv2_{name} {kind}",
        *(f"mnv2_{name}{labels} {value:.9g}" for labels, value in samples.items()),
    ]


def _resident_bytes() -> float | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return float(int(file.read().split()[1]) * mmap.PAGESIZE)
    except (OSError, ValueError, IndexError):
        return None
