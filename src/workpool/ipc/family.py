"""Ending the processes that a worker has started: its group, and on Linux those that left the group.

A child that a task starts belongs to the worker's process group, and one kill of the
group ends them all. A child with a session of its own does not. Where ``/proc``
shows who descends from whom, it is found nevertheless:

- When the parent is gone, the process that ends all workers first asks to be given the orphans of
  its descendants, so nobody gets out of its sight by the death of a parent.
- When one worker is ended, its descendants are looked up while it is there. Each is stopped
  before its children are read, and so makes no others meanwhile.

What is not ended: a daemon, which has let go of its parents on purpose (two forks,
of which the first has ended) while its worker was well; and, after the death of a worker that
nobody had asked for, a child in a session of its own. The kernel has given it away by then, just as
it does with a daemon, and nothing tells the two apart.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from workpool._compat import LINUX
from workpool.ipc.prctl import prctl

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["end_children", "kill_family", "kill_group", "take_dead"]

_PR_SET_CHILD_SUBREAPER = 36
# A descriptor keeps the number of a process from being taken for another's.
CAN_HOLD = LINUX and hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")
_MOST_ROUNDS = 1_000  # somebody may fork as fast as we look; not for ever


def kill_group(pid: int) -> None:
    """Kill a worker and the children in its process group."""
    for kill in (os.killpg, os.kill):
        with suppress(OSError):
            kill(pid, signal.SIGKILL)


def kill_family(pid: int) -> None:
    """Kill a worker that is alive, the children in its process group, and on Linux all that descends from it.

    Most have no child: they are not stopped, which would cost a switch of processes. One that makes its first child
    between that look and the kill, and gives it a session, was quicker than we.
    """
    family: list[int] = []
    try:
        if CAN_HOLD and _children_of(pid):
            for stop in (os.killpg, os.kill):
                with suppress(OSError):
                    stop(pid, signal.SIGSTOP)
            _hold_descendants(pid, family)
    finally:
        kill_group(pid)
        for fd in family:
            with suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)


def _hold_descendants(pid: int, held: list[int]) -> None:
    """Stop all that descends from a process that is stopped, and add a descriptor of each."""
    for child in _children_of(pid):
        with suppress(OSError):  # gone, or no descriptor left: its group is killed all the same
            fd = os.pidfd_open(child)
            held.append(fd)
            if _parent_of(child) != pid:  # it has ended, and the number is another's
                os.close(held.pop())
                continue
            signal.pidfd_send_signal(fd, signal.SIGSTOP)
            _hold_descendants(child, held)


def _children_of(pid: int) -> list[int]:
    """List the children of a process, of all its threads; those that can be told, when it ends meanwhile."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def take_dead(pid: int) -> tuple[int, int]:
    """Take in the end of a child (``-1``: of any), if there is one: pid and wait status, or zeros.

    One that did not end in order takes its group along, whose number is its own
    as long as it is not taken in.
    """
    if hasattr(os, "waitid"):
        which = os.P_ALL if pid < 0 else os.P_PID
        dead = os.waitid(which, max(0, pid), os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if dead is None:
            return 0, 0
        pid = dead.si_pid
        if dead.si_status:
            kill_group(pid)
        return os.waitpid(pid, 0)
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended and status:
        with suppress(OSError):
            os.killpg(ended, signal.SIGKILL)
    return ended, status


def end_children(workers: Iterable[int]) -> None:
    """Kill all that descends from this process, first of all these groups of its children."""
    # The kernel gives the orphans of our descendants to us, not to init.
    adopting = prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for pid in workers:
        kill_group(pid)
    if not adopting:
        return
    for _ in range(_MOST_ROUNDS):
        with suppress(OSError):
            family = _descendants(os.getpid())
            for pid in family:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)  # one after the other; who had children has left them to us
        except ChildProcessError:
            return


def _descendants(root: int) -> list[int]:
    """List the processes that descend from one, as they are this moment."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, ValueError, IndexError):
                children.setdefault(_parent_of(int(entry)), []).append(int(entry))
    found: list[int] = []
    left = [root]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        # "pid (name) state ppid ..."; the name may hold anything, also brackets.
        return int(file.read().rpartition(b")")[2].split()[1])
