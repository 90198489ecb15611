"""Shared state for the threads of one process: a lock of the interpreter, and a value.

Nothing here rests on the GIL: what more than one thread touches is touched
under a lock, which is named where it is made.
"""

from __future__ import annotations

import copy
import threading
import time
from array import array
from typing import Generic, TypeVar

from workpool.errors import NotPicklable, WouldDeadlock
from workpool.shared.home import StaysInProcess
from workpool.shared.in_threads.rate_limiter import ThreadRateLimiter

__all__ = [
    "ThreadCounter",
    "ThreadEvent",
    "ThreadLock",
    "ThreadRateLimiter",
    "ThreadSemaphore",
    "ThreadShared",
    "make_counter",
    "make_event",
    "make_lock",
    "make_rate_limiter",
    "make_semaphore",
    "make_shared",
]

T = TypeVar("T")

# Seconds between two looks: whether an owner is still alive, and whether Ctrl-C came. It may
# strike in the instant before a thread falls asleep, and would be heard only when it is woken.
_LOOK_AGAIN = 0.2

# Copying these gives the same object: most shared values are one of them.
_NEVER_CHANGE = frozenset((int, float, complex, bool, str, bytes, type(None)))


class ThreadCounter(StaysInProcess):
    """A number and a lock. The cell has 64 bits, as in processes: one promise on every scope."""

    __slots__ = ("_cell", "_lock")

    def __init__(self, initial: int) -> None:
        self._cell = array("q", (0,))
        self._lock = threading.Lock()  # guards _cell
        self._cell[0] = initial

    def add(self, n: int) -> int:
        """Add, and return the sum."""
        with self._lock:
            new = self._cell[0] + n
            self._cell[0] = new
        return new

    def get(self) -> int:
        """Return the value."""
        with self._lock:
            return self._cell[0]

    def compare_and_set(self, expected: int, new: int) -> bool:
        """Set to `new` if it is `expected`."""
        with self._lock:
            same = self._cell[0] == expected
            if same:
                self._cell[0] = new
        return same


class ThreadLock(StaysInProcess):
    """A lock that knows its owner. States: free; owned; owned by a thread that has ended.

    A thread that ends as owner, because it forgot or because an exception was
    sent into it, has no one to wake: who waits looks now and then.
    """

    __slots__ = ("_changed", "_mutex", "_owner", "_waiting", "owner_died")

    def __init__(self) -> None:
        self._mutex = threading.Lock()  # guards all that follows
        self._changed = threading.Condition(self._mutex)
        self._waiting = 0  # threads that a release has to wake; too many do no harm
        self._owner: threading.Thread | None = None
        self.owner_died = False

    def acquire(self, timeout: float | None) -> bool:
        """Own it: ``None`` waits for ever, 0 only tries."""
        me = threading.current_thread()
        done = again = False
        try:
            with self._mutex:
                if self._owner is not None:
                    again = self._owner is me
                    if not self._wait(me, timeout):
                        return False
                    self.owner_died = not self._is_owned_by(None)
                self._owner = me
            done = True
            return True
        finally:
            # Ctrl-C may strike after the lock became ours.
            if not done and not again and self._is_owned_by(me):
                self.release()

    def release(self) -> None:
        """Let the next one have it."""
        with self._mutex:
            if self._owner is not threading.current_thread():
                message = "cannot release a lock that this thread did not acquire"
                raise RuntimeError(message)
            self.owner_died = False
            self._owner = None
            if self._waiting:
                self._changed.notify()

    def locked(self) -> bool:
        """Tell whether someone living owns it."""
        with self._mutex:
            return self._owner is not None and self._owner.is_alive()

    def _is_owned_by(self, thread: threading.Thread | None) -> bool:
        return self._owner is thread

    def _wait(self, me: threading.Thread, timeout: float | None) -> bool:
        """Wait until no one living owns it; `_mutex` is held."""
        if timeout is None and self._owner is me:
            message = "this thread has the lock already and would wait for itself for ever"
            raise WouldDeadlock(message)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting += 1
        try:
            while self._owner is not None and self._owner.is_alive():
                left = _LOOK_AGAIN if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, _LOOK_AGAIN))
        finally:
            self._waiting -= 1
        return True


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
            self._lock.release()
        return _copied(value)

    def set(self, value: T) -> None:
        """Replace the value, once no one has it open."""
        value = _copied(value)
        self._lock.acquire(None)
        try:
            self._value = value
        finally:
            self._lock.release()

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


class ThreadSemaphore(StaysInProcess):
    """Permits of the interpreter: threads are not killed, so none has to come back."""

    __slots__ = ("_permits",)

    def __init__(self, value: int) -> None:
        self._permits = threading.BoundedSemaphore(value)

    def acquire(self, timeout: float | None) -> bool:
        """Take a permit: ``None`` waits for ever, 0 only tries."""
        if timeout == 0:
            return self._permits.acquire(blocking=False)
        if timeout is not None:
            return self._permits.acquire(timeout=timeout)
        while not self._permits.acquire(timeout=_LOOK_AGAIN):
            pass
        return True

    def release(self, n: int) -> None:
        """Bring permits back."""
        try:
            self._permits.release(n)
        except ValueError:
            message = f"{n} permits cannot be brought back: not as many are out"
            raise ValueError(message) from None

    def free(self) -> int:
        """Count the permits that no one has."""
        return self._permits._value


class ThreadEvent(StaysInProcess):
    """An event of the interpreter."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

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
        if timeout is not None:
            return self._event.wait(timeout)
        while not self._event.wait(_LOOK_AGAIN):
            pass
        return True


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
        message = (
            f"a Shared cannot hold a {type(value).__name__} that cannot be copied ({error}). "
            "Share the data it is made from, or guard the object itself with a Lock."
        )
        raise NotPicklable(message, part="value") from error
