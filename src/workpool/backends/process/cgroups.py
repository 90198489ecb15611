"""Where the kernel shows what it allows the control group of this process, and those that group is in.

Each limit holds for all groups below it, so the smallest on the way up counts. systemd (a ``CPUQuota``), Slurm
and a ``docker run --cgroupns=host`` put a process into a group far below what is mounted.
"""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["MINE", "ROOT", "folders"]

ROOT = "/sys/fs/cgroup"
MINE = "/proc/self/cgroup"


# No pathlib: it takes four milliseconds to load, and the first process waits for this.
def folders(
    controller: str, root: str | os.PathLike[str] | None = None
) -> tuple[list[str], list[str]]:
    """List the folders of a controller, of version 2 and of version 1, the innermost group's first.

    In a container the path may be that of the host, and not be there; what is mounted, and comes last,
    is the container's own.
    """
    top = os.fspath(ROOT if root is None else root)
    two: list[str] = []
    one: list[str] = []
    with suppress(OSError, ValueError):
        with open(MINE, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                two = _upwards(top, path)
            elif controller in controllers.split(","):
                one = _upwards(os.path.join(top, controller), path)
    return [*two, top], [*one, os.path.join(top, controller)]


def _upwards(top: str, path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if ".." in parts:  # outside of what is mounted here
        return []
    return [os.path.join(top, *parts[:depth]) for depth in range(len(parts), 0, -1)]
