"""A lock in shared memory that the death of its owner releases.

Where the system has them, this is a robust mutex of the C library: the kernel
itself unlocks it when its owner dies, and the next owner is told. Elsewhere it
is a record lock on the arena's lock file, which the kernel drops with the
process, and a word in shared memory that tells a death.

States of the lock, as the memory shows them
    free; owned; owned by a thread that is gone. There is no fourth: a mutex
    whose owner died is repaired by the next owner before anything else.

Guarantees
    * At most one thread of all processes owns it.
    * An owner that dies, at any instant and however, blocks no one.
    * The owner after a death sees ``owner_died`` true, unless the dead one had
      not come to anything yet, or had done all and was about to leave.
    * Only the thread that owns it can release it; a thread that would wait for
      itself is refused (`WouldDeadlock`), not left hanging.
    * Ctrl-C is heard while waiting, within `SLICE` seconds, and an exception
      that strikes inside `acquire` leaves the lock free.

What a kill leaves behind, step by step
    Taken, owner not yet written: the kernel tells the death; the record lock
    does not, but then nothing had been done under it. Owner written: told.
    Owner cleared, not yet released: the mutex tells a death although the work
    was complete. Taken over, not yet repaired: the next one is told again.

The record lock knows processes, not threads: there, a thread that ends as owner
while its process lives keeps the lock until the process ends. Waiting for one
is looking again, every few milliseconds.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from workpool._compat import POSIX
from workpool.errors import WouldDeadlock

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.memory import Region

__all__ = ["LOCK_SIZE", "OWNER_DIED", "SLICE", "RobustLock"]

LOCK_SIZE: Final = 64  # bytes of the region that a lock takes
SLICE: Final = 0.2  # seconds; the longest sleep in which a signal can go unheard
OWNER_DIED: Final = getattr(errno, "EOWNERDEAD", 130)

# Inside: the mutex (40 bytes, 48 on arm64), which kind of lock it is, who owns it.
_KIND, _OWNER = 48, 56
_MUTEX, _RECORD = 1, 2

_SPINS = 40  # tries before a sleep: an owner on another core is gone after a microsecond or two
_FIRST_NAP, _LONGEST_NAP = 0.0002, 0.005  # seconds between two looks at a record lock


class RobustLock:
    """A lock in a region; the module's text says what it guarantees.

    Made with `create` by the process that allocated the region; reached with
    `attach`, or by unpickling it, in the others.

    There are two ways to use it. `acquire` and `release` are the plain one.
    Where nanoseconds count, and no one asks who died::

        code = 0
        try:
            code = lock.take()
            if code:
                code = lock.settle(code)
            ...  # what the lock guards
        finally:
            lock.undo(code) if code else lock.give()

    An exception may strike between any two steps (Ctrl-C, a time limit), so
    ``code`` says "ours" until it is known better: giving back what one does not
    own is refused by the lock and changes nothing.

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
    """

    #: One try, without a wait: 0, or an error number that `settle` understands.
    take: Callable[[], int]
    #: Release after `take` and `settle`: 0, or an error number if it was not ours.
    give: Callable[[], int]

    def __init__(self, region: Region, offset: int = 0) -> None:
        self.region = region
        self.offset = offset
        self.owner_died = False
        self._owner = region.view[offset + _OWNER : offset + _OWNER + 8].cast("Q")

    @staticmethod
    def create(region: Region, offset: int = 0) -> RobustLock:
        """Make a lock in fresh memory, once, before another process has the region."""
        if _PTHREAD is None or _USE_RECORD_LOCKS:
            region.view[offset + _KIND] = _RECORD
        else:
            region.view[offset + _KIND] = _MUTEX
            _PTHREAD.initialize(region, offset)
        return RobustLock.attach(region, offset)

    @staticmethod
    def attach(region: Region, offset: int = 0) -> RobustLock:
        """Reach a lock that was made with `create`, of the kind that it is."""
        if region.view[offset + _KIND] == _RECORD:
            return _RecordLock(region, offset)
        assert _PTHREAD is not None, "made with a mutex by a process of this very system"
        return _Mutex(region, offset, _PTHREAD)

    def __reduce__(self) -> tuple[object, ...]:
        return RobustLock.attach, (self.region, self.offset)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.region!r}+{self.offset} owner={self.owner}>"

    @property
    def owner(self) -> int:
        """Process id of who acquired it, dead or alive; 0 when it is free."""
        return self._owner[0] >> 32

    def mine(self) -> bool:
        """Tell whether this thread acquired it."""
        return self._owner[0] == _thread_identity()

    def locked(self) -> bool:
        """Tell whether someone living acquired it."""
        if self._owner[0] == 0:
            return False
        code = self.take()
        if code in {0, OWNER_DIED}:
            # Free, or its owner is dead. The owner's name stays: the next one shall be told.
            self.undo(code)
            return False
        return True

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
        """
        code = 0
        try:
            code = self.take()
            if code:
                code = self.settle(code, timeout)
                if code not in {0, OWNER_DIED}:
                    return False
            identity = _thread_identity()
            self.owner_died = code == OWNER_DIED or self._owner[0] != 0
            self._owner[0] = identity
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
        if not self.mine():
            message = "cannot release a lock that this thread did not acquire"
            raise RuntimeError(message)
        self.owner_died = False
        self._owner[0] = 0
        self.give()

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
            0 or `OWNER_DIED`: the lock is ours, repaired. Else: the time is up.

        Raises
        ------
        WouldDeadlock
            This thread owns it already, and no timeout was given.
        """
        raise NotImplementedError

    def undo(self, code: int) -> None:
        """Give the lock back if `code`, from `take` or `settle`, means that it may be ours."""
        if code in {0, OWNER_DIED}:
            self.give()


class _Mutex(RobustLock):
    """A robust mutex of the C library."""

    def __init__(self, region: Region, offset: int, pthread: _Pthread) -> None:
        super().__init__(region, offset)
        self._pthread = pthread
        # Holds the mapping; without argtypes, a ready-made reference is the cheapest argument.
        self._mutex = ctypes.byref(ctypes.c_char.from_buffer(region.view, offset))
        self.take = functools.partial(pthread.trylock, self._mutex)
        self.give = functools.partial(pthread.unlock, self._mutex)

    def settle(self, code: int, timeout: float | None = None) -> int:
        if code == OWNER_DIED:
            return self._repair()
        if code == errno.EBUSY and timeout != 0:
            for _ in range(_SPINS):
                code = 0
                try:
                    code = self.take()
                except BaseException:
                    self.undo(code)
                    raise
                if code != errno.EBUSY:
                    break
        deadline = None if timeout is None else time.monotonic() + timeout
        while code not in {0, OWNER_DIED}:
            left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
            if left <= 0:
                return errno.EBUSY
            code = self._wait(code, left, forever=deadline is None)
        return self._repair() if code == OWNER_DIED else 0

    def undo(self, code: int) -> None:
        if code in {0, OWNER_DIED}:
            # In this order: a mutex that is unlocked unrepaired is lost for all. Not ours: both refuse.
            self._pthread.consistent(self._mutex)
            self.give()

    def _wait(self, code: int, seconds: float, *, forever: bool) -> int:
        """Wait one slice for a mutex that another thread has, or, in vain, that we have."""
        owned_before = code == errno.EDEADLK
        code = 0
        try:
            code = self._pthread.timedlock(self._mutex, seconds)
        except BaseException:
            if not owned_before:
                self.undo(code)
            raise
        if code == errno.EDEADLK:
            if forever:
                raise _deadlock()
            time.sleep(seconds)
        return code

    def _repair(self) -> int:
        """Make a mutex usable whose owner died; a kill before this line: the next one does it."""
        self._pthread.consistent(self._mutex)
        return OWNER_DIED


class _Pthread:
    """The calls of the C library, bound once."""

    def __init__(self, keep_gil: ctypes.PyDLL, let_go: ctypes.CDLL) -> None:
        # trylock and unlock never wait, so they keep the GIL: letting go costs more than they do.
        self.trylock = keep_gil.pthread_mutex_trylock
        self.unlock = keep_gil.pthread_mutex_unlock
        self.consistent = keep_gil.pthread_mutex_consistent
        self._library = let_go
        # A clock that no one sets, where the C library lets us name one.
        named = hasattr(let_go, "pthread_mutex_clocklock")
        self._timed = let_go.pthread_mutex_clocklock if named else let_go.pthread_mutex_timedlock
        self._clock = time.CLOCK_MONOTONIC if named else time.CLOCK_REALTIME
        self._clock_argument = (ctypes.c_int(self._clock),) if named else ()

    def initialize(self, region: Region, offset: int) -> None:
        """Make a robust mutex that processes share and that knows its owner."""
        library = self._library
        attributes = ctypes.create_string_buffer(64)
        robust, shared, errorcheck = 1, 1, 2
        for code in (
            library.pthread_mutexattr_init(attributes),
            library.pthread_mutexattr_setpshared(attributes, shared),
            library.pthread_mutexattr_setrobust(attributes, robust),
            library.pthread_mutexattr_settype(attributes, errorcheck),
            library.pthread_mutex_init(
                ctypes.byref(ctypes.c_char.from_buffer(region.view, offset)), attributes
            ),
        ):
            if code:
                raise OSError(code, f"cannot make a lock: {os.strerror(code)}")

    def timedlock(self, mutex: object, seconds: float) -> int:
        """Wait so long at most, with the GIL let go."""
        until = time.clock_gettime(self._clock) + seconds
        limit = _Timespec(int(until), int(until % 1 * 1e9))
        return int(self._timed(mutex, *self._clock_argument, ctypes.byref(limit)))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _load_pthread() -> _Pthread | None:
    """Find the robust mutexes of this system, if it has them."""
    if not POSIX:
        return None
    try:
        library = ctypes.PyDLL(None)
        library.pthread_mutexattr_setrobust  # noqa: B018 - the look-up is the question
        return _Pthread(library, ctypes.CDLL(None))
    except (AttributeError, OSError):  # macOS has everything but this
        return None


_PTHREAD = _load_pthread()
# For tests, and for a system whose robust mutexes turn out not to be.
_USE_RECORD_LOCKS = bool(os.environ.get("WORKPOOL_RECORD_LOCKS"))


class _RecordLock(RobustLock):
    """A record lock on one byte of the arena's lock file: for processes, and a gate for threads."""

    def __init__(self, region: Region, offset: int) -> None:
        super().__init__(region, offset)
        self._fd = region.arena.locks_fd
        self._byte = region.offset + offset
        # The kernel does not tell threads apart, so all copies in this process share a gate.
        with _gates_lock:
            key = (region.arena.token, self._byte)
            self._gate = _gates.setdefault(key, _Gate())
        self.take = self._take
        self.give = self._give

    def settle(self, code: int, timeout: float | None = None) -> int:
        if code == OWNER_DIED:
            return code
        deadline = None if timeout is None else time.monotonic() + timeout
        nap = _FIRST_NAP
        while True:
            if code == errno.EDEADLK and deadline is None:
                raise _deadlock()
            left = nap if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return errno.EBUSY
            time.sleep(min(nap, left))
            nap = min(2 * nap, _LONGEST_NAP)
            code = 0
            try:
                code = self._take()
            except BaseException:
                self.undo(code)
                raise
            if code in {0, OWNER_DIED}:
                return code

    def _take(self) -> int:
        gate = self._gate
        if gate.owner == threading.get_ident():
            return errno.EDEADLK
        try:
            if not gate.lock.acquire(blocking=False):
                return errno.EBUSY
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._byte)
            gate.owner = threading.get_ident()
        except OSError as error:
            gate.leave()
            if error.errno in {errno.EACCES, errno.EAGAIN}:
                return errno.EBUSY
            raise
        except BaseException:
            gate.leave()
            raise
        return 0 if self._owner[0] == 0 else OWNER_DIED

    def _give(self) -> int:
        gate = self._gate
        if gate.owner != threading.get_ident():
            return errno.EPERM
        # The gate last: the record lock is this process's, and so the next thread's as well.
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._byte)
        gate.owner = 0
        gate.leave()
        return 0


class _Gate:
    """Keeps the threads of one process apart at one record lock."""

    __slots__ = ("__weakref__", "lock", "owner")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Open it: a forked child has none of its parent's threads, nor its record locks."""
        self.lock = threading.RLock()  # knows its owner, so that `leave` can be tried by anyone
        self.owner = 0  # the thread that has both the gate and the record lock

    def leave(self) -> None:
        """Let the next thread in, if this one is inside."""
        try:
            self.lock.release()
        except RuntimeError:
            pass  # an exception struck before this thread was in


_gates_lock = threading.Lock()  # guards _gates
_gates: WeakValueDictionary[tuple[str, int], _Gate] = WeakValueDictionary()
_pid = os.getpid()  # asking costs a system call each time; renewed in a forked child


def _thread_identity() -> int:
    """Name this thread, among all of the machine: process id, and a number of the thread below it."""
    # Where the C library keeps a thread's data tells it from the others of its process; unlike the
    # kernel's number, it is known without a system call.
    return _pid << 32 | threading.get_ident() >> 12 & 0xFFFFFFFF


def _deadlock() -> WouldDeadlock:
    return WouldDeadlock(
        "this thread has the lock already and would wait for itself for ever; release it first, or wait with a timeout"
    )


def _after_fork_in_child() -> None:
    global _gates_lock, _pid  # noqa: PLW0603 - another thread may have had the lock when the fork came
    _gates_lock = threading.Lock()
    _pid = os.getpid()
    for gate in list(_gates.values()):
        gate.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
