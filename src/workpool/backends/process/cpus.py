"""How many CPUs this process may really use: affinity and cgroup quota, not what the machine has."""

from __future__ import annotations

import math
import os
from contextlib import suppress

from workpool.backends.process.cgroups import folders

__all__ = ["quota_of", "usable_cpus"]


def usable_cpus(cgroup: str | os.PathLike[str] | None = None) -> int:
    """Count CPUs by affinity, capped by the quota of the cgroup (version 2 or 1); 1 at least."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota = quota_of(cgroup)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def quota_of(cgroup: str | os.PathLike[str] | None = None) -> float | None:
    """Give the CPUs' worth of time that is allowed, by this process's cgroup and by all that it is in."""
    two, one = folders("cpu", cgroup)
    quotas: list[float] = []
    for folder in two:
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = _read(folder, "cpu.max").split()
            if quota != "max":
                quotas.append(int(quota) / int(period))
    for folder in one:
        with suppress(OSError, ValueError, ZeroDivisionError):
            microseconds = int(_read(folder, "cpu.cfs_quota_us"))
            if microseconds > 0:
                quotas.append(microseconds / int(_read(folder, "cpu.cfs_period_us")))
    return min(quotas, default=None)


def _read(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), encoding="ascii") as file:
        return file.read()
