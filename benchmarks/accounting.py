"""Who belongs to a measurement, and how much CPU time all of them have used.

A pool's cost is not only its parent's: workers count, and so do the helpers that
some pools keep (fork servers, watchers, threads). A measurement runs in a session
of its own, so its members are found by their session, whoever started them. On
Linux the CPU clock of each is read to the nanosecond while it lives; what has
ended and was waited for is in `resource.getrusage`. Elsewhere only the latter is
known, and the CPU per task is that of the parent.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

LINUX = sys.platform == "linux"


def members(session: int) -> list[int]:
    """Give the processes of a session, zombies left out; empty where that cannot be told."""
    found: list[int] = []
    if not LINUX:
        return found
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                # After the name in brackets: state, parent, group, session.
                fields = file.read().rpartition(b") ")[2].split(None, 4)
        except OSError:  # it has ended since
            continue
        if int(fields[3]) == session and fields[0] != b"Z":
            found.append(int(entry))
    return found


def cpu_seconds() -> float:
    """Give the CPU time that this session's processes have used so far."""
    total = time.process_time()
    if sys.platform != "win32":
        import resource

        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        total += ended.ru_utime + ended.ru_stime
        mine = os.getpid()
        for pid in members(os.getsid(0)):
            if pid != mine:
                with suppress(OSError):
                    # Linux's name for "the CPU clock of that process, all its threads".
                    total += time.clock_gettime((~pid << 3) | 2)
    return total


def end_session(session: int) -> int:
    """Kill what is left of a measurement; give how many processes that were."""
    left = members(session)
    for pid in left:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return len(left)
