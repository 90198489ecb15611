"""Why a worker process died, in words: exit code, signal, or the kernel's OOM killer."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

__all__ = ["cause_of_death", "out_of_memory_kills"]

_CGROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")


def out_of_memory_kills() -> int:
    """Count the processes of this cgroup that the OOM killer has ended; 0 where nobody counts."""
    for counter in _counters():
        with suppress(OSError, ValueError):
            for line in counter.read_text("utf-8", "replace").splitlines():
                name, value = line.split()
                if name == "oom_kill":
                    return int(value)
    return 0


def _counters() -> list[Path]:
    """List the files in which the kernel may count, that of the innermost cgroup first (versions 1 and 2)."""
    found: list[Path] = []
    with suppress(OSError, ValueError):
        for line in _MINE.read_text("utf-8", "surrogateescape").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                found.append(_CGROUPS / path.lstrip("/") / "memory.events")
            elif "memory" in controllers.split(","):
                found.append(_CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control")
    # In a container the path may be that of the host; what is mounted is the container's own.
    return [*found, _CGROUPS / "memory.events", _CGROUPS / "memory" / "memory.oom_control"]


def cause_of_death(exitcode: int | None, kills_before: int) -> tuple[str, bool]:
    """Say what ended a process, and whether it was for want of memory."""
    if exitcode is None:
        return "an unknown cause (its keeper died too)", False
    if exitcode >= 0:
        return f"exit code {exitcode}", False
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    if exitcode == -signal.SIGKILL and out_of_memory_kills() > kills_before:
        return f"{name}, sent by the kernel's OOM killer", True
    return f"{name} (exit code {exitcode})", False
