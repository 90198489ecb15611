"""A record lock on one byte of an arena's lock file: the kernel drops it with the process.

The other way a `RobustLock` is made, for systems without robust mutexes. The
kernel does not tell the threads of a process apart, so all copies of the lock
in one process share a gate, and go through it one at a time. Order: the gate,
then the record lock; back in the other order, for the record lock is the
process's, and so would be the next thread's as well.

Waiting is looking again, every few milliseconds: the call that would wait in
the kernel takes threads of one process for one waiter, and sees deadlocks
where there are none.

A thread that ends as owner while its process lives keeps the lock.

Nor does the kernel tell interpreters of a process apart, and these have no gate in common:
a lock that comes from another interpreter of this process is refused.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from workpool._compat import RLock
from workpool.errors import Unsupported

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["RecordLock"]

_FIRST_NAP, _LONGEST_NAP = 0.0002, 0.005  # seconds between two looks


class RecordLock:
    """A lock on the byte of the lock file whose number is the lock's place in the arena.

    Parameters
    ----------
    region : Region
        Where the lock is thought to lie.
    offset : int
        Where in the region.
    """

    def __init__(self, region: Region, offset: int) -> None:
        if region.arena.maker < 0:  # another interpreter of this process
            message = (
                "a lock that is shared here is made of record locks, which do not keep interpreters of one process "
                "apart: this system has no robust mutexes, or WORKPOOL_RECORD_LOCKS is set. Use "
                'backend="process" for tasks that share state.'
            )
            raise Unsupported(message)
        self._region = region  # keeps its place, and the descriptor open
        self._fd = region.arena.locks_fd
        self._byte = region.offset + offset
        with _lock:
            self._gate = _gates.setdefault((region.arena.token, self._byte), _Gate())

    def take(self) -> int:
        """Try once: 0 or an error number."""
        gate = self._gate
        if gate.owner == threading.get_ident():
            return errno.EDEADLK
        try:
            if not gate.lock.acquire(blocking=False):
                return errno.EBUSY
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte)
            gate.owner = threading.get_ident()
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EAGAIN}:
                gate.leave()
                return errno.EBUSY
            # Both may be ours, or neither: a time limit is an OSError, too. If the gate can be passed, no
            # other thread of this process is inside, and none can lose the record lock.
            try:
                if gate.lock.acquire(blocking=False):
                    try:
                        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._byte)
                    finally:
                        gate.leave()
            finally:
                gate.leave()
            raise
        return 0

    def give(self) -> None:
        """Unlock; nothing happens if it is not this thread's."""
        gate = self._gate
        if gate.owner != threading.get_ident():
            return
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._byte)
        gate.owner = 0
        gate.leave()

    def settle(self, code: int, timeout: float | None) -> int:
        """Wait for what `take` did not get: 0 means ours, anything else not."""
        deadline = None if timeout is None else time.monotonic() + timeout
        nap = _FIRST_NAP
        while code:
            if code == errno.EDEADLK and deadline is None:
                return code
            left = nap if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return errno.EBUSY
            time.sleep(min(nap, left))
            nap = min(2 * nap, _LONGEST_NAP)
            code = self.take()
        return code

    def undo(self, code: int) -> None:
        """Give the lock back if `code` means that it may be ours; if it is not, nothing happens."""
        if code == 0:
            self.give()


class _Gate:
    """Lets one thread of this process at a time come to a record lock."""

    __slots__ = ("__weakref__", "lock", "owner")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Open it: a forked child has none of its parent's threads, nor its record locks."""
        self.lock = RLock()  # for it knows its owner, so that anyone may try to leave
        self.owner = 0  # the thread that has both the gate and the record lock

    def leave(self) -> None:
        """Let the next thread in, if this one is inside."""
        try:
            self.lock.release()
        except RuntimeError:
            pass  # an exception struck before this thread was in


_lock = RLock()  # guards _gates
_gates: WeakValueDictionary[tuple[str, int], _Gate] = WeakValueDictionary()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread may have had it when the fork came
    _lock = RLock()
    for gate in list(_gates.values()):
        gate.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
