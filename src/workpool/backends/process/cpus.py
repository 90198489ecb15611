"""How many CPUs this process may really use: affinity and cgroup quota, not what the machine has."""

from __future__ import annotations

import math
import os
from contextlib import suppress

__all__ = ["usable_cpus"]

_CGROUP = "/sys/fs/cgroup"


def usable_cpus(cgroup: str | os.PathLike[str] = _CGROUP) -> int:
    """Count CPUs by affinity, capped by the quota of the cgroup (version 2 or 1); 1 at least."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


# No pathlib: it takes four milliseconds to load, and the first process waits for this.
def _read(cgroup: str | os.PathLike[str], name: str) -> str:
    with open(os.path.join(cgroup, name), encoding="ascii") as file:
        return file.read()


def _quota(cgroup: str | os.PathLike[str]) -> float | None:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = _read(cgroup, "cpu.max").split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        microseconds = int(_read(cgroup, "cpu/cpu.cfs_quota_us"))
        period_us = int(_read(cgroup, "cpu/cpu.cfs_period_us"))
        return None if microseconds <= 0 else microseconds / period_us
    return None
