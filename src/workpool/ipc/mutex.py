"""A robust mutex of the C library: the kernel unlocks it when its owner dies, and tells the next one.

One of the two ways a `RobustLock` is made. States of the mutex: free; owned by
a thread; owned by a thread that is gone (`OWNER_DIED` to whoever takes it).
The heir repairs it before anything else, and a kill before that leaves it to
the next heir. Unlocked without repair it would be lost for all: `undo` is the
one place that gives back what may be unrepaired, and it repairs first.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from workpool.errors import SharedStateLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.ipc.memory import Region

__all__ = ["AVAILABLE", "MUTEX_SIZE", "OWNER_DIED", "SLICE", "Mutex"]

MUTEX_SIZE: Final = 48  # bytes; 40 on most systems, 48 on arm64
OWNER_DIED: Final[int] = getattr(errno, "EOWNERDEAD", 130)
SLICE: Final = 0.2  # seconds; the longest sleep in which a signal can go unheard

# Nobody will ever get it.
_NEVER_AGAIN: Final = {getattr(errno, "ENOTRECOVERABLE", 131), errno.EINVAL}

# Before it sleeps, a thread tries again after so many turns of an empty loop: an owner on
# another core is done after a microsecond or two, and to sleep and be woken costs ten. Ever
# longer, since each try takes the cache line away from the owner, who needs it to leave.
_SPINS = tuple(min(10 << tries, 400) for tries in range(8))


class Mutex:
    """A robust mutex in a region.

    Parameters
    ----------
    region : Region
        Where it lies.
    offset : int
        Where in the region's view; a multiple of 8.
    fresh : bool
        Make it, in zeroed memory; else it was made by someone.

    Attributes
    ----------
    take : callable
        One try, without a wait: 0 or an error number.
    give : callable
        Unlock; nothing happens if it is not this thread's.
    """

    take: Callable[[], int]
    give: Callable[[], None]

    def __init__(self, region: Region, offset: int, *, fresh: bool = False) -> None:
        assert _library is not None, "looked at AVAILABLE first"
        self._library = _library
        self._region = region  # keeps its place
        # A ready-made reference, and no argtypes, is the cheapest way to pass an argument.
        self._mutex = ctypes.byref(ctypes.c_char.from_buffer(region.view, offset))
        self.take = functools.partial(_library.trylock, self._mutex)
        self.give = functools.partial(_library.unlock, self._mutex)
        if fresh:
            _library.initialize(self._mutex)

    def settle(self, code: int, timeout: float | None) -> int:
        """Wait for what `take` did not get: 0, `OWNER_DIED` (ours too, repaired), else not ours."""
        # What may be struck comes first: once the mutex is ours, only this frame knows.
        deadline = None if timeout is None else time.monotonic() + timeout
        if code == errno.EBUSY and timeout != 0:
            code = self._spin()
        while code not in {0, OWNER_DIED}:
            if code in _NEVER_AGAIN:
                message = (
                    "a lock in shared memory is lost: its owner died and it was let go without repair, or its memory "
                    "holds something else by now. Make the shared object anew."
                )
                raise SharedStateLost(message)
            left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
            if left <= 0:
                return errno.EBUSY
            code = self._wait(code, left)
            if code == errno.EDEADLK:
                if deadline is None:
                    return code
                time.sleep(left)
        if code == OWNER_DIED:
            try:
                self._library.consistent(self._mutex)
            except BaseException:
                self.undo(code)
                raise
        return code

    def undo(self, code: int) -> None:
        """Give the mutex back if `code` means that it may be ours; if it is not, nothing happens."""
        if code in {0, OWNER_DIED}:
            self._library.consistent(self._mutex)
            self.give()

    def _spin(self) -> int:
        """Try for some microseconds."""
        for turns in _SPINS:
            for _ in range(turns):
                pass
            code = 0
            try:
                code = self.take()
            except BaseException:
                self.undo(code)
                raise
            if code != errno.EBUSY:
                return code
        return errno.EBUSY

    def _wait(self, before: int, seconds: float) -> int:
        """Wait so long at most, with the GIL let go."""
        code = 0
        try:
            code = self._library.timedlock(self._mutex, seconds)
        except BaseException:
            # It may be ours now. If it was ours before, it stays so: the frame below gives it back.
            if before != errno.EDEADLK:
                self.undo(code)
            raise
        return code


class _Library:
    """The calls of the C library, bound once."""

    def __init__(self) -> None:
        keep_gil, self._let_go = ctypes.PyDLL(None), ctypes.CDLL(None)
        # These never wait, so they keep the GIL: to let it go costs more than they do.
        self.trylock = keep_gil.pthread_mutex_trylock
        self.unlock = keep_gil.pthread_mutex_unlock
        # Nobody asks whether it was ours to unlock, and not to make a number of the answer saves
        # a sixth of both calls.
        self.unlock.restype = None
        self.consistent = keep_gil.pthread_mutex_consistent
        # A clock that no one sets, where the C library lets us name one.
        if hasattr(self._let_go, "pthread_mutex_clocklock"):
            self._timed = self._let_go.pthread_mutex_clocklock
            self._clock = time.CLOCK_MONOTONIC
            self._clock_argument: tuple[ctypes.c_int, ...] = (ctypes.c_int(self._clock),)
        else:
            self._timed = self._let_go.pthread_mutex_timedlock
            self._clock = time.CLOCK_REALTIME
            self._clock_argument = ()

    def initialize(self, mutex: object) -> None:
        """Make a mutex that is robust, that processes share, and that knows its owner."""
        library = self._let_go
        attributes = ctypes.create_string_buffer(64)
        robust, shared, errorcheck = 1, 1, 2
        for code in (
            library.pthread_mutexattr_init(attributes),
            library.pthread_mutexattr_setpshared(attributes, shared),
            library.pthread_mutexattr_setrobust(attributes, robust),
            library.pthread_mutexattr_settype(attributes, errorcheck),
            library.pthread_mutex_init(mutex, attributes),
        ):
            if code:
                raise OSError(code, f"cannot make a lock: {os.strerror(code)}")

    def timedlock(self, mutex: object, seconds: float) -> int:
        """Wait for the mutex; 0 or an error number, ETIMEDOUT among them."""
        until = time.clock_gettime(self._clock) + seconds
        limit = _Timespec(int(until), int(until % 1 * 1e9))
        return int(self._timed(mutex, *self._clock_argument, ctypes.byref(limit)))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _load() -> _Library | None:
    """Find the robust mutexes of this system. The numbers in use here are Linux's."""
    if not sys.platform.startswith("linux"):
        return None  # macOS has all of it but the robustness
    try:
        ctypes.PyDLL(None).pthread_mutexattr_setrobust  # noqa: B018 - the look-up is the question
        return _Library()
    except (AttributeError, OSError):
        return None


_library = _load()
AVAILABLE = _library is not None
