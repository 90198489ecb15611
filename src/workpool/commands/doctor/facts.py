"""What there is: read from the system, nothing tried, nothing changed.

Each fact is None where this system does not tell it.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import workpool
from workpool._compat import gil_enabled
from workpool.backends.process.cgroups import folders
from workpool.backends.process.cpus import quota_of, usable_cpus
from workpool.ipc import keeper

__all__ = ["BLAS", "PACKAGES", "gather"]

# What caps the threads of numerical libraries, if set before they are loaded.
BLAS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)

# Package, and what it is for here.
PACKAGES = {
    "numpy": "arrays shared by all workers",
    "tqdm": "progress as a bar",
    "rich": 'progress="rich"',
    "joblib": "a joblib backend",
    "opentelemetry-api": "traces and metrics",
    "prometheus-client": "metrics",
    "trio": "await from trio",
    "uvloop": "a faster asyncio",
    "distributed": "Dask",
    "ray": "Ray",
}


def gather(cgroup: Path = Path("/sys/fs/cgroup"), shm: str = "/dev/shm") -> dict[str, Any]:  # noqa: S108 - looked at, not written
    """Read all facts.

    Parameters
    ----------
    cgroup : Path
        Where control groups are mounted.
    shm : str
        Where shared memory lies.

    Returns
    -------
    dict
        Facts by name, all fit for JSON.
    """
    return {
        "workpool": workpool.__version__,
        "python": _python(),
        "system": _system(),
        "cpus": _cpus(cgroup),
        "start_methods": _start_methods(),
        "blas_threads": {name: os.environ[name] for name in BLAS if name in os.environ},
        "shared_memory": _shared_memory(shm),
        "memory": _memory(cgroup),
        "limits": _limits(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _python() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "free_threaded_build": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "gil": gil_enabled(),
    }


def _system() -> dict[str, Any]:
    return {
        "name": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
    }


def _cpus(cgroup: Path) -> dict[str, Any]:
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "machine": os.cpu_count(),
        "affinity": len(affinity(0)) if affinity is not None else None,
        "quota": quota_of(cgroup),
        "usable": usable_cpus(cgroup),
    }


def _start_methods() -> dict[str, Any]:
    return {"there": list(keeper.START_METHODS), "default": keeper.default_start_method()}


def _shared_memory(folder: str) -> dict[str, int] | None:
    try:
        there = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return {
        "size": there.f_frsize * there.f_blocks,
        "free": there.f_frsize * there.f_bavail,
    }


def _memory(cgroup: Path) -> dict[str, int | None]:
    two, one = folders("memory", cgroup)
    names = [(Path(folder), "memory.max", "memory.current") for folder in two]
    names += [(Path(folder), "memory.limit_in_bytes", "memory.usage_in_bytes") for folder in one]
    limits: list[tuple[int, int | None]] = []
    for folder, most, now in names:
        limit = _number(folder / most)
        if limit is not None:
            limits.append((limit, _number(folder / now)))
    limit, used = min(limits, key=lambda each: each[0], default=(None, None))
    return {"available": _available(), "limit": limit, "used": used}


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    """Read a limit; None where there is no such file, or no limit."""
    try:
        number = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return number if number < 1 << 60 else None


def _limits() -> dict[str, int | None]:
    """Give the soft limits of this process; None where there is none."""
    try:
        import resource
    except ImportError:
        return {}
    found: dict[str, int | None] = {}
    for name in ("NOFILE", "NPROC", "AS"):
        kind: int | None = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            soft, _ = resource.getrlimit(kind)
            found[name] = None if soft == resource.RLIM_INFINITY else soft
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
