"""Why a worker process died, in words: exit code, signal, or the kernel's OOM killer."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

__all__ = ["cause_of_death", "out_of_memory_kills"]

_EVENTS = Path("/sys/fs/cgroup/memory.events")


def out_of_memory_kills() -> int:
    """Count the processes of this cgroup that the OOM killer has ended; 0 where nobody counts."""
    with suppress(OSError, ValueError):
        for line in _EVENTS.read_text().splitlines():
            name, value = line.split()
            if name == "oom_kill":
                return int(value)
    return 0


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
