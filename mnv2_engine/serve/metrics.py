"""Counters in memory that a parent and its workers share, and Prometheus's text of them.

Each worker writes a row of its own, from its event loop alone; whoever is asked for /metrics adds
the rows up. A worker that takes a dead one's place goes on with its row, so no counter falls.
"""

from __future__ import annotations

import mmap
import sys
from typing import Any

STATUSES = (200, 400, 404, 405, 408, 413, 415, 422, 499, 500, 503)
KINDS = (
    *("malformed", "not_found", "method", "slow", "too_large", "format", "undecodable"),
    *("gone", "internal", "busy", "model"),
)
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_GAUGES = ("running", "waiting", "held_bytes", "arenas")  # 0 again in a worker that begins
_OTHERS = (
    *("seconds", "images", "image_seconds", "network_seconds", "most_arenas"),
    *("reloads", "failed_reloads", "starts"),
)
_FIELDS = (
    *(f"status {status}" for status in STATUSES),
    *(f"error {kind}" for kind in KINDS),
    *(f"bucket {bound}" for bound in (*BUCKETS, "+Inf")),
    *_GAUGES,
    *_OTHERS,
)
_AT = {name: index for index, name in enumerate(_FIELDS)}


class Metrics:
    """The rows of `workers`; `worker` says which of them this process writes."""

    def __init__(self, workers: int = 1) -> None:
        self._memory = mmap.mmap(-1, 8 * len(_FIELDS) * workers)  # shared with forked children
        self._rows: Any = memoryview(self._memory).cast("d")
        self._workers = workers
        self._base = 0

    def become(self, worker: int) -> None:
        """This process is that worker from now on."""
        self._base = worker * len(_FIELDS)
        for name in _GAUGES:
            self.set(name, 0.0)
        self.add("starts")

    def add(self, name: str, count: float = 1.0) -> None:
        """Adds to a counter of this worker."""
        self._rows[self._base + _AT[name]] += count

    def set(self, name: str, value: float) -> None:
        """Sets a gauge of this worker."""
        self._rows[self._base + _AT[name]] = value

    def raise_to(self, name: str, value: float) -> None:
        """Sets a gauge of this worker that may only grow."""
        at = self._base + _AT[name]
        self._rows[at] = max(self._rows[at], value)

    def answered(self, status: int, kind: str | None, seconds: float | None = None) -> None:
        """A request has got its status; `seconds` if it was one for an answer."""
        self.add(f"status {status if status in STATUSES else 500}")
        if kind is not None:
            self.add(f"error {kind if kind in KINDS else 'internal'}")
        if seconds is not None:
            bucket = next((bound for bound in BUCKETS if seconds <= bound), "+Inf")
            self.add(f"bucket {bucket}")
            self.add("seconds", seconds)

    def total(self, name: str) -> float:
        """The sum of all workers."""
        rows = range(_AT[name], len(self._rows), len(_FIELDS))
        return float(sum(self._rows[at] for at in rows))

    def text(self, models: dict[str, str]) -> str:
        """All rows added up, in Prometheus's text format 0.0.4; `models` are names and
        identities."""
        lines: list[str] = []

        def family(name: str, kind: str, what: str, samples: dict[str, float]) -> None:
            lines.extend([f"# HELP mnv2_{name} {what}", f"# TYPE mnv2_{name} {kind}"])
            lines.extend(f"mnv2_{name}{labels} {value:.9g}" for labels, value in samples.items())

        def one(name: str, kind: str, what: str, field: str) -> None:
            family(name, kind, what, {"": self.total(field)})

        family(
            "requests_total",
            "counter",
            "Requests answered, by status (499: the client left).",
            {f'{{code="{status}"}}': self.total(f"status {status}") for status in STATUSES},
        )
        family(
            "errors_total",
            "counter",
            "Requests without an answer, by kind.",
            {f'{{kind="{kind}"}}': self.total(f"error {kind}") for kind in KINDS},
        )
        below = 0.0
        samples = {}
        for bound in (*BUCKETS, "+Inf"):
            below += self.total(f"bucket {bound}")
            samples[f'_bucket{{le="{bound}"}}'] = below
        family(
            "request_seconds",
            "histogram",
            "From a request's header to its answer, of requests for predictions.",
            {**samples, "_sum": self.total("seconds"), "_count": below},
        )
        one("images_total", "counter", "Images answered.", "images")
        one(
            "image_seconds_total",
            "counter",
            "Decoding, resizing and cropping.",
            "image_seconds",
        )
        one("network_seconds_total", "counter", "Running the network.", "network_seconds")
        one("running", "gauge", "Images that are decoded or run.", "running")
        one("waiting", "gauge", "Requests that wait for their turn.", "waiting")
        one("held_bytes", "gauge", "Bytes of bodies held.", "held_bytes")
        one("arenas_in_use", "gauge", "Arenas in use, when last looked at.", "arenas")
        one(
            "arenas_peak",
            "gauge",
            "Arenas in use at once at most, added up over workers.",
            "most_arenas",
        )
        one("model_reloads_total", "counter", "Models replaced.", "reloads")
        one("model_reload_failures_total", "counter", "Files refused.", "failed_reloads")
        one("worker_starts_total", "counter", "Workers begun.", "starts")
        family(
            "model_info",
            "gauge",
            "Models served, as this worker has them.",
            {f'{{model="{name}",identity="{identity}"}}': 1.0 for name, identity in models.items()},
        )
        resident = _resident_bytes()
        if resident is not None:
            family("worker_resident_bytes", "gauge", "Of this worker.", {"": resident})
        return "\n".join(lines) + "\n"


def _resident_bytes() -> float | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return float(int(file.read().split()[1]) * mmap.PAGESIZE)
    except (OSError, ValueError, IndexError):
        return None
