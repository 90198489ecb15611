"""How much memory could be taken, at a guess: what the system has free, and the cgroup allows."""

from __future__ import annotations

from pathlib import Path

from workpool.ipc.strikes import forgiving

__all__ = ["available"]

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Give the bytes that are free, or could be made so; None where nobody says.

    The kernel takes shared memory from who asks for more than there is by ending a process,
    so this has to be known before.
    """
    found = [room for room in (_of_system(meminfo), _of_cgroup(cgroup)) if room is not None]
    return min(found) if found else None


def _of_system(meminfo: Path) -> int | None:
    with forgiving(OSError, ValueError, KeyError):
        lines = (line.split(":", 1) for line in meminfo.read_text("utf-8").splitlines())
        kilobytes = {name: int(value.split()[0]) for name, value in lines}
        return 1024 * (kilobytes["MemAvailable"] + kilobytes["SwapFree"])
    return None


def _of_cgroup(cgroup: Path) -> int | None:
    with forgiving(OSError, ValueError):
        most = (cgroup / "memory.max").read_text("utf-8").strip()
        used = int((cgroup / "memory.current").read_text("utf-8"))
        return None if most == "max" else max(0, int(most) - used + _files(cgroup))
    with forgiving(OSError, ValueError):
        version_1 = cgroup / "memory"
        limit = int((version_1 / "memory.limit_in_bytes").read_text("utf-8"))
        used = int((version_1 / "memory.usage_in_bytes").read_text("utf-8"))
        return max(0, limit - used + _files(version_1))
    return None


def _files(cgroup: Path) -> int:
    """Count the bytes of files kept in memory that nobody uses now: counted as used, and given up when asked."""
    with forgiving(OSError, ValueError):
        for line in (cgroup / "memory.stat").read_text("utf-8").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0
