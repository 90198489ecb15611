"""Shared state for the threads of one process: a lock of the interpreter, and a value.

Nothing here rests on the GIL: what more than one thread touches is touched
under a lock, which is named where it is made.
"""

from __future__ import annotations

import copy
from operator import index
from time import monotonic
from typing import Any, Generic, TypeVar

from workpool._compat import Lock, RLock, across_forks
from workpool.errors import NotPicklable, brief
from workpool.shared.home import StaysInProcess
from workpool.shared.in_threads.array import ThreadArray
from workpool.shared.in_threads.lock import ThreadLock
from workpool.shared.in_threads.rate_limiter import ThreadRateLimiter
from workpool.waits import LOOK_AGAIN, Event, make_sleeper, sleep_listed, wake_first

__all__ = [
    "ThreadArray",
    "ThreadCounter",
    "ThreadEvent",
    "ThreadLock",
    "ThreadRateLimiter",
    "ThreadSemaphore",
    "ThreadShared",
    "make_array",
    "make_counter",
    "make_event",
    "make_lock",
    "make_rate_limiter",
    "make_semaphore",
    "make_shared",
]

T = TypeVar("T")

# Copying these gives the same object: most shared values are one of them.
_NEVER_CHANGE = frozenset((int, float, complex, bool, str, bytes, type(None)))


class ThreadCounter(StaysInProcess):
    """A number and a lock. It holds what 64 bits with a sign do, as in processes: one promise on every scope."""

    __slots__ = ("_lock", "_value")

    def __init__(self, initial: int) -> None:
        self._value = int(index(initial))
        if not _LEAST <= self._value <= _MOST:
            raise OverflowError
        # Guards _value. Nothing is called under it, so no signal's handler can come by and count there.
        self._lock = across_forks(Lock())

    def add(self, n: int) -> int:
        """Add, and return the sum."""
        with self._lock:
            new = self._value + n
            if _LEAST <= new <= _MOST:
                self._value = new
                return new
        raise OverflowError

    def get(self) -> int:
        """Return the value."""
        with self._lock:
            return self._value

    def compare_and_set(self, expected: int, new: int) -> bool:
        """Set to `new` if it is `expected`."""
        with self._lock:
            if self._value != expected:
                return False
            if _LEAST <= new <= _MOST:
                self._value = new
                return True
        raise OverflowError


# What 64 bits with a sign hold.
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


class ThreadShared(StaysInProcess, Generic[T]):
    """A value and a lock. The value is private: copied on its way in and on its way out."""

    __slots__ = ("_lock", "_value")

    def __init__(self, value: T) -> None:
        self._lock = ThreadLock()  # guards _value
        self._value = _copied(value)

    def get(self) -> T:
        """Return the value, once no one has it open."""
        # The object behind the name is never changed, only replaced: it can be copied unlocked.
        self._lock.acquire(None)
        try:
            value = self._value
        finally:
            try:
                self._lock.release()
            except BaseException:  # Ctrl-C, say: nobody else could release it any more
                self._lock.leave()
                raise
        return _copied(value)

    def set(self, value: T) -> None:
        """Replace the value, once no one has it open."""
        value = _copied(value)
        self._lock.acquire(None)
        try:
            self._value = value
        finally:
            try:
                self._lock.release()
            except BaseException:  # Ctrl-C, say: nobody else could release it any more
                self._lock.leave()
                raise

    def open(self, timeout: float | None) -> T:
        """Lock it and return the value."""
        if not self._lock.acquire(timeout):
            message = f"another thread had the value open for all of {timeout} s"
            raise TimeoutError(message)
        try:
            return _copied(self._value)
        except BaseException:
            self._lock.release()
            raise

    def commit(self, value: T) -> None:
        """Replace the value that is open; if that fails, it stays."""
        self._value = _copied(value)

    def close(self) -> None:
        """Unlock it."""
        self._lock.release()

    def leave(self) -> None:
        """Unlock it if this thread has it open."""
        self._lock.leave()


class ThreadSemaphore(StaysInProcess):
    """Permits of the interpreter: threads are not killed, so none has to come back."""

    __slots__ = ("_free", "_lock", "_sleepers", "_value")

    def __init__(self, value: int) -> None:
        self._lock = across_forks(RLock())  # guards what follows
        self._value = value
        self._free = value
        self._sleepers: list[Any] = []  # threads that found no permit

    def acquire(self, timeout: float | None) -> bool:
        """Take a permit: ``None`` waits for ever, 0 only tries."""
        until = None if timeout is None else monotonic() + timeout
        taken = done = False
        try:
            while True:
                with self._lock:
                    if self._free:
                        self._free -= 1
                        taken = True
                        break
                    left = LOOK_AGAIN if until is None else until - monotonic()
                    if left <= 0:
                        break
                    sleeper = make_sleeper()
                    self._sleepers.append(sleeper)
                # Whoever was woken and interrupted then wakes nobody: those who wait look now and then.
                sleep_listed(self._lock, self._sleepers, sleeper, min(left, LOOK_AGAIN))
            done = True
        finally:
            if taken and not done:  # Ctrl-C came as the lock was let go: the caller will not know
                self.release(1)
        return taken

    def release(self, n: int) -> None:
        """Bring permits back."""
        with self._lock:
            if n < 1 or self._free + n > self._value:
                message = f"{n} permits cannot be brought back: not as many are out"
                raise ValueError(message)
            self._free += n
            wake_first(self._sleepers, n)

    def free(self) -> int:
        """Count the permits that no one has."""
        return self._free


class ThreadEvent(StaysInProcess):
    """An event of the interpreter."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = Event()

    def is_set(self) -> bool:
        """Tell whether the flag is up."""
        return self._event.is_set()

    def set(self) -> None:
        """Put the flag up, and wake all who wait."""
        self._event.set()

    def clear(self) -> None:
        """Take the flag down."""
        self._event.clear()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the flag is up."""
        return self._event.wait(timeout)


def make_counter(initial: int) -> ThreadCounter:
    """Make what a `Counter` stands for."""
    return ThreadCounter(initial)


def make_shared(value: T) -> ThreadShared[T]:
    """Make what a `Shared` stands for."""
    return ThreadShared(value)


def make_lock() -> ThreadLock:
    """Make what a `Lock` stands for."""
    return ThreadLock()


def make_semaphore(value: int) -> ThreadSemaphore:
    """Make what a `Semaphore` stands for."""
    return ThreadSemaphore(value)


def make_event() -> ThreadEvent:
    """Make what an `Event` stands for."""
    return ThreadEvent()


def make_array(size: int, dtype: str, shape: tuple[int, ...]) -> ThreadArray:
    """Make what an `Array` stands for."""
    return ThreadArray(size, dtype, shape)


def make_rate_limiter(calls: int, period: int) -> ThreadRateLimiter:
    """Make what a `RateLimiter` stands for."""
    return ThreadRateLimiter(calls, period)


def _copied(value: T) -> T:
    """Copy a value, with all that hangs on it."""
    if type(value) in _NEVER_CHANGE:
        return value
    try:
        return copy.deepcopy(value)
    except Exception as error:
        from workpool.ipc.strikes import struck

        if struck(error, copy.deepcopy, value):
            raise
        message = (
            f"a Shared cannot hold a {type(value).__name__} that cannot be copied ({brief(error)}). "
            "Share the data it is made from, or guard the object itself with a Lock."
        )
        raise NotPicklable(message, part="value") from error
