"""How many threads a process may keep busy."""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import InputError

MOST_THREADS = 64  # MNV2_MAX_THREADS of kernels/mnv2.h


def thread_count(threads: object) -> int:
    """`threads` as a number: itself, or for "auto" the CPUs of the affinity mask, cut by the
    cgroup's quota. Raises InputError for anything but "auto" and 1 to 64."""
    if threads == "auto":
        return min(usable_cpus(), MOST_THREADS)
    if isinstance(threads, int) and not isinstance(threads, bool) and 1 <= threads <= MOST_THREADS:
        return threads
    raise InputError(f'threads {threads!r}: expected 1 to {MOST_THREADS}, or "auto"')


def usable_cpus() -> int:
    """CPUs that this process may run on at once, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quota = _cgroup_quota()
    # A thread beyond the quota would spend the others' time and have all of them stopped.
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def _cgroup_quota(root: str = "/") -> float | None:
    """CPUs of time that the cgroup of this process and those around it have, as far as they can
    be seen; None where that is not limited."""
    quotas = []
    for line in _text(root, "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        version_2 = controllers == ""
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        folder = "sys/fs/cgroup" if version_2 else "sys/fs/cgroup/cpu"
        read = _quota_of_version_2 if version_2 else _quota_of_version_1
        for name in ("", *path.strip("/").split("/")):
            folder = os.path.join(folder, name)
            with suppress(ValueError, ZeroDivisionError):
                quotas.append(read(root, folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of_version_2(root: str, folder: str) -> float | None:
    quota, _, period = _text(root, folder, "cpu.max").partition(" ")  # "max 100000"
    return None if quota in ("", "max") else int(quota) / int(period)


def _quota_of_version_1(root: str, folder: str) -> float | None:
    quota = int(_text(root, folder, "cpu.cfs_quota_us") or -1)
    return None if quota < 0 else quota / int(_text(root, folder, "cpu.cfs_period_us"))


def _text(*path: str) -> str:
    """What a small file says; nothing where it cannot be read."""
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
