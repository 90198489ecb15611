"""A lock in shared memory that the death of its owner releases.

Where the system has them, this is a robust mutex (``mutex.py``); elsewhere a
record lock (``record_lock.py``). Beside it lies a word that names the owner: it
tells a death where the kernel does not, and who has the lock.

States of the lock, as the memory shows them
    free; owned; owned by a thread that is gone. There is no fourth.

Guarantees
    * At most one thread of all processes owns it.
    * An owner that dies, at any instant and however, blocks no one.
    * The owner after a death sees ``owner_died`` true, unless the dead one had
      not come to anything yet, or had done all and was about to leave.
    * Only the thread that owns it can release it; a thread that would wait for
      itself is refused (`WouldDeadlock`), not left hanging.
    * A thread owns no more of them than the kernel looks through at its death: the next
      one is refused (OSError), rather than left locked for ever.
    * Ctrl-C is heard while waiting, within `SLICE` seconds, and an exception
      that strikes inside `acquire` leaves the lock free.

What a kill leaves behind, step by step
    Taken, owner not yet written: the kernel tells the death; the record lock
    does not, but then nothing had been done under it. Owner written: told.
    Owner cleared, not yet released: the mutex tells a death although the work
    was complete. Taken over, not yet repaired: the next one is told again.

What is dropped while it is owned
    Its memory stays as it is, until the process ends. The C library has linked it with the
    other mutexes that its owner owns, for the kernel to find them at the death: zeroed, or
    not mapped any more, it would hide those from the kernel.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from workpool.errors import WouldDeadlock
from workpool.ipc import mutex
from workpool.ipc.mutex import MUTEX_SIZE, OWNER_DIED, SLICE, Mutex
from workpool.ipc.record_lock import RecordLock

if TYPE_CHECKING:
    from workpool.ipc.memory import Region

__all__ = ["LOCK_SIZE", "OWNER_DIED", "SLICE", "RobustLock", "locked"]

R = TypeVar("R")

LOCK_SIZE: Final = 64  # bytes of the region that a lock takes

# Behind the mutex: which kind of lock it is, and who owns it.
_KIND, _OWNER = MUTEX_SIZE, MUTEX_SIZE + 8
_MUTEX, _RECORD = 1, 2

_NUMBER_BITS: Final = 40  # of the owner's name; above them is a process id, which has 22 at most

# The kernel looks through the first 2,048 of what a dead thread owned. The rest is for locks that are
# taken with `take`: those are not counted, and no thread has more than a few of them at a time.
_MOST_OWNED: Final = 2_000

# For tests, and for a system whose robust mutexes turn out not to be.
_USE_RECORD_LOCKS = bool(os.environ.get("WORKPOOL_RECORD_LOCKS")) or not mutex.AVAILABLE


class _Owner:
    """A thread.

    Attributes
    ----------
    identity : int
        Names it among all of the machine, and among those that have ended: process id, and a number drawn
        below it. What Python or the kernel calls a thread is used again when that has ended.
    owned : int
        How many locks it has acquired.
    """

    __slots__ = ("identity", "owned")

    def __init__(self) -> None:
        drawn = int.from_bytes(os.urandom(_NUMBER_BITS // 8), "little")
        self.identity = os.getpid() << _NUMBER_BITS | drawn
        self.owned = 0


class _Here(threading.local):
    """The thread that looks at it; one look costs as much as several at what it gives."""

    def __init__(self) -> None:
        self.me = _Owner()


_here = _Here()


class RobustLock:
    """A lock in a region; the module's text says what it guarantees.

    Made with `create` by the process that allocated the region; reached by
    unpickling it, or with the plain constructor, in the others.

    There are two ways to use it. `acquire` and `release` are the plain one.
    Where nanoseconds count, and no one asks who owns it or who died::

        code = 0
        try:
            code = lock.take()
            if code:
                code = lock.settle(code)
            ...  # what the lock guards
        except BaseException:
            lock.undo(code)
            raise
        lock.undo(code) if code else lock.give()

    An exception may strike between any two steps (Ctrl-C, a time limit), so
    ``code`` says "ours" until it is known better: giving back what one does not
    own is refused by the lock and changes nothing. Nor is it known then whether the owner
    before died: `undo` repairs, and only who was not struck may just `give`.

    Parameters
    ----------
    region : Region
        Where it lies.
    offset : int
        Where in the region's view; a multiple of 8. Takes `LOCK_SIZE` bytes.

    Attributes
    ----------
    owner_died : bool
        For the present owner: whether the one before died as owner.
    take, give : callable
        One try without a wait: 0, or an error number that `settle` and `undo`
        understand; and the release, which does nothing to what is not ours.
    """

    __slots__ = ("_latch", "_offset", "_owner", "_region", "give", "owner_died", "take")

    def __init__(self, region: Region, offset: int = 0) -> None:
        self._region = region
        self._offset = offset
        self._owner = region.view[offset + _OWNER : offset + _OWNER + 8].cast("Q")
        if region.view[offset + _KIND] == _RECORD:
            self._latch: Mutex | RecordLock = RecordLock(region, offset)
        else:
            self._latch = Mutex(region, offset)
        self.take: Callable[[], int] = self._latch.take
        self.give: Callable[[], None] = self._latch.give
        self.owner_died = False

    @classmethod
    def create(cls, region: Region, offset: int = 0) -> RobustLock:
        """Make a lock in zeroed memory, once, before another process has the region."""
        if _USE_RECORD_LOCKS:
            region.view[offset + _KIND] = _RECORD
        else:
            region.view[offset + _KIND] = _MUTEX
            Mutex(region, offset, fresh=True)
        return cls(region, offset)

    def __reduce__(self) -> tuple[object, ...]:
        return RobustLock, (self._region, self._offset)

    def __del__(self) -> None:
        try:
            # Others that have it may try just now; so a try of ours is only for what is ours alone.
            region = self._region
            if self._look() not in {0, OWNER_DIED} if region.private else self.mine():
                region.stay()
        except (AttributeError, TypeError):
            pass  # half made, or an interpreter on its way out

    @property
    def owner(self) -> int:
        """Process id of who acquired it, dead or alive; 0 when it is free."""
        return self._owner[0] >> _NUMBER_BITS

    def mine(self) -> bool:
        """Tell whether this thread acquired it."""
        return self._owner[0] == _here.me.identity

    def locked(self) -> bool:
        """Tell whether someone living acquired it."""
        if self._owner[0] == 0:
            return False
        # Free, or its owner is dead. The owner's name stays: the next one shall be told.
        return self.mine() or self._look() not in {0, OWNER_DIED}

    def _look(self) -> int:
        """Try, and give back what that got; what the try said."""
        code = 0
        try:
            code = self.take()
        except BaseException:
            self.undo(code)
            raise
        if code:
            self.undo(code)
        else:
            self.give()
        return code

    def acquire(self, timeout: float | None = None) -> bool:
        """Own the lock.

        Parameters
        ----------
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever, ``0`` only tries.

        Returns
        -------
        bool
            Whether this thread owns it now.

        Raises
        ------
        WouldDeadlock
            This thread owns it already and would wait for itself for ever.
        OSError
            This thread owns so many locks that its death would not release another.
        """
        me = _here.me
        if me.owned >= _MOST_OWNED:
            self._refuse_more()
        code = 0
        try:
            code = self.take()
            if code:
                code = self.settle(code, timeout)
                if code not in {0, OWNER_DIED}:
                    return False
            identity = me.identity
            self.owner_died = code == OWNER_DIED or self._owner[0] != 0
            me.owned += 1
            self._owner[0] = identity  # the last step: nothing after it can fail
            return True
        except BaseException:
            self.undo(code)
            raise

    def release(self) -> None:
        """Let the next one have it.

        Raises
        ------
        RuntimeError
            This thread did not acquire it.
        """
        me = _here.me
        if self._owner[0] != me.identity:
            message = "cannot release a lock that this thread did not acquire"
            raise RuntimeError(message)
        self.owner_died = False
        me.owned -= 1
        self._owner[0] = 0
        self.give()

    def leave(self) -> None:
        """Release it if this thread owns it."""
        if self.mine():
            self.release()

    def settle(self, code: int, timeout: float | None = None) -> int:
        """Make the best of a `take` that was not plainly successful.

        Parameters
        ----------
        code : int
            What `take` said.
        timeout : float or None, seconds
            Longest wait; ``None`` waits for ever.

        Returns
        -------
        int
            0 or `OWNER_DIED`: the lock is ours, and sound. Else: the time is up.

        Raises
        ------
        WouldDeadlock
            This thread owns it already, and no timeout was given.
        SharedStateLost
            There is no lock any more.
        """
        code = self._latch.settle(code, timeout)
        if code == errno.EDEADLK:
            message = (
                "this thread has the lock already and would wait for itself for ever; "
                "release it first, or wait with a timeout"
            )
            raise WouldDeadlock(message)
        return code

    def _refuse_more(self) -> None:
        """Own no more than the kernel would release; a record lock is counted by nobody."""
        if isinstance(self._latch, Mutex):
            message = (
                f"this thread has {_MOST_OWNED} locks between processes already, and the kernel releases no more at "
                "the death of a thread; release some first, or guard several things with one lock"
            )
            raise OSError(errno.ENOLCK, message)

    def undo(self, code: int) -> None:
        """Give the lock back if `code`, from `take` or `settle`, means that it may be ours."""
        self._latch.undo(code)


def locked(lock: RobustLock, act: Callable[[], R]) -> R:
    """Call with the lock held, the second way."""
    code = 0
    try:
        code = lock.take()
        if code:
            code = lock.settle(code)
        value = act()
    except BaseException:
        lock.undo(code)
        raise
    lock.undo(code) if code else lock.give()
    return value


def _after_fork_in_child() -> None:
    _here.me = _Owner()  # of another process, and of no lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
