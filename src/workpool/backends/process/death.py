"""Why a worker process died, in words: exit code, signal, or the kernel's OOM killer."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from workpool.backends.process.cgroups import folders

__all__ = ["cause_of_death", "out_of_memory_kills"]


def out_of_memory_kills() -> int:
    """Count the processes of this cgroup that the OOM killer has ended; 0 where nobody counts."""
    two, one = folders("memory")
    counters = [os.path.join(folder, "memory.events") for folder in two]
    counters += [os.path.join(folder, "memory.oom_control") for folder in one]
    for counter in counters:
        with suppress(OSError, ValueError):
            with open(counter, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
            for line in lines:
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
