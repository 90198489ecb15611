"""Sleeping until another thread says so: Ctrl-C is heard meanwhile, and leaves nothing locked behind.

Three things are wrong with what the standard library has, on every Python:

- A ``threading.Condition``, and so an ``Event`` or a ``Semaphore``, takes its lock in a function in Python.
  The exception of a Ctrl-C that comes as this returns leaves the lock locked for ever, and
  the worker that comes to say "it is done" stands there for as long.
- A signal interrupts a sleep. One that comes in the instant before the thread falls asleep, or
  that ``_thread.interrupt_main()`` stands for, does not, and is heard when the thread is woken.
- What is woken by a lock that somebody holds waits for that somebody.

Here a sleeper is a lock that is held, made for one sleep, which whoever wakes it releases. It is listed under a
lock of ours, and slept on outside of it. The main thread, which alone hears signals, looks for them now and then.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock  # house: lock - to be slept on, never for a block
from math import inf
from time import monotonic
from typing import Any, SupportsFloat

from workpool._compat import RLock, across_forks

__all__ = [
    "LOOK_AGAIN",
    "Event",
    "checked_timeout",
    "make_sleeper",
    "sleep_listed",
    "sleep_on",
    "wake_all",
    "wake_first",
]

LOOK_AGAIN = 0.2  # seconds between two looks of the main thread: Ctrl-C is to be heard within one


def checked_timeout(timeout: Any) -> float | None:
    """Give the longest wait in seconds, or None where it has no end; refuse what is no number, by name.

    Raises
    ------
    TypeError, ValueError
        It is no number of seconds, or not a number.
    """
    if timeout is None:
        return None
    seconds = number = timeout
    if not isinstance(timeout, (int, float)):
        if not isinstance(timeout, SupportsFloat):  # as those of numpy are
            raise TypeError(_no_timeout(timeout))
        try:
            seconds = float(timeout)
        except OverflowError:
            seconds = inf if number > 0 else -inf
        except (TypeError, ValueError):
            raise TypeError(_no_timeout(timeout)) from None
    if seconds != seconds:  # noqa: PLR0124 - what is not a number is not itself
        raise ValueError(_no_timeout(timeout))
    return None if seconds > threading.TIMEOUT_MAX else max(seconds, -threading.TIMEOUT_MAX)


def _no_timeout(timeout: object) -> str:
    return f"timeout is seconds as a number, or None; got {timeout!r}"


def make_sleeper() -> Any:
    """Make a lock that is held."""
    sleeper = allocate_lock()
    sleeper.acquire()
    return sleeper


def sleep_on(sleeper: Any, timeout: float | None = None) -> bool:
    """Sleep until the lock is released, and take it; tell whether that came in time.

    Parameters
    ----------
    sleeper : lock
        As of `make_sleeper`.
    timeout : float or None, seconds
        Longest sleep; ``None`` sleeps for ever, 0 or less only looks.
    """
    if timeout is not None:
        timeout = min(max(0.0, timeout), threading.TIMEOUT_MAX)
    if threading.get_ident() != threading.main_thread().ident:
        return bool(sleeper.acquire(timeout=-1 if timeout is None else timeout))
    if timeout is None:
        while not sleeper.acquire(timeout=LOOK_AGAIN):
            pass
        return True
    until = monotonic() + timeout
    while timeout > LOOK_AGAIN:
        if sleeper.acquire(timeout=LOOK_AGAIN):
            return True
        timeout = until - monotonic()
    return bool(sleeper.acquire(timeout=max(0.0, timeout)))


def wake_all(sleepers: list[Any]) -> None:
    """Wake all who are on the list; the lock that guards it is held."""
    for sleeper in sleepers:
        _wake(sleeper)
    sleepers.clear()  # only now: whoever is interrupted above has not forgotten anyone


def wake_first(sleepers: list[Any], n: int = 1) -> None:
    """Wake the first so many on the list; the lock that guards it is held."""
    for sleeper in sleepers[:n]:
        _wake(sleeper)
        if sleeper in sleepers:  # else a signal's handler has taken it off
            sleepers.remove(sleeper)


def _wake(sleeper: Any) -> None:
    try:
        sleeper.release()
    except RuntimeError:
        pass  # woken already: by a call that was interrupted, or by a signal's handler a moment ago


def sleep_listed(lock: Any, sleepers: list[Any], sleeper: Any, timeout: float | None) -> bool:
    """Sleep, and be on the list no longer; tell whether somebody woke us. ``lock`` guards the list."""
    woken = False
    try:
        woken = sleep_on(sleeper, timeout)
    finally:
        if not woken:
            with lock:
                if sleeper in sleepers:
                    sleepers.remove(sleeper)
    return woken


class Event:
    """A flag to wait for, as ``threading.Event``.

    Whoever is interrupted in `set` has put the flag up and woken all, or has done nothing.
    """

    __slots__ = ("__weakref__", "_lock", "_sleepers", "_up")

    def __init__(self) -> None:
        # Guards what follows; a finalizer may come by in the middle.
        self._lock = across_forks(RLock())
        self._up = False
        self._sleepers: list[Any] = []

    def is_set(self) -> bool:
        """Tell whether the flag is up."""
        return self._up

    def set(self) -> None:
        """Put the flag up, and wake all who wait."""
        with self._lock:
            try:
                self._up = True
                wake_all(self._sleepers)
            except BaseException:  # Ctrl-C, say: nobody may come to set it again
                if self._up:
                    wake_all(self._sleepers)
                raise

    def clear(self) -> None:
        """Take the flag down."""
        with self._lock:
            self._up = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, or for so many seconds; tell whether it came up."""
        if self._up:
            return True
        sleeper = make_sleeper()
        with self._lock:
            if self.is_set():
                return True
            self._sleepers.append(sleeper)
        return sleep_listed(self._lock, self._sleepers, sleeper, timeout) or self._up
